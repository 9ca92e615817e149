"""What there is in the stand-in, asked for with the test's own key: without tags, without any code of the product."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exasol_like_dss.lib.assets.names import PERMANENT_STACKS
from test.support.aws import Aws

Found = set[tuple[str, str]]
_GONE = ("terminated", "shutting-down")
_TASK_RUNS = ("active", "deleting")
#: What differs from run to run: ids, times, and who holds a lock.
_VOLATILE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|"
    r"\b(?P<kind>i|ami|key|sg|snap|vol|export-ami)-[0-9a-f]{8,}|\d{4}-\d\d-\d\dT[\d:.+]+Z?|[\w.-]+(:\w+){4}"
)


@dataclass(frozen=True)
class Account:
    """found: what there is, as ``show-aws-assets`` calls it, without what every account has and the permanent stack.

    looks: the same and what has ended, with states and tags, in words that are the same in the next run.
    """

    found: Found
    looks: tuple[str, ...]


def account(aws: Aws) -> Account:
    ec2 = aws.client("ec2")
    found: Found = set()
    looks: list[str] = []

    def note(kind: str, name: str, *state: str, tags: Sequence[Mapping[str, str]] = (), there: bool = True) -> None:
        if there:
            found.add((kind, name))
        tagged = sorted(f"{tag['Key']}={tag['Value']}" for tag in tags)
        looks.append(_VOLATILE.sub(lambda match: match["kind"] or "…", " ".join([kind, *state, *tagged])))

    for reservation in ec2.describe_instances()["Reservations"]:
        for one in reservation["Instances"]:
            state = one["State"]["Name"]
            if state not in _GONE:
                note("instance", one["InstanceId"], state, tags=one.get("Tags", ()))
    for one in ec2.describe_volumes()["Volumes"]:
        note("volume", one["VolumeId"], one["State"], tags=one.get("Tags", ()))
    for one in ec2.describe_key_pairs()["KeyPairs"]:
        note("key-pair", one["KeyPairId"], one["KeyName"], tags=one.get("Tags", ()))
    for one in ec2.describe_security_groups()["SecurityGroups"]:
        if one["GroupName"] != "default":
            note("security-group", one["GroupId"], tags=one.get("Tags", ()))
    for one in ec2.describe_images(Owners=["self"])["Images"]:
        note("ami", one["ImageId"], one["State"], one["Name"], tags=one.get("Tags", ()))
    for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        note("snapshot", one["SnapshotId"], one["State"], tags=one.get("Tags", ()))
    for one in ec2.describe_export_image_tasks()["ExportImageTasks"]:
        there = one["Status"] in _TASK_RUNS
        note("export-task", one["ExportImageTaskId"], one["Status"], tags=one.get("Tags", ()), there=there)
    for one in aws.client("cloudformation").describe_stacks()["Stacks"]:
        if one["StackStatus"] != "DELETE_COMPLETE" and one["StackName"] not in PERMANENT_STACKS:
            note("stack", one["StackId"], one["StackName"], one["StackStatus"], tags=one.get("Tags", ()))
    for one in aws.client("logs").describe_log_groups()["logGroups"]:
        note("log-group", one["logGroupName"])
    s3 = aws.client("s3")
    for bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]:
        for one in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            note("s3-object", f"s3://{bucket}/{one['Key']}", one["Key"])
        for one in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            note("multipart-upload", one["UploadId"], one["Key"])
    return Account(found, tuple(sorted(looks)))


def existing(aws: Aws) -> Found:
    return account(aws).found


def kinds(found: Found) -> Counter[str]:
    return Counter(kind for kind, _ in found)


def shown(listing: dict[str, Any]) -> Found:
    """The same of what ``show-aws-assets --output json`` printed. Exports that have ended are no asset."""
    return {
        (asset["kind"], asset["id"])
        for asset in listing["assets"]
        if asset["kind"] != "stack-resource"
        and (asset["kind"] != "export-task" or asset["state"].startswith(_TASK_RUNS))
        and not asset["state"].startswith(_GONE)
    }
