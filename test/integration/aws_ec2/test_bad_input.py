"""What can be known before money is spent: one sentence, a hint, exit code 2, and nothing was made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exasol_like_dss.lib.assets.names import BUCKET_STACK, OUTPUT_BUCKET, OUTPUT_EXPORT_ROLE
from test.integration.aws_ec2.conftest import BUCKET, ID, ROLE, Commands, bucket_stack
from test.support.aws import Aws, Image
from test.support.aws.standin import PRODUCT_KEY

CREATE = ("create-vm", "--builder", "ec2", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32")
MAKES = ("Create", "Run", "Export", "Import", "Put", "Copy", "Upload", "Delete", "Register")


def made(aws: Aws) -> list[str]:
    return [name for name in aws.actions() if name.split(":")[1].startswith(MAKES)]


def check_refused(commands: Commands, *arguments: str | Path, says: str, hint: str = "", **env: str) -> None:
    done = commands.run(*arguments, **env)
    assert done.code == 2, done.err
    error = done.err[done.err.index("Error: ") :] if "Error: " in done.err else done.err
    assert says in error, done.err
    assert hint in error
    assert "Hint: " in error or "Usage:" in done.err, done.err
    assert made(commands.aws) == []


@pytest.fixture
def ready(commands: Commands) -> Commands:
    bucket_stack(commands.aws)
    commands.aws.clear()
    return commands


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--aws-profile", "nobody"), "There is no AWS profile 'nobody'."),
        (("--volume-size=-5G",), "'-5G' is no disk size."),
        (("--volume-size", "0G"), "A disk of 0G is not possible."),
        (("--volume-size", "9000T"), "A disk of 9000T is not possible."),
        (("--volume-size", "1025G"), "A volume of 1025 GiB can't be exported: AWS takes up to 1024 GiB."),
        (("--volume-size", "4G"), "A volume of 4 GiB is too small"),
        (("--ec2-source-ami", "ami-00000000000000000"), "There is no AMI ami-00000000000000000 in eu-central-1."),
        (("--ec2-source-ami", "nonsense"), "There is no AMI nonsense"),
        (("--ec2-instance-type", "t99.huge"), "There is no instance type 't99.huge'"),
        (("--ec2-instance-type", "t4g.large"), "is not for x86_64"),
        (("--ec2-key-name", "mine"), "--ec2-key-file and --ec2-key-name belong together."),
        (("--subnet-id", "subnet-00000000"), "There is no subnet subnet-00000000"),
        (("--ssh-cidr", "everybody"), "'everybody' is no range of IPv4 addresses."),
        (("--ssh-cidr", "10.0.0.1/8"), "'10.0.0.1/8' is no range of IPv4 addresses."),
        (("--vm-image-format", "QCOW2"), "The format QCOW2 is not made of an AMI."),
        (("--expires", "soon"), "'soon' is no duration."),
        (("--owner", "<me>"), "The owner has a character that AWS refuses in tags"),
        (("--tag", "aws:x=1"), "can't be set"),
        (("--without", "password"), "nobody can log in"),
        (("--disk-size", "100G"), "--disk-size is for --builder local."),
        (("--asset-id", "a/b"), "'a/b' is no asset-id."),
        (("--asset-id", "1.0_beta 2"), "is no asset-id."),
        (("--asset-id", "a" * 120), "aaa"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_options(ready: Commands, more: tuple[str, ...], says: str) -> None:
    check_refused(ready, *CREATE, *more, says=says)


def test_ec2_options_of_a_local_build(ready: Commands) -> None:
    check_refused(ready, "create-vm", "--no-vm", says="--no-vm is for --builder ec2.")


def test_no_region(ready: Commands) -> None:
    env = {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}
    check_refused(ready, *CREATE, says="No AWS region is set.", hint="--region", **env)


def test_expired_token(ready: Commands) -> None:
    ready.aws.change(expired_keys=[PRODUCT_KEY])
    check_refused(ready, *CREATE, says="The AWS credentials have expired.")


def test_a_missing_permission_is_named(ready: Commands) -> None:
    ready.aws.change(denied=["ec2:DescribeVpcs"])
    done = ready.run(*CREATE)
    assert done.code == 1
    assert "lack the permission ec2:DescribeVpcs" in done.err
    assert made(ready.aws) == []


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (Image(name="m", owner="679593333241", product_code="abc"), "from the AWS Marketplace"),
        (Image(name="e", owner="099720109477", encrypted=True), "its snapshot is encrypted"),
        (Image(name="h", owner="099720109477", boot_mode="uefi-preferred"), "boots with both BIOS and UEFI"),
        (Image(name="a", owner="099720109477", architecture="arm64"), "it is for arm64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_source_images_that_cannot_be_exported(ready: Commands, image: Image, says: str) -> None:
    planted = ready.aws.plant(image)
    more = ("--export-method", "vm-export") if image.boot_mode else ()
    check_refused(ready, *CREATE, "--ec2-source-ami", planted, *more, says=says)


def test_a_source_that_aws_does_not_export_is_read_from_its_snapshot(ready: Commands) -> None:
    planted = ready.aws.plant(Image(name="h", owner="099720109477", boot_mode="uefi-preferred"))
    done = ready.run(*CREATE, "--ec2-source-ami", planted, "--dry-run")
    assert done.code == 0, done.err
    assert "images are read from a snapshot (--export-method direct)" in done.err
    assert made(ready.aws) == []


def test_a_key_pair_that_is_not_there(ready: Commands) -> None:
    key = ready.folder / "key"
    key.write_text("")
    key.chmod(0o644)
    own = ("--ec2-key-file", key, "--ec2-key-name", "mine")
    check_refused(ready, *CREATE, *own, says="Others can read the private key")
    key.chmod(0o600)
    check_refused(ready, *CREATE, *own, says="There is no key pair 'mine' in eu-central-1.")


def test_quota(ready: Commands) -> None:
    ready.aws.change(quotas={"L-1216C47A": 1.0})
    check_refused(ready, *CREATE, says="The account may run 1 vCPUs in eu-central-1; 0 are in use, and this needs 2.")


def test_the_name_of_the_ami_is_taken(ready: Commands) -> None:
    ready.aws.plant(Image(name=f"exasol-like-dss-{ID}"))
    check_refused(ready, *CREATE, says=f"has the name exasol-like-dss-{ID}, and does not belong to the asset-id {ID}.")


def test_an_ami_of_other_content(ready: Commands) -> None:
    ready.aws.plant(Image(name=f"exasol-like-dss-{ID}", tags={"dss-asset-id": ID, "dss-provisioned": "other"}))
    check_refused(ready, *CREATE, says="was made of other roles, variables, or another password", hint="--fresh")


def test_no_bucket(commands: Commands) -> None:
    commands.aws.clear()
    check_refused(commands, *CREATE, says="the stack DATA-SCIENCE-SANDBOX-VM-Bucket does not exist", hint="--no-vm")


def test_a_bucket_without_a_role(commands: Commands) -> None:
    bucket_stack(commands.aws, role=False)
    commands.aws.clear()
    check_refused(commands, *CREATE, says="has no output VMExportRoleId")


def test_a_bucket_of_another_region(commands: Commands) -> None:
    bucket_stack(commands.aws, region="eu-west-1")
    commands.aws.clear()
    check_refused(commands, *CREATE, says="VM-Bucket does not exist in eu-central-1", hint="Choose the --region")


def test_the_stack_of_this_region_names_a_bucket_of_another(commands: Commands) -> None:
    bucket_stack(commands.aws, region="eu-west-1")
    template = {
        "Resources": {"Queue": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/any"}}},
        "Outputs": {OUTPUT_BUCKET: {"Value": BUCKET}, OUTPUT_EXPORT_ROLE: {"Value": ROLE}},
    }
    client = commands.aws.client("cloudformation")
    client.create_stack(StackName=BUCKET_STACK, TemplateBody=json.dumps(template))
    client.get_waiter("stack_create_complete").wait(StackName=BUCKET_STACK, WaiterConfig={"Delay": 0.1})
    ours = commands.aws.plant(Image(name="ours", tags={"dss-asset-id": ID}))
    commands.aws.clear()
    says = f"The bucket {BUCKET} is in eu-west-1, and the build in eu-central-1: AWS exports within one region only."
    for command in (CREATE, ("export-vm", "--ami-id", ours)):
        check_refused(commands, *command, says=says, hint="Give --region eu-west-1.")


def test_a_password_is_not_generated(ready: Commands) -> None:
    check_refused(
        ready, *CREATE, "--default-password", "generate", says="No default password is generated here.",
        hint="set DSS_DEFAULT_PASSWORD",
    )  # fmt: skip


def test_no_password(ready: Commands) -> None:
    check_refused(ready, *CREATE, says="The image's default password is needed.", DSS_DEFAULT_PASSWORD="")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Either --stack-name or --ami-id is needed."),
        (("--stack-name", "none"), "There is no stack none in eu-central-1."),
        (("--ami-id", "ami-00000000000000000"), "There is no AMI ami-00000000000000000"),
    ],
)
def test_export_vm(ready: Commands, arguments: tuple[str, ...], says: str) -> None:
    check_refused(ready, "export-vm", *arguments, says=says)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("s3://", "'s3://' is no object in S3."),
        ("s3://dss-vm-images/none.vmdk", "There is no object s3://dss-vm-images/none.vmdk."),
        ("s3://no-such-bucket-at-all/none.vmdk", "There is no object"),
    ],
)
def test_verify_vm(ready: Commands, image: str, says: str) -> None:
    check_refused(ready, "verify-vm", "--at-rest", image, says=says)


def test_dry_run(ready: Commands) -> None:
    done = ready.run(*CREATE, "--dry-run")
    assert done.code == 0, done.err
    assert "estimates" in done.out
    assert "Nothing was made" in done.out
    assert "together" in done.out
    assert made(ready.aws) == []
