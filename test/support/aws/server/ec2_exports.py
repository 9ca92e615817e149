"""ExportImage: tasks that take their time and leave the bytes of a real disk in a bucket.

AWS: VM Import/Export user guide, "Exporting an image directly from an AMI", "Considerations for image export".
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from test.support.aws.server.ec2_common import ClientTokens, check_tag_types, filters_of, paged, tag_set, tags_of
from test.support.aws.server.ec2_common import backend_of as ec2_of
from test.support.aws.server.ec2_images import find_image
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT, Request, World, handles

_FORMATS = {"VMDK": "vmdk", "VHD": "vhd", "RAW": "raw"}
#: Status messages of a task on its way, with the percentage from which on they are told.
_STAGES = ((0, "validating"), (5, "updating"), (25, "converting"), (85, "uploading"))
_DONE = ("completed", "deleted")


@dataclass
class Task:
    """An export. status: active, completed, deleting, deleted (AWS: ExportImageTask); failed ones are deleted."""

    task_id: str
    region: str
    image_id: str
    disk_format: str
    description: str
    role: str
    bucket: str
    prefix: str
    status: str = "active"
    percent: int = 0
    message: str = "validating"
    disk_file: str = ""

    @property
    def key(self) -> str:
        return f"{self.prefix}{self.task_id}.{_FORMATS[self.disk_format]}"


@dataclass
class Exports:
    tasks: dict[str, Task] = field(default_factory=dict)


@handles("ec2", "ExportImage")
def export_image(request: Request) -> Mapping[str, Any]:
    check_tag_types(request, "export-image-task")
    world = request.world
    tokens = world.part(ClientTokens)
    if known := tokens.before(request):
        return dict(known)
    image = find_image(request.region, str(request.get("ImageId", "")))
    location = request.get("S3ExportLocation") or {}
    bucket = str(location.get("S3Bucket", ""))
    disk_format = str(request.get("DiskImageFormat", ""))
    role = str(request.get("RoleName") or "vmimport")
    if disk_format not in _FORMATS:
        words = f"Value ({disk_format}) for parameter DiskImageFormat is invalid. Valid values: VMDK, RAW, VHD"
        raise ApiError("InvalidParameterValue", words)
    if image.traits.product_code:
        words = f"The image ID provided ({image.id}) is a marketplace AMI and is not exportable."
        raise ApiError("NotExportable", words)
    if image.owner_id != ACCOUNT:
        words = f"The image ID provided ({image.id}) is shared from another AWS account and is not exportable."
        raise ApiError("NotExportable", words)
    if image.ebs_snapshot.encrypted:
        words = f"The image ID provided ({image.id}) contains encrypted EBS snapshots and is not exportable."
        raise ApiError("NotExportable", words)
    if image.state != "available":
        raise ApiError("IncorrectState", f"The image '{image.id}' is not available.")
    _check_bucket(world, bucket, request.region)
    _check_role(world, role, request.region)
    exports = world.part(Exports)
    active = [each for each in exports.tasks.values() if each.status == "active" and each.region == request.region]
    if any(each.image_id == image.id for each in active):
        # The documentation has no code for it.
        words = f"There is an export image task in progress for the image {image.id}."
        raise ApiError("InvalidParameter", words)
    if len(active) >= world.settings.export_limit:
        words = f"You have exceeded the limit of {world.settings.export_limit} concurrent export image tasks."
        raise ApiError("ResourceLimitExceeded", words)
    if request.get("DryRun"):
        raise ApiError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
    task = Task(
        task_id=f"export-ami-{secrets.token_hex(9)[:17]}",
        region=request.region,
        image_id=image.id,
        disk_format=disk_format,
        description=str(request.get("Description") or ""),
        role=role,
        bucket=bucket,
        prefix=str(location.get("S3Prefix") or ""),
        disk_file=getattr(image.ebs_snapshot, "disk_file", ""),
    )
    exports.tasks[task.task_id] = task
    if tags := tags_of(request, "export-image-task"):
        ec2_of(request.region).create_tags([task.task_id], tags)
    _go_on(world, task, hybrid=image.traits.boot_mode == "uefi-preferred")
    result = {**_as_api(task), "DiskImageFormat": disk_format, "RoleName": role}
    tokens.remember(request, result)
    return result


def _check_bucket(world: World, bucket: str, region: str) -> None:
    try:
        where = world.moto("s3", "GetBucketLocation", {"Bucket": bucket}, region)["LocationConstraint"] or "us-east-1"
    except ApiError:
        words = (
            f"Insufficient permissions - please verify bucket ownership and write permissions on the bucket. {bucket}"
        )
        raise ApiError("InvalidParameter", words) from None
    if where != region:
        raise ApiError("InvalidParameter", f"The S3 bucket {bucket} is not local to the region {region}")


def _check_role(world: World, role: str, region: str) -> None:
    """It must exist and trust the service with the external id "vmimport" (AWS: "Required service role")."""
    refusal = ApiError(
        "InvalidParameter", f"The service role {role} provided does not exist or does not have sufficient permissions"
    )
    try:
        document = world.moto("iam", "GetRole", {"RoleName": role}, region)["Role"]["AssumeRolePolicyDocument"]
    except ApiError:
        raise refusal from None
    policy = json.loads(document) if isinstance(document, str) else document
    statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    for statement in statements:
        condition = json.dumps(statement.get("Condition", {})).lower()
        if (
            "vmie.amazonaws.com" in json.dumps(statement.get("Principal"))
            and '"sts:externalid": "vmimport"' in condition
        ):
            return
    raise refusal


def _go_on(world: World, task: Task, *, hybrid: bool) -> None:
    """Decides now how it will end, so that rules hit the tasks in the order of their creation."""
    settings = world.settings
    steps = 10
    takes = settings.export_times.get(task.disk_format, settings.export_s) * steps / (steps + 1)  # one step hands over
    fails = settings.failing_exports > 0
    hangs = not fails and settings.hanging_exports > 0
    settings.failing_exports -= fails
    settings.hanging_exports -= hangs

    def step() -> None:
        if task.status != "active":
            return
        if fails and task.percent >= 50:
            task.status, task.message = "deleted", "ServerError: InternalError: An internal error has occurred."
            return
        if hybrid and task.percent >= 20:
            words = "ClientError: Unsupported configuration: GRUB2 is enabled for both BIOS and UEFI."
            task.status, task.message = "deleted", words
            return
        if hangs and task.percent >= 85:
            task.percent = 85
            return
        if task.percent >= 95:
            world.aside(lambda: _deliver(world, task))
            return
        task.percent = min(95, task.percent + 95 // steps + 1)
        task.message = [text for least, text in _STAGES if task.percent >= least][-1]
        world.after(takes / steps, "exports", step)

    world.after(takes / steps, "exports", step)


def _deliver(world: World, task: Task) -> None:
    """Converts the disk (slow: not under the lock) and puts it into the bucket."""
    made = convert_disk(task.disk_file or world.settings.disk_file, task.disk_format, world.folder / task.task_id)
    try:
        with world.lock:
            if task.status != "active":
                return
            try:
                with made.open("rb") as body:
                    parameters = {"Bucket": task.bucket, "Key": task.key, "Body": body}
                    world.moto("s3", "PutObject", parameters, task.region)
            except ApiError as error:
                task.status, task.message = "deleted", f"ClientError: {error.message}"
                return
            task.status, task.percent, task.message = "completed", 100, ""
    finally:
        made.unlink(missing_ok=True)


def made_up_disk() -> bytes:
    """What is on the disk of an AMI when the test says nothing else: 2 MiB."""
    return b"\xeb\x63\x90" + bytes(507) + b"\x55\xaa" + b"a stand-in's disk".ljust(2**21 - 512, b"\0")


def convert_disk(disk_file: str, disk_format: str, target: Path) -> Path:
    """As AWS's formats are: streamOptimized VMDK, dynamic VHD, raw. disk_file: empty for a disk of 2 MiB made up."""
    source = Path(disk_file) if disk_file else target.with_suffix(".made-up")
    if not disk_file:
        source.write_bytes(made_up_disk())
    arguments = {
        "RAW": ["-O", "raw"],
        "VMDK": ["-O", "vmdk", "-o", "subformat=streamOptimized"],
        "VHD": ["-O", "vpc", "-o", "subformat=dynamic,force_size=on"],
    }[disk_format]
    subprocess.run(["qemu-img", "convert", "-f", "raw", *arguments, str(source), str(target)], check=True)
    if not disk_file:
        source.unlink()
    return target


def _as_api(task: Task) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ExportImageTaskId": task.task_id,
        "ImageId": task.image_id,
        "Description": task.description or None,
        "S3ExportLocation": {"S3Bucket": task.bucket, "S3Prefix": task.prefix},
        "Status": task.status,
        "StatusMessage": task.message or None,
        "Progress": None if task.status in _DONE else str(task.percent),
        "Tags": tag_set(task.region, task.task_id) or None,
    }
    return {name: value for name, value in shown.items() if value is not None}


@handles("ec2", "DescribeExportImageTasks")
def describe_export_image_tasks(request: Request) -> Mapping[str, Any]:
    """Filters: task-state, and tags."""
    tasks = request.world.part(Exports).tasks
    ids = [str(each) for each in request.get("ExportImageTaskIds", [])]

    def find() -> list[Task]:
        for task_id in ids:
            if task_id not in tasks or tasks[task_id].region != request.region:
                words = f"The export image task ID '{task_id}' does not exist"
                raise ApiError("InvalidExportTaskID.NotFound", words)
        found = (
            [tasks[each] for each in ids] if ids else [each for each in tasks.values() if each.region == request.region]
        )
        return [each for each in found if _fits(each, filters_of(request))]

    return paged(request, "ExportImageTasks", find, _as_api, ids="ExportImageTaskIds", most=500, least=1)


def _fits(task: Task, filters: Mapping[str, list[str]]) -> bool:
    tags = {each["Key"]: each["Value"] for each in tag_set(task.region, task.task_id)}
    for name, patterns in filters.items():
        if name == "task-state":
            values = [task.status]
        elif name.startswith("tag:"):
            values = [tags[name[4:]]] if name[4:] in tags else []
        elif name == "tag-key":
            values = list(tags)
        else:
            raise ApiError("InvalidParameterValue", f"The filter '{name}' is invalid")
        if not any(fnmatchcase(value, pattern) for value in values for pattern in patterns):
            return False
    return True


@handles("ec2", "CancelExportTask")
def cancel_export_task(request: Request) -> Mapping[str, Any]:
    """Fails once the export is complete or being handed over (AWS: CancelExportTask)."""
    task = request.world.part(Exports).tasks.get(str(request.get("ExportTaskId")))
    if task is None:
        words = f"The export task ID '{request.get('ExportTaskId')}' does not exist"
        raise ApiError("InvalidExportTaskID.NotFound", words)
    if task.status != "active":
        raise ApiError("IncorrectState", f"The export task '{task.task_id}' is {task.status}, and can't be cancelled")
    task.status, task.message = "deleting", "cancelling"

    def end() -> None:
        task.status, task.message = "deleted", "Task cancelled by user"

    request.world.after(request.world.settings.export_s / 10, "exports", end)
    return {}
