"""An OVA in S3 from the exported VMDK in S3: nearly all of it is copied inside S3.

Only the head (descriptor, manifest, a tar header) and the end are made here, with what it takes to fill the first part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.images.formats.ova import ova_ending, ova_head
from exasol_like_dss.lib.images.formats.source import VmdkFacts
from exasol_like_dss.lib.images.formats.vmdk_reader import Damaged, VmdkReader
from exasol_like_dss.lib.publishing.s3_objects import (
    LEAST_PART_BYTES,
    PART_BYTES,
    Part,
    S3File,
    assemble,
    copy_parts,
    hash_object,
    read_range,
)

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.s3_build import S3Builds
    from exasol_like_dss.lib.images.formats.protocol import ImageDescription
    from exasol_like_dss.lib.interrupts import Cancellation


@dataclass(frozen=True)
class StoredOva:
    """size_bytes, sha256: of the object."""

    size_bytes: int
    sha256: str


def make_ova(
    s3: S3Builds,
    *,
    bucket: str,
    vmdk: str,
    vmdk_sha256: str,
    key: str,
    stem: str,
    description: ImageDescription,
    metadata: dict[str, str],
    cancellation: Cancellation,
    on_bytes: Callable[[int], None],
) -> StoredOva:
    """vmdk, key: of the objects. stem: of the names inside. on_bytes: of the VMDK that were hashed.

    Raises ``DssError`` when the VMDK is damaged, ``AwsError``, ``Interrupted``.
    """
    found = s3.facts(bucket, vmdk)
    if found is None:
        raise DssError(f"s3://{bucket}/{vmdk} is gone.", hint="Run the same command again.")
    size = found.size_bytes
    try:
        reader = VmdkReader(cast(BinaryIO, S3File(s3, bucket=bucket, key=vmdk, size_bytes=size)), size_bytes=size)
        grains = sum(1 for _ in reader.grains())
    except Damaged as damaged:
        raise DssError(f"The exported VMDK s3://{bucket}/{vmdk} {damaged}.", hint="Export it again: --fresh") from None
    return assemble_ova(
        s3,
        bucket=bucket,
        vmdk=vmdk,
        facts=VmdkFacts(size_bytes=size, sha256=vmdk_sha256, data_bytes=grains * reader.header.grain * 512),
        disk_bytes=reader.virtual_bytes,
        key=key,
        stem=stem,
        description=description,
        metadata=metadata,
        cancellation=cancellation,
        on_bytes=on_bytes,
    )


def assemble_ova(
    s3: S3Builds,
    *,
    bucket: str,
    vmdk: str,
    facts: VmdkFacts,
    disk_bytes: int,
    key: str,
    stem: str,
    description: ImageDescription,
    metadata: dict[str, str],
    cancellation: Cancellation,
    on_bytes: Callable[[int], None],
) -> StoredOva:
    """As ``make_ova``, when it is known what the VMDK holds. Its bytes are read once more, for the OVA's SHA-256: what
    stands before them in the OVA is known last. Raises ``AwsError``, ``Interrupted``."""
    size = facts.size_bytes
    head = ova_head(description, stem=stem, disk_bytes=disk_bytes, facts=facts)
    end = ova_ending(len(head) + size)

    def read(start: int, stop: int) -> bytes:
        return read_range(s3, bucket=bucket, key=vmdk, start=start, length=stop - start) if stop > start else b""

    assemble(
        s3,
        bucket=bucket,
        key=key,
        parts=ova_parts(head, end, source=vmdk, size_bytes=size, read=read),
        metadata=metadata,
        cancellation=cancellation,
    )
    digest = hash_object(
        s3, bucket=bucket, key=vmdk, size_bytes=size, cancellation=cancellation, on_bytes=on_bytes, before=head,
        after=end,
    )  # fmt: skip
    return StoredOva(len(head) + size + len(end), digest)


def ova_parts(
    head: bytes,
    end: bytes,
    *,
    source: str,
    size_bytes: int,
    read: Callable[[int, int], bytes],
    least_bytes: int = LEAST_PART_BYTES,
    part_bytes: int = PART_BYTES,
) -> list[Part]:
    """Head, disk and end as parts, of which only the last may be smaller than ``least_bytes``.

    read: the bytes of the disk from … to.
    """
    first = min(size_bytes, max(0, least_bytes - len(head)))
    if size_bytes - first < least_bytes:
        return [Part(data=head + read(0, size_bytes) + end)]
    return [
        Part(data=head + read(0, first)),
        *copy_parts(source, start=first, end=size_bytes, part_bytes=max(part_bytes, least_bytes)),
        Part(data=end),
    ]
