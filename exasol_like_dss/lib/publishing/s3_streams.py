"""Objects in S3 from what is only known bit by bit: streams, and disks of which most is zeros.

Zeros are not sent: they are copied inside S3 from an object of zeros, which lies beside the images meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from exasol_like_dss.lib.images.formats.sparse import Block
from exasol_like_dss.lib.publishing.s3_objects import LEAST_PART_BYTES, Part, assemble

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.s3_build import S3Builds
    from exasol_like_dss.lib.interrupts import Cancellation

#: Amazon S3 User Guide, "Multipart upload limits": 10,000 parts. Some are left for parts that are cut short.
_MOST_PARTS = 9_000
_PART_BYTES = 8 << 20
_MIB = 1 << 20
#: How large the object of zeros becomes at most, and by which steps.
_MOST_ZEROS = 1 << 30
_GROWS = 8


def part_size(disk_bytes: int) -> int:
    """For an object that is about as large as the disk at most: whole MiB, as few as are possible."""
    return max(_PART_BYTES, -(-disk_bytes // _MOST_PARTS // _MIB) * _MIB)


def stream_parts(pieces: Iterable[bytes], *, part_bytes: int) -> Iterator[Part]:
    """A stream as parts of one size; the last one is smaller."""
    waiting: list[bytes] = []
    left = part_bytes  # until the part is full
    for piece in pieces:
        rest = piece
        while len(rest) >= left:
            # Joined once, not shifted through a buffer: the bytes are copied under Python's lock.
            waiting.append(rest[:left])
            yield Part(data=b"".join(waiting))
            waiting.clear()
            rest, left = rest[left:], part_bytes
        waiting.append(rest)
        left -= len(rest)
    if left < part_bytes:
        yield Part(data=b"".join(waiting))


class Zeros:
    """An object of zeros, made when it is first asked for. ``remove`` takes it away, also one of an earlier run."""

    def __init__(self, s3: S3Builds, *, bucket: str, key: str, part_bytes: int, cancellation: Cancellation) -> None:
        self._s3 = s3
        self._bucket = bucket
        self.key = key
        self._part_bytes = part_bytes
        self._cancellation = cancellation
        self._size_bytes = 0

    def parts(self, count: int) -> Iterator[Part]:
        """``count`` zeros; at least two of the stream's parts, so that none is too small for S3."""
        assert count >= 2 * self._part_bytes
        self._grow(count)
        pieces = -(-count // self._size_bytes)
        edges = [count * number // pieces for number in range(pieces + 1)]
        for start, end in pairwise(edges):
            yield Part(source=self.key, start=0, length=end - start)

    def _grow(self, wanted: int) -> None:
        if not self._size_bytes:
            self._s3.write(self._bucket, self.key, bytes(self._part_bytes), content_type="application/octet-stream")
            self._size_bytes = self._part_bytes
        # A part of some MiB more or less is cheaper than another object.
        while wanted > 4 * self._size_bytes and self._size_bytes * _GROWS <= _MOST_ZEROS:
            assemble(
                self._s3,
                bucket=self._bucket,
                key=self.key,
                parts=[Part(source=self.key, start=0, length=self._size_bytes)] * _GROWS,
                metadata={},
                cancellation=self._cancellation,
            )
            self._size_bytes *= _GROWS

    def remove(self) -> None:
        """No error when there is none."""
        self._s3.delete(self._bucket, self.key)


def disk_parts(
    blocks: Iterable[Block], *, disk_bytes: int, ending: bytes, part_bytes: int, zeros: Zeros
) -> Iterator[Part]:
    """A disk as parts, and what follows it. blocks: its data in ascending order; the rest is zeros."""
    buffer = bytearray()
    at = 0  # where the buffer begins

    def full() -> Iterator[Part]:
        nonlocal at
        while len(buffer) >= part_bytes:
            yield Part(data=bytes(memoryview(buffer)[:part_bytes]))
            del buffer[:part_bytes]
            at += part_bytes

    def fill(offset: int) -> Iterator[Part]:
        """Zeros up to there."""
        nonlocal at
        gap = offset - at - len(buffer)
        # What is in the buffer has to be a part of its own, and must not be too small for that.
        rest = gap - (max(0, LEAST_PART_BYTES - len(buffer)) if buffer else 0)
        if rest >= 2 * part_bytes:
            if buffer:
                buffer.extend(bytes(gap - rest))
                yield Part(data=bytes(buffer))
                at += len(buffer)
                buffer.clear()
            yield from zeros.parts(rest)
            at += rest
            return
        while gap:
            step = min(gap, part_bytes)
            buffer.extend(bytes(step))
            gap -= step
            yield from full()

    for offset, data in blocks:
        yield from fill(offset)
        buffer += data
        yield from full()
    yield from fill(disk_bytes)
    buffer += ending
    if buffer:
        yield Part(data=bytes(buffer))
