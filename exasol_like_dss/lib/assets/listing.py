"""Everything that carries an asset-id, in one or more regions: collected side by side, priced and marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError, PermissionMissing, WrongCredentials
from exasol_like_dss.lib.assets import collectors
from exasol_like_dss.lib.assets.asset_id import AssetPattern
from exasol_like_dss.lib.assets.collectors import COLLECTORS, BucketMissing, Scope
from exasol_like_dss.lib.assets.cost import Prices
from exasol_like_dss.lib.assets.marks import NEEDED, Known, marked
from exasol_like_dss.lib.assets.record import Asset, AssetKind, Note
from exasol_like_dss.lib.waiting import awaited

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2 import Ec2
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

_AT_ONCE = 12
_IDS_PER_FILTER = 200  # EC2 API Reference, "Filtering": values of one request
_IN_S3 = (AssetKind.S3_OBJECT, AssetKind.MULTIPART_UPLOAD)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """live_stacks: the names of all stacks, also of those that are not ours; of regions where they could be listed."""

    assets: Sequence[Asset]
    notes: Sequence[Note]
    live_stacks: Mapping[str, Set[str]]

    @property
    def complete(self) -> bool:
        return not any(note.incomplete for note in self.notes)

    @property
    def usd_per_month(self) -> float:
        """Of those whose price is known."""
        return sum(asset.usd_per_month or 0.0 for asset in self.assets)

    @property
    def without_price(self) -> int:
        return sum(asset.usd_per_month is None for asset in self.assets)


@dataclass(frozen=True)
class _Part:
    """What one collector found. note: why it found no more."""

    scope: Scope
    kind: AssetKind
    assets: list[Asset]
    note: Note | None


def list_assets(
    aws: AwsSession,
    *,
    regions: Sequence[str],
    pattern: AssetPattern,
    kinds: Collection[AssetKind],
    prices: Prices,
    progress: Progress,
    cancellation: Cancellation,
    now: datetime | None = None,
) -> Listing:
    """kinds: which are wanted; all when empty. now: for tests.

    What can't be listed (a permission, the bucket's stack is missing, …) becomes a note, and the rest goes on.
    Raises ``AwsError`` for credentials that are no good at all, ``Interrupted`` when cancelled.
    """
    wanted = frozenset(kinds) or frozenset(AssetKind)
    collected = wanted.union(*(NEEDED.get(kind, ()) for kind in wanted))
    scopes = [Scope(aws=aws, region=name, pattern=pattern, prices=prices.of(name)) for name in dict.fromkeys(regions)]
    with progress.step("list the assets"):
        parts = _collect(scopes, collected, progress=progress, cancellation=cancellation)
        assets: list[Asset] = []
        notes = [part.note for part in parts if part.note and part.kind in wanted]
        for scope in scopes:
            mine = [part for part in parts if part.scope is scope]
            cancellation.check()
            judged, more = _judged(scope, mine, now=now or datetime.now(UTC))
            assets += [asset for asset in judged if asset.kind in wanted]
            notes += more
    assets.sort(key=lambda asset: (asset.asset_id, asset.region, asset.kind.order, asset.name, asset.id))
    return Listing(
        assets=assets,
        notes=_without_repetition(notes, bucket_found=any(part.kind in _IN_S3 and not part.note for part in parts)),
        live_stacks={scope.region: scope.live_stacks for scope in scopes if scope.live_stacks is not None},
    )


def _collect(
    scopes: Sequence[Scope], kinds: Collection[AssetKind], *, progress: Progress, cancellation: Cancellation
) -> list[_Part]:
    """In threads; this one waits, in slices, so that a signal is heard."""

    def work(scope: Scope, kind: AssetKind) -> _Part:
        found: list[Asset] = []
        note = None
        try:
            for asset in COLLECTORS[kind](scope):
                cancellation.check()
                found.append(asset)
        except WrongCredentials:
            raise
        except (AwsError, BucketMissing) as error:
            note = _note(error, kind=kind, region=scope.region)
        return _Part(scope, kind, found, note)

    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="list")
    try:
        cancellation.check()
        futures = [pool.submit(work, scope, kind) for scope in scopes for kind in sorted(kinds)]
        parts: list[_Part] = []
        for future in futures:
            parts.append(awaited(future))
            progress.status(f"{sum(len(part.assets) for part in parts)} found, {len(parts)} of {len(futures)} lists")
        return parts
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _note(error: AwsError | BucketMissing, *, kind: AssetKind, region: str) -> Note:
    if isinstance(error, BucketMissing):
        return Note(
            text=f"S3 objects and uploads are not listed: {error.message}.", incomplete=False, kind=kind, region=region
        )
    if isinstance(error, PermissionMissing):
        why = f"the permission {error.action} is missing"
    else:
        why = error.message.rstrip(".")
    return Note(text=f"{kind}: not all are listed in {region}: {why}.", incomplete=True, kind=kind, region=region)


def _without_repetition(notes: Iterable[Note], *, bucket_found: bool) -> list[Note]:
    """The bucket is in one region: that others have none says nothing. Objects and uploads share its absence."""
    by_text = {note.text: note for note in notes if note.incomplete}
    absent = [note for note in notes if not note.incomplete]
    if absent and not bucket_found:
        by_text[absent[0].text] = absent[0]
    return list(by_text.values())


def _judged(scope: Scope, parts: Sequence[_Part], *, now: datetime) -> tuple[Iterator[Asset], list[Note]]:
    """The assets of one region with what belongs to them, and their marks."""
    complete = {part.kind for part in parts if not part.note}
    assets = [asset for part in parts for asset in part.assets]
    notes: list[Note] = []
    elsewhere: Set[str] = frozenset()
    try:
        relatives, elsewhere = _relatives(scope, assets, complete)
        assets += relatives
    except WrongCredentials:
        raise
    except AwsError as error:
        complete -= {AssetKind.SNAPSHOT}
        notes.append(_note(error, kind=AssetKind.SNAPSHOT, region=scope.region))
    known = Known.of(assets, complete=complete, live_stacks=scope.live_stacks or frozenset())
    known = replace(known, snapshots=known.snapshots | elsewhere)
    return (marked(asset, known, now=now) for asset in assets), notes


def _relatives(scope: Scope, assets: Sequence[Asset], complete: Set[AssetKind]) -> tuple[list[Asset], set[str]]:
    """Snapshots and volumes without a tag that AMIs and instances with one refer to: they cost, too.

    Also the ids of snapshots that exist, and carry another asset-id.
    """
    ec2 = scope.aws.ec2(scope.region)
    ids = defaultdict(set)
    wanted: dict[AssetKind, list[str]] = {AssetKind.SNAPSHOT: [], AssetKind.VOLUME: []}
    for asset in assets:
        ids[asset.kind].add(asset.id)
    owners = {reference: asset for asset in assets for reference in asset.references}
    for reference in owners:
        for kind, prefix in ((AssetKind.SNAPSHOT, "snap-"), (AssetKind.VOLUME, "vol-")):
            if kind in complete and reference.startswith(prefix) and reference not in ids[kind]:
                wanted[kind].append(reference)
    requests: list[Callable[[], list[Asset]]] = [
        *(partial(_snapshots, scope, ec2, some) for some in _batches(wanted[AssetKind.SNAPSHOT])),
        *(partial(_volumes, scope, ec2, some) for some in _batches(wanted[AssetKind.VOLUME])),
    ]
    found: list[Asset] = []
    # Thousands of AMIs have thousands of snapshots, and a request takes 200.
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="relatives")
    try:
        for future in [pool.submit(request) for request in requests]:
            more: list[Asset] = awaited(future)
            found += more
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    ours = [
        replace(asset, asset_id=owners[asset.id].asset_id, stack=owners[asset.id].stack)
        for asset in found
        if not asset.tagged
    ]
    return ours, {asset.id for asset in found if asset.tagged}


def _snapshots(scope: Scope, ec2: Ec2, ids: Sequence[str]) -> list[Asset]:
    return [collectors.snapshot(scope, one) for one in ec2.snapshots({"snapshot-id": ids})]


def _volumes(scope: Scope, ec2: Ec2, ids: Sequence[str]) -> list[Asset]:
    return [collectors.volume(scope, one) for one in ec2.volumes({"volume-id": ids})]


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS_PER_FILTER):
        yield ids[start : start + _IDS_PER_FILTER]
