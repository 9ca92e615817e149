"""What differs between two images: partition table, boot loader, and each file with all that is known of it."""

from __future__ import annotations

import mmap
import stat
import struct
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.ext4_reader import Bytes, Ext4Reader, Inode
from exasol_like_dss.lib.images.formats import VmImageFormat
from exasol_like_dss.lib.images.formats.reader import inspect_image, qemu_source
from exasol_like_dss.lib.images.formats.sparse import read_blocks
from exasol_like_dss.lib.images.partitions import BIOS_BOOT, EFI_SYSTEM, LINUX_ROOT_X86_64, SECTOR_BYTES
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress

_NAMES = {BIOS_BOOT: "BIOS boot", EFI_SYSTEM: "EFI system", LINUX_ROOT_X86_64: "root"}
#: Fields of the superblock that identify a file system: place and length.
_SUPERBLOCK = {"UUID": (104, 16), "label": (120, 16), "hash seed": (236, 16), "time of creation": (264, 4)}
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFCHR: "character device",
          stat.S_IFBLK: "block device", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """where: a path, or a part of the disk. what: content, mode, owner, time … first, second: as the two have it."""

    where: str
    what: str
    first: str
    second: str


@dataclass(frozen=True)
class _Partition:
    name: str
    guid: uuid.UUID
    start_bytes: int
    size_bytes: int


def compare_images(
    first: Path, second: Path, *, programs: Programs, progress: Progress, cancellation: Cancellation
) -> list[Difference]:
    """All differences of two images in any format that ``dss`` writes; the formats themselves may differ.

    Raises ``InputError`` for what is no image of ours.
    """
    with ExitStack() as stack:
        disks = [stack.enter_context(_raw(path, programs, progress, cancellation)) for path in (first, second)]
        with progress.step("compare"):
            found = list(_compared(disks[0], disks[1], cancellation))
    return found


def _compared(first: Path, second: Path, cancellation: Cancellation) -> Iterator[Difference]:
    with _mapped(first) as one, _mapped(second) as two:
        if len(one) != len(two):
            yield Difference("disk", "size", f"{len(one)} bytes", f"{len(two)} bytes")
        if one[:440] != two[:440]:
            yield Difference("disk", "boot code", "", "")
        tables = [_partitions(disk) for disk in (one, two)]
        if _disk_guid(one) != _disk_guid(two):
            yield Difference("disk", "GUID", str(_disk_guid(one)), str(_disk_guid(two)))
        for left, right in zip_longest(*tables):
            name = (left or right).name
            if left is None or right is None:
                yield Difference(f"partition {name}", "there", _yes(left is not None), _yes(right is not None))
                continue
            for what in ("name", "guid", "start_bytes", "size_bytes"):
                values = [str(getattr(side, what)) for side in (left, right)]
                if values[0] != values[1]:
                    yield Difference(f"partition {name}", what.replace("_bytes", ""), *values)
            if name == "root":
                yield from _roots(one, two, left, right, cancellation)
            elif (at := _first_difference(one, two, left, right)) is not None:
                yield Difference(f"partition {name}", f"content, from byte {at} on", "", "")
        if not first.samefile(second):
            yield from _elsewhere(first, second, one, two, cancellation)


def _roots(
    one: mmap.mmap, two: mmap.mmap, left: _Partition, right: _Partition, cancellation: Cancellation
) -> Iterator[Difference]:
    readers = Ext4Reader(one, left.start_bytes), Ext4Reader(two, right.start_bytes)
    for name, (at, count) in _SUPERBLOCK.items():
        fields = [reader.superblock[at : at + count].hex() for reader in readers]
        if fields[0] != fields[1]:
            yield Difference("root file system", name, *fields)
    trees = [dict(reader.walk()) for reader in readers]
    for path in sorted(trees[0].keys() | trees[1].keys()):
        cancellation.check()
        a, b = trees[0].get(path), trees[1].get(path)
        if a is None or b is None:
            yield Difference(path, "there", _yes(a is not None), _yes(b is not None))
            continue
        for what, values in _facts(a, b).items():
            if values[0] != values[1]:
                yield Difference(path, what, *values)
        if stat.S_IFMT(a.mode) == stat.S_IFMT(b.mode) and not stat.S_ISDIR(a.mode):
            yield from _contents(path, readers, a, b)


def _facts(a: Inode, b: Inode) -> dict[str, tuple[str, str]]:
    def both(value: object, other: object) -> tuple[str, str]:
        return str(value), str(other)

    result = {
        "kind": both(_KINDS.get(stat.S_IFMT(a.mode)), _KINDS.get(stat.S_IFMT(b.mode))),
        "mode": (f"{stat.S_IMODE(a.mode):04o}", f"{stat.S_IMODE(b.mode):04o}"),
        "owner": (f"{a.uid}:{a.gid}", f"{b.uid}:{b.gid}"),
        "time": (_time(a.mtime_ns), _time(b.mtime_ns)),
        "names": both(a.links, b.links),
        "device": both(a.device, b.device),
    }
    for name in sorted({name for name, _ in (*a.xattrs, *b.xattrs)}):
        values = [dict(inode.xattrs).get(name) for inode in (a, b)]
        result[f"attribute {name}"] = both(*("" if value is None else value.hex() for value in values))
    return result


def _contents(path: str, readers: tuple[Ext4Reader, Ext4Reader], a: Inode, b: Inode) -> Iterator[Difference]:
    if stat.S_ISLNK(a.mode):
        targets = ["".join(map(_text, reader.content(node))) for reader, node in zip(readers, (a, b), strict=True)]
        if targets[0] != targets[1]:
            yield Difference(path, "target", *targets)
        return
    if not stat.S_ISREG(a.mode):
        return
    if a.size_bytes != b.size_bytes:
        yield Difference(path, "size", f"{a.size_bytes} bytes", f"{b.size_bytes} bytes")
        return
    done = 0
    for left, right in zip(readers[0].content(a), readers[1].content(b), strict=True):
        if left != right:
            at = next(index for index, (x, y) in enumerate(zip(left, right, strict=True)) if x != y)
            yield Difference(
                path, f"content, from byte {done + at} on", left[at : at + 8].hex(), right[at : at + 8].hex()
            )
            return
        done += len(left)


def _elsewhere(
    first: Path, second: Path, one: mmap.mmap, two: mmap.mmap, cancellation: Cancellation
) -> Iterator[Difference]:
    """The first byte that differs at all: also what no file, and no table, accounts for."""
    for path, disk in ((first, two), (second, one)):
        for at, data in read_blocks(path, cancellation=cancellation):
            other = disk[at : at + len(data)]
            if data != other:
                index = next(
                    (index for index, (x, y) in enumerate(zip(data, other, strict=False)) if x != y), len(other)
                )
                yield Difference("disk", f"bytes, from {at + index} on", "", "")
                return


def _first_difference(one: Bytes, two: Bytes, left: _Partition, right: _Partition) -> int | None:
    """Of small partitions."""
    a = one[left.start_bytes : left.start_bytes + left.size_bytes]
    b = two[right.start_bytes : right.start_bytes + right.size_bytes]
    if a == b:
        return None
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _disk_guid(disk: Bytes) -> uuid.UUID:
    return uuid.UUID(bytes_le=bytes(disk[SECTOR_BYTES + 56 : SECTOR_BYTES + 72]))


def _partitions(disk: Bytes) -> list[_Partition]:
    """UEFI specification 2.10, section 5.3."""
    header = disk[SECTOR_BYTES : SECTOR_BYTES + 92]
    if header[:8] != b"EFI PART":
        raise InputError("One of the images has no GPT.", hint="Give images that dss create-vm made.")
    table, count, size = struct.unpack_from("<QII", header, 72)
    found = []
    for index in range(count):
        at = table * SECTOR_BYTES + index * size
        entry = disk[at : at + size]
        kind = uuid.UUID(bytes_le=bytes(entry[:16]))
        if kind.int:
            first, last = struct.unpack_from("<QQ", entry, 32)
            name = _NAMES.get(kind, str(kind))
            found.append(
                _Partition(name, uuid.UUID(bytes_le=bytes(entry[16:32])), first * SECTOR_BYTES,
                           (last - first + 1) * SECTOR_BYTES)
            )  # fmt: skip
    return found


@contextmanager
def _raw(path: Path, programs: Programs, progress: Progress, cancellation: Cancellation) -> Iterator[Path]:
    """The image as a raw file: itself, or a sparse copy for the time of the block."""
    info = inspect_image(path, programs)
    if info.format is VmImageFormat.RAW:
        yield path
        return
    from exasol_like_dss.lib.workspace import workspace

    with (
        workspace(Path(tempfile.gettempdir()), progress=progress) as folder,
        progress.step(f"unpack {path.name}"),
    ):
        target = folder / "disk.raw"
        programs.run(
            ["qemu-img", "convert", "-f", info.qemu_driver, "-O", "raw", qemu_source(info), str(target)],
            what=f"Unpacking {path.name}",
            cancelled=lambda: cancellation.cancelled,
        )
        yield target


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}" + (f".{ns % 10**9:09}" if ns % 10**9 else "")
