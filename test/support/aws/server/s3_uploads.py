"""Multipart uploads of images, as moto does them, without the copies that it makes of each part under Python's lock.

AWS: UploadPart and CompleteMultipartUpload in the Amazon S3 API Reference; "Checking object integrity", User Guide.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO
from zlib import crc32

from moto.s3.exceptions import EntityTooSmall, InvalidPart, MalformedXML
from moto.s3.models import FakeKey, FakeMultipart, MultipartChecksumBuilder, S3Backend
from moto.settings import S3_UPLOAD_PART_MIN_SIZE

from test.support.aws.server.front import UNLOCKED, Environ
from test.support.aws.server.protocol import ApiError, Reply
from test.support.aws.server.s3 import bucket_of
from test.support.aws.server.world import World

with contextlib.suppress(ImportError):  # there are no wheels for other processors
    from isal.isal_zlib import crc32

#: Larger parts have a tag that is no MD5 of theirs (AWS: "may or may not be an MD5 digest"): it takes half as long as
#: compressing them.
_HASHED_BYTES = 1 << 20


def _upload_part(world: World, parameters: dict[str, Any], environ: Environ) -> Reply | None:
    number = int(parameters["partNumber"])
    if not 1 <= number <= 10_000 or str(environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")).startswith("STREAMING"):
        return None
    data = environ["wsgi.input"].getvalue()
    sum_of_it = base64.b64encode(crc32(data).to_bytes(4, "big")).decode()
    sent = environ.get("HTTP_X_AMZ_CHECKSUM_CRC32")
    if sent and sent != sum_of_it:
        raise ApiError("BadDigest", "The CRC32 you specified did not match the calculated checksum.")
    hashed = data if len(data) <= _HASHED_BYTES else f"{sum_of_it} of {len(data)}".encode()
    tag = hashlib.md5(hashed, usedforsecurity=False).hexdigest()
    with world.lock:
        bucket = bucket_of(str(parameters["Bucket"]))
        upload = bucket.multiparts.get(parameters["uploadId"]) if bucket else None
        if upload is None:
            return None
        part: Any = upload.set_part(number, b"")
        part._value_buffer, part.contentsize, part._etag = io.BytesIO(data), len(data), tag
        part.checksum_value = sum_of_it
    headers = [("ETag", f'"{tag}"'), ("Content-Length", "0")]
    return Reply(200, [*headers, ("x-amz-checksum-crc32", sum_of_it)] if sent else headers, [b""])


UNLOCKED["s3:UploadPart"] = _upload_part


class _Joined(io.RawIOBase):
    """Parts, one behind the other."""

    def __init__(self, parts: list[BinaryIO]) -> None:
        super().__init__()
        self._parts = parts
        self._at = 0
        self._size_bytes = sum(part.seek(0, io.SEEK_END) for part in parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        ends = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}
        self._at = ends[whence] + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = -1 if size is None else size
        found, begin = [], 0
        for part in self._parts:
            end = begin + part.seek(0, io.SEEK_END)
            if begin <= self._at < end and left:
                part.seek(self._at - begin)
                data = part.read(left)
                found.append(data)
                self._at += len(data)
                left -= len(data) if left > 0 else 0
            begin = end
        return b"".join(found)


def _complete(self: FakeMultipart, body: Iterator[tuple[int, str]]) -> tuple[bytes, str, Any]:
    """Instead of moto's: the same checks and sums, and no content yet. Without a wish there is no sum: S3 has one of
    its own then (CRC-64/NVME), which moto shows nowhere."""
    kind = self.metadata.get("x-amz-checksum-algorithm")
    sums: Any = MultipartChecksumBuilder(kind, self.metadata.get("x-amz-checksum-type"))
    parts: list[Any] = []
    for number, tag in body:
        part: Any = self.parts.get(number)
        if part is None or part.etag.strip('"') != tag.strip('"'):
            raise InvalidPart
        if parts and parts[-1].contentsize < S3_UPLOAD_PART_MIN_SIZE:
            raise EntityTooSmall
        if part.checksum_value and (kind, sums.checksum_type) == ("CRC32", "COMPOSITE"):
            sums.checksum += base64.b64decode(part.checksum_value)
            sums.part_count += 1
        elif kind:
            sums.addPart(part.value)
        parts.append(part)
    if not parts:
        raise MalformedXML
    tags = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
    tag = hashlib.md5(tags, usedforsecurity=False).hexdigest()
    content = _Joined([part._value_buffer for part in parts])
    for part in parts:
        part._value_buffer = io.BytesIO()  # moto closes what its parts have
    setattr(self, "content", content)  # noqa: B010 - mypy knows the class
    return b"", f"{tag}-{len(parts)}", sums.build() if kind else None


def _complete_upload(
    self: S3Backend, bucket_name: str, multipart_id: str, body: Iterator[tuple[int, str]]
) -> FakeKey | None:
    upload: Any = self.get_bucket(bucket_name).multiparts[multipart_id]
    key: FakeKey | None = _moto_complete_upload(self, bucket_name, multipart_id, body)
    if key:
        made: Any = key
        made._value_buffer.close()
        # Nothing else has it: moto copies keys with their uploads.
        made._value_buffer = upload.__dict__.pop("content")
        made.contentsize = made._value_buffer.seek(0, io.SEEK_END)
    return key


_moto_complete_upload = S3Backend.complete_multipart_upload
setattr(FakeMultipart, "complete", _complete)  # noqa: B010 - mypy forbids to assign to a method
setattr(S3Backend, "complete_multipart_upload", _complete_upload)  # noqa: B010
