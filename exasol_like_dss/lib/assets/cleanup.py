"""Removing what a plan says: in its order, again and again what is still in use, until a deadline.

Can be stopped at any point and run again: what is gone already is fine, and nothing is remembered but the tags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError, Unreachable, WrongCredentials
from exasol_like_dss.lib.assets.plan import ORDER, Decision, Plan
from exasol_like_dss.lib.assets.record import Asset, AssetKind
from exasol_like_dss.lib.assets.removal import REMOVERS, SLOW, in_batches, remove_objects, still_there
from exasol_like_dss.lib.errors import DeadlinePassed
from exasol_like_dss.lib.waiting import awaited, wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

_AT_ONCE = 8
_INTERVAL_S = 1.0
_LAG_S = 60.0
#: An export that is being cancelled still writes: what is deleted before would come again.
_WAITS_FOR = {
    AssetKind.MULTIPART_UPLOAD: (AssetKind.EXPORT_TASK,),
    AssetKind.S3_OBJECT: (AssetKind.EXPORT_TASK,),
}
_FAILED = "DELETE_FAILED"

#: Region and id.
Key = tuple[str, str]


@dataclass
class Removal:
    """How far a clean-up has come. waiting: what was tried, and why it is still there. more: what the plan did not have
    as a step, and could be removed now."""

    plan: Plan
    removed: list[Asset] = field(default_factory=list)
    waiting: dict[Key, str] = field(default_factory=dict)
    more: list[Decision] = field(default_factory=list)

    @property
    def left(self) -> list[Decision]:
        """What is still there, and ought not to be, as far as is known."""
        gone = {(asset.region, asset.id) for asset in self.removed}
        tried = [
            Decision(asset, self.waiting.get((asset.region, asset.id), "was not reached"))
            for asset in self.plan.steps
            if (asset.region, asset.id) not in gone
        ]
        return [*tried, *self.more]


@dataclass(frozen=True, kw_only=True)
class _Worker:
    """pending: what is still to go, by kind. requested: of these, what AWS has agreed to remove."""

    aws: AwsSession
    removal: Removal
    cancellation: Cancellation
    pending: dict[AssetKind, dict[Key, Asset]]
    requested: set[Key] = field(default_factory=set)


def remove_all(
    removal: Removal,
    *,
    aws: AwsSession,
    plan_again: Callable[[], Plan],
    deadline_s: float,
    progress: Progress,
    cancellation: Cancellation,
) -> None:
    """Carries out the plan of ``removal``, which tells how far it came, however this ends.

    plan_again: lists and plans anew: what that still has is left. deadline_s: for all of it; everything is tried at
    least once.
    Raises ``AwsError`` when the credentials are no good any more or AWS doesn't answer, ``Interrupted`` when cancelled.
    """
    pending: dict[AssetKind, dict[Key, Asset]] = {kind: {} for kind in ORDER}
    for asset in removal.plan.steps:
        pending[asset.kind][asset.region, asset.id] = asset
    worker = _Worker(aws=aws, removal=removal, cancellation=cancellation, pending=pending)
    count = len(removal.plan.steps)
    with progress.step(f"remove {count} assets"):
        try:
            wait_until(
                "everything to be removed",
                lambda: _pass(worker),
                deadline_s=deadline_s,
                interval_s=_INTERVAL_S,
                progress=progress,
                hint="",
                detail=lambda: f"{len(removal.removed)} of {count} done",
            )
        except DeadlinePassed:
            _pass(worker, last=True)  # what is left is told at the end, with its reason
    with progress.step("look what is left"):
        _look_again(worker, plan_again, progress=progress)


def _pass(worker: _Worker, *, last: bool = False) -> bool:
    """One attempt at everything, in order. Whether all is gone.

    A kind does not wait for those before it: that takes minutes, one of them may hang, and AWS says what is in use.
    """
    for kind in ORDER:
        held = not last and any(worker.pending[before] for before in _WAITS_FOR.get(kind, ()))
        if worker.pending[kind] and not held:
            _attempt(worker, kind)
    return not any(worker.pending.values())


def _attempt(worker: _Worker, kind: AssetKind) -> None:
    """Asks AWS to remove what it has not been asked for, and sees what is gone."""
    removal, pending, requested = worker.removal, worker.pending[kind], worker.requested
    for asset, error in _request_all(worker, kind, [one for key, one in pending.items() if key not in requested]):
        key = (asset.region, asset.id)
        if error is None or error.not_found:
            if kind in SLOW:
                requested.add(key)
                _wait_for(removal, key, "is being removed")
            else:
                _gone(removal, pending.pop(key))
        else:
            removal.waiting[key] = error.message
            if not error.passes:
                del pending[key]
    for region in {region for region, _ in pending} if kind in SLOW else ():
        # Also those that AWS refused to remove: an export may have ended by itself.
        there = still_there(worker.aws, kind=kind, assets=[one for one in pending.values() if one.region == region])
        for key in [key for key in pending if key[0] == region]:
            state = there.get(key[1])
            if state is None:
                _gone(removal, pending.pop(key))
            elif key in requested:
                _wait_for(removal, key, state)
                if _FAILED in state:
                    requested.discard(key)


def _gone(removal: Removal, asset: Asset) -> None:
    removal.removed.append(asset)
    removal.waiting.pop((asset.region, asset.id), None)


def _wait_for(removal: Removal, key: Key, state: str) -> None:
    """Notes the state, unless the reason of a failure is noted: the next attempt's beginning says less."""
    if _FAILED in state or _FAILED not in removal.waiting.get(key, ""):
        removal.waiting[key] = state


def _request_all(worker: _Worker, kind: AssetKind, assets: Sequence[Asset]) -> Iterator[tuple[Asset, AwsError | None]]:
    """One attempt for each, several at a time, as they end. Raises what no other attempt would change."""

    def attempt(some: Sequence[Asset]) -> list[tuple[Asset, AwsError | None]]:
        worker.cancellation.check()
        try:
            if kind == AssetKind.S3_OBJECT:
                return [(asset, error) for asset, error in remove_objects(worker.aws, some)]
            REMOVERS[kind](worker.aws, some[0])
        except (WrongCredentials, Unreachable):
            raise
        except AwsError as error:
            return [(asset, error) for asset in some]
        return [(some[0], None)]

    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="remove")
    try:
        worker.cancellation.check()
        batches = in_batches(assets) if kind == AssetKind.S3_OBJECT else ([asset] for asset in assets)
        for future in [pool.submit(attempt, some) for some in batches]:
            yield from awaited(future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _look_again(worker: _Worker, plan_again: Callable[[], Plan], *, progress: Progress) -> None:
    """What AWS still lists is not gone, whatever it answered. Its lists lag behind by seconds (EC2 API Reference,
    "Eventual consistency"), so what was removed gets some time."""
    removal = worker.removal
    along = {(one.asset.region, one.asset.id): one.reason for one in removal.plan.along}
    before = {(asset.region, asset.id) for asset in removal.plan.steps}
    seen: dict[Key, Asset] = {}
    steps: set[Key] = set()

    def probe() -> bool:
        nonlocal seen, steps
        worker.cancellation.check()
        plan = plan_again()
        every = (*plan.steps, *(decision.asset for decision in (*plan.along, *plan.kept)))
        seen = {(asset.region, asset.id): asset for asset in every}
        steps = {(asset.region, asset.id) for asset in plan.steps}
        return not steps & along.keys() and not any((asset.region, asset.id) in seen for asset in removal.removed)

    try:
        wait_until("AWS's lists to agree", probe, deadline_s=_LAG_S, interval_s=_INTERVAL_S, progress=progress, hint="")
    except DeadlinePassed:
        for asset in [asset for asset in removal.removed if (asset.region, asset.id) in seen]:
            removal.removed.remove(asset)
            removal.waiting[asset.region, asset.id] = "is still listed after its removal"
    # Something else may have removed what we could not, and made what we did not know.
    removal.removed += [one.asset for one in removal.left if (one.asset.region, one.asset.id) not in seen]
    for key in sorted(steps - before):
        removal.more.append(Decision(seen[key], "stayed when its stack went" if key in along else "is new"))
