"""The compressed qcow2, version 3, written in one pass.

Source: QEMU, docs/interop/qcow2.txt ("QCOW2 Image File Format"). All numbers are big-endian; a cluster has 64 KiB:

    cluster 0       header (104 bytes), and the mark that no extensions follow
    cluster 1 …     for every 8192 clusters of the disk (512 MiB) that are not all zeros:
                        the clusters: raw deflate (RFC 1951, window of 4 KiB), one behind the other, from any byte on;
                        one that doesn't get smaller is kept as it is, in a cluster of the file
                        the L2 table, in a cluster of its own: where each cluster of the disk is (0: all zeros)
    …               the L1 table: where the L2 tables are
                    the refcount blocks: how often each cluster of the file is used; a compressed cluster counts in each
                    that it touches
                    the refcount table: where the refcount blocks are

The header holds the places of both tables, so its cluster is written last; all else is written once, in order. Every
QEMU reads compression type 0 (zlib), and identical content gives identical files. ``qemu-img`` with zstd makes files
that are some percent smaller; it takes several times as long, reads the disk a second time, and its files differ.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from exasol_like_dss.lib.images.formats.deflate import Coder, deflate_small_window
from exasol_like_dss.lib.images.formats.parallel import in_order
from exasol_like_dss.lib.images.formats.protocol import Reads, VmImageFormat, WriteJob
from exasol_like_dss.lib.images.formats.sparse import GRAIN_BYTES, Block, hash_file, is_zero, write_all

CLUSTER_BITS = 16
CLUSTER_BYTES = 1 << CLUSTER_BITS
assert CLUSTER_BYTES == GRAIN_BYTES
L2_ENTRIES = CLUSTER_BYTES // 8
_SECTOR_BYTES = 512
MAGIC = b"QFI\xfb"
# magic, version, backing file (offset, size), cluster bits, size, encryption, L1 (entries, offset), refcount table
# (offset, clusters), snapshots (count, offset), features (incompatible, compatible, to be cleared), refcount order,
# length of the header; then an extension of type 0: the end.
HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII8x")
_VERSION = 3
_REFCOUNT_ORDER = 4  # 16 bits
_REFCOUNTS_PER_BLOCK = CLUSTER_BYTES // 2
#: Bit 63 of an entry: the cluster is used once. Bit 62: it is compressed.
_COPIED, _COMPRESSED = 1 << 63, 1 << 62
#: Of a compressed cluster's entry: below this bit the place in bytes, above it how many more sectors it reaches into.
_SECTORS_BIT = 62 - (CLUSTER_BITS - 8)


class _Piece(NamedTuple):
    """The clusters of one block: number and content. One of ``CLUSTER_BYTES`` is not compressed."""

    clusters: list[tuple[int, bytes]]


class Qcow2:
    """The qcow2 image."""

    name = VmImageFormat.QCOW2
    reads = Reads.BLOCKS

    def write(self, job: WriteJob) -> str:
        with job.output.open("wb", buffering=0) as file:
            layout = _Layout(-(-job.source.size_bytes // _SECTOR_BYTES) * _SECTOR_BYTES)
            file.seek(CLUSTER_BYTES)
            for piece in layout.pieces(job.source.blocks()):
                write_all(file, piece)
                job.advance(layout.position)
            file.seek(0)
            write_all(file, layout.header())
        job.complete()
        return hash_file(job.output, cancellation=job.cancellation)


class _Layout:
    """Where everything is. Keeps two bytes for each cluster of the file, and one L2 table."""

    def __init__(self, size_bytes: int) -> None:
        self.position = CLUSTER_BYTES
        self._size_bytes = size_bytes
        self._l1 = [0] * -(-size_bytes // (CLUSTER_BYTES * L2_ENTRIES))
        self._l2 = [0] * L2_ENTRIES
        self._number = 0
        self._used = False
        self._refcounts = array("H", [1])
        self._l1_offset = self._table_offset = self._table_clusters = 0

    def pieces(self, blocks: Iterable[Block]) -> Iterator[bytes]:
        """All that follows the first cluster."""
        for piece in in_order(_compress_block, blocks, workers=len(os.sched_getaffinity(0)), name="qcow2"):
            if piece.clusters:
                yield b"".join(self._add(piece.clusters))
        yield b"".join(self._end_l2())
        yield b"".join(self._end())

    def header(self) -> bytes:
        """The first cluster."""
        header = HEADER.pack(MAGIC, _VERSION, 0, 0, CLUSTER_BITS, self._size_bytes, 0, len(self._l1), self._l1_offset,
                             self._table_offset, self._table_clusters, 0, 0, 0, 0, 0, _REFCOUNT_ORDER, 104)  # fmt: skip
        return header.ljust(CLUSTER_BYTES, b"\0")

    def _add(self, clusters: list[tuple[int, bytes]]) -> Iterator[bytes]:
        number = clusters[0][0] // L2_ENTRIES
        if number != self._number:
            yield from self._end_l2()
            self._number = number
        self._used = True
        for cluster, data in clusters:
            if len(data) == CLUSTER_BYTES:
                yield self._align()
                entry = self.position | _COPIED
            else:
                first, last = self.position // _SECTOR_BYTES, (self.position + len(data) - 1) // _SECTOR_BYTES
                entry = _COMPRESSED | last - first << _SECTORS_BIT | self.position
            self._l2[cluster % L2_ENTRIES] = entry
            yield self._place(data)

    def _end_l2(self) -> Iterator[bytes]:
        """The L2 table that is full; none for one without clusters."""
        if self._used:
            yield self._align()
            self._l1[self._number] = self.position | _COPIED
            yield self._place(struct.pack(f">{L2_ENTRIES}Q", *self._l2))
            self._l2 = [0] * L2_ENTRIES
            self._used = False

    def _end(self) -> Iterator[bytes]:
        """The L1 table, and the refcounts, which count themselves."""
        yield self._align()
        self._l1_offset = self.position
        yield self._place(struct.pack(f">{len(self._l1)}Q", *self._l1))
        yield self._align()
        used = self.position // CLUSTER_BYTES
        blocks = table = 0
        while True:
            needed = -(-(used + blocks + table) // _REFCOUNTS_PER_BLOCK)
            table_needed = -(-8 * needed // CLUSTER_BYTES)
            if (needed, table_needed) == (blocks, table):
                break
            blocks, table = needed, table_needed
        places = [self.position + number * CLUSTER_BYTES for number in range(blocks)]
        self._table_offset = self.position + blocks * CLUSTER_BYTES
        self._table_clusters = table
        refcounts = array("H", self._refcounts[:used])
        refcounts.extend([1] * (blocks + table) + [0] * (blocks * _REFCOUNTS_PER_BLOCK - used - blocks - table))
        if sys.byteorder == "little":
            refcounts.byteswap()
        yield refcounts.tobytes()
        yield struct.pack(f">{blocks}Q", *places).ljust(table * CLUSTER_BYTES, b"\0")

    def _align(self) -> bytes:
        filling = -self.position % CLUSTER_BYTES
        self.position += filling
        return bytes(filling)

    def _place(self, data: bytes) -> bytes:
        """Counts the clusters of the file that ``data`` touches."""
        first, last = self.position // CLUSTER_BYTES, (self.position + len(data) - 1) // CLUSTER_BYTES
        missing = last + 1 - len(self._refcounts)
        if missing > 0:
            self._refcounts.extend([0] * missing)
        for cluster in range(first, last + 1):
            self._refcounts[cluster] += 1
        self.position += len(data)
        return data


def _compress_block(block: Block, coder: Coder = deflate_small_window) -> _Piece:
    offset, data = block
    clusters = []
    view = memoryview(data)
    for start in range(0, len(data), CLUSTER_BYTES):
        part = view[start : start + CLUSTER_BYTES]
        if is_zero(part):
            continue
        content = bytes(part).ljust(CLUSTER_BYTES, b"\0")
        compressed = coder(content)
        clusters.append(((offset + start) // CLUSTER_BYTES, compressed if len(compressed) < CLUSTER_BYTES else content))
    return _Piece(clusters)
