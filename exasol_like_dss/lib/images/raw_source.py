"""Any image as a raw disk: as it lies there where that is possible, else unpacked by ``qemu-img`` for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib import preflight
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.formats import vhd
from exasol_like_dss.lib.images.formats.protocol import VmImageFormat
from exasol_like_dss.lib.images.formats.reader import ImageInfo, inspect_image, qemu_source
from exasol_like_dss.lib.images.snapshot_content import RawSource
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.manifest import Manifest, read_manifest

MANIFEST = "manifest.json"
#: Of a build's files, those first that need no unpacking.
_ORDER = ("RAW", "VHD", "QCOW2", "VMDK", "OVA")


@dataclass(frozen=True)
class ChosenImage:
    """An image file, and the manifest of the build that it is of, where there is one."""

    info: ImageInfo
    manifest: Manifest | None


def choose_image(path: Path, *, programs: Programs) -> ChosenImage:
    """path: an image of any kind that ``inspect_image`` knows, or the folder of a build. Raises ``InputError``."""
    if not path.is_dir():
        info = inspect_image(path, programs)
        manifest = path.parent / MANIFEST
        if not manifest.is_file():
            return ChosenImage(info, None)
        try:
            found = read_manifest(manifest)
        except InputError:  # of something else: the image is what was asked for
            return ChosenImage(info, None)
        return ChosenImage(info, found if path.name in [one.name for one in found.artifacts] else None)
    if not (path / MANIFEST).is_file():
        raise InputError(f"The folder {path} holds no finished build.", hint="Give an image, or what create-vm left.")
    found = read_manifest(path / MANIFEST)
    files = [one for one in found.artifacts if one.format in _ORDER and (path / one.name).is_file()]
    if not files:
        raise InputError(f"The build in {path} has no image (any more).", hint="Give an image itself.")
    best = min(files, key=lambda one: _ORDER.index(one.format))
    return ChosenImage(inspect_image(path / best.name, programs), found)


@contextmanager
def raw_source(info: ImageInfo, *, work_directory: Path, programs: Programs, progress: Progress) -> Iterator[RawSource]:
    """work_directory: for a sparse raw file, where one is needed. Raises ``InputError``, ``ProgramFailed``."""
    if info.format is VmImageFormat.RAW or _is_fixed_vhd(info):
        yield RawSource(info.path, info.virtual_bytes)
        return
    preflight.check_programs(["qemu-img"], programs=programs)
    work_directory.mkdir(parents=True, exist_ok=True)
    # Twice the size of a compressed file is what a root file system takes, with room to spare.
    preflight.check_space([(work_directory, min(info.virtual_bytes, 4 * info.file_bytes), "--work-directory")])
    with TemporaryDirectory(prefix="dss-raw-", dir=work_directory) as folder, progress.step("unpack the image"):
        raw = Path(folder) / "disk.raw"
        programs.run(["qemu-img", "convert", "-O", "raw", "-W", "-m", "8", qemu_source(info), str(raw)])
        yield RawSource(raw, info.virtual_bytes)


def _is_fixed_vhd(info: ImageInfo) -> bool:
    """Whether the disk's bytes stand at the beginning of the file, as in ours."""
    if info.format is not VmImageFormat.VHD or info.file_bytes != info.virtual_bytes + vhd.FOOTER_BYTES:
        return False
    with info.path.open("rb") as file:
        file.seek(info.virtual_bytes)
        footer = file.read(vhd.FOOTER_BYTES)
    return footer.startswith(vhd.COOKIE) and vhd.FOOTER.unpack(footer)[13] == vhd.FIXED
