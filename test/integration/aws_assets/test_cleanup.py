"""Removing it: in order, again and again, interrupted, and never more than what was asked for."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
import time
from collections import Counter

import pytest

from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import BUCKET_STACK, AssetNames
from exasol_like_dss.lib.assets.record import AssetKind
from test.support.aws import EXPIRED, Call, ClientFault, Fault
from test.support.command import started
from test.support.planted_assets import (
    BUCKET,
    ID,
    Commands,
    Planted,
    create_stack,
    kinds_of,
    plant,
    tags,
    what_is_left,
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--asset-id", "5 0", "--yes"],
        ["--asset-id", "", "--yes"],
        ["--asset-id", ID],
        ["--asset-id", ID, "--yes", "--older-than", "-3d"],
        ["--asset-id", ID, "--yes", "--older-than", "7"],
        ["--yes"],
    ],
)
def test_wrong_input_of_a_clean_up(commands: Commands, arguments: list[str]) -> None:
    done = commands.run("cleanup-aws-assets", *arguments)
    assert done.code == 2
    assert commands.aws.calls == []


@pytest.mark.usefixtures("planted")
def test_everything_is_removed_in_the_order_of_dependencies(commands: Commands) -> None:
    done = commands.cleanup()
    assert done.code == 0, done.err
    assert "11 of 11 assets were removed." in done.out
    assert "goes with the stack" in done.out
    assert re.search(r"This saves about \d+\.\d\d USD a month\. Costs are estimates", done.out)
    first = {action: number for number, action in reversed(list(enumerate(call.action for call in commands.aws.calls)))}
    removing = [action for action in first if action in REMOVING]
    assert sorted(removing) == sorted(REMOVING)
    for earlier, later in (
        ("CancelExportTask", "AbortMultipartUpload"),
        ("CancelExportTask", "DeleteObjects"),
        ("CancelExportTask", "DeregisterImage"),
        ("DeleteStack", "TerminateInstances"),
        ("TerminateInstances", "DeregisterImage"),
        ("DeregisterImage", "DeleteSnapshot"),
        ("TerminateInstances", "DeleteVolume"),
        ("TerminateInstances", "DeleteKeyPair"),
        ("TerminateInstances", "DeleteSecurityGroup"),
    ):
        assert first[earlier] < first[later], (earlier, later)
    assert what_is_left(commands) == []
    again = commands.cleanup()
    assert (again.code, "There is nothing to remove." in again.out) == (0, True)


REMOVING = [
    "CancelExportTask",
    "AbortMultipartUpload",
    "DeleteStack",
    "TerminateInstances",
    "DeregisterImage",
    "DeleteSnapshot",
    "DeleteVolume",
    "DeleteKeyPair",
    "DeleteSecurityGroup",
    "DeleteObjects",
    "DeleteLogGroup",
]


@pytest.mark.usefixtures("planted")
def test_a_dry_run_touches_nothing(commands: Commands) -> None:
    before = what_is_left(commands)
    commands.aws.clear()
    done = commands.run("cleanup-aws-assets", "--asset-id", ID, "--dry-run", "--output", "json")
    assert done.code == 0
    plan = json.loads(done.out)
    assert plan["dry_run"]
    assert len(plan["plan"]) == 11
    assert plan["saving_usd_per_month"] > 70
    assert all(call.action.startswith(("Describe", "List", "Get")) for call in commands.aws.calls)
    assert what_is_left(commands) == before


@pytest.mark.usefixtures("planted")
def test_only_what_carries_the_id_is_touched(commands: Commands) -> None:
    """Untagged, of another id, permanent: all still there."""
    ec2, s3 = commands.aws.client("ec2"), commands.aws.client("s3")
    other = plant(commands.aws, "5.0.0-rc1")
    untagged = ec2.create_key_pair(KeyName="untagged")["KeyPairId"]
    s3.put_object(Bucket=BUCKET, Key="data_science_sandbox/5.0.0", Body=b"")
    s3.put_object(Bucket=BUCKET, Key="elsewhere/5.0.0/a", Body=b"")
    permanent = "DATA-SCIENCE-SANDBOX-CI-TEST-CODEBUILD"
    group = {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": "of a permanent stack"}}
    create_stack(commands.aws, permanent, {"Resources": {"Group": group}}, tags())
    commands.aws.clear()
    done = commands.cleanup()
    assert done.code == 0, done.err + done.out
    assert f"belongs to the permanent stack {permanent}" in done.out
    stacks = {stack["StackName"] for stack in commands.aws.client("cloudformation").describe_stacks()["Stacks"]}
    assert stacks == {BUCKET_STACK, permanent, AssetNames.of(AssetId("5.0.0-rc1")).stack}
    assert {asset["kind"] for asset in commands.show("--asset-id", "5.0.0-rc1")["assets"]} == set(AssetKind)
    assert {pair["KeyPairId"] for pair in ec2.describe_key_pairs()["KeyPairs"]} == {untagged, other.key_pair}
    keys = {found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert keys == {"data_science_sandbox/5.0.0", "elsewhere/5.0.0/a", "data_science_sandbox/5.0.0-rc1/manifest.json"}


def test_what_stays_in_use_is_left_and_told(commands: Commands, planted: Planted) -> None:
    ec2 = commands.aws.client("ec2")
    ec2.run_instances(
        ImageId=ec2.describe_images(Owners=["099720109477"])["Images"][0]["ImageId"],
        MinCount=1, MaxCount=1, SecurityGroupIds=[planted.group],
    )  # fmt: skip
    done = commands.cleanup("--deadline", "6", "--asset-type", "security-group", "--asset-type", "key-pair")
    assert done.code == 3
    left = done.out.partition("Left:")[2]
    assert planted.group in left
    assert "DependencyViolation" in left
    assert planted.key_pair not in left
    assert sum(call.action == "DeleteSecurityGroup" for call in commands.aws.calls) > 2


@pytest.mark.usefixtures("planted")
def test_what_is_in_use_is_tried_again(commands: Commands) -> None:
    commands.aws.inject(
        Fault(action="ec2:DeleteSnapshot", code="InvalidSnapshot.InUse", times=2),
        Fault(action="ec2:DeleteVolume", times=3, status=503),
        Fault(action="s3:DeleteObjects", code="InternalError", status=500),
        Fault(action="ec2:DeregisterImage", moment="after", effect="drop"),
        Fault(action="ec2:DeleteKeyPair", code="InvalidKeyPair.NotFound"),
    )
    done = commands.cleanup("--asset-type", "ami", "--asset-type", "snapshot", "--asset-type", "volume",
                            "--asset-type", "s3-object")  # fmt: skip
    assert done.code == 0, done.out + done.err
    assert not {"ami", "snapshot", "s3-object"} & set(kinds_of(commands.show()))


@pytest.mark.usefixtures("planted")
def test_what_may_not_be_removed_is_left_with_the_permission_named(commands: Commands) -> None:
    commands.aws.change(denied=["ec2:DeregisterImage"])
    done = commands.cleanup("--deadline", "1")
    assert done.code == 3
    left = done.out.partition("Left:")[2]
    assert "lack the permission ec2:DeregisterImage" in left
    assert {asset["kind"] for asset in what_is_left(commands)} == {"ami", "snapshot"}


@pytest.mark.usefixtures("planted")
def test_what_may_not_be_seen_is_not_taken_for_removed(commands: Commands) -> None:
    commands.aws.change(denied=["ec2:DescribeVolumes"])
    done = commands.cleanup()
    assert done.code == 3
    assert "Note: volume: not all are listed" in done.err
    assert "ec2:DescribeVolumes" in done.err


@pytest.mark.usefixtures("planted")
def test_a_bucket_with_versions_is_left_without_any(commands: Commands) -> None:
    s3 = commands.aws.client("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    own, other = (f"data_science_sandbox/{name}/big.raw" for name in (ID, f"{ID}-rc1"))
    for key in (own, other):
        for content in (b"first", b"second"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        s3.delete_object(Bucket=BUCKET, Key=key)
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"third")
    s3.delete_object(Bucket=BUCKET, Key=f"data_science_sandbox/{ID}/manifest.json")
    assets = commands.show()["assets"]
    shown = [asset for asset in assets if (asset["kind"], asset["asset_id"]) == ("s3-object", ID)]
    assert Counter(asset["state"] for asset in shown) == {
        "standard": 1, "old version, standard": 3, "delete marker": 2
    }  # fmt: skip
    assert sum(asset["size_bytes"] for asset in shown) == len("firstsecondthird{}")
    done = commands.cleanup("--asset-type", "s3-object")
    assert done.code == 0, done.out + done.err
    found = s3.list_object_versions(Bucket=BUCKET)
    assert {one["Key"] for one in (*found["Versions"], *found["DeleteMarkers"])} == {other}
    assert (len(found["Versions"]), len(found["DeleteMarkers"])) == (3, 1)


@pytest.mark.usefixtures("planted")
def test_young_assets_stay(commands: Commands) -> None:
    done = commands.cleanup("--older-than", "1h", "--output", "json")
    assert done.code == 0
    result = json.loads(done.out)
    assert result["plan"] == result["removed"] == result["left"] == []
    assert {asset["reason"] for asset in result["kept"] if asset["kind"] == "ami"} == {"is only 0 min old"}
    assert what_is_left(commands, "--asset-type", "ami")


@pytest.mark.usefixtures("planted")
def test_a_signal_stops_it_and_says_what_remains(commands: Commands) -> None:
    commands.aws.change(stack_step_s=2.0)
    arguments = ["cleanup-aws-assets", "--asset-id", ID, "--yes"]
    with started(arguments, cwd=commands.folder, env=commands.environment) as running:
        running.wait_for("remove 11 assets", deadline_s=30)
        while "DeleteStack" not in {call.action for call in commands.aws.calls}:
            time.sleep(0.02)
        running.signal(signal.SIGTERM)
        assert running.end(deadline_s=30) == 130
    assert "Interrupted (SIGTERM); what is named above stays." in running.text
    assert re.search(r"\d of 11 were removed\. Still there, or not known:\n  ", running.text)
    assert "stack EC2-DATA-SCIENCE-SANDBOX-5-0-0" in running.text
    assert f"To go on: dss cleanup-aws-assets --asset-id '{ID}'" in running.text
    commands.aws.change(stack_step_s=0.0)
    assert commands.cleanup().code == 0
    assert what_is_left(commands) == []


@pytest.mark.parametrize(("action", "do"), [("DeleteStack", "kill-before"), ("DeregisterImage", "kill-after")])
@pytest.mark.usefixtures("planted")
def test_killed_and_run_again(commands: Commands, do: str, action: str) -> None:
    more = commands.aws.environment(client_faults=[ClientFault(do=do, action=action)])
    commands.more = {name: more[name] for name in ("PYTHONPATH", "DSS_TEST_CLIENT_FAULTS")}
    done = commands.run_alone("cleanup-aws-assets", "--asset-id", ID, "--yes")
    assert done.code == -signal.SIGKILL
    commands.more = {}
    assert commands.cleanup().code == 0
    assert what_is_left(commands) == []


@pytest.mark.usefixtures("planted")
def test_credentials_that_expire_on_the_way(commands: Commands) -> None:
    commands.aws.inject(Fault(action="ec2:DeregisterImage", code=EXPIRED, times=9))
    done = commands.cleanup()
    assert done.code == 2
    assert "Error: The AWS credentials have expired." in done.err
    assert re.search(r"\d of 11 were removed", done.err)
    commands.aws.inject()
    assert commands.cleanup().code == 0
    assert what_is_left(commands) == []


@pytest.mark.usefixtures("planted")
def test_what_hangs_keeps_nothing_else_from_going(commands: Commands) -> None:
    commands.aws.change(undeletable_resources={"AWS::EC2::SecurityGroup": "it is stuck"})
    done = commands.cleanup("--deadline", "2")
    assert done.code == 3
    left = done.out.partition("Left:")[2]
    assert "stack EC2-DATA-SCIENCE-SANDBOX-5-0-0" in left
    assert "failed to delete: [Group]" in left
    assert {asset["kind"] for asset in what_is_left(commands)} == {"stack", "stack-resource", "security-group"}
    commands.aws.change(undeletable_resources={})
    assert commands.cleanup().code == 0


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(("answer", "goes"), [("n\n", False), ("y\n", True)])
def test_it_asks_on_a_terminal(commands: Commands, monkeypatch: pytest.MonkeyPatch, answer: str, goes: bool) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    done = commands.run("cleanup-aws-assets", "--asset-id", ID, "--output", "json")
    assert done.code == 0
    assert "To be removed, in this order:" in done.err
    assert (what_is_left(commands) == []) == goes


@pytest.mark.usefixtures("planted")
def test_what_is_made_meanwhile_is_left_and_told(commands: Commands) -> None:
    """As an export does that ends just now."""

    def put(_: Call) -> None:
        commands.aws.client("s3").put_object(Bucket=BUCKET, Key=f"data_science_sandbox/{ID}/late.vmdk", Body=b"x")

    commands.aws.inject(Fault(action="logs:DeleteLogGroup", effect="hook", hook=put))
    done = commands.cleanup("--asset-type", "log-group", "--asset-type", "s3-object")
    assert done.code == 3
    assert done.out.partition("Left:")[2].splitlines()[1].endswith("late.vmdk) in eu-central-1: is new")
    assert commands.cleanup().code == 0
    assert what_is_left(commands) == []


@pytest.mark.usefixtures("planted")
def test_an_export_that_has_ended_by_itself_is_no_trouble(commands: Commands) -> None:
    commands.aws.inject(
        Fault(action="ec2:CancelExportTask", code="IncorrectState", moment="after", message="it has ended"),
    )
    done = commands.cleanup("--deadline", "5")
    assert done.code == 0, done.out
