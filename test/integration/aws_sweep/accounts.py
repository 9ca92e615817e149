"""Accounts that the sweeps begin with, and what is counted in them afterwards."""

from __future__ import annotations

from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import AssetNames
from test.integration.aws_ec2.conftest import PASSWORD, bucket_stack
from test.support.aws import Aws
from test.support.planted_assets import ID, build_stack
from test.support.small_disk import small_disk

__all__ = ["ENVIRONMENT", "MACHINE", "STACK", "exports_begun_twice", "small_disk", "with_bucket", "with_machine"]

ENVIRONMENT = {"DSS_DEFAULT_PASSWORD": PASSWORD}
STACK = AssetNames.of(AssetId(ID)).stack
#: What a stack with a machine consists of.
MACHINE = {"stack": 1, "instance": 1, "volume": 1, "security-group": 1}


def with_bucket(aws: Aws) -> None:
    bucket_stack(aws)


def with_machine(aws: Aws) -> None:
    """What ``export-vm --stack-name`` exports."""
    bucket_stack(aws)
    build_stack(aws)


def exports_begun_twice(aws: Aws) -> str:
    """Whether there are more export tasks than formats; AWS shows those that have ended, too."""
    tasks = aws.client("ec2").describe_export_image_tasks()["ExportImageTasks"]
    formats = [tag["Value"] for task in tasks for tag in task["Tags"] if tag["Key"] == "dss-format"]
    return "" if len(formats) == len(set(formats)) == len(tasks) else f"exports were begun twice: {sorted(formats)}"
