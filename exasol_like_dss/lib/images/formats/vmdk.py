"""The streamOptimized VMDK: compressed, sparse, and written from front to end, so that it can go into a pipe.

Source: VMware, "Virtual Disk Format 5.0" (technical note), sections "Hosted Sparse Extents" and "Stream-Optimized
Compressed Sparse Extents"; where the note leaves something open, what VMware's own ovftool writes.

Sectors have 512 bytes, all numbers are little-endian, every structure begins at a sector:

    sector 0        header. Its directory offset is all ones: "the footer knows"
    sector 1        the text descriptor
    sector 128      for every 512 grains (32 MiB) that are not all zeros:
                        the grains: address (64 bits, in sectors), size (32 bits, in bytes), RFC 1950 stream
                        marker "grain table", and the table: where each grain begins (0: all zeros)
                    marker "grain directory", and the directory: where each table begins (0: all zeros)
                    marker "footer", and the footer: the header with the real directory offset
                    marker "end of stream" (a sector of zeros), the last sector of the file

The other legal layout has the tables in front: it can be written only where one can go back, or knows the sizes
beforehand. VMware and VirtualBox write and read this one; they import it in one pass, and qemu finds it by the footer.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.images.formats.deflate import Coder, deflate
from exasol_like_dss.lib.images.formats.parallel import in_order
from exasol_like_dss.lib.images.formats.protocol import Reads, VmImageFormat, WriteJob
from exasol_like_dss.lib.images.formats.sparse import GRAIN_BYTES, Block, is_zero, write_all

SECTOR_BYTES = 512
GRAIN_SECTORS = GRAIN_BYTES // SECTOR_BYTES
TABLE_ENTRIES = 512
TABLE_BYTES = 4 * TABLE_ENTRIES
DESCRIPTOR_SECTORS = 20
#: Where the grains begin ("overHead" of the header): what stands before is metadata, rounded up to a grain.
FIRST_GRAIN_SECTOR = 128
DIRECTORY_AT_END = (1 << 64) - 1

MAGIC = b"KDMV"
#: ESXi wants 3 for compressed extents.
VERSION = 3
#: Bit 0: the newline test is valid. Bit 16: grains are compressed. Bit 17: there are markers. Bit 1, "there is a
#: redundant directory", stays off: a stream has one directory.
FLAGS = 0x30001
_DEFLATE = 1

# magic, version, flags, capacity, grain size, descriptor offset and size, entries per table, offsets of the redundant
# and the normal directory, overhead, unclean shutdown, newline test, compression; packed, all sizes in sectors.
HEADER = struct.Struct("<4sIIQQQQIQQQB4sH433x")
MARKER = struct.Struct("<QII496x")
GRAIN_MARKER = struct.Struct("<QI")
NEWLINE_TEST = b"\n \r\n"
END_OF_STREAM, GRAIN_TABLE, GRAIN_DIRECTORY, FOOTER = range(4)

#: Addresses of sectors in the tables have 32 bits.
_MOST_SECTORS = 1 << 32
_FILLING = [bytes(count) for count in range(SECTOR_BYTES)]


@dataclass(frozen=True)
class Extent:
    """What the head of a VMDK says: everything that must be known before the first byte is written.

    size_bytes: of the disk; rounded up to whole sectors. content_id: 16 bytes that stand for the content. name: the
    file's name, which the descriptor repeats.
    """

    size_bytes: int
    content_id: bytes
    name: str

    @property
    def sectors(self) -> int:
        return -(-self.size_bytes // SECTOR_BYTES)

    @property
    def tables(self) -> int:
        return -(-self.sectors // (GRAIN_SECTORS * TABLE_ENTRIES))

    def header(self, *, directory_sector: int) -> bytes:
        """The header, and with another directory offset the footer: one sector."""
        return HEADER.pack(MAGIC, VERSION, FLAGS, self.sectors, GRAIN_SECTORS, 1, DESCRIPTOR_SECTORS, TABLE_ENTRIES,
                           0, directory_sector, FIRST_GRAIN_SECTOR, 0, NEWLINE_TEST, _DEFLATE)  # fmt: skip

    def descriptor(self) -> bytes:
        """The text descriptor. toolsVersion 2147483647: the guest has open-vm-tools of its own, or none."""
        # All ones mean "no parent", and all ones but one are VMware's for "unknown".
        cid = int.from_bytes(self.content_id[:4], "big") % 0xFFFFFFFE
        name = "".join("_" if character in '"\\' or ord(character) < 32 else character for character in self.name)
        text = f"""# Disk DescriptorFile
version=1
encoding="UTF-8"
CID={cid:08x}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RDONLY {self.sectors} SPARSE "{name}"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "{min(max(1, self.sectors // (255 * 63)), 65535)}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.longContentID = "{self.content_id.hex()}"
ddb.toolsVersion = "2147483647"
ddb.virtualHWVersion = "13"
"""
        return text.encode()

    def head(self) -> bytes:
        """Everything before the first grain."""
        head = self.header(directory_sector=DIRECTORY_AT_END) + self.descriptor()
        if len(head) > (1 + DESCRIPTOR_SECTORS) * SECTOR_BYTES:
            raise DssError(f"The name of {len(self.name)} characters is too long for a VMDK.")
        return head.ljust(FIRST_GRAIN_SECTOR * SECTOR_BYTES, b"\0")


def vmdk_stream(
    blocks: Iterable[Block],
    *,
    extent: Extent,
    workers: int | None = None,
    coder: Coder = deflate,
    on_grains: Callable[[int], None] = lambda _: None,
) -> Generator[bytes, None, None]:
    """The bytes of a VMDK, piece by piece (up to about a block each).

    blocks: the data, in ascending order; none crosses a multiple of the block size. What is missing is zeros.
    workers: threads that compress (the coder lets go of Python's lock); as many as there are processors by default.
    Whatever their number, the bytes are the same. Holds about three blocks for each of them.
    on_grains: is told how many grains follow (those that are not zeros).
    """
    if extent.sectors >= _MOST_SECTORS:
        raise DssError("A VMDK of this kind holds less than 2 TiB.")
    yield extent.head()
    tables = _Tables(extent.tables, at_sector=FIRST_GRAIN_SECTOR)
    compress = functools.partial(_compress_block, coder=coder)
    for piece in in_order(compress, blocks, workers=workers or len(os.sched_getaffinity(0)), name="deflate"):
        if not piece.grains:
            continue
        on_grains(len(piece.grains))
        if table := tables.add(piece.grains):
            yield table
        yield piece.data
    yield b"".join(tables.end(extent))


def write_vmdk(blocks: Iterable[Block], output: BinaryIO, *, extent: Extent) -> None:
    """Writes a VMDK to anything that takes bytes: a file, a pipe, an upload."""
    for piece in vmdk_stream(blocks, extent=extent):
        output.write(piece)


class _Piece(NamedTuple):
    """The grains of one block: number and size in sectors of each, and all their bytes, ready to be written.

    A table covers a whole number of blocks, so none has to be written between two grains of a block.
    """

    grains: list[tuple[int, int]]
    data: bytes


class _Tables:
    """Where everything is, and the tables that say so."""

    def __init__(self, count: int, *, at_sector: int) -> None:
        self._directory = [0] * count
        self._table = [0] * TABLE_ENTRIES
        self._number = 0
        self._used = False
        self._sector = at_sector

    def add(self, grains: Sequence[tuple[int, int]]) -> bytes:
        """Takes the grains of one block in (number, sectors). Returns what comes before them: perhaps a full table."""
        pieces: list[bytes] = []
        number = grains[0][0] // TABLE_ENTRIES
        if number != self._number:
            pieces = self._end_table()
            self._number = number
        for grain, sectors in grains:
            self._table[grain % TABLE_ENTRIES] = self._sector
            self._sector += sectors
        self._used = True
        if self._sector >= _MOST_SECTORS:
            raise DssError("The compressed image is larger than 2 TiB: too large for a VMDK.")
        return b"".join(pieces)

    def end(self, extent: Extent) -> list[bytes]:
        """The last table, the directory, the footer, and the end-of-stream marker."""
        pieces = self._end_table()
        directory = _padded(struct.pack(f"<{len(self._directory)}I", *self._directory))
        sectors = len(directory) // SECTOR_BYTES
        footer = extent.header(directory_sector=self._sector + 1)
        return [*pieces, MARKER.pack(sectors, 0, GRAIN_DIRECTORY), directory,
                MARKER.pack(1, 0, FOOTER), footer, MARKER.pack(0, 0, END_OF_STREAM)]  # fmt: skip

    def _end_table(self) -> list[bytes]:
        """The table that is full. None for a table without grains: the directory says 0 there."""
        if not self._used:
            return []
        table = struct.pack(f"<{TABLE_ENTRIES}I", *self._table)
        self._directory[self._number] = self._sector + 1
        self._sector += 1 + TABLE_BYTES // SECTOR_BYTES
        self._table = [0] * TABLE_ENTRIES
        self._used = False
        return [MARKER.pack(TABLE_BYTES // SECTOR_BYTES, 0, GRAIN_TABLE), table]


def _compress_block(block: Block, coder: Coder) -> _Piece:
    offset, data = block
    grains: list[tuple[int, int]] = []
    parts: list[bytes] = []
    # Views: a copy of every grain, and another to fill it up, would cost a tenth of the coder's own time.
    view = memoryview(data)
    for start in range(0, len(data), GRAIN_BYTES):
        grain = view[start : start + GRAIN_BYTES]
        if is_zero(grain):
            continue
        number = (offset + start) // GRAIN_BYTES
        # The last grain of a disk that ends within it is filled up: readers expect whole ones.
        compressed = coder(grain if len(grain) == GRAIN_BYTES else bytes(grain).ljust(GRAIN_BYTES, b"\0"))
        size_bytes = GRAIN_MARKER.size + len(compressed)
        parts += (GRAIN_MARKER.pack(number * GRAIN_SECTORS, len(compressed)), compressed, _FILLING[-size_bytes % 512])
        grains.append((number, -(-size_bytes // SECTOR_BYTES)))
    return _Piece(grains, b"".join(parts))


def _padded(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // SECTOR_BYTES) * SECTOR_BYTES, b"\0")


class Vmdk:
    """The VMDK as a file: the stream that the source makes, for whoever wants it."""

    name = VmImageFormat.VMDK
    reads = Reads.VMDK_STREAM

    def write(self, job: WriteJob) -> str:
        written = 0
        with job.output.open("wb", buffering=0) as file:
            for piece in job.source.vmdk_stream():
                write_all(file, piece)
                written += len(piece)
                job.advance(written)
        job.complete()
        return job.source.vmdk_facts().sha256
