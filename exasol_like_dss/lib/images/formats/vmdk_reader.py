"""Reads hosted sparse VMDKs, ours and others', as far as it takes to notice that one is cut or damaged.

For the layout see ``vmdk.py``. Beside it: tables in front (``qemu-img``, ``open-vmdk``), and uncompressed grains
(``monolithicSparse``). Raises ``Damaged`` with what is wrong, in words that complete "the VMDK …".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from exasol_like_dss.lib.images.formats.vmdk import (
    DIRECTORY_AT_END,
    END_OF_STREAM,
    FOOTER,
    GRAIN_DIRECTORY,
    GRAIN_MARKER,
    GRAIN_TABLE,
    HEADER,
    MAGIC,
    MARKER,
    SECTOR_BYTES,
    TABLE_BYTES,
    TABLE_ENTRIES,
)

_COMPRESSED = 1 << 16
_HAS_ZERO_GRAINS = 1 << 2
_ENTRY = struct.Struct(f"<{TABLE_ENTRIES}I")
#: A grain of 64 KiB in formats of today; nobody makes larger ones than this.
_MOST_GRAIN_SECTORS = 1 << 15


class Damaged(Exception):
    """The image is cut or damaged."""


@dataclass(frozen=True)
class Header:
    """The fields of the header that a reader needs; all sizes and places in sectors."""

    version: int
    flags: int
    capacity: int
    grain: int
    descriptor: int
    descriptor_sectors: int
    directory: int
    overhead: int

    @staticmethod
    def parse(sector: bytes) -> Header:
        if len(sector) < HEADER.size or sector[:4] != MAGIC:
            raise Damaged("has no header")
        (_, version, flags, capacity, grain, descriptor, descriptor_sectors, entries, _, directory, overhead, _,
         newlines, compression) = HEADER.unpack(sector)  # fmt: skip
        if version not in (1, 2, 3) or entries != TABLE_ENTRIES or not 0 < grain <= _MOST_GRAIN_SECTORS or not capacity:
            raise Damaged("has a damaged header")
        if flags & 1 and newlines != b"\n \r\n":
            raise Damaged("was transferred as text, which changed its line ends")
        if flags & _COMPRESSED and compression != 1:
            raise Damaged("is compressed in an unknown way")
        return Header(version, flags, capacity, grain, descriptor, descriptor_sectors, directory, overhead)


class VmdkReader:
    """A VMDK in ``size_bytes`` of a file, from ``offset`` on (inside an OVA, not at its beginning)."""

    def __init__(self, file: BinaryIO, *, size_bytes: int, offset: int = 0) -> None:
        self._file = file
        self._offset = offset
        self._size_bytes = size_bytes
        self.header = Header.parse(self._read(0, SECTOR_BYTES))
        self._streamed = self.header.directory == DIRECTORY_AT_END
        if self._streamed:
            self.header = self._footer(self.header)
        self.virtual_bytes = self.header.capacity * SECTOR_BYTES

    def descriptor(self) -> str:
        """The text descriptor."""
        text = self._read(self.header.descriptor * SECTOR_BYTES, self.header.descriptor_sectors * SECTOR_BYTES)
        return text.split(b"\0", 1)[0].decode(errors="replace")

    def grains(self) -> Iterator[tuple[int, int]]:
        """Number and place (in bytes) of every grain that is there. Checks all tables on the way."""
        count = -(-self.header.capacity // self.header.grain)
        tables = -(-count // TABLE_ENTRIES)
        directory = struct.unpack(f"<{tables}I", self._read(self.header.directory * SECTOR_BYTES, 4 * tables))
        for number, place in enumerate(directory):
            if not place:
                continue
            for entry, sector in enumerate(_ENTRY.unpack(self._read(place * SECTOR_BYTES, TABLE_BYTES))):
                if sector == 0 or (sector == 1 and self.header.flags & _HAS_ZERO_GRAINS):
                    continue
                grain = number * TABLE_ENTRIES + entry
                if grain >= count:
                    raise Damaged("has a grain beyond the end of its disk")
                yield grain, sector * SECTOR_BYTES

    def read_grain(self, number: int, place: int) -> bytes:
        """The content of one grain."""
        grain_bytes = self.header.grain * SECTOR_BYTES
        if not self.header.flags & _COMPRESSED:
            return self._read(place, grain_bytes)
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(self._read(place + GRAIN_MARKER.size, self._marked(number, place)), grain_bytes)
        except zlib.error as error:
            raise Damaged(f"has a damaged grain at byte {place}: {error}") from None
        if not inflater.eof or inflater.unconsumed_tail:
            raise Damaged(f"has a damaged grain at byte {place}")
        return data

    def check(self, *, deep: bool = False) -> None:
        """Raises ``Damaged``. Looks at header, footer, descriptor, tables and the addresses of all grains.

        deep: also at the content of every grain.
        """
        if self.header.descriptor and "createType" not in self.descriptor():
            raise Damaged("has a damaged descriptor")
        found = set(self.grains())
        if self._streamed and found != set(self._stream()):
            raise Damaged("has tables that don't fit its grains")
        for number, place in sorted(found) if deep or not self._streamed else ():
            if deep:
                self.read_grain(number, place)
            elif self.header.flags & _COMPRESSED:
                self._marked(number, place)
            elif place + SECTOR_BYTES > self._size_bytes:
                raise Damaged("is cut short")

    def _stream(self) -> Iterator[tuple[int, int]]:
        """Number and place of every grain, found by following the markers from the first grain to the footer."""
        place = self.header.overhead * SECTOR_BYTES
        while True:
            marker = self._read(place, SECTOR_BYTES)
            value, size_bytes = GRAIN_MARKER.unpack_from(marker)
            if size_bytes:
                yield value // self.header.grain, place
                place += -(-(GRAIN_MARKER.size + size_bytes) // SECTOR_BYTES) * SECTOR_BYTES
                continue
            kind = MARKER.unpack(marker)[2]
            if kind == FOOTER:
                return
            if kind not in (GRAIN_TABLE, GRAIN_DIRECTORY):
                raise Damaged(f"has a damaged marker at byte {place}")
            place += (1 + value) * SECTOR_BYTES

    def _marked(self, number: int, place: int) -> int:
        """Size in bytes of a compressed grain; checks that it is the right one, and whole."""
        address, size_bytes = GRAIN_MARKER.unpack(self._read(place, GRAIN_MARKER.size))
        if address != number * self.header.grain:
            raise Damaged(f"has a grain of another place at byte {place}")
        if place + GRAIN_MARKER.size + size_bytes > self._size_bytes:
            raise Damaged("is cut short")
        return int(size_bytes)

    def _footer(self, header: Header) -> Header:
        """The footer, which stands before the end-of-stream marker."""
        end = self._read(self._size_bytes - 3 * SECTOR_BYTES, 3 * SECTOR_BYTES) if self._size_bytes >= 2048 else b""
        if not end or MARKER.unpack(end[:512]) != (1, 0, FOOTER) or MARKER.unpack(end[1024:]) != (0, 0, END_OF_STREAM):
            raise Damaged("is cut short: its end is missing")
        footer = Header.parse(end[512:1024])
        if (footer.capacity, footer.grain, footer.flags) != (header.capacity, header.grain, header.flags):
            raise Damaged("has a header and a footer that don't belong together")
        return footer

    def _read(self, place: int, size_bytes: int) -> bytes:
        if place + size_bytes > self._size_bytes:
            raise Damaged("is cut short")
        self._file.seek(self._offset + place)
        data = self._file.read(size_bytes)
        if len(data) < size_bytes:
            raise Damaged("is cut short")
        return data
