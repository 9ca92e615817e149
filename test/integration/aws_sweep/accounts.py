"""Accounts that the sweeps begin with, and what is counted in them afterwards."""

from __future__ import annotations

from collections.abc import Callable

from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import AssetNames
from test.integration.aws_ec2.conftest import PASSWORD, bucket_stack
from test.support.aws import Aws, Image
from test.support.planted_assets import BUCKET, ID, build_stack
from test.support.small_disk import small_disk

__all__ = [
    "ALL_FORMATS",
    "ENVIRONMENT",
    "MACHINE",
    "NAMES",
    "STACK",
    "STEM",
    "small_disk",
    "with_bucket",
    "with_machine",
]

ENVIRONMENT = {"DSS_DEFAULT_PASSWORD": PASSWORD}
NAMES = AssetNames.of(AssetId(ID))
STACK = NAMES.stack
STEM = f"exasol-like-dss-{ID}"
#: Images of the formats that are made when none is asked for.
ALL_FORMATS = tuple(f"{STEM}.{name}" for name in ("ova", "vhd", "vmdk"))
#: What a stack with a machine consists of.
MACHINE = {"stack": 1, "instance": 1, "volume": 1, "security-group": 1}


def with_bucket(aws: Aws) -> None:
    bucket_stack(aws)


def with_machine(aws: Aws) -> None:
    """What ``export-vm --stack-name`` exports."""
    bucket_stack(aws)
    build_stack(aws)


def with_ami(aws: Aws) -> None:
    """What ``export-vm --ami-id`` exports: no machine, no stack."""
    bucket_stack(aws)
    image = aws.plant(Image(name=NAMES.image, tags={"dss-asset-id": ID, "dss-owner": "ada"}))
    ec2 = aws.client("ec2")
    (disk,) = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
    ec2.create_tags(Resources=[disk["Ebs"]["SnapshotId"]], Tags=[{"Key": "dss-asset-id", "Value": ID}])


def object_names(aws: Aws) -> list[str]:
    found = aws.client("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return sorted(one["Key"].rpartition("/")[2] for one in found)


def finished(*names: str) -> Callable[[Aws], str]:
    """A check for a ``Scenario``: nothing was exported twice, and these are the objects."""

    def check(aws: Aws) -> str:
        found = object_names(aws)
        return _exports_begun_twice(aws) or ("" if found == sorted(names) else f"the objects are {found}")

    return check


def _exports_begun_twice(aws: Aws) -> str:
    """Whether there are more export tasks than formats; AWS shows those that have ended, too."""
    tasks = aws.client("ec2").describe_export_image_tasks()["ExportImageTasks"]
    formats = [tag["Value"] for task in tasks for tag in task["Tags"] if tag["Key"] == "dss-format"]
    return "" if len(formats) == len(set(formats)) == len(tasks) else f"exports were begun twice: {sorted(formats)}"
