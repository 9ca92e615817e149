"""Reads an ext4 inside a disk file: all names with all that is known of them. No mount, no rights, nothing is written.

Source: the kernel's Documentation/filesystems/ext4. Only what our own images have (``ext4._FEATURES``) is understood:
extents, no inline data, no encryption. All numbers are little-endian.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from exasol_like_dss.lib.errors import InputError

_MAGIC, _EXTENT_MAGIC, _XATTR_MAGIC = 0xEF53, 0xF30A, 0xEA020000
_ROOT_INODE = 2
_INCOMPAT_64BIT = 0x80
#: Compression, inline data, encryption, large xattr inodes, casefold.
_NOT_UNDERSTOOD = 0x1 | 0x8000 | 0x10000 | 0x400 | 0x20000
_EXTENTS_FLAG = 0x80000
_XATTR_PREFIXES = {1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.",
                   6: "security.", 7: "system."}  # fmt: skip


class Bytes(Protocol):
    """A disk: a mapped file, or bytes."""

    def __getitem__(self, index: slice, /) -> bytes: ...


@dataclass(frozen=True)
class Inode:
    """What an inode says. mode: with the kind (inode(7)). mtime_ns: since 1970. device: of nodes, as a number."""

    number: int
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    links: int
    device: int
    xattrs: tuple[tuple[str, bytes], ...]
    block_area: bytes
    flags: int


class Ext4Reader:
    """The file system at ``offset_bytes`` of a disk. Raises ``InputError`` when it is none, or has unknown features."""

    def __init__(self, disk: Bytes, offset_bytes: int) -> None:
        self._disk = disk
        self._offset = offset_bytes
        head = disk[offset_bytes + 1024 : offset_bytes + 2048]
        self.superblock = head
        if len(head) < 1024 or struct.unpack_from("<H", head, 56)[0] != _MAGIC:
            raise InputError("There is no ext4 file system where the root partition begins.")
        incompat = struct.unpack_from("<I", head, 96)[0]
        if incompat & _NOT_UNDERSTOOD:
            raise InputError(f"The ext4 file system has features that are not understood ({incompat:#x}).")
        self.block_bytes = 1024 << struct.unpack_from("<I", head, 24)[0]
        self._inodes_per_group = struct.unpack_from("<I", head, 40)[0]
        self._inode_bytes = struct.unpack_from("<H", head, 88)[0]
        self._descriptor_bytes = struct.unpack_from("<H", head, 254)[0] if incompat & _INCOMPAT_64BIT else 32
        self._descriptors_at = (struct.unpack_from("<I", head, 20)[0] + 1) * self.block_bytes

    def walk(self) -> Iterator[tuple[str, Inode]]:
        """All names, ``/`` first, a folder before what is in it, sorted."""
        root = self.inode(_ROOT_INODE)
        yield "/", root
        waiting = [("", root)]
        while waiting:
            path, folder = waiting.pop()
            below = []
            for name, number in sorted(self._entries(folder)):
                inode = self.inode(number)
                yield f"{path}/{name}", inode
                if stat.S_ISDIR(inode.mode):
                    below.append((f"{path}/{name}", inode))
            waiting += reversed(below)

    def inode(self, number: int) -> Inode:
        group, index = divmod(number - 1, self._inodes_per_group)
        at = self._descriptors_at + group * self._descriptor_bytes
        descriptor = self._read(at, self._descriptor_bytes)
        table = struct.unpack_from("<I", descriptor, 8)[0]
        if self._descriptor_bytes >= 64:
            table |= struct.unpack_from("<I", descriptor, 40)[0] << 32
        raw = self._read(table * self.block_bytes + index * self._inode_bytes, self._inode_bytes)
        mode, uid, size, _, _, mtime = struct.unpack_from("<HHIIiI", raw)
        gid, links = struct.unpack_from("<HH", raw, 24)
        flags = struct.unpack_from("<I", raw, 32)[0]
        acl, size_high = struct.unpack_from("<II", raw, 104)
        acl_high, uid_high, gid_high = struct.unpack_from("<HHH", raw, 118)
        extra_bytes = struct.unpack_from("<H", raw, 128)[0] if self._inode_bytes > 128 else 0
        extra = struct.unpack_from("<I", raw, 136)[0] if extra_bytes >= 12 else 0
        old, new = struct.unpack_from("<II", raw, 40)
        return Inode(
            number=number,
            mode=mode,
            uid=uid | uid_high << 16,
            gid=gid | gid_high << 16,
            size_bytes=size | size_high << 32,
            # The two lowest bits are the seconds' bits 32 and 33.
            mtime_ns=(mtime + ((extra & 3) << 32)) * 10**9 + (extra >> 2),
            links=links,
            device=(old or new) if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0,
            xattrs=tuple(sorted(self._xattrs(raw, 128 + extra_bytes, acl | acl_high << 32))),
            block_area=raw[40:100],
            flags=flags,
        )

    def content(self, inode: Inode, *, piece_bytes: int = 1 << 20) -> Iterator[bytes]:
        """The bytes of a file, folder or link, in pieces of one size; holes as zeros."""
        if stat.S_ISLNK(inode.mode) and inode.size_bytes < 60 and not inode.flags & _EXTENTS_FLAG:
            yield inode.block_area[: inode.size_bytes]
            return
        extents = sorted(self._extents(inode.block_area))
        for start in range(0, inode.size_bytes, piece_bytes):
            end = min(start + piece_bytes, inode.size_bytes)
            piece = bytearray(end - start)
            for first, length, at in extents:
                low, high = max(start, first), min(end, first + length)
                if low < high:
                    piece[low - start : high - start] = self._read(at + low - first, high - low)
            yield bytes(piece)

    def _entries(self, folder: Inode) -> list[tuple[str, int]]:
        """Hashed folders have their index in blocks that look like unused entries."""
        data = b"".join(self.content(folder))
        found = []
        at = 0
        while at + 8 <= len(data):
            number, length, name_bytes = struct.unpack_from("<IHB", data, at)
            name = data[at + 8 : at + 8 + name_bytes]
            if number and name not in (b".", b"..") and name_bytes:
                found.append((name.decode("utf-8", "surrogateescape"), number))
            if length < 8:
                raise InputError("A folder of the ext4 file system is damaged.")
            at += length
        return found

    def _extents(self, node: bytes) -> Iterator[tuple[int, int, int]]:
        """First byte, length and place of each run of blocks that has data."""
        magic, count, _, depth = struct.unpack_from("<HHHH", node)
        if magic != _EXTENT_MAGIC:
            raise InputError("A file of the ext4 file system has no extents.")
        for index in range(count):
            at = 12 + 12 * index
            if depth:
                low, high = struct.unpack_from("<IH", node, at + 4)
                yield from self._extents(self._read((low | high << 32) * self.block_bytes, self.block_bytes))
                continue
            first, length, high, low = struct.unpack_from("<IHHI", node, at)
            if length <= 1 << 15:  # longer: allocated, never written
                size = self.block_bytes
                yield first * size, length * size, (low | high << 32) * size

    def _xattrs(self, raw: bytes, at: int, block: int) -> Iterator[tuple[str, bytes]]:
        if at + 4 <= len(raw) and struct.unpack_from("<I", raw, at)[0] == _XATTR_MAGIC:
            yield from _attributes(raw[at + 4 :], 0)
        if block:
            yield from _attributes(self._read(block * self.block_bytes, self.block_bytes), 32)

    def _read(self, at: int, count: int) -> bytes:
        start = self._offset + at
        return self._disk[start : start + count]


def _attributes(area: bytes, at: int) -> Iterator[tuple[str, bytes]]:
    while at + 16 <= len(area) and area[at : at + 4] != bytes(4):
        name_bytes, prefix, value_at, _, size = struct.unpack_from("<BBHII", area, at)
        name = area[at + 16 : at + 16 + name_bytes].decode("utf-8", "surrogateescape")
        yield _XATTR_PREFIXES.get(prefix, f"{prefix}:") + name, area[value_at : value_at + size]
        at += 16 + -(-name_bytes // 4) * 4
