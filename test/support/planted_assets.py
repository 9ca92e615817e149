"""Assets of every kind in the stand-in for AWS, and ``dss`` to look at them."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from exasol_like_dss.cli.main import main
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import BUCKET_STACK, OUTPUT_BUCKET, AssetNames
from test.support.aws import REGION, Aws
from test.support.command import Done, dss

ID = "5.0.0"
BUCKET = "dss-vm-images"
EXPIRES = "2999-01-01"


def tags(asset_id: str = ID, **more: str) -> list[dict[str, str]]:
    own = {"dss-asset-id": asset_id, "dss-owner": "ada", "dss-expires": EXPIRES, **more}
    return [{"Key": key, "Value": value} for key, value in own.items()]


def specification(*kinds: str, asset_id: str = ID, **more: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": tags(asset_id, **more)} for kind in kinds]


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


def plant_role_and_bucket(aws: Aws) -> None:
    """What an export needs."""
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


def kinds_of(shown: dict[str, Any]) -> list[str]:
    return sorted(asset["kind"] for asset in shown["assets"])


def what_is_left(commands: Commands, *arguments: str) -> list[dict[str, Any]]:
    """Without export tasks that have ended: AWS shows them for days."""
    return [asset for asset in commands.show(*arguments)["assets"] if not asset["state"].startswith("deleted")]
