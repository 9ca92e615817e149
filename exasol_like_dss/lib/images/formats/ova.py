"""The OVA: a tar with the OVF descriptor, the manifest, and the VMDK, which streams in while it is made.

Source: DMTF DSP0243 1.1.0, section 6.4 (order: descriptor, manifest, files as referenced); POSIX.1-1988 ustar;
GNU tar's manual, "Basic Tar Format" (sizes over 8 GiB - 1 in base 256). Never PAX: VMware refuses it.

The head (everything before the disk) holds the disk's size and SHA-256, which are known last. Its length doesn't depend
on them, so its place is left free, and it is written at the end. Nothing is written twice.
"""

from __future__ import annotations

import hashlib

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.formats.ovf import ovf_descriptor
from exasol_like_dss.lib.images.formats.protocol import ImageDescription, Reads, VmImageFormat, WriteJob
from exasol_like_dss.lib.images.formats.source import VmdkFacts
from exasol_like_dss.lib.images.formats.sparse import hash_file, write_all

_BLOCK_BYTES = 512
#: Tar files end with two blocks of zeros, and are filled up to 20 blocks.
_RECORD_BYTES = 20 * _BLOCK_BYTES
_LARGEST_OCTAL = (8 << 30) - 1
_LONGEST_NAME = 99


class Ova:
    """The OVA."""

    name = VmImageFormat.OVA
    reads = Reads.VMDK_STREAM

    def write(self, job: WriteJob) -> str:
        unknown = VmdkFacts(size_bytes=0, sha256="0" * 64, data_bytes=0)
        disk_bytes = job.source.extent.sectors * 512
        room = len(ova_head(job.description, stem=job.stem, disk_bytes=disk_bytes, facts=unknown))
        written = 0
        with job.output.open("wb", buffering=0) as file:
            file.seek(room)
            for piece in job.source.vmdk_stream():
                write_all(file, piece)
                written += len(piece)
                job.advance(written)
            facts = job.source.vmdk_facts()
            write_all(file, ova_ending(room + facts.size_bytes))
            file.seek(0)
            head = ova_head(job.description, stem=job.stem, disk_bytes=disk_bytes, facts=facts)
            assert len(head) == room
            write_all(file, head)
        job.complete()
        # The first bytes were written last, so this can only be computed afterwards; the file is still in memory.
        return hash_file(job.output, cancellation=job.cancellation)


def ova_head(description: ImageDescription, *, stem: str, disk_bytes: int, facts: VmdkFacts) -> bytes:
    """All that stands before the disk: descriptor, manifest, and the disk's tar header."""
    disk_name = f"{stem}.vmdk"
    descriptor = ovf_descriptor(
        description,
        disk_name=disk_name,
        disk_bytes=disk_bytes,
        file_bytes=facts.size_bytes,
        populated_bytes=facts.data_bytes,
    )
    manifest = (
        f"SHA256({stem}.ovf)= {hashlib.sha256(descriptor).hexdigest()}\nSHA256({disk_name})= {facts.sha256}\n"
    ).encode()
    pieces = []
    for name, content in ((f"{stem}.ovf", descriptor), (f"{stem}.mf", manifest)):
        pieces += [tar_header(name, len(content), timestamp=description.timestamp), content, bytes(-len(content) % 512)]
    pieces.append(tar_header(disk_name, facts.size_bytes, timestamp=description.timestamp))
    return b"".join(pieces)


def ova_ending(size_bytes: int) -> bytes:
    """What follows the disk: its last block filled up, and the end of the tar. size_bytes: of all before."""
    end = size_bytes + 2 * _BLOCK_BYTES
    return bytes(2 * _BLOCK_BYTES + -end % _RECORD_BYTES)


def tar_header(name: str, size_bytes: int, *, timestamp: int) -> bytes:
    """The header of a regular file, mode 0644, owned by root. Raises ``InputError`` for a name that is too long."""
    encoded = name.encode()
    if len(encoded) > _LONGEST_NAME:
        raise InputError(f"The name {name!r} is too long for a tar.", hint=f"Use at most {_LONGEST_NAME} bytes.")
    if size_bytes <= _LARGEST_OCTAL:
        size, magic = b"%011o\0" % size_bytes, b"ustar\x0000"
    else:
        size, magic = b"\x80" + size_bytes.to_bytes(11, "big"), b"ustar  \0"

    def packed(checksum: bytes) -> bytes:
        return b"".join(
            (encoded.ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", size, b"%011o\0" % timestamp,
             checksum, b"0", bytes(100), magic, b"root".ljust(32, b"\0"), b"root".ljust(32, b"\0"),
             b"0000000\0", b"0000000\0")
        ).ljust(_BLOCK_BYTES, b"\0")  # fmt: skip

    # The checksum is the sum of all bytes, with spaces in its own place.
    return packed(b"%06o\0 " % sum(packed(b" " * 8)))
