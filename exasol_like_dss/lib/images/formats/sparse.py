"""Sparse files: reading what is there, and knowing that the rest is zeros without reading it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.interrupts import Cancellation

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

#: A piece of the image: its offset in bytes, and its bytes. Blocks come in ascending order and don't overlap.
Block = tuple[int, bytes]

#: The unit in which zeros are left out: the grain of a VMDK.
GRAIN_BYTES = 64 << 10
#: The size of a block: large enough that a system call doesn't matter, small enough for a second level cache.
BLOCK_BYTES = 1 << 20
ZEROS = bytes(BLOCK_BYTES)
_HEAD_BYTES = 64

#: For the fingerprint: everything at both ends, and one grain of every so many bytes between.
_ENDS_BYTES = 1 << 20
_SAMPLE_EVERY_BYTES = 64 * GRAIN_BYTES


def is_zero(data: bytes | memoryview) -> bool:
    """Whether ``data`` (at most ``BLOCK_BYTES``) holds nothing but zeros: one memcmp, which ends at the first other."""
    if any(data[:_HEAD_BYTES]):  # before anything is copied
        return False
    # memoryview's own comparison goes byte by byte.
    whole = data.tobytes() if isinstance(data, memoryview) else data
    return whole == (ZEROS if len(data) == BLOCK_BYTES else ZEROS[: len(data)])


def data_runs(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """The runs of grains of a block that are not zeros: where each begins in ``data``, and a view of it."""
    view = memoryview(data)
    begin = 0
    for start in range(0, len(data), GRAIN_BYTES):
        if is_zero(view[start : start + GRAIN_BYTES]):
            if begin < start:
                yield begin, view[begin:start]
            begin = start + GRAIN_BYTES
    if begin < len(data):
        yield begin, view[begin:]


def data_extents(descriptor: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and end of every extent that holds data, by SEEK_DATA and SEEK_HOLE (lseek(2)).

    Where the file system knows no holes, the kernel says that all is data.
    """
    position = 0
    while position < size_bytes:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        position = min(os.lseek(descriptor, start, os.SEEK_HOLE), size_bytes)
        if start < position:
            yield start, position


def grain_extents(extents: Iterable[tuple[int, int]], size_bytes: int) -> Iterator[tuple[int, int]]:
    """``extents``, widened to whole grains (but not beyond the end), and joined where they then touch."""
    last: tuple[int, int] | None = None
    for data_start, data_end in extents:
        start = data_start - data_start % GRAIN_BYTES
        end = min(-(-data_end // GRAIN_BYTES) * GRAIN_BYTES, size_bytes)
        if last and start <= last[1]:
            last = (last[0], max(end, last[1]))
            continue
        if last:
            yield last
        last = (start, end)
    if last:
        yield last


def block_extents(extents: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Start and size of the blocks that cover ``extents``: they cross no multiple of ``BLOCK_BYTES``."""
    for start, end in extents:
        offset = start
        while offset < end:
            size_bytes = min(BLOCK_BYTES - offset % BLOCK_BYTES, end - offset)
            yield offset, size_bytes
            offset += size_bytes


def read_blocks(path: Path, *, cancellation: Cancellation) -> Iterator[Block]:
    """The data of a sparse file in blocks that cross no multiple of ``BLOCK_BYTES``; blocks of zeros are left out."""
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        file_bytes = os.fstat(descriptor).st_size
        for offset, size_bytes in block_extents(grain_extents(data_extents(descriptor, file_bytes), file_bytes)):
            cancellation.check()
            data = read_exactly(descriptor, size_bytes, offset, path)
            if not is_zero(data):
                yield offset, data


def read_exactly(descriptor: int, size_bytes: int, offset: int, path: Path) -> bytes:
    """Reads ``size_bytes`` at ``offset``. Raises ``DssError`` when the file ends before."""
    data = os.pread(descriptor, size_bytes, offset)
    while len(data) < size_bytes:
        more = os.pread(descriptor, size_bytes - len(data), offset + len(data))
        if not more:
            raise DssError(f"{path} became shorter while it was read.", hint="Does another program write to it?")
        data += more
    return data


def fingerprint(path: Path) -> bytes:
    """16 bytes made from the content of a file: all of both ends, and a sample of 1/64 of what is between.

    Formats want an identifier at the head of a stream, before the content has been read; reading everything twice for
    it would cost more than it is worth. It depends on content alone, not on where the file has holes. It is a name and
    no checksum: the SHA-256 of the finished file is that.
    """
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        size_bytes = os.fstat(descriptor).st_size
        extents = grain_extents(data_extents(descriptor, size_bytes), size_bytes)
        return fingerprint_of(size_bytes, extents, lambda offset, count: read_exactly(descriptor, count, offset, path))


def fingerprint_of(size_bytes: int, extents: Iterable[tuple[int, int]], read: Callable[[int, int], bytes]) -> bytes:
    """``fingerprint`` of any disk. extents: of whole grains; read: takes offset and count."""
    digest = hashlib.sha256(size_bytes.to_bytes(8, "little"))
    for start, end in extents:
        for offset in range(start, end, GRAIN_BYTES):
            at_end = offset < _ENDS_BYTES or offset >= size_bytes - _ENDS_BYTES
            if not at_end and offset % _SAMPLE_EVERY_BYTES:
                continue
            data = read(offset, min(GRAIN_BYTES, end - offset))
            if not is_zero(data):
                digest.update(offset.to_bytes(8, "little"))
                digest.update(data)
    return digest.digest()[:16]


def write_all(file: RawIOBase, data: bytes) -> None:
    """Writes all of ``data`` to an unbuffered file, which may take less at a time (write(2))."""
    done = file.write(data) or 0
    while done < len(data):
        done += file.write(memoryview(data)[done:]) or 0


def hash_file(path: Path, *, cancellation: Cancellation) -> str:
    """The SHA-256 of a file in hex; holes are hashed without being read."""
    digest = hashlib.sha256()
    position = 0
    for offset, data in read_blocks(path, cancellation=cancellation):
        hash_zeros(digest, offset - position, cancellation=cancellation)
        digest.update(data)
        position = offset + len(data)
    hash_zeros(digest, path.stat().st_size - position, cancellation=cancellation)
    return digest.hexdigest()


def hash_zeros(
    digest: Hash, count: int, *, cancellation: Cancellation, on_bytes: Callable[[int], None] = lambda _: None
) -> None:
    """Feeds ``count`` zeros from memory: about 1.7 GB/s with the processor's SHA extensions."""
    while count > 0:
        cancellation.check()
        step = min(count, BLOCK_BYTES)
        digest.update(ZEROS if step == BLOCK_BYTES else ZEROS[:step])
        count -= step
        on_bytes(step)
