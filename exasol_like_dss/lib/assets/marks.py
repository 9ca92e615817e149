"""What seems to be left over, and why. A mark is for people; nothing is removed because of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exasol_like_dss.lib.assets.record import Asset, AssetKind

_UPLOAD_LASTS = timedelta(days=1)
#: What has to be listed as well, so that a kind can be judged, and those without a tag are found.
NEEDED: Mapping[AssetKind, tuple[AssetKind, ...]] = {
    AssetKind.INSTANCE: (AssetKind.STACK, AssetKind.AMI, AssetKind.EXPORT_TASK),
    AssetKind.VOLUME: (AssetKind.INSTANCE,),
    AssetKind.KEY_PAIR: (AssetKind.STACK, AssetKind.INSTANCE),
    AssetKind.SECURITY_GROUP: (AssetKind.STACK,),
    AssetKind.AMI: (AssetKind.SNAPSHOT,),
    AssetKind.SNAPSHOT: (AssetKind.AMI,),
}


@dataclass(frozen=True)
class Known:
    """The facts of one region. complete: the kinds of which nothing is missing. live_stacks: see ``Scope``."""

    complete: Set[AssetKind]
    live_stacks: Set[str]
    snapshots: Set[str]
    used_snapshots: Set[str]
    used_keys: Set[str]
    stacks_of: Set[str]
    finished_amis_of: Set[str]

    @classmethod
    def of(cls, assets: Iterable[Asset], *, complete: Set[AssetKind], live_stacks: Set[str]) -> Known:
        snapshots: set[str] = set()
        used_snapshots: set[str] = set()
        used_keys: set[str] = set()
        stacks_of: set[str] = set()
        finished: set[str] = set()
        exporting: set[str] = set()
        for asset in assets:
            if asset.kind == AssetKind.SNAPSHOT:
                snapshots.add(asset.id)
            elif asset.kind == AssetKind.AMI:
                used_snapshots.update(asset.references)
                if asset.state.startswith("available"):
                    finished.add(asset.asset_id)
            elif asset.kind == AssetKind.INSTANCE:
                used_keys.update(asset.references)
            elif asset.kind == AssetKind.STACK:
                stacks_of.add(asset.asset_id)
            elif asset.kind == AssetKind.EXPORT_TASK and asset.state.startswith("active"):
                exporting.add(asset.asset_id)
        return cls(complete, live_stacks, snapshots, used_snapshots, used_keys, stacks_of, finished - exporting)

    def has(self, kind: AssetKind) -> bool:
        """Whether all is known that a mark on this kind depends on: what can't be seen is not missing."""
        return all(needed in self.complete for needed in NEEDED.get(kind, ()))


def marked(asset: Asset, known: Known, *, now: datetime) -> Asset:
    """The same asset with its marks."""
    marks = list(asset.marks)
    if asset.expires and now.date() >= asset.expires:
        marks.append("expired")
    if not asset.tagged:
        marks.append("not tagged")
    if known.has(asset.kind):
        marks += _marks(asset, known, now)
    return replace(asset, marks=tuple(marks)) if marks else asset


def _marks(asset: Asset, known: Known, now: datetime) -> Iterable[str]:
    kind = asset.kind
    if kind == AssetKind.STACK:
        if "FAILED" in asset.state or asset.state == "ROLLBACK_COMPLETE":
            yield "failed"
    elif kind in (AssetKind.INSTANCE, AssetKind.SECURITY_GROUP):
        if not asset.stack:
            yield "without a stack"
        elif asset.stack not in known.live_stacks:
            yield "its stack is gone"
        elif kind == AssetKind.INSTANCE and asset.state == "running" and asset.asset_id in known.finished_amis_of:
            yield "runs although its AMI is finished"
    elif kind == AssetKind.VOLUME:
        if asset.state == "available":
            yield "detached"
    elif kind == AssetKind.KEY_PAIR:
        if asset.asset_id not in known.stacks_of and asset.name not in known.used_keys:
            yield "without a stack"
    elif kind == AssetKind.AMI:
        if asset.state.startswith(("failed", "error", "invalid")):
            yield "failed"
        elif asset.state.startswith("available") and not known.snapshots >= set(asset.references):
            yield "its snapshot is gone"
    elif kind == AssetKind.SNAPSHOT:
        if asset.id not in known.used_snapshots:
            yield "without an AMI"
    elif kind == AssetKind.MULTIPART_UPLOAD and asset.created and now - asset.created > _UPLOAD_LASTS:
        yield "unfinished for more than a day"
