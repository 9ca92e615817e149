"""``import-ami``: an image of this machine becomes an AMI. No instance, no bucket, no role; only written blocks travel.

Every step looks for what it would make: the AMI by its name, the snapshot by a tag with what it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss import __version__
from exasol_like_dss.access.aws.ebs import BLOCK_BYTES
from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.assets.names import AssetNames
from exasol_like_dss.lib.assets.tags import ASSET_ID, AssetTags
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.ami import FAILED_STATES, VERIFIED, find_ami, remove_ami, wait_for_ami
from exasol_like_dss.lib.images.raw_source import ChosenImage, choose_image, raw_source
from exasol_like_dss.lib.images.snapshot_content import SnapshotContent, read_content
from exasol_like_dss.lib.images.snapshot_writing import CONTENT, SnapshotOrder, ensure_snapshot, find_snapshots
from exasol_like_dss.lib.pace import Pace
from exasol_like_dss.lib.pipeline.ec2_plan import CostLine
from exasol_like_dss.lib.publishing.manifest import Verification

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_results import Image
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.access.programs import Programs
    from exasol_like_dss.lib.assets.cost import Prices
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

_ROOT_DEVICE = "/dev/xvda"


@dataclass(frozen=True, kw_only=True)
class ImportOrder:
    """What ``import-ami`` is asked for. boot_mode: ``uefi-preferred``, ``uefi`` or ``legacy-bios``."""

    chosen: ChosenImage
    tags: AssetTags
    boot_mode: str
    work_directory: Path


@dataclass(frozen=True, kw_only=True)
class ImportWorld:
    """The outside, as this pipeline uses it."""

    aws: AwsSession
    programs: Programs
    prices: Prices
    progress: Progress
    cancellation: Cancellation


@dataclass(frozen=True, kw_only=True)
class ImportedAmi:
    """blocks: of the image. written: by this run. requests: to the EBS direct APIs. costs: of this run and a month."""

    image: Image
    region: str
    snapshot_id: str
    blocks: int
    written: int
    requests: int
    costs: tuple[CostLine, ...]


def import_ami(order: ImportOrder, *, world: ImportWorld) -> ImportedAmi:
    """The AMI. Raises ``DssError``, ``Interrupted``. Running it again goes on where it stopped."""
    aws, progress, cancellation = world.aws, world.progress, world.cancellation
    names = AssetNames.of(order.tags.asset_id)
    find_ami(aws, names.image, asset_id=order.tags.asset_id.value)  # the name is free, or ours
    with raw_source(
        order.chosen.info, work_directory=order.work_directory, programs=world.programs, progress=progress
    ) as source:
        with progress.step("read the image") as step:
            content = read_content(
                source, cancellation=cancellation, on_bytes=lambda at: progress.bytes(step, at, source.size_bytes)
            )
        snapshot_order = SnapshotOrder(
            order.tags.asset_id,
            content,
            f"{PRODUCT} {__version__}, {order.tags.asset_id}",
            order.tags.as_dict(),
        )
        found = find_ami(aws, names.image, asset_id=order.tags.asset_id.value)
        if found and found.state in FAILED_STATES:
            progress.note(f"The AMI {found.id} has failed before: it is made anew.")
            remove_ami(aws, found)
            found = None
        if found:
            _check_content(found, content)
            image = wait_for_ami(aws, found.id, progress=progress, cancellation=cancellation)
            return _imported(image, image.snapshot_ids[0], content, written=0, requests=0, world=world)
        pace = Pace(cancellation=cancellation)
        try:
            with progress.step("snapshot"):
                snapshot = ensure_snapshot(
                    snapshot_order, aws=aws, pace=pace, progress=progress, cancellation=cancellation
                )
            with progress.step("AMI"):
                image = _register(order, names, snapshot_order, snapshot.id, world=world)
        except BaseException:
            _tell_what_stays(snapshot_order, world=world)
            raise
    return _imported(image, snapshot.id, content, written=snapshot.written, requests=pace.requests, world=world)


def import_build(
    directory: Path, *, tags: AssetTags, boot_mode: str, work_directory: Path, world: ImportWorld
) -> ImportedAmi:
    """The AMI of a finished local build that has passed its verification.

    Raises ``InputError`` for another one, ``DssError``, ``Interrupted``.
    """
    chosen = choose_image(directory, programs=world.programs)
    if chosen.manifest is None or chosen.manifest.verification is not Verification.PASSED:
        raise InputError(
            f"The build in {directory} was not verified: no AMI is made of it.",
            hint="Verify it: dss create-vm --verify; or take it as it is: dss import-ami.",
        )
    order = ImportOrder(chosen=chosen, tags=tags, boot_mode=boot_mode, work_directory=work_directory)
    try:
        return import_ami(order, world=world)
    except BaseException:
        world.progress.note(f"The image itself is finished. This goes on: dss import-ami {directory}")
        raise


def _check_content(image: Image, content: SnapshotContent) -> None:
    if image.tags.get(CONTENT) != content.id:
        raise InputError(
            f"The AMI {image.id} has this asset-id, and another content.",
            hint="Choose another --asset-id, or remove what is there: dss cleanup-aws-assets.",
        )


def _register(
    order: ImportOrder, names: AssetNames, snapshot_order: SnapshotOrder, snapshot_id: str, *, world: ImportWorld
) -> Image:
    manifest = order.chosen.manifest
    tags = snapshot_order.all_tags
    if manifest and manifest.verification is Verification.PASSED:
        tags[VERIFIED] = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        image_id = world.aws.ec2_builds().register_image(
            snapshot_id,
            name=names.image,
            description=snapshot_order.description,
            root_device=_ROOT_DEVICE,
            boot_mode=order.boot_mode,
            tags=tags,
        )
    except AwsError as error:
        # The answer to this very call may have been lost.
        found = (
            find_ami(world.aws, names.image, asset_id=order.tags.asset_id.value)
            if error.code == "InvalidAMIName.Duplicate"
            else None
        )
        if found is None:
            raise
        _check_content(found, snapshot_order.content)
        image_id = found.id
    return wait_for_ami(world.aws, image_id, progress=world.progress, cancellation=world.cancellation)


def _tell_what_stays(order: SnapshotOrder, *, world: ImportWorld) -> None:
    """After an error or an interruption."""
    try:
        stays = ", ".join(one.id for one in find_snapshots(order, aws=world.aws))
    except DssError:
        stays = "not known what"
    if stays:
        world.progress.note(
            f"What stays: {stays}. The same command goes on with it (within a day); it goes with: "
            f"dss cleanup-aws-assets --asset-id {order.tags[ASSET_ID]}"
        )


def _imported(
    image: Image, snapshot_id: str, content: SnapshotContent, *, written: int, requests: int, world: ImportWorld
) -> ImportedAmi:
    prices = world.prices.of(world.aws.region)
    size = len(content) * BLOCK_BYTES
    costs = [CostLine(f"{written} blocks of 512 KiB written", prices.blocks_written(written), "import")]
    costs.append(CostLine("AMI (its snapshot)", prices.snapshot_month(size), "month"))
    return ImportedAmi(
        image=image,
        region=world.aws.region,
        snapshot_id=snapshot_id,
        blocks=len(content),
        written=written,
        requests=requests,
        costs=tuple(costs),
    )
