"""``convert-image``: a finished disk image in other formats, in one read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.formats import VmImageFormat, WrittenImage, write_formats
from exasol_like_dss.lib.images.formats.content import same_file
from exasol_like_dss.lib.images.formats.protocol import ImageDescription
from exasol_like_dss.lib.images.formats.reader import ImageInfo, inspect_image
from exasol_like_dss.lib.images.formats.served import check_alone, disk_content
from exasol_like_dss.lib.images.identity import build_timestamp, reproducible
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.pipeline.describing import move_finished
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.checksums import add_sha256sums
from exasol_like_dss.lib.publishing.manifest import Artifact, read_manifest
from exasol_like_dss.lib.workspace import staging

SHA256SUMS = "SHA256SUMS"
#: 2000-01-01, the beginning of VHD's time: the time stamps in files, so that the same disk gives the same files.
_TIMESTAMP = 946684800


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What ``convert-image`` is asked for.

    raw: the image is taken as a raw disk, whatever it looks like. force: replaces files that are there.
    """

    image: Path
    formats: tuple[VmImageFormat, ...]
    output_directory: Path
    raw: bool = False
    force: bool = False


@dataclass(frozen=True)
class Converted:
    """source: what the image was. images: the new files."""

    source: ImageInfo
    images: tuple[WrittenImage, ...]
    directory: Path


def convert_image(
    order: Conversion, *, programs: Programs, progress: Progress, cancellation: Cancellation
) -> Converted:
    """Writes ``DIRECTORY/STEM.EXTENSION`` for every format, and their sums into ``DIRECTORY/SHA256SUMS``.

    Files get their names when all are complete; interrupted, nothing is left. Memory does not grow with the image.
    Raises ``InputError``, ``ProgramFailed``, ``DssError``, ``Interrupted``.
    """
    directory, stem = order.output_directory, order.image.stem
    if not order.raw:
        check_alone(order.image)
    info = _raw_info(order.image) if order.raw else inspect_image(order.image, programs)
    names = [f"{stem}.{each.extension}" for each in order.formats]
    for target in (directory / name for name in names):
        if target.exists() and same_file(order.image, target):
            raise InputError(
                f"{order.image} would be overwritten by its own conversion.", hint="Give another --output-directory."
            )
        if target.is_dir():
            raise InputError(f"{target} is a directory.", hint="Give another --output-directory.")
        if target.exists() and not order.force:
            raise InputError(f"{target} exists already.", hint="Give --force, or another --output-directory.")
    with (
        staging(directory, f"{stem}.conversion", progress=progress) as staged,
        disk_content(info, programs=programs, progress=progress) as content,
    ):
        with progress.step("image formats"):
            written = write_formats(
                source=content,
                formats=order.formats,
                directory=staged,
                stem=stem,
                description=_description(order.image, stem),
                programs=programs,
                progress=progress,
                cancellation=cancellation,
            )
        artifacts = [
            Artifact(each.path.name, each.format.value, each.size_bytes, each.sha256, content.size_bytes)
            for each in written
        ]
        add_sha256sums(artifacts, before=directory / SHA256SUMS, target=staged / SHA256SUMS)
        move_finished(staged, directory, replaced=())
    return Converted(info, tuple(written), directory)


def _raw_info(path: Path) -> ImageInfo:
    if not path.is_file():
        raise InputError(f"There is no file {path}.", hint="Check the name.")
    size_bytes = path.stat().st_size
    if not size_bytes:
        raise InputError(f"{path} is empty.", hint="Give a disk image.")
    return ImageInfo(path, VmImageFormat.RAW, size_bytes, size_bytes, 0, size_bytes)


def _description(image: Path, stem: str) -> ImageDescription:
    """What an OVA says: of a build of ours its manifest knows more."""
    timestamp = build_timestamp() if reproducible() else _TIMESTAMP
    try:
        manifest = read_manifest(image.parent / "manifest.json")
    except (InputError, OSError):
        manifest = None
    if manifest is None or image.name not in [each.name for each in manifest.artifacts]:
        return ImageDescription(stem, title=stem, distribution="", timestamp=timestamp)
    distribution = manifest.base.split("-")[0]
    return ImageDescription(stem, version=manifest.asset_id, distribution=distribution, timestamp=timestamp)
