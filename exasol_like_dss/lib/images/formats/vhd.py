"""The fixed VHD that Azure and Hyper-V take: the raw disk, filled up to whole MiB, and a footer of 512 bytes.

Source: Microsoft, "Virtual Hard Disk Image Format Specification" 1.0, sections "Hard Disk Footer Format" and
"CHS Calculation"; Microsoft Learn, "Prepare a Windows VHD or VHDX to upload to Azure" (fixed, whole MiB).
All numbers are big-endian.
"""

from __future__ import annotations

import struct

from exasol_like_dss.lib.images.formats.protocol import Reads, VmImageFormat, WriteJob
from exasol_like_dss.lib.images.formats.raw import copy_content
from exasol_like_dss.lib.images.formats.sparse import hash_zeros, write_all
from exasol_like_dss.lib.images.partitions import MIB, SECTOR_BYTES

COOKIE = b"conectix"
FOOTER_BYTES = 512
# cookie, features, version, data offset, time stamp, creator (application, version, system), original and current
# size, cylinders, heads, sectors per track, type, checksum, unique id, saved state.
FOOTER = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
FIXED = 2
DYNAMIC = 3
_RESERVED_FEATURE = 2
_NO_DATA_OFFSET = (1 << 64) - 1
#: 2000-01-01 00:00:00 UTC, from where the format counts its seconds.
_EPOCH = 946684800
#: Readers trust the size field of images by this creator; with unknown ones, qemu computes the size from the geometry,
#: which is rounded.
_CREATOR = (b"win ", 0x000A0000, b"Wi2k")


class Vhd:
    """The fixed VHD."""

    name = VmImageFormat.VHD
    reads = Reads.BLOCKS_AND_HASH

    def write(self, job: WriteJob) -> str:
        source_bytes = job.source.size_bytes
        disk_bytes = max(1, -(-source_bytes // MIB)) * MIB
        footer = vhd_footer(disk_bytes, unique_id=job.source.content_id, timestamp=job.description.timestamp)
        with job.output.open("wb", buffering=0) as file:
            copy_content(job, file)
            file.truncate(disk_bytes)
            file.seek(disk_bytes)
            write_all(file, footer)
        job.complete()
        digest = job.source.content_hash()
        hash_zeros(digest, disk_bytes - source_bytes, cancellation=job.cancellation)
        digest.update(footer)
        return digest.hexdigest()


def vhd_footer(disk_bytes: int, *, unique_id: bytes, timestamp: int) -> bytes:
    """The footer of a fixed disk. timestamp: seconds since 1970."""
    cylinders, heads, sectors = geometry(disk_bytes // SECTOR_BYTES)

    def packed(checksum: int) -> bytes:
        return FOOTER.pack(COOKIE, _RESERVED_FEATURE, 0x00010000, _NO_DATA_OFFSET,
                           min(max(0, timestamp - _EPOCH), 0xFFFFFFFF), *_CREATOR, disk_bytes, disk_bytes,
                           cylinders, heads, sectors, FIXED, checksum, unique_id, 0)  # fmt: skip

    return packed(checksum_of(packed(0)))


def checksum_of(footer: bytes) -> int:
    """One's complement of the sum of all bytes, with zero in the checksum's place."""
    return ~sum(footer) & 0xFFFFFFFF


def geometry(total_sectors: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors per track, by the algorithm of the specification's appendix."""
    total = min(total_sectors, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        return total // 255 // 16, 16, 255
    sectors, heads = 17, 4
    heads = max(4, -(-(total // 17) // 1024))
    tracks = total // 17
    if tracks >= heads * 1024 or heads > 16:
        sectors, heads = 31, 16
        tracks = total // 31
    if tracks >= heads * 1024:
        sectors, heads = 63, 16
        tracks = total // 63
    return tracks // heads, heads, sectors
