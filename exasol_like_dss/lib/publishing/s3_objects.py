"""Large objects in S3: copied inside S3, read by ranges, hashed. No copy of one is ever on this machine's disk."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.waiting import awaited

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.s3_build import S3Builds
    from exasol_like_dss.lib.interrupts import Cancellation

#: Amazon S3 User Guide, "Multipart upload limits".
LEAST_PART_BYTES = 5 << 20
PART_BYTES = 512 << 20
_READ_BYTES = 16 << 20
_AT_ONCE = 4
_TRIES = 4


@dataclass(frozen=True)
class Part:
    """A piece of a new object: bytes from here, or a range of an object that is in S3 already."""

    data: bytes = b""
    source: str = ""
    start: int = 0
    length: int = 0


def copy_parts(source: str, *, start: int, end: int, part_bytes: int = PART_BYTES) -> list[Part]:
    """Ranges of ``source`` that cover it from ``start`` to ``end``, none of them too small if the whole isn't."""
    count = max(1, (end - start) // part_bytes)
    edges = [start + (end - start) * number // count for number in range(count)] + [end]
    return [Part(source=source, start=first, length=last - first) for first, last in pairwise(edges)]


def assemble(
    s3: S3Builds,
    *,
    bucket: str,
    key: str,
    parts: Iterable[Part],
    metadata: Mapping[str, str],
    cancellation: Cancellation,
    on_parts: Callable[[int], None] = lambda _: None,
) -> None:
    """Makes an object of parts, several at a time. What is unfinished is given up, when that is possible.

    parts: taken one by one, a few ahead of what is done. on_parts: how many are done.
    Raises ``AwsError``, ``Interrupted``, and what ``parts`` raises.
    """
    upload_id = s3.begin_upload(bucket, key, metadata=metadata)

    def make(number: int, part: Part) -> str:
        cancellation.check()
        if part.source:
            return s3.copy_part(
                bucket, key, upload_id=upload_id, number=number, source=part.source, start=part.start,
                length=part.length,
            )  # fmt: skip
        return s3.upload_part(bucket, key, upload_id=upload_id, number=number, data=part.data)

    try:
        tags: list[str] = []
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="parts") as pool:
            waiting: deque[Future[str]] = deque()

            def take() -> None:
                tags.append(awaited(waiting.popleft()))
                on_parts(len(tags))

            try:
                for number, part in enumerate(parts, start=1):
                    waiting.append(pool.submit(make, number, part))
                    if len(waiting) > _AT_ONCE:
                        take()
                while waiting:
                    take()
            finally:
                pool.shutdown(cancel_futures=True)
        s3.complete_upload(bucket, key, upload_id=upload_id, tags=tags)
    except AwsError as error:
        # The answer to its completion may have been lost.
        found = s3.facts(bucket, key) if error.code == "NoSuchUpload" else None
        if found and found.metadata == metadata:
            return
        _give_up(s3, bucket, key, upload_id)
        raise
    except BaseException:
        _give_up(s3, bucket, key, upload_id)
        raise


def _give_up(s3: S3Builds, bucket: str, key: str, upload_id: str) -> None:
    with suppress(DssError):
        s3.abort(bucket, key, upload_id=upload_id)


def read_pieces(s3: S3Builds, *, bucket: str, key: str, size_bytes: int, cancellation: Cancellation) -> Iterator[bytes]:
    """The object's content in order, a few pieces ahead. Raises ``AwsError``, ``Interrupted``."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="read") as pool:
        ahead: deque[Future[bytes]] = deque()
        starts = iter(range(0, size_bytes, _READ_BYTES))
        try:
            while True:
                for start in starts:
                    length = min(_READ_BYTES, size_bytes - start)
                    ahead.append(
                        pool.submit(
                            read_range, s3, bucket=bucket, key=key, start=start, length=length,
                            cancellation=cancellation,
                        )
                    )  # fmt: skip
                    if len(ahead) > _AT_ONCE:
                        break
                if not ahead:
                    return
                cancellation.check()
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def read_range(
    s3: S3Builds, *, bucket: str, key: str, start: int, length: int, cancellation: Cancellation | None = None
) -> bytes:
    """botocore repeats requests, not answers that break off: that is done here.

    Raises ``AwsError``, ``Interrupted``.
    """
    for left in reversed(range(_TRIES)):
        if cancellation:
            cancellation.check()
        try:
            data = s3.read(bucket, key, start=start, length=length)
        except AwsError as error:
            if not left or error.code:
                raise
            continue
        if len(data) == length:
            return data
    raise DssError(f"s3://{bucket}/{key} could not be read at byte {start}.", hint="Run the same command again.")


def hash_object(
    s3: S3Builds,
    *,
    bucket: str,
    key: str,
    size_bytes: int,
    cancellation: Cancellation,
    on_bytes: Callable[[int], None],
    before: bytes = b"",
    after: bytes = b"",
) -> str:
    """SHA-256 in hexadecimal. before, after: hashed as if they stood around the object."""
    digest = hashlib.sha256(before)
    done = 0
    for piece in read_pieces(s3, bucket=bucket, key=key, size_bytes=size_bytes, cancellation=cancellation):
        digest.update(piece)
        done += len(piece)
        on_bytes(done)
    digest.update(after)
    return digest.hexdigest()


class S3File(io.RawIOBase):
    """An object as a file to read and seek in; keeps the last piece that was read."""

    _PIECE = 1 << 20

    def __init__(self, s3: S3Builds, *, bucket: str, key: str, size_bytes: int) -> None:
        super().__init__()
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        self._size_bytes = size_bytes
        self._place = 0
        self._piece = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size_bytes}[whence]
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size_bytes - self._place)
        wanted = left if size is None or size < 0 else min(size, left)
        found = bytearray()
        while len(found) < wanted:
            number, offset = divmod(self._place, self._PIECE)
            if self._piece[0] != number:
                start = number * self._PIECE
                length = min(self._PIECE, self._size_bytes - start)
                data = read_range(self._s3, bucket=self._bucket, key=self._key, start=start, length=length)
                self._piece = (number, data)
            taken = self._piece[1][offset : offset + wanted - len(found)]
            found += taken
            self._place += len(taken)
        return bytes(found)
