"""What a clean-up would remove, in which order, and what it leaves alone, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from exasol_like_dss.lib.assets.asset_id import AssetPattern
from exasol_like_dss.lib.assets.duration import human_duration
from exasol_like_dss.lib.assets.listing import Listing
from exasol_like_dss.lib.assets.names import PERMANENT_STACKS
from exasol_like_dss.lib.assets.record import Asset, AssetKind

#: Each kind before those that it uses: AWS refuses to delete the snapshot of an AMI, the group of an instance, …
ORDER = (
    AssetKind.EXPORT_TASK,
    AssetKind.MULTIPART_UPLOAD,
    AssetKind.STACK,
    AssetKind.INSTANCE,
    AssetKind.AMI,
    AssetKind.SNAPSHOT,
    AssetKind.VOLUME,
    AssetKind.KEY_PAIR,
    AssetKind.SECURITY_GROUP,
    AssetKind.S3_OBJECT,
    AssetKind.LOG_GROUP,
)
#: Export tasks that have ended are no asset: AWS shows them for some days, and they can't be removed.
_TASK_RUNS = ("active", "deleting")


@dataclass(frozen=True)
class Decision:
    """Why an asset is not removed by itself."""

    asset: Asset
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """steps: what is removed, in this order. along: what goes when a step is done. kept: what stays."""

    steps: Sequence[Asset]
    along: Sequence[Decision]
    kept: Sequence[Decision]

    @property
    def usd_per_month(self) -> float:
        """The saving, as far as the prices are known."""
        going = [*self.steps, *(decision.asset for decision in self.along)]
        return sum(asset.usd_per_month or 0.0 for asset in going)


def make_plan(
    listing: Listing,
    *,
    pattern: AssetPattern,
    kinds: Collection[AssetKind],
    older_than: timedelta | None,
    now: datetime,
) -> Plan:
    """listing: of all kinds. kinds: which may be removed; all when empty. older_than: by the time of creation."""
    assets = [asset for asset in listing.assets if not _has_ended(asset)]
    steps: list[Asset] = []
    along: list[Decision] = []
    kept: list[Decision] = []
    going: set[tuple[str, str]] = set()  # regions with ids, and with names of stacks
    for asset in sorted(assets, key=_turn):
        if kinds and asset.kind not in kinds:
            continue
        reason = _forbidden(asset, pattern=pattern)
        with_stack = None if reason or asset.kind == AssetKind.STACK else _stack_of(asset, listing.live_stacks)
        if with_stack is not None:
            if (asset.region, asset.stack) in going:
                going.add((asset.region, asset.id))
                along.append(Decision(asset, f"goes with the stack {asset.stack}"))
                continue
            reason = with_stack
        reason = reason or _too_young(asset, older_than=older_than, now=now) or _used(asset, assets, going)
        if reason:
            kept.append(Decision(asset, reason))
            continue
        steps.append(asset)
        going.add((asset.region, asset.name if asset.kind == AssetKind.STACK else asset.id))
    return Plan(steps=steps, along=along, kept=kept)


def _turn(asset: Asset) -> tuple[int, str, str]:
    """The place in the order. Resources of stacks are never removed by themselves: they come last."""
    return (ORDER.index(asset.kind) if asset.kind in ORDER else len(ORDER), asset.region, asset.id)


def _has_ended(asset: Asset) -> bool:
    return asset.kind == AssetKind.EXPORT_TASK and not asset.state.startswith(_TASK_RUNS)


def _forbidden(asset: Asset, *, pattern: AssetPattern) -> str:
    if asset.stack in PERMANENT_STACKS:
        return f"belongs to the permanent stack {asset.stack}"
    if not asset.tagged:
        with_instance = "; AWS deletes it with its instance, as a rule" if asset.kind == AssetKind.VOLUME else ""
        return f"has no tag with an asset-id{with_instance}"
    # The listing has seen to it already. Nothing else stands between another build and its removal.
    if not pattern.matches(asset.asset_id):
        return f"has another asset-id, {asset.asset_id}"
    return ""


def _stack_of(asset: Asset, live_stacks: Mapping[str, Collection[str]]) -> str | None:
    """Why it stays when its stack does; ``None`` when it has none (any more), and can go by itself."""
    if not asset.stack:
        return None
    if asset.region not in live_stacks:
        return f"may belong to the stack {asset.stack}: the stacks can't be listed"
    if asset.stack in live_stacks[asset.region] or asset.kind == AssetKind.STACK_RESOURCE:
        return f"belongs to the stack {asset.stack}, which stays"
    return None


def _too_young(asset: Asset, *, older_than: timedelta | None, now: datetime) -> str:
    if older_than is None:
        return ""
    if asset.created is None:
        return "AWS doesn't tell its age"
    age = now - asset.created
    return "" if age > older_than else f"is only {human_duration(age)} old"


def _used(asset: Asset, assets: Sequence[Asset], going: Set[tuple[str, str]]) -> str:
    """Snapshots of AMIs that stay, and volumes of instances that stay: AWS would refuse until the deadline."""
    users: Sequence[str] = ()
    if asset.kind == AssetKind.SNAPSHOT:
        users = [other.id for other in assets if other.kind == AssetKind.AMI and asset.id in other.references]
    elif asset.kind == AssetKind.VOLUME:
        users = asset.references
    staying = [user for user in users if (asset.region, user) not in going]
    return f"is used by {', '.join(staying)}, which stays" if staying else ""
