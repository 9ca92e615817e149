"""Exports of an AMI by AWS: found or begun, watched, and begun once more when one hangs or AWS fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import client_token
from exasol_like_dss.lib.assets.tags import ASSET_ID
from exasol_like_dss.lib.errors import DeadlinePassed, DssError
from exasol_like_dss.lib.waiting import wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_results import ExportTask
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

#: What AWS writes. An OVA is made of the VMDK, by us.
EXPORTED = ("VMDK", "VHD", "RAW")
#: A tag of export tasks: AWS does not tell the format of a task.
FORMAT = "dss-format"
_EXPORT_S = 6 * 3600.0
#: For the exports of the other formats, too: see ``_begin``.
_SLOT_S = 3 * _EXPORT_S
_CANCEL_S = 900.0
_INTERVAL_S = 2.0
_ATTEMPTS = 2
_REFUSALS = 3


class ExportFailed(DssError):
    """AWS did not export. again: a second attempt makes sense."""

    def __init__(self, message: str, *, hint: str = "", again: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.again = again


@dataclass(frozen=True, kw_only=True)
class ExportOrder:
    """What is exported, and where to. tags: with the asset-id. patience_s: without any progress, then it hangs."""

    image_id: str
    asset_id: AssetId
    bucket: str
    role: str
    prefix: str
    tags: Mapping[str, str]
    patience_s: float


def export_ami(
    order: ExportOrder, disk_format: str, *, aws: AwsSession, progress: Progress, cancellation: Cancellation
) -> str:
    """The key of the exported object, called after AWS's task. May run in several threads, one per format.

    A task of an earlier run is taken over. Raises ``ExportFailed``, ``AwsError``, ``DeadlinePassed``, ``Interrupted``.
    """
    for left in reversed(range(_ATTEMPTS)):
        task = _ensure_task(order, disk_format, aws=aws, progress=progress, cancellation=cancellation)
        try:
            _watch(task, order, disk_format, aws=aws, progress=progress, cancellation=cancellation)
        except ExportFailed as error:
            if not error.again or not left:
                raise
            progress.note(f"{error.message} It is tried once more.")
            continue
        return object_key(order, task.id, disk_format)
    raise AssertionError("unreachable")


def object_key(order: ExportOrder, task_id: str, disk_format: str) -> str:
    """How AWS calls it (ExportImage, EC2 API Reference)."""
    return f"{order.prefix}{task_id}.{disk_format.lower()}"


def _ensure_task(
    order: ExportOrder, disk_format: str, *, aws: AwsSession, progress: Progress, cancellation: Cancellation
) -> ExportTask:
    known = [
        task
        for task in aws.ec2().export_tasks()
        if task.image_id == order.image_id
        and task.tags.get(ASSET_ID) == order.asset_id.value
        and task.tags.get(FORMAT) == disk_format
    ]
    for task in known:
        if task.state == "active":
            return task
        if task.state == "completed" and aws.s3_builds().facts(order.bucket, object_key(order, task.id, disk_format)):
            return task
    # A token of its own for each task, the same for all that begin this one.
    token = client_token(order.asset_id, f"export-{disk_format}-{order.image_id}-{len(known)}")
    refusals = 0

    def begin() -> ExportTask | None:
        nonlocal refusals
        cancellation.check()
        if _being_exported(order.image_id, aws=aws):
            return None
        try:
            return aws.ec2_builds().export_image(
                order.image_id,
                disk_format=disk_format,
                role=order.role,
                bucket=order.bucket,
                prefix=order.prefix,
                token=token,
                description=f"{order.asset_id} as {disk_format}",
                tags={**order.tags, FORMAT: disk_format},
            )
        except AwsError as error:
            if "LimitExceeded" in error.code and not error.passes:
                return None  # so many exports at the same time are not allowed in this account
            if error.code == "NotExportable":
                raise ExportFailed(
                    f"AWS does not export {order.image_id}: {error.message}",
                    hint="Build it from another --ec2-source-ami.",
                ) from error
            # How AWS words it that another format came first is written nowhere.
            refusals += 1
            if type(error) is not AwsError or refusals == _REFUSALS:
                raise
            return None

    return wait_until(
        "a free place among the exports",
        begin,
        deadline_s=_SLOT_S,
        interval_s=_INTERVAL_S,
        progress=progress,
        hint="See aws ec2 describe-export-image-tasks; run the same command again.",
        detail=lambda: "AWS exports an AMI in one format at a time",
    )


def _being_exported(image_id: str, *, aws: AwsSession) -> bool:
    """AWS exports an AMI once at a time (VM Import/Export User Guide, "Considerations for image export")."""
    return any(task.image_id == image_id and task.state == "active" for task in aws.ec2().export_tasks())


def _watch(
    task: ExportTask,
    order: ExportOrder,
    disk_format: str,
    *,
    aws: AwsSession,
    progress: Progress,
    cancellation: Cancellation,
) -> None:
    """Until it is completed. Cancels one that hangs."""
    builds = aws.ec2_builds()
    seen, since = "", time.monotonic()

    def ended() -> bool:
        nonlocal seen, since
        cancellation.check()
        now = builds.export_task(task.id)
        if now.state == "completed":
            return True
        if now.state in ("deleted", "deleting"):
            again = "InternalError" in now.message or "ServerError" in now.message
            raise ExportFailed(
                f"The export {task.id} as {disk_format} failed: {now.message or 'no reason given'}.",
                hint="Run the same command again: what is done stays." if again else "See the AWS guide, Exports.",
                again=again,
            )
        state = f"{now.progress}% {now.message}"
        if state != seen:
            seen, since = state, time.monotonic()
        elif time.monotonic() - since > order.patience_s:
            _cancel(task.id, aws=aws, progress=progress)
            raise ExportFailed(
                f"The export {task.id} as {disk_format} hung at {seen.strip()}, and was cancelled.",
                hint="Run the same command again.",
                again=True,
            )
        return False

    wait_until(
        f"AWS to export {disk_format}",
        ended,
        deadline_s=_EXPORT_S,
        interval_s=_INTERVAL_S,
        progress=progress,
        hint="Run the same command again: it goes on waiting.",
        detail=lambda: seen,
    )


def _cancel(task_id: str, *, aws: AwsSession, progress: Progress) -> None:
    """Cancels an export, and waits until AWS has given it up."""
    try:
        aws.ec2().cancel_export_task(task_id)
    except AwsError as error:
        if not (error.not_found or error.in_use):
            raise
    try:
        wait_until(
            "the cancelled export to end",
            lambda: aws.ec2_builds().export_task(task_id).state in ("deleted", "completed"),
            deadline_s=_CANCEL_S,
            interval_s=_INTERVAL_S,
            progress=progress,
            hint="",
        )
    except DeadlinePassed:
        progress.note(f"AWS does not end the export {task_id}; another one is begun.")
