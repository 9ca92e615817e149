"""The stacks that stay: shown, deployed, deployed again, broken, repaired."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exasol_like_dss.lib.assets.names import BUCKET_STACK, WAF_STACK
from exasol_like_dss.lib.stacks.download_keys import SECRET
from test.integration.aws_stacks.conftest import WAF_REGION, Deployments, result
from test.support.aws import REGION, Call, ClientFault, Fault

DISTRIBUTION = "AWS::CloudFront::Distribution"
WRITES = ("Create", "Execute", "Delete", "Update", "Put", "Continue")


def addresses(dss: Deployments) -> dict[str, list[str]]:
    return {each["properties"]["IPAddressVersion"]: each["properties"]["Addresses"] for each in dss.things("IPSet")}


def writes(dss: Deployments) -> list[str]:
    return [call.action for call in dss.aws.calls if call.action.startswith(WRITES)]


def test_the_web_acl_goes_to_its_own_region_and_again_is_no_change(dss: Deployments) -> None:
    options = ("--allowed-ip", "192.0.2.7", "--allowed-ip", "192.0.2.0/24", "--allowed-ip", "2001:DB8::1")
    made = result(dss.waf(*options, "--output", "json"))
    assert (made["region"], made["action"], made["status"]) == (WAF_REGION, "create", "CREATE_COMPLETE")
    assert {call.region for call in dss.aws.calls if call.service == "cloudformation"} == {WAF_REGION}
    assert addresses(dss) == {"IPV4": ["192.0.2.0/24"], "IPV6": ["2001:db8::1/128"]}
    (acl,) = dss.things("WebACL")
    rules = [(rule["Name"], rule["Priority"], *rule["Action"]) for rule in acl["properties"]["Rules"]]
    assert rules == [("VMBucketRateLimit", 0, "Block"), ("CAPTCHA", 1, "Captcha")]
    stack = dss.stack(WAF_STACK)
    assert stack["Tags"] == [{"Key": "dss-project", "Value": "exasol-like-dss"}]
    assert stack["EnableTerminationProtection"]
    dss.aws.clear()
    again = dss.waf(*options)
    assert again.code == 0
    assert "nothing to change" in again.err
    assert "ExecuteChangeSet" not in dss.aws.actions()
    assert "UpdateTerminationProtection" not in writes(dss)
    assert dss.waf().code == 0
    assert addresses(dss) == {"IPV4": [], "IPV6": []}


def test_a_dry_run_shows_the_changes_and_leaves_nothing(dss: Deployments) -> None:
    shown = dss.run("setup-vm-bucket-waf", "--dry-run")
    assert shown.code == 0
    assert "Add     WebACL          AWS::WAFv2::WebACL" in shown.out
    assert dss.stacks() == []
    assert dss.waf().code == 0
    plan = result(dss.run("setup-vm-bucket-waf", "--dry-run", "--output", "json", "--allowed-ip", "192.0.2.7"))
    assert plan["action"] == "update"
    assert plan["dry_run"]
    assert [(one["action"], one["logical_id"], one["replacement"], one["what"]) for one in plan["changes"]] == [
        ("Modify", "AllowedIPv4Set", "False", ["Addresses"])
    ]
    assert addresses(dss)["IPV4"] == []
    cloudformation = dss.aws.client("cloudformation", region=WAF_REGION)
    assert cloudformation.list_change_sets(StackName=WAF_STACK)["Summaries"] == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--allowed-ip", "None/32"), "no address"),
        (("--allowed-ip", "192.0.2.1/24"), "192.0.2.0/24"),
        (("--allowed-ip", "0.0.0.0/1", "--allowed-ip", "128.0.0.0/1"), "everybody"),
        (("--allowed-ip", ""), "no address"),
    ],
)
def test_wrong_addresses_touch_nothing(dss: Deployments, options: tuple[str, ...], says: str) -> None:
    done = dss.waf(*options)
    assert done.code == 2
    assert says in done.err
    assert "Hint:" in done.err
    assert dss.aws.calls == []


def test_without_a_terminal_nobody_is_asked(dss: Deployments) -> None:
    for command in ("setup-vm-bucket-waf", "setup-vm-bucket"):
        done = dss.run(command)
        assert done.code == 2
        assert "--dry-run" in done.err
    assert dss.aws.calls == []


def test_the_answer_decides(dss: Deployments, answering: Callable[[str], None]) -> None:
    answering("n\n")
    done = dss.run("setup-vm-bucket-waf")
    assert done.code == 0
    assert "Nothing was done." in done.err
    assert dss.stacks() == []
    answering("y\n")
    assert dss.run("setup-vm-bucket-waf").code == 0
    assert dss.stacks() == [WAF_STACK]


def test_the_bucket_wants_the_web_acl_first(dss: Deployments) -> None:
    done = dss.bucket()
    assert done.code == 2
    assert f"The stack {WAF_STACK} does not exist in us-east-1." in done.err
    assert "dss setup-vm-bucket-waf" in done.err
    assert writes(dss) == []


def test_the_bucket_is_private_and_its_role_exports(dss: Deployments) -> None:
    dss.both()
    stack, outputs = dss.stack(), dss.outputs()
    assert all(each["Description"] for each in stack["Outputs"])
    s3, bucket = dss.aws.client("s3"), outputs["VMBucketId"]
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    rules = {each["ID"]: each for each in s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
    assert rules["IncompleteUploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 3}
    statements = {each["Sid"]: each for each in json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]}
    assert statements["NothingWithoutTLS"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    role = dss.aws.client("iam").get_role(RoleName=outputs["VMExportRoleId"])["Role"]
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "vmie.amazonaws.com"}
    assert trusted["Condition"]["StringEquals"] == {"sts:Externalid": "vmimport", "aws:SourceAccount": "123456789012"}
    assert result(dss.bucket("--output", "json"))["action"] == "none"
    changed = result(dss.bucket("--versioning", "--output", "json"))
    assert [(one["logical_id"], one["replacement"]) for one in changed["changes"]] == [("VMBucket", "False")]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_the_private_key_is_in_the_secret_alone(dss: Deployments) -> None:
    assert dss.waf().code == 0
    dry = dss.run("setup-vm-bucket", "--dry-run")
    assert SECRET in dry.out
    secrets = dss.aws.client("secretsmanager")
    assert secrets.list_secrets()["SecretList"] == []
    done = dss.bucket()
    assert done.code == 0, done.err
    private = secrets.get_secret_value(SecretId=SECRET)["SecretString"]
    line = private.splitlines()[1]
    template = dss.aws.client("cloudformation").get_template(StackName=BUCKET_STACK)["TemplateBody"]
    # The stand-in's journal holds what was sent: CreateSecret is the one call with the key.
    holding = [call.action for call in dss.aws.calls if line in json.dumps(call.parameters)]
    assert holding == ["CreateSecret"]
    assert line not in done.out + done.err + str(template) + json.dumps(dss.stack()["Parameters"])
    (key,) = dss.things("PublicKey")
    loaded = serialization.load_pem_private_key(private.encode(), password=None)
    public = loaded.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert key["properties"]["EncodedKey"] == public.decode()


def test_keys_are_changed_place_by_place(dss: Deployments, tmp_path: Path) -> None:
    files = []
    for name in ("one", "two", "three"):
        made = ec.generate_private_key(ec.SECP256R1())
        files.append(tmp_path / f"{name}.pem")
        files[-1].write_bytes(
            made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    assert dss.waf().code == 0

    def deploy(*chosen: Path) -> tuple[set[str], str]:
        """The stack's keys, and the one that is signed with."""
        done = dss.bucket(*(word for file in chosen for word in ("--public-key", file)))
        assert done.code == 0, done.err
        keys = {each["id"]: each["properties"]["EncodedKey"] for each in dss.things("PublicKey")}
        (group,) = dss.things("KeyGroup")
        assert set(group["properties"]["Items"]) == set(keys)
        return set(keys.values()), keys[dss.outputs()["DownloadKeyId"]]

    one, two, three = (file.read_text() for file in files)
    assert deploy(files[0]) == ({one}, one)
    assert deploy(files[1], files[0]) == ({one, two}, two)
    assert deploy(files[0], files[1]) == ({one, two}, one)  # an output only
    assert dss.bucket("--public-key", files[0], "--public-key", files[1]).err.count("nothing to change") == 1
    refused = dss.bucket("--public-key", files[2], "--public-key", files[1])
    assert refused.code == 2
    assert "take one away first" in refused.err
    assert deploy(files[1]) == ({two}, two)
    assert deploy(files[2]) == ({three}, three)
    assert dss.aws.client("secretsmanager").list_secrets()["SecretList"] == []


def test_what_is_no_public_key_is_refused(dss: Deployments, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    for content, says in (
        (private, "private key"),
        (b"nothing", "no public key"),
        (other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo), "P-256"),
    ):
        wrong.write_bytes(content)
        done = dss.bucket("--public-key", wrong)
        assert done.code == 2
        assert says in done.err
    assert dss.bucket("--domain", "downloads.example.org").code == 2
    assert dss.bucket("--domain", "a b", "--certificate", "arn").code == 2
    assert dss.aws.calls == []


def test_a_creation_that_failed_is_explained_and_replaced(dss: Deployments) -> None:
    assert dss.waf().code == 0
    dss.aws.change(failing_resources={DISTRIBUTION: "quota exceeded"})
    failed = dss.bucket()
    assert failed.code == 1
    assert f"{DISTRIBUTION} Distribution of the stack {BUCKET_STACK} failed: quota exceeded" in failed.err
    assert "--replace-failed" in failed.err
    assert dss.stack()["StackStatus"] == "ROLLBACK_COMPLETE"
    assert dss.aws.client("s3").list_buckets()["Buckets"] == []
    explained = dss.bucket()
    assert explained.code == 1
    assert "ROLLBACK_COMPLETE" in explained.err
    assert "quota exceeded" in explained.err
    dss.aws.change(failing_resources={})
    dry = result(dss.bucket("--replace-failed", "--dry-run", "--output", "json"))
    assert dry["action"] == "replace"
    assert dss.stack()["StackStatus"] == "ROLLBACK_COMPLETE"
    assert dss.bucket("--replace-failed").code == 0
    assert dss.stack()["StackStatus"] == "CREATE_COMPLETE"


def test_an_update_that_failed_leaves_what_was_there(dss: Deployments) -> None:
    dss.both()
    dss.aws.change(failing_resources={"AWS::S3::Bucket": "out of order"})
    failed = dss.bucket("--versioning")
    assert failed.code == 1
    assert "out of order" in failed.err
    assert "as it was before" in failed.err
    dss.aws.change(failing_resources={})
    again = dss.bucket("--versioning")
    assert again.code == 0, again.err
    assert "The last update was rolled back: AWS::S3::Bucket VMBucket failed: out of order" in again.err


def test_a_rollback_that_failed_is_tried_again(dss: Deployments) -> None:
    dss.both()
    before = dss.outputs()
    dss.aws.change(failing_resources={"AWS::S3::Bucket": "first"}, failing_rollbacks={"AWS::S3::Bucket": "second"})
    failed = dss.bucket("--versioning")
    assert failed.code == 1
    assert dss.stack()["StackStatus"] == "UPDATE_ROLLBACK_FAILED"
    assert "--replace-failed" in dss.bucket().err
    stuck = dss.bucket("--replace-failed")
    assert stuck.code == 1
    assert "resources-to-skip" in stuck.err
    dss.aws.change(failing_resources={}, failing_rollbacks={})
    assert dss.bucket("--replace-failed", "--versioning").code == 0
    assert dss.outputs() == before


def test_an_empty_stack_and_an_old_change_set_are_no_obstacle(dss: Deployments) -> None:
    assert dss.waf().code == 0
    template = json.dumps({"Resources": {"It": {"Type": "AWS::S3::Bucket"}}})
    client = dss.aws.client("cloudformation")
    for name in ("dss-left", "somebodys"):
        client.create_change_set(
            StackName=BUCKET_STACK, ChangeSetName=name, ChangeSetType="CREATE", TemplateBody=template
        )
    assert dss.stack()["StackStatus"] == "REVIEW_IN_PROGRESS"
    assert dss.run("setup-vm-bucket", "--dry-run").code == 0
    assert dss.change_sets() == ["somebodys"]
    assert dss.bucket().code == 0
    assert dss.change_sets() == []


def test_a_stack_of_somebody_else_is_left_alone(dss: Deployments) -> None:
    assert dss.waf().code == 0
    template = json.dumps({"Resources": {"It": {"Type": "AWS::S3::Bucket"}}})
    client = dss.aws.client("cloudformation")
    client.create_stack(StackName=BUCKET_STACK, TemplateBody=template)
    client.get_waiter("stack_create_complete").wait(StackName=BUCKET_STACK, WaiterConfig={"Delay": 0.05})
    dss.aws.clear()
    done = dss.bucket("--replace-failed")
    assert done.code == 2
    assert "dss did not make" in done.err
    assert writes(dss) == []


def test_somebody_else_deploys_in_between(dss: Deployments) -> None:
    assert dss.waf().code == 0

    def remove(_call: Call) -> None:
        client = dss.aws.client("cloudformation")
        for name in dss.change_sets():
            client.delete_change_set(StackName=BUCKET_STACK, ChangeSetName=name)

    dss.aws.inject(Fault(action="ExecuteChangeSet", effect="hook", hook=remove))
    done = dss.bucket()
    assert done.code == 1
    assert "changed by somebody else" in done.err
    assert dss.stacks() == [WAF_STACK]


def test_what_aws_refuses_leaves_nothing(dss: Deployments) -> None:
    assert dss.waf().code == 0
    for action in ("CreateChangeSet", "CreateSecret", "ExecuteChangeSet"):
        dss.aws.inject(Fault(action=action, effect="error", code="ValidationError", message="no such thing", times=9))
        done = dss.bucket()
        assert done.code == 1, action
        assert "no such thing" in done.err
        assert dss.stacks() == [WAF_STACK], action
    dss.aws.inject()
    assert dss.bucket().code == 0


def ctrl_c(_call: Call) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_before_the_change_takes_the_change_set_away(dss: Deployments) -> None:
    assert dss.waf().code == 0
    dss.aws.change(held=["change-sets"])
    dss.aws.inject(Fault(action="DescribeChangeSet", effect="hook", hook=ctrl_c))
    assert dss.bucket().code == 130
    assert dss.stacks() == [WAF_STACK]


def test_cloudformation_goes_on_after_ctrl_c_and_the_same_command_follows(dss: Deployments) -> None:
    assert dss.waf().code == 0
    dss.aws.change(held=["stacks"])
    dss.aws.inject(Fault(action="ExecuteChangeSet", moment="after", effect="hook", hook=ctrl_c))
    done = dss.bucket()
    assert done.code == 130
    assert "The same command follows it" in done.err
    assert dss.stack()["StackStatus"] == "CREATE_IN_PROGRESS"
    dss.aws.inject(Fault(action="DescribeStackEvents", effect="hook", hook=lambda _: dss.aws.change(held=[])))
    again = dss.bucket()
    assert again.code == 0, again.err
    assert "it is waited for" in again.err
    assert "nothing to change" in again.err
    assert dss.stack()["EnableTerminationProtection"]


@pytest.mark.parametrize("action", ["CreateChangeSet", "CreateSecret"])
def test_killed_and_run_again(dss: Deployments, action: str) -> None:
    assert dss.waf().code == 0
    dss.more = dss.aws.environment(client_faults=[ClientFault(do="kill-after", action=action)])
    assert dss.run_alone("setup-vm-bucket", "--yes").code == -signal.SIGKILL
    dss.more = {}
    assert dss.bucket().code == 0
    assert dss.change_sets() == []
    assert len(dss.aws.client("secretsmanager").list_secrets()["SecretList"]) == 1


def test_cleanup_never_touches_them_and_a_bucket_outlives_its_stack(dss: Deployments) -> None:
    dss.both()
    bucket = dss.outputs()["VMBucketId"]
    for region in (REGION, WAF_REGION):
        done = dss.run("cleanup-aws-assets", "--asset-id", "*", "--yes", "--region", region)
        assert done.code == 0, done.err
    assert sorted(dss.stacks()) == sorted([WAF_STACK, BUCKET_STACK])
    client, s3 = dss.aws.client("cloudformation"), dss.aws.client("s3")
    with pytest.raises(ClientError, match="TerminationProtection"):
        client.delete_stack(StackName=BUCKET_STACK)
    s3.put_object(Bucket=bucket, Key="data_science_sandbox/1.0.0/SHA256SUMS", Body=b"x")
    client.update_termination_protection(StackName=BUCKET_STACK, EnableTerminationProtection=False)
    client.delete_stack(StackName=BUCKET_STACK)
    client.get_waiter("stack_delete_complete").wait(StackName=BUCKET_STACK, WaiterConfig={"Delay": 0.05})
    s3.head_object(Bucket=bucket, Key="data_science_sandbox/1.0.0/SHA256SUMS")
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"]
    assert dss.things("Distribution") == dss.things("PublicKey") == []
