"""From an AMI to images in S3: exported, named, described.

Formats go side by side as far as AWS lets them: it exports an AMI in one format at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from exasol_like_dss import __version__
from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.assets.names import AssetNames
from exasol_like_dss.lib.assets.tags import AssetTags
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.ami import PROVISIONED
from exasol_like_dss.lib.images.export import EXPORTED, ExportOrder, export_ami
from exasol_like_dss.lib.images.formats.protocol import ImageDescription
from exasol_like_dss.lib.images.source_ami import DIRECT, VM_EXPORT
from exasol_like_dss.lib.publishing import s3_release
from exasol_like_dss.lib.publishing.manifest import Artifact, Manifest, Verification
from exasol_like_dss.lib.publishing.s3_ova import make_ova
from exasol_like_dss.lib.publishing.s3_release import ReleasePlace
from exasol_like_dss.lib.waiting import awaited

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_results import Image
    from exasol_like_dss.lib.pipeline.ec2_plan import Ec2World, ExportPlace

#: What ``--builder ec2`` and ``export-vm`` offer.
FORMATS = (*EXPORTED, "OVA")


@dataclass(frozen=True, kw_only=True)
class ExportWish:
    """What is exported. described: of the manifest: edition, base, and the inputs of the build as far as known.

    method: ``VM_EXPORT`` (AWS's export tasks) or ``DIRECT`` (its snapshot is read, see ``ec2_direct``).
    """

    image: Image
    names: AssetNames
    tags: AssetTags
    formats: tuple[str, ...]
    patience_s: float
    verification: Verification
    edition: str
    base: str
    inputs: Mapping[str, Any]
    method: str = VM_EXPORT


@dataclass(frozen=True, kw_only=True)
class Exported:
    """artifacts: also those that had been there before."""

    place: ReleasePlace
    artifacts: tuple[Artifact, ...]


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Each once. Raises ``InputError`` for what AWS and we can't make of an AMI."""
    wanted = tuple(dict.fromkeys(name.upper() for name in formats))
    for name in wanted:
        if name not in FORMATS:
            raise InputError(
                f"The format {name} is not made of an AMI.", hint=f"There are {', '.join(FORMATS)}; qemu-img converts."
            )
    return wanted


def release_place(names: AssetNames, place: ExportPlace, image_id: str) -> ReleasePlace:
    return ReleasePlace(bucket=place.bucket, prefix=names.export_prefix, stem=names.file_stem, image_id=image_id)


def export_vm(wish: ExportWish, place: ExportPlace, *, world: Ec2World) -> Exported:
    """Exports, renames, hashes and describes; what is there of the same AMI is not made again.

    Formats go side by side; one that fails does not stop the others. Raises ``DssError`` that names those that failed.
    """
    s3 = world.aws.s3_builds()
    release = release_place(wish.names, place, wish.image.id)
    with world.progress.step("images in S3"):
        s3_release.clear_leftovers(release, aws=world.aws)
        if finished := s3_release.finished_build(release, wish.formats, s3=s3):
            world.progress.note(f"All images are there: {release.uri()}")
            return Exported(place=release, artifacts=finished)
        if wish.method == DIRECT:
            artifacts = _directly(wish, release, world=world)
        else:
            artifacts = _all_formats(wish, place, release, world=world)
        s3_release.clear_exports(release, aws=world.aws)
        # An upload whose id was lost with the answer to its beginning: botocore has begun another one.
        s3_release.clear_leftovers(release, aws=world.aws)
        with world.progress.step("manifest"), TemporaryDirectory(prefix="dss-") as folder:
            s3_release.publish_descriptions(
                _manifest(wish, artifacts, world=world), release, folder=Path(folder), s3=s3
            )  # fmt: skip
        if "VMDK" not in wish.formats:  # the OVA was made of it
            s3.delete(release.bucket, release.image_key("VMDK"))
    return Exported(place=release, artifacts=artifacts)


def _directly(wish: ExportWish, release: ReleasePlace, *, world: Ec2World) -> tuple[Artifact, ...]:
    from exasol_like_dss.lib.pipeline.ec2_direct import DirectExport, export_directly, the_snapshot

    order = DirectExport(
        snapshot_id=the_snapshot(wish.image.snapshot_ids, image_id=wish.image.id),
        formats=wish.formats,
        release=release,
        description=_description(wish),
    )
    made = export_directly(order, world=world)
    return tuple(sorted(made, key=lambda artifact: FORMATS.index(artifact.format)))


def _all_formats(
    wish: ExportWish, place: ExportPlace, release: ReleasePlace, *, world: Ec2World
) -> tuple[Artifact, ...]:
    needed = [name for name in EXPORTED if name in wish.formats or (name == "VMDK" and "OVA" in wish.formats)]
    order = ExportOrder(
        image_id=wish.image.id,
        asset_id=wish.tags.asset_id,
        bucket=place.bucket,
        role=place.role,
        prefix=wish.names.export_prefix,
        tags=wish.tags.as_dict(),
        patience_s=wish.patience_s,
    )
    under = world.progress.current()

    def work(name: str) -> list[Artifact]:
        with world.progress.step(name, under=under):
            return _one_format(name, wish, order, release, world=world)

    with ThreadPoolExecutor(len(needed), thread_name_prefix="export") as pool:
        try:
            futures: dict[str, Future[list[Artifact]]] = {name: pool.submit(work, name) for name in needed}
            made: list[Artifact] = []
            failed: dict[str, DssError] = {}
            for name, future in futures.items():
                try:
                    found = awaited(future)
                    made += found
                except DssError as error:
                    failed[name] = error
        except BaseException:
            world.cancellation.cancel()  # the threads look at it
            raise
    if len(failed) == 1:
        raise next(iter(failed.values()))
    if failed:
        raise DssError(
            f"{len(failed)} of {len(needed)} exports failed: "
            + "; ".join(f"{name}: {error.message}" for name, error in failed.items()),
            hint="Run the same command again: what is done stays.",
        )
    return tuple(sorted(made, key=lambda artifact: FORMATS.index(artifact.format)))


def _one_format(
    name: str, wish: ExportWish, order: ExportOrder, release: ReleasePlace, *, world: Ec2World
) -> list[Artifact]:
    """Exports one format; from the VMDK an OVA is made as well."""
    s3, progress, cancellation = world.aws.s3_builds(), world.progress, world.cancellation
    virtual_bytes = wish.image.size_gib << 30
    target = release.image_key(name)
    if not s3_release.is_there(release, target, s3=s3):
        source = export_ami(order, name, aws=world.aws, progress=progress, cancellation=cancellation)
        with progress.step("rename"):
            s3_release.rename(
                release, source=source, target=target, s3=s3, progress=progress, cancellation=cancellation
            )  # fmt: skip
    with progress.step("SHA-256"):
        disk = s3_release.described(
            release, name, virtual_bytes=virtual_bytes, s3=s3, progress=progress, cancellation=cancellation
        )
    made = [disk] if name in wish.formats else []
    if name == "VMDK" and "OVA" in wish.formats:
        made.append(_ova(disk, wish, release, world=world))
    return made


def _ova(disk: Artifact, wish: ExportWish, release: ReleasePlace, *, world: Ec2World) -> Artifact:
    """disk: the VMDK, which is in S3."""
    s3, progress, cancellation = world.aws.s3_builds(), world.progress, world.cancellation
    virtual_bytes, key = wish.image.size_gib << 30, release.image_key("OVA")
    with progress.step("OVA") as step:
        if s3_release.is_there(release, key, s3=s3):
            return s3_release.described(
                release, "OVA", virtual_bytes=virtual_bytes, s3=s3, progress=progress, cancellation=cancellation
            )
        ova = make_ova(
            s3,
            bucket=release.bucket,
            vmdk=release.image_key("VMDK"),
            vmdk_sha256=disk.sha256,
            key=key,
            stem=release.stem,
            description=_description(wish),
            metadata=release.metadata,
            cancellation=cancellation,
            on_bytes=lambda done: progress.bytes(step, done, disk.size_bytes),
        )
    return Artifact(key.rpartition("/")[2], "OVA", ova.size_bytes, ova.sha256, virtual_bytes)


def _description(wish: ExportWish) -> ImageDescription:
    return ImageDescription(
        name=wish.names.file_stem,
        title="Data Science Sandbox",
        version=wish.tags.asset_id.value,
        distribution="ubuntu" if wish.base.startswith("ubuntu") else "debian",
    )


def _manifest(wish: ExportWish, artifacts: tuple[Artifact, ...], *, world: Ec2World) -> Manifest:
    return Manifest(
        asset_id=wish.tags.asset_id.value,
        tool_version=__version__,
        edition=wish.edition,
        base=wish.base,
        created=datetime.now(UTC),
        verification=wish.verification,
        artifacts=artifacts,
        inputs={
            "builder": "ec2",
            "region": world.aws.region,
            "image_id": wish.image.id,
            "provisioned": wish.image.tags.get(PROVISIONED, ""),
            "formats": list(wish.formats),
            "export_method": wish.method,
            **wish.inputs,
        },
        versions={PRODUCT: __version__},
        seconds_per_step=world.progress.seconds(),
    )
