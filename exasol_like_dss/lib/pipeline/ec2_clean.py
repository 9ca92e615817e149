"""``--fresh``: everything of an asset-id goes, but for the lock that the build holds. And what stays at the end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exasol_like_dss.lib.assets.asset_id import AssetId, AssetPattern
from exasol_like_dss.lib.assets.cleanup import Removal, remove_all
from exasol_like_dss.lib.assets.listing import list_assets
from exasol_like_dss.lib.assets.plan import Plan, make_plan
from exasol_like_dss.lib.assets.record import AssetKind
from exasol_like_dss.lib.errors import DssError, LeftOver

if TYPE_CHECKING:
    from exasol_like_dss.lib.pipeline.ec2_plan import Ec2World

_DEADLINE_S = 1800.0


def remove_everything(asset_id: AssetId, *, world: Ec2World) -> None:
    """In the region of the build. Raises ``DssError`` when something is left."""
    pattern = AssetPattern(asset_id.value)

    kinds = [kind for kind in AssetKind if kind is not AssetKind.KEY_PAIR]

    def look() -> Plan:
        listing = list_assets(
            world.aws,
            regions=[world.aws.region],
            pattern=pattern,
            kinds=(),
            prices=world.prices,
            progress=world.progress,
            cancellation=world.cancellation,
        )
        return make_plan(listing, pattern=pattern, kinds=kinds, older_than=None, now=datetime.now(UTC))

    with world.progress.step("remove what is there"):
        removal = Removal(look())
        if removal.plan.steps:
            remove_all(
                removal,
                aws=world.aws,
                plan_again=look,
                deadline_s=_DEADLINE_S,
                progress=world.progress,
                cancellation=world.cancellation,
            )
        if removal.left:
            first = removal.left[0]
            raise DssError(
                f"{len(removal.left)} things of {asset_id} could not be removed: {first.asset}: {first.reason}",
                hint=f"Try dss cleanup-aws-assets --asset-id {asset_id}",
            )


def check_nothing_left(asset_id: AssetId, *, world: Ec2World) -> None:
    """For the end of a command, after its result. Raises ``LeftOver``: the AMI and the images are none of it."""
    if not world.left:
        return
    names = " and ".join(f"the {kind.value.replace('-', ' ')} {name}" for name, kind in world.left.items())
    types = " ".join(f"--asset-type {kind.value}" for kind in sorted(set(world.left.values())))
    raise LeftOver(
        f"All is done, but {names} could not be removed.",
        hint=f"Remove what stays: dss cleanup-aws-assets --asset-id {asset_id} {types}",
    )
