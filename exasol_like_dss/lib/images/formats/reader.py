"""What a file is that a user calls an image, and whether it is whole.

Every answer that is not "yes" is an ``InputError`` of one sentence, with what to do.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError, ProgramFailed
from exasol_like_dss.lib.images.formats import vhd
from exasol_like_dss.lib.images.formats.ova_reader import NoAppliance, OvaReader
from exasol_like_dss.lib.images.formats.protocol import VmImageFormat
from exasol_like_dss.lib.images.formats.vmdk import MAGIC as VMDK_MAGIC
from exasol_like_dss.lib.images.formats.vmdk_reader import Damaged, VmdkReader
from exasol_like_dss.lib.images.partitions import SECTOR_BYTES

_AGAIN = "Fetch or make it again, and compare its SHA-256."
_KINDS = "VMDK, VHD, OVA, qcow2 and raw disk images (with a partition table) can be read."
#: Beginnings of files that are near misses.
_OTHERS = (
    (b"\x1f\x8b", "is compressed with gzip", "Decompress it first: gunzip"),
    (b"\xfd7zXZ\0", "is compressed with xz", "Decompress it first: unxz"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "Decompress it first: unzstd"),
    (b"BZh", "is compressed with bzip2", "Decompress it first: bunzip2"),
    (b"PK\x03\x04", "is a zip archive", "Unpack it first: unzip"),
    (b"vhdxfile", "is a VHDX image", "Convert it first: qemu-img convert -O qcow2 …"),
    (b"<<< ", "is a VDI image", "Convert it first: qemu-img convert -O qcow2 …"),
)
_DRIVERS = {
    VmImageFormat.RAW: "raw",
    VmImageFormat.QCOW2: "qcow2",
    VmImageFormat.VMDK: "vmdk",
    VmImageFormat.OVA: "vmdk",
    VmImageFormat.VHD: "vpc",
}


@dataclass(frozen=True)
class ImageInfo:
    """An image that can be used.

    virtual_bytes: size of the disk as a guest sees it. file_bytes: of the file.
    disk_offset, disk_bytes: where the disk's own file is inside an OVA; otherwise the whole file.
    """

    path: Path
    format: VmImageFormat
    virtual_bytes: int
    file_bytes: int
    disk_offset: int
    disk_bytes: int

    @property
    def qemu_driver(self) -> str:
        """What qemu calls the format of the disk: for ``-F`` and ``format=``."""
        return _DRIVERS[self.format]


def inspect_image(path: Path, programs: Programs, *, deep: bool = False) -> ImageInfo:
    """Finds out what ``path`` is, by its content, and checks its structure (under a second).

    deep: reads everything: every compressed grain, every file that the manifest of an OVA names.
    Raises ``InputError`` when it is missing, not an image, cut or damaged.
    """
    try:
        with path.open("rb") as file:
            return _inspect(path, file, programs, deep=deep)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", hint="Check the name.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory.", hint="Give the image file itself.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}.", hint="Check its permissions.") from None
    except Damaged as problem:
        raise InputError(f"{path} {problem}.", hint=_AGAIN) from None


def qemu_source(info: ImageInfo) -> str:
    """The image as qemu and qemu-img take it: as a file name, or as a backing file with ``-F info.qemu_driver``.

    It names the format, so nothing is guessed, and reads the disk of an OVA inside the tar, without unpacking it.
    """
    file: dict[str, object] = {"driver": "file", "filename": str(info.path.resolve())}
    if info.format is VmImageFormat.OVA:
        file = {"driver": "raw", "offset": info.disk_offset, "size": info.disk_bytes, "file": file}
    return "json:" + json.dumps({"driver": info.qemu_driver, "file": file})


def _inspect(path: Path, file: BinaryIO, programs: Programs, *, deep: bool) -> ImageInfo:
    file_bytes = path.stat().st_size
    if not file_bytes:
        raise InputError(f"{path} is empty.", hint=_AGAIN)
    head = file.read(4096)

    def info(kind: VmImageFormat, virtual_bytes: int, offset: int = 0, disk_bytes: int = file_bytes) -> ImageInfo:
        return ImageInfo(path, kind, virtual_bytes, file_bytes, offset, disk_bytes)

    if head.startswith(b"QFI\xfb"):
        return info(VmImageFormat.QCOW2, _qcow2(path, head, programs))
    if head.startswith(VMDK_MAGIC):
        reader = VmdkReader(file, size_bytes=file_bytes)
        reader.check(deep=deep)
        return info(VmImageFormat.VMDK, reader.virtual_bytes)
    if head.startswith(b"# Disk DescriptorFile"):
        return info(VmImageFormat.VMDK, _asked(path, "vmdk", programs))
    if head[257:262] == b"ustar":
        return _ova(path, file, info, deep=deep)
    virtual_bytes = _vhd(path, file, head, file_bytes)
    if virtual_bytes:
        return info(VmImageFormat.VHD, virtual_bytes)
    for magic, what, hint in _OTHERS:
        if head.startswith(magic):
            raise InputError(f"{path} {what}.", hint=hint)
    _raw(path, file, head, file_bytes)
    return info(VmImageFormat.RAW, file_bytes)


def _ova(path: Path, file: BinaryIO, info: Callable[..., ImageInfo], *, deep: bool) -> ImageInfo:
    try:
        ova = OvaReader(path)
    except NoAppliance:
        raise InputError(f"{path} is a tar, but no OVA: it holds no OVF descriptor.", hint=_KINDS) from None
    if deep:
        ova.check_manifest()
    disk = VmdkReader(file, size_bytes=ova.disk.size_bytes, offset=ova.disk.offset)
    disk.check(deep=deep)
    return info(VmImageFormat.OVA, disk.virtual_bytes, ova.disk.offset, ova.disk.size_bytes)


def _qcow2(path: Path, head: bytes, programs: Programs) -> int:
    """Size from the header (QEMU's docs/interop/qcow2.txt); the rest is left to ``qemu-img check``."""
    if len(head) < 72:
        raise Damaged("is cut short")
    try:
        programs.run(["qemu-img", "check", "-q", "-f", "qcow2", str(path)])
    except ProgramFailed as problem:
        # 3: clusters are lost, which harms nothing.
        if problem.returncode != 3:
            raise Damaged("is cut short or damaged (qemu-img check)") from None
    return int(struct.unpack_from(">Q", head, 24)[0])


def _asked(path: Path, driver: str, programs: Programs) -> int:
    """A VMDK that is only a text which names other files: qemu-img follows it."""
    try:
        output = programs.run(["qemu-img", "info", "-f", driver, "--output=json", str(path)])
    except ProgramFailed:
        raise Damaged("is a descriptor whose disk files are missing or damaged") from None
    return int(json.loads(output)["virtual-size"])


def _vhd(path: Path, file: BinaryIO, head: bytes, file_bytes: int) -> int:
    """The disk's size, or 0 if this is no VHD."""
    footer = b""
    if file_bytes >= vhd.FOOTER_BYTES:
        file.seek(file_bytes - vhd.FOOTER_BYTES)
        footer = file.read(vhd.FOOTER_BYTES)
    if not footer.startswith(vhd.COOKIE):
        # A dynamic VHD begins with a copy of its footer; a fixed one that is cut looks like a raw disk.
        if head.startswith(vhd.COOKIE) or path.suffix.lower() == ".vhd":
            raise Damaged("is cut short: its VHD footer is missing")
        return 0
    fields = vhd.FOOTER.unpack(footer)
    current_bytes, kind, checksum = fields[9], fields[13], fields[14]
    if checksum != vhd.checksum_of(footer[:64] + bytes(4) + footer[68:]):
        raise Damaged("has a damaged VHD footer")
    if kind not in (vhd.FIXED, vhd.DYNAMIC):
        raise InputError(f"{path} is a VHD that needs another one.", hint="Merge it with its parent first.")
    if kind == vhd.FIXED and file_bytes != current_bytes + vhd.FOOTER_BYTES:
        raise Damaged("has not the size that its VHD footer tells")
    return int(current_bytes)


def _raw(path: Path, file: BinaryIO, head: bytes, file_bytes: int) -> None:
    """A raw disk is known by its partition table: a GPT, or at least one partition in the MBR."""
    if len(head) < 1024 or head[510:512] != b"\x55\xaa" or not any(head[446:510]):
        raise InputError(f"{path} is no disk image.", hint=_KINDS)
    entries = [struct.unpack_from("<B3xB3xII", head, at) for at in range(446, 510, 16)]
    if head[512:520] == b"EFI PART":
        header_bytes, checksum, _, backup = struct.unpack_from("<II4x8sQ", head, 524)
        if not 92 <= header_bytes <= 512:
            raise Damaged("has a damaged partition table")
        header = head[512 : 512 + header_bytes]
        if zlib.crc32(header[:16] + bytes(4) + header[20:]) != checksum:
            raise Damaged("has a damaged partition table")
        end = (backup + 1) * SECTOR_BYTES
    else:
        if any(kind == 0xEE for _, kind, _, _ in entries):
            raise Damaged("has a damaged partition table")
        end = max((start + count) * SECTOR_BYTES for _, _, start, count in entries)
    if file_bytes < end:
        raise Damaged(f"is cut short: it has {file_bytes} of at least {end} bytes")
    if head[512:520] == b"EFI PART":
        file.seek(end - SECTOR_BYTES)
        if file.read(8) != b"EFI PART":
            raise Damaged("lacks the backup of its partition table")
