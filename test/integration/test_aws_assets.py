"""Assets in AWS, through the command line, against the stand-in over HTTP."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from botocore.loaders import JSONFileLoader

from exasol_like_dss.cli.main import main
from exasol_like_dss.lib.assets import cleanup
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import BUCKET_STACK, OUTPUT_BUCKET, AssetNames
from exasol_like_dss.lib.assets.record import AssetKind
from test.support.aws import EXPIRED, REGION, Aws, ClientFault, Fault, Image, running_aws
from test.support.aws.standin import PRODUCT_KEY
from test.support.command import Done, dss, started

ID = "5.0.0"
BUCKET = "dss-vm-images"
EXPIRES = "2999-01-01"


def tags(asset_id: str = ID, **more: str) -> list[dict[str, str]]:
    own = {"dss-asset-id": asset_id, "dss-owner": "ada", "dss-expires": EXPIRES, **more}
    return [{"Key": key, "Value": value} for key, value in own.items()]


def specification(*kinds: str, asset_id: str = ID, **more: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": tags(asset_id, **more)} for kind in kinds]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Aws]:
    with running_aws() as aws:
        yield aws


@pytest.fixture
def aws(stand_in: Aws) -> Aws:
    stand_in.reset()
    return stand_in


@dataclass
class Commands:
    """``dss`` in a folder of its own, with the stand-in's environment."""

    aws: Aws
    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.aws.environment(),
            "AWS_MAX_ATTEMPTS": "2",
            "XDG_DATA_HOME": str(self.folder / "data"),
            "COLUMNS": "500",
            **self.more,
        }

    def run(self, *arguments: str | Path) -> Done:
        """In this process: importing boto3 anew for each command takes longer than all else."""
        out, err = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, self.environment), redirect_stdout(out), redirect_stderr(err):
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    def run_alone(self, *arguments: str | Path) -> Done:
        """As a process of its own."""
        return dss(*arguments, cwd=self.folder, env=self.environment, deadline_s=60)

    def show(self, *arguments: str) -> dict[str, Any]:
        done = self.run("show-aws-assets", "--output", "json", *arguments)
        assert done.code == 0, done.err
        return dict(json.loads(done.out))

    def cleanup(self, *arguments: str, asset_id: str = ID) -> Done:
        return self.run("cleanup-aws-assets", "--asset-id", asset_id, "--yes", *arguments)


@pytest.fixture
def commands(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(cleanup, "_INTERVAL_S", 0.1)
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda _loader, path: _model(path))
    return Commands(aws, tmp_path)


@cache
def _model(path: str) -> Any:
    """botocore's models, of which every command makes its own otherwise: half a second."""
    return _read_model(JSONFileLoader(), path)


_read_model = JSONFileLoader.load_file


def bucket_stack(aws: Aws) -> None:
    template = {
        "Resources": {"VMBucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": BUCKET}}},
        "Outputs": {OUTPUT_BUCKET: {"Value": {"Ref": "VMBucket"}}},
    }
    create_stack(aws, BUCKET_STACK, template, [])


def create_stack(aws: Aws, name: str, template: dict[str, Any], stack_tags: list[dict[str, str]]) -> None:
    client = aws.client("cloudformation")
    client.create_stack(StackName=name, TemplateBody=json.dumps(template), Tags=stack_tags)
    client.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.1})


def build_stack(aws: Aws, asset_id: str = ID) -> str:
    """A stack as a build has it: an instance and its security group."""
    image = aws.client("ec2").describe_images(Owners=["099720109477"])["Images"][0]["ImageId"]
    group = {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": f"of {asset_id}"}}
    instance = {
        "Type": "AWS::EC2::Instance",
        "Properties": {"ImageId": image, "InstanceType": "t3.large", "SecurityGroups": [{"Ref": "Group"}]},
    }
    name = AssetNames.of(AssetId(asset_id)).stack
    create_stack(aws, name, {"Resources": {"Group": group, "Vm": instance}}, tags(asset_id))
    return name


@dataclass
class Planted:
    """Ids of what ``plant`` made."""

    instance: str
    image: str
    snapshot: str
    volume: str
    key_pair: str
    group: str
    export_task: str
    upload: str


def plant(aws: Aws, asset_id: str = ID) -> Planted:
    """One of each kind, tagged."""
    ec2, s3 = aws.client("ec2"), aws.client("s3")
    build_stack(aws, asset_id)
    base = ec2.describe_images(Owners=["099720109477"])["Images"][0]["ImageId"]
    instance = ec2.run_instances(
        ImageId=base, InstanceType="t3.large", MinCount=1, MaxCount=1,
        TagSpecifications=specification("instance", asset_id=asset_id),
    )["Instances"][0]["InstanceId"]  # fmt: skip
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 0.1})
    image = ec2.create_image(
        InstanceId=instance,
        Name=AssetNames.of(AssetId(asset_id)).image,
        TagSpecifications=specification("image", "snapshot", asset_id=asset_id),
    )["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig={"Delay": 0.1})
    snapshot = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    volume = ec2.create_volume(
        AvailabilityZone=f"{REGION}a", Size=10, VolumeType="gp3",
        TagSpecifications=specification("volume", asset_id=asset_id),
    )["VolumeId"]  # fmt: skip
    key_pair = ec2.create_key_pair(
        KeyName=f"key-{asset_id}", TagSpecifications=specification("key-pair", asset_id=asset_id)
    )["KeyPairId"]
    group = ec2.create_security_group(
        GroupName=f"group-{asset_id}", Description="x",
        TagSpecifications=specification("security-group", asset_id=asset_id),
    )["GroupId"]  # fmt: skip
    prefix = f"data_science_sandbox/{asset_id}/"
    aws.change(hanging_exports=1)
    task = ec2.export_image(
        ImageId=image, DiskImageFormat="VMDK", S3ExportLocation={"S3Bucket": BUCKET, "S3Prefix": prefix},
        TagSpecifications=specification("export-image-task", asset_id=asset_id),
    )["ExportImageTaskId"]  # fmt: skip
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}manifest.json", Body=b"{}")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}big.vmdk")["UploadId"]
    s3.upload_part(Bucket=BUCKET, Key=f"{prefix}big.vmdk", UploadId=upload, PartNumber=1, Body=b"x" * 1000)
    aws.client("logs").create_log_group(
        logGroupName=f"/exasol-like-dss/{asset_id}", tags={"dss-asset-id": asset_id, "dss-owner": "ada"}
    )
    return Planted(instance, image, snapshot, volume, key_pair, group, task, upload)


@pytest.fixture
def planted(aws: Aws) -> Planted:
    role = {
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "vmie.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}},
            }
        ]
    }
    aws.client("iam").create_role(RoleName="vmimport", AssumeRolePolicyDocument=json.dumps(role))
    bucket_stack(aws)
    found = plant(aws)
    aws.clear()
    return found


def kinds_of(shown: dict[str, Any]) -> list[str]:
    return sorted(asset["kind"] for asset in shown["assets"])


def what_is_left(commands: Commands, *arguments: str) -> list[dict[str, Any]]:
    """Without export tasks that have ended: AWS shows them for days."""
    return [asset for asset in commands.show(*arguments)["assets"] if not asset["state"].startswith("deleted")]


# --- listing ---


def test_every_kind_is_listed_priced_and_marked(commands: Commands, planted: Planted) -> None:
    shown = commands.show("--asset-id", ID)
    assert {asset["kind"] for asset in shown["assets"]} == set(AssetKind)
    assert shown["complete"]
    assert shown["notes"] == []
    by_id = {asset["id"]: asset for asset in shown["assets"]}
    assert by_id[planted.volume]["size_bytes"] == 10 << 30
    assert by_id[planted.volume]["usd_per_month"] == pytest.approx(0.952)
    assert by_id[planted.volume]["marks"] == ["detached"]
    assert by_id[planted.instance]["usd_per_month"] == pytest.approx(0.096 * 730)
    assert by_id[planted.instance]["marks"] == ["without a stack"]
    assert by_id[planted.instance]["owner"] == "ada"
    assert by_id[planted.instance]["expires"] == EXPIRES
    assert by_id[planted.image]["marks"] == by_id[planted.snapshot]["marks"] == []
    assert by_id[planted.upload]["size_bytes"] == 1000
    assert by_id[planted.export_task]["state"].startswith("active")
    assert shown["usd_per_month"] == pytest.approx(sum(asset["usd_per_month"] for asset in shown["assets"]), abs=0.001)
    assert shown["prices"]["estimates"]


def test_a_table_tells_the_total_and_that_it_is_an_estimate(commands: Commands, planted: Planted) -> None:
    done = commands.run_alone("show-aws-assets", "--asset-type", "volume", "--asset-type", "ami")
    assert done.code == 0
    assert planted.volume in done.out
    assert planted.instance not in done.out
    assert re.search(r"\n\d+ assets, about \d+\.\d\d USD a month\. Costs are estimates .* as of 20", done.out)


def test_results_go_to_a_file_in_each_form(commands: Commands, planted: Planted) -> None:
    target = commands.folder / "assets"
    done = commands.run("show-aws-assets", "--output", "markdown", "--out-file", target)
    assert done.code == 0
    assert done.out == ""
    assert f"| {planted.image} |" in target.read_text()
    done = commands.run("show-aws-assets", "--output", "csv", "--out-file", target)
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert {row["id"] for row in rows} >= {planted.image, planted.volume}
    assert next(row for row in rows if row["id"] == planted.volume)["size_bytes"] == str(10 << 30)
    assert [path.name for path in commands.folder.iterdir()] == ["assets"]
    done = commands.run("show-aws-assets", "--out-file", commands.folder / "missing/file")
    assert done.code == 2


def test_exact_ids_by_default(commands: Commands, aws: Aws) -> None:
    bucket_stack(aws)
    for asset_id in ("5.0.0", "5.0.0-rc1", "5x0x0"):
        aws.client("ec2").create_key_pair(
            KeyName=asset_id, TagSpecifications=specification("key-pair", asset_id=asset_id)
        )
        aws.client("s3").put_object(Bucket=BUCKET, Key=f"data_science_sandbox/{asset_id}/a", Body=b"")
        aws.client("logs").create_log_group(
            logGroupName=f"/exasol-like-dss/{asset_id}", tags={"dss-asset-id": asset_id}
        )
    found = {
        pattern: sorted({asset["asset_id"] for asset in commands.show("--asset-id", pattern)["assets"]})
        for pattern in ("5.0.0", "5.0.0*", "5?0?0", "*")
    }
    assert found == {
        "5.0.0": ["5.0.0"],
        "5.0.0*": ["5.0.0", "5.0.0-rc1"],
        "5?0?0": ["5.0.0", "5x0x0"],
        "*": ["5.0.0", "5.0.0-rc1", "5x0x0"],
    }
    assert kinds_of(commands.show("--asset-id", "5.0.0")) == ["key-pair", "log-group", "s3-object"]


def test_all_regions_and_several(commands: Commands, aws: Aws) -> None:
    for region in ("us-west-2", "eu-west-1", "ap-southeast-1"):
        aws.plant(Image(name=f"in {region}", tags={"dss-asset-id": ID}), region=region)

    def regions(*arguments: str) -> list[str]:
        shown = commands.show("--asset-type", "ami", *arguments)
        return [asset["region"] for asset in shown["assets"]]

    assert regions() == []
    assert regions("--region", "us-west-2", "--region", "eu-west-1") == ["eu-west-1", "us-west-2"]
    assert regions("--all-regions") == ["ap-southeast-1", "eu-west-1", "us-west-2"]
    done = commands.run("show-aws-assets", "--all-regions", "--region", "eu-west-1")
    assert (done.code, "exclude" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("action", "missing"),
    [
        ("ec2:DescribeImages", "ami"),
        ("ec2:DescribeSnapshots", "snapshot"),
        ("ec2:DescribeExportImageTasks", "export-task"),
        ("cloudformation:ListStackResources", "stack-resource"),
        ("logs:DescribeLogGroups", "log-group"),
        ("s3:ListMultipartUploads", "multipart-upload"),
    ],
)
@pytest.mark.usefixtures("planted")
def test_a_missing_permission_is_named_and_the_rest_is_listed(commands: Commands, action: str, missing: str) -> None:
    commands.aws.change(denied=[action])
    shown = commands.show("--asset-id", ID)
    assert not shown["complete"]
    named = action.replace("s3:ListMultipart", "s3:ListBucketMultipart")  # the action is not called like the operation
    assert [note for note in shown["notes"] if named in note and missing in note], shown["notes"]
    assert {asset["kind"] for asset in shown["assets"]} == set(AssetKind) - {missing}
    # What can't be seen is not missing.
    assert "its snapshot is gone" not in str(shown)
    assert "without an AMI" not in str(shown)


def test_a_missing_bucket_stack_ends_nothing(commands: Commands, aws: Aws) -> None:
    aws.client("ec2").create_key_pair(KeyName="k", TagSpecifications=specification("key-pair"))
    shown = commands.show()
    assert kinds_of(shown) == ["key-pair"]
    assert len(shown["notes"]) == 1
    assert BUCKET_STACK in shown["notes"][0]
    assert commands.run("show-aws-assets").out.count(BUCKET_STACK) == 1


def test_many_are_listed_page_by_page(commands: Commands, aws: Aws) -> None:
    bucket_stack(aws)
    aws.plant_many(600, tags={"dss-asset-id": ID}, bucket=BUCKET, prefix=f"data_science_sandbox/{ID}/")
    aws.clear()
    shown = commands.show("--asset-id", ID)
    assert Counter(kinds_of(shown)) == {"ami": 600, "snapshot": 600, "s3-object": 600}


# --- input that can't be used ---


def profile_file(folder: Path) -> dict[str, str]:
    file = folder / "config"
    file.write_text("[profile other]\nregion = eu-west-1\n")
    return {"AWS_CONFIG_FILE": str(file)}


@pytest.mark.parametrize(
    ("command", "case"),
    [
        *(("show-aws-assets", case) for case in ("profile", "region", "expired", "unknown", "none", "no-region-name")),
        ("cleanup-aws-assets", "unreachable"),
        ("make-ami-public", "region"),
    ],
)
def test_credentials_that_are_no_good(commands: Commands, command: str, case: str) -> None:
    """One sentence, a hint, and nothing is done."""
    arguments = [command, *(["--asset-id", ID] if command != "show-aws-assets" else [])]
    arguments += ["--yes"] if command == "cleanup-aws-assets" else []
    said, code = "", 2
    if case == "profile":
        commands.more = profile_file(commands.folder)
        arguments += ["--aws-profile", "mine"]
        said = "Error: There is no AWS profile 'mine'.\nHint: Known: other."
    elif case == "region":
        commands.more = {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}
        said = "Error: No AWS region is set.\nHint: Give --region"
    elif case == "expired":
        commands.aws.change(expired_keys=[PRODUCT_KEY])
        said = "Error: The AWS credentials have expired.\nHint: "
    elif case == "unknown":
        commands.aws.change(unknown_keys=[PRODUCT_KEY])
        said = f"Error: AWS does not accept these credentials in {REGION} (InvalidClientTokenId).\nHint: "
    elif case == "unreachable":
        commands.more = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
        said, code = "Error: AWS does not answer at http://127.0.0.1:9/.\nHint: ", 1
    elif case == "none":
        commands.more = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(commands.folder)}
        said = "Error: There are no usable AWS credentials.\nHint: "
    elif case == "no-region-name":
        arguments += ["--region", "Frankfurt am Main"]
        said = "Error: 'Frankfurt am Main' is no AWS region.\nHint: "
    done = commands.run_alone(*arguments) if case in ("expired", "none") else commands.run(*arguments)
    assert done.err.startswith(said)
    assert len(done.err.splitlines()) == 2
    assert done.code == code
    assert {call.name for call in commands.aws.calls} <= {"sts:GetCallerIdentity"}


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


# --- clean-up ---


@pytest.mark.usefixtures("planted")
def test_everything_is_removed_in_the_order_of_dependencies(commands: Commands) -> None:
    done = commands.cleanup()
    assert done.code == 0, done.err
    assert "11 of 11 assets were removed." in done.out
    assert "goes with the stack" in done.out
    assert re.search(r"This saves about \d+\.\d\d USD a month\. Costs are estimates", done.out)
    removing = [call.action for call in commands.aws.calls if call.action in REMOVING]
    assert list(dict.fromkeys(removing)) == REMOVING
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
def test_young_assets_stay(commands: Commands) -> None:
    done = commands.cleanup("--older-than", "1h", "--output", "json")
    assert done.code == 0
    result = json.loads(done.out)
    assert result["plan"] == result["removed"] == result["left"] == []
    assert {asset["reason"] for asset in result["kept"] if asset["kind"] == "ami"} == {"is only 0 min old"}
    assert what_is_left(commands, "--asset-type", "ami")


def test_a_signal_stops_it_and_says_what_remains(commands: Commands, planted: Planted) -> None:
    commands.aws.change(stack_step_s=2.0)
    arguments = ["cleanup-aws-assets", "--asset-id", ID, "--yes"]
    with started(arguments, cwd=commands.folder, env=commands.environment) as running:
        running.wait_for("remove 1 × stack", deadline_s=30)
        running.signal(signal.SIGTERM)
        assert running.end(deadline_s=10) == 130
    assert "2 of 11 were removed. Still there, or not known:" in running.text
    assert planted.image in running.text
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
    assert "4 of 11 were removed" in done.err
    commands.aws.inject()
    assert commands.cleanup().code == 0
    assert what_is_left(commands) == []


# --- make-ami-public ---


def test_an_ami_becomes_public(commands: Commands, aws: Aws) -> None:
    image = aws.plant(Image(name="ours", public=False, tags={"dss-asset-id": ID}))
    assert f"{image} (ours) in {REGION} is public." in commands.run("make-ami-public", "--asset-id", ID).out
    assert aws.client("ec2").describe_images(ImageIds=[image])["Images"][0]["Public"]
    assert "was already public" in commands.run("make-ami-public", "--asset-id", ID).out


@pytest.mark.parametrize(
    ("asset_id", "said"),
    [("5.0.1", "There is no AMI"), ("5.0.*", "is no asset-id"), (ID, "does not allow public AMIs")],
)
def test_an_ami_that_can_not_become_public(commands: Commands, aws: Aws, asset_id: str, said: str) -> None:
    aws.plant(Image(name="ours", public=False, tags={"dss-asset-id": ID}))
    aws.change(block_public_images=True)
    done = commands.run("make-ami-public", "--asset-id", asset_id)
    assert done.code in (1, 2)
    assert said in done.err
    assert "Hint: " in done.err
