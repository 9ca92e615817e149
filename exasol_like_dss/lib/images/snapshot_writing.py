"""A snapshot of an image's blocks: found, gone on with, or begun; written side by side, and sealed with a checksum.

What a killed run leaves is a pending snapshot with our tags: the content's id, and how many of the blocks, from the
first one on, AWS has confirmed. AWS itself does not tell which blocks a pending snapshot has (ListSnapshotBlocks takes
completed ones only). Should that tag be wrong, the checksum over all blocks is, too, and all are written once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.ebs import BLOCK_BYTES
from exasol_like_dss.access.aws.errors import AwsError, Unreachable, WrongCredentials
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import client_token
from exasol_like_dss.lib.assets.tags import ASSET_ID
from exasol_like_dss.lib.crew import Crew
from exasol_like_dss.lib.errors import DeadlinePassed, DssError
from exasol_like_dss.lib.images.snapshot_content import SnapshotContent
from exasol_like_dss.lib.pace import Pace
from exasol_like_dss.lib.waiting import wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_results import Snapshot
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

#: Tags: what a snapshot (and its AMI) holds, and how many of its blocks are written.
CONTENT = "dss-content"
WRITTEN = "dss-written"
#: The tag is renewed after so many blocks (256 MiB).
_NOTED_BLOCKS = 512
#: AWS gives a pending snapshot up that nobody has written to for so long: a killed run can be gone on with until then.
_TIMEOUT_MINUTES = 24 * 60
_INTERVAL_S = 0.5
_COMPLETE_S = 3600.0
#: At first; see ``wait_until``. A small snapshot is complete within a moment.
_COMPLETE_INTERVAL_S = 0.1
#: A snapshot that was begun now shows up within this; one that was begun longer ago, and is not listed, is gone.
_APPEARS_S = 15.0
_JUST_NOW = timedelta(minutes=10)
#: So many times a snapshot of the same content can have been begun and removed on one day.
_MOST_BEGUN = 20
_INVALID = "ValidationException"


@dataclass(frozen=True)
class WrittenSnapshot:
    """blocks: of all; written: by this run."""

    id: str
    blocks: int
    written: int


@dataclass(frozen=True)
class SnapshotOrder:
    """tags: with the asset-id."""

    asset_id: AssetId
    content: SnapshotContent
    description: str
    tags: Mapping[str, str]

    @property
    def all_tags(self) -> dict[str, str]:
        return {**self.tags, CONTENT: self.content.id}


def find_snapshots(order: SnapshotOrder, *, aws: AwsSession) -> list[Snapshot]:
    """Those of this content, in whatever state; what is finished first, then those with most blocks."""
    filters = {f"tag:{ASSET_ID}": [order.asset_id.value], f"tag:{CONTENT}": [order.content.id]}
    found = [one for one in aws.ec2().snapshots(filters) if one.tags.get(ASSET_ID) == order.asset_id.value]
    return sorted(found, key=lambda one: (one.state != "completed", -_written(one, order), one.id))


def ensure_snapshot(
    order: SnapshotOrder, *, aws: AwsSession, pace: Pace, progress: Progress, cancellation: Cancellation
) -> WrittenSnapshot:
    """The completed snapshot. Raises ``DssError``, ``AwsError``, ``DeadlinePassed``, ``Interrupted``."""
    found = find_snapshots(order, aws=aws)
    for one in found:
        if one.state == "completed":
            return WrittenSnapshot(one.id, len(order.content), 0)
    usable = [one for one in found if one.state == "pending"]
    for one in found:
        if one.state == "error":
            progress.note(f"The snapshot {one.id} has failed before: it is removed, and written anew.")
            aws.ec2().delete_snapshot(one.id)
    start = 0
    if usable:
        snapshot_id, start = usable[0].id, _written(usable[0], order)
        progress.note(f"The snapshot {snapshot_id} was begun before; {start} of {len(order.content)} blocks are there.")
    else:
        snapshot_id = _begin(order, aws=aws, pace=pace, progress=progress, cancellation=cancellation)
    writer = _Writer(order, snapshot_id, aws=aws, pace=pace, progress=progress, cancellation=cancellation)
    written = writer.write(start)
    try:
        writer.complete()
    except AwsError as error:
        if error.code != _INVALID:
            raise
        if writer.state() == "pending":
            if not start:
                raise DssError(
                    f"AWS does not accept the snapshot {snapshot_id}: {error.message}",
                    hint="Does another program write to the image? Run the same command again.",
                ) from error
            progress.note("The blocks of the earlier run are not what they should be: all are written once more.")
            written += writer.write(0)
            writer.complete()
    writer.wait_until_completed()
    return WrittenSnapshot(snapshot_id, len(order.content), written)


def _written(snapshot: Snapshot, order: SnapshotOrder) -> int:
    text = snapshot.tags.get(WRITTEN, "")
    return min(int(text), len(order.content)) if text.isdecimal() else 0


def _begin(order: SnapshotOrder, *, aws: AwsSession, pace: Pace, progress: Progress, cancellation: Cancellation) -> str:
    """A pending snapshot: a new one, or that whose beginning was told to a run that is no more."""
    ebs = aws.ebs()
    # Another day, other tags; AWS refuses a known token with other parameters.
    marked = sha256(repr(sorted(order.all_tags.items())).encode()).hexdigest()[:8]
    for number in range(_MOST_BEGUN):
        token = client_token(order.asset_id, f"import-{order.content.id}-{marked}-{number}")
        begun = pace.run(
            lambda token=token: ebs.start_snapshot(  # type: ignore[misc]
                volume_gib=order.content.volume_gib,
                description=order.description,
                tags=order.all_tags,
                token=token,
                timeout_minutes=_TIMEOUT_MINUTES,
            )
        )
        recent = datetime.now(UTC) - begun.started < _JUST_NOW
        found = _look(begun.id, aws=aws)
        if found is None and recent:
            with suppress(DeadlinePassed):
                found = wait_until(
                    f"the snapshot {begun.id} to show up",
                    lambda begun=begun: _look(begun.id, aws=aws),  # type: ignore[misc]
                    deadline_s=_APPEARS_S,
                    interval_s=_INTERVAL_S,
                    progress=progress,
                    hint="",
                )
        cancellation.check()
        # What the token stands for may have been removed since, or have failed: the next one then.
        if found is not None and found.state == "pending":
            return begun.id
    raise DssError("AWS begins no snapshot.", hint="Remove what is there: dss cleanup-aws-assets; or wait a day.")


def _look(snapshot_id: str, *, aws: AwsSession) -> Snapshot | None:
    return next(aws.ec2().snapshots({"snapshot-id": [snapshot_id]}), None)


class _Writer:
    """Of one snapshot."""

    def __init__(
        self,
        order: SnapshotOrder,
        snapshot_id: str,
        *,
        aws: AwsSession,
        pace: Pace,
        progress: Progress,
        cancellation: Cancellation,
    ) -> None:
        self._content = order.content
        self._id = snapshot_id
        self._aws = aws
        self._pace = pace
        self._progress = progress
        self._cancellation = cancellation

    def write(self, start: int) -> int:
        """Writes all blocks from this one on; notes in AWS, now and then, how many are there. How many were written."""
        content, total = self._content, len(self._content)
        step = self._progress.current()
        waiting: deque[Future[None]] = deque()
        done = noted = start

        def shown() -> None:
            if step:
                self._progress.bytes(step, done * BLOCK_BYTES, total * BLOCK_BYTES)

        with Crew(self._pace.most, name="blocks", cancellation=self._cancellation) as crew:
            try:
                for number in range(start, total):
                    self._cancellation.check()
                    waiting.append(crew.submit(self._put, number, 100 * done // total))
                    if len(waiting) < 2 * self._pace.most:
                        continue
                    # Half of them at a time: to wake up for each would take the processor from those that write.
                    for _ in range(self._pace.most):
                        crew.awaited(waiting.popleft())
                        done += 1
                    if done - noted >= _NOTED_BLOCKS:
                        self._note(done)
                        noted = done
                    shown()
                while waiting:
                    crew.awaited(waiting.popleft())
                    done += 1
                shown()
            except BaseException as error:
                while waiting and waiting[0].done() and not waiting[0].exception():
                    waiting.popleft()
                    done += 1
                hopeless = isinstance(error, WrongCredentials | Unreachable)
                if done > noted and not hopeless:
                    with suppress(DssError):
                        self._note(done)
                raise
        if content and done > noted:
            self._note(done)
        return done - start

    def _put(self, number: int, percent: int) -> None:
        self._cancellation.check()
        data = self._content.block(number)
        self._pace.run(
            lambda: self._aws.ebs().put_block(
                self._id,
                self._content.indexes[number],
                data=data,
                checksum=self._content.block_checksum(number),
                percent=percent,
            ),
            # A new snapshot is not known everywhere at once: up to two minutes (awslabs/coldsnap, issue 43).
            again=lambda error: error.not_found and self.state() == "pending",
        )

    def _note(self, done: int) -> None:
        self._aws.ec2_builds().tag([self._id], {WRITTEN: str(done)})

    def complete(self) -> None:
        self._pace.run(
            lambda: self._aws.ebs().complete_snapshot(
                self._id, blocks=len(self._content), checksum=self._content.checksum
            )
        )

    def state(self) -> str:
        found = _look(self._id, aws=self._aws)
        return found.state if found else ""

    def wait_until_completed(self) -> None:
        seen = ""

        def completed() -> bool:
            nonlocal seen
            self._cancellation.check()
            found = _look(self._id, aws=self._aws)
            seen = f"{found.state} {found.progress}" if found else "not there"
            if found and found.state == "error":
                raise DssError(f"AWS failed to complete the snapshot {self._id}.", hint="Run the same command again.")
            return found is not None and found.state == "completed"

        wait_until(
            f"the snapshot {self._id}",
            completed,
            deadline_s=_COMPLETE_S,
            interval_s=_COMPLETE_INTERVAL_S,
            progress=self._progress,
            hint="Run the same command again: it goes on waiting.",
            detail=lambda: seen,
        )
