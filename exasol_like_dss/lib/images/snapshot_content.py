"""What of a raw image goes into an EBS snapshot: the blocks of 512 KiB that are not all zeros, and their SHA-256."""

from __future__ import annotations

import base64
import hashlib
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from exasol_like_dss.access.aws.ebs import BLOCK_BYTES
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.formats.sparse import data_extents, is_zero, read_exactly
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.waiting import awaited

_GIB = 1 << 30
_DIGEST_BYTES = 32
#: EBS volumes ("StartSnapshot", VolumeSize).
_LARGEST_GIB = 65_536


@dataclass(frozen=True)
class RawSource:
    """A raw disk: the first ``size_bytes`` of a file."""

    path: Path
    size_bytes: int


@dataclass(frozen=True)
class SnapshotContent:
    """indexes: of the blocks, ascending. digests: their SHA-256, one after another. volume_gib: of the disk."""

    source: RawSource
    volume_gib: int
    indexes: array[int]
    digests: bytes

    def __len__(self) -> int:
        return len(self.indexes)

    @cached_property
    def checksum(self) -> str:
        """Of the whole ("CompleteSnapshot": LINEAR), in base64."""
        return _base64(hashlib.sha256(self.digests).digest())

    @cached_property
    def id(self) -> str:
        """32 hexadecimal digits that stand for size and content: the same image, the same id."""
        digest = hashlib.sha256(f"{self.volume_gib}\0".encode() + self.indexes.tobytes() + self.digests)
        return digest.hexdigest()[:32]

    def block_checksum(self, number: int) -> str:
        """Of the block at a place of ``indexes``, in base64."""
        return _base64(self.digests[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES])

    def block(self, number: int) -> bytes:
        """Read anew. Raises ``DssError``, ``OSError``."""
        with self.source.path.open("rb", buffering=0) as file:
            return _block(file.fileno(), self.indexes[number], self.source)


def read_content(
    source: RawSource, *, cancellation: Cancellation, on_bytes: Callable[[int], None] = lambda _: None
) -> SnapshotContent:
    """Reads what is there of a sparse image, once, with all processors. on_bytes: how far in the disk.

    Raises ``InputError`` when it is too large or empty, ``OSError``, ``Interrupted``.
    """
    volume_gib = max(1, -(-source.size_bytes // _GIB))
    if volume_gib > _LARGEST_GIB:
        raise InputError(f"{source.path} is larger than a volume can be.", hint="EBS has volumes of up to 64 TiB.")
    indexes, digests = array("Q"), bytearray()
    workers = len(os.sched_getaffinity(0))

    def hashed(descriptor: int, index: int) -> tuple[int, bytes | None]:
        data = _block(descriptor, index, source)
        return index, None if is_zero(data) else hashlib.sha256(data).digest()

    with source.path.open("rb", buffering=0) as file, ThreadPoolExecutor(workers, "hash") as pool:
        waiting: deque[Future[tuple[int, bytes | None]]] = deque()

        def take() -> None:
            index, digest = awaited(waiting.popleft())
            if digest:
                indexes.append(index)
                digests.extend(digest)
            on_bytes(min((index + 1) * BLOCK_BYTES, source.size_bytes))

        try:
            for index in _written(file.fileno(), source.size_bytes):
                cancellation.check()
                waiting.append(pool.submit(hashed, file.fileno(), index))
                if len(waiting) > 4 * workers:
                    take()
            while waiting:
                take()
        finally:
            pool.shutdown(cancel_futures=True)
    if not indexes:
        raise InputError(f"{source.path} holds nothing but zeros.", hint="Give a disk image.")
    return SnapshotContent(source, volume_gib, indexes, bytes(digests))


def _written(descriptor: int, size_bytes: int) -> Iterator[int]:
    """The blocks that are not all hole."""
    following = 0
    for start, end in data_extents(descriptor, size_bytes):
        first = max(following, start // BLOCK_BYTES)
        following = max(following, -(-end // BLOCK_BYTES))
        yield from range(first, following)


def _block(descriptor: int, index: int, source: RawSource) -> bytes:
    offset = index * BLOCK_BYTES
    wanted = min(BLOCK_BYTES, source.size_bytes - offset)
    return read_exactly(descriptor, wanted, offset, source.path).ljust(BLOCK_BYTES, b"\0")


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
