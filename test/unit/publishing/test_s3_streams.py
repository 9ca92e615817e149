from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.access.aws.s3_build import ObjectFacts, S3Builds
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.publishing import s3_streams
from exasol_like_dss.lib.publishing.s3_objects import LEAST_PART_BYTES, Part, assemble
from exasol_like_dss.lib.publishing.s3_streams import Zeros, disk_parts, part_size, stream_parts

MIB = 1 << 20


class FakeS3:
    """Sizes are those of S3; content is kept as it is."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.aborted: list[str] = []
        self.fails_at = 0

    def write(self, _bucket: str, key: str, data: bytes, *, content_type: str) -> None:
        assert content_type
        self.objects[key] = data

    def delete(self, _bucket: str, key: str) -> None:
        self.objects.pop(key, None)

    def facts(self, _bucket: str, key: str) -> ObjectFacts | None:
        return ObjectFacts(len(self.objects[key]), {}) if key in self.objects else None

    def begin_upload(self, _bucket: str, key: str, *, metadata: Mapping[str, str]) -> str:
        del metadata
        self.uploads[key] = {}
        return key

    def upload_part(self, _bucket: str, key: str, *, upload_id: str, number: int, data: bytes) -> str:
        if number == self.fails_at:
            raise AwsError("broken", code="AccessDenied")
        self.uploads[upload_id][number] = data
        return f"{key}-{number}"

    def copy_part(
        self, _bucket: str, key: str, *, upload_id: str, number: int, source: str, start: int, length: int
    ) -> str:
        assert start + length <= len(self.objects[source])
        self.uploads[upload_id][number] = self.objects[source][start : start + length]
        return f"{key}-{number}"

    def complete_upload(self, _bucket: str, key: str, *, upload_id: str, tags: list[str]) -> None:
        parts = self.uploads.pop(upload_id)
        pieces = [parts[number] for number in range(1, len(tags) + 1)]
        assert all(len(piece) >= LEAST_PART_BYTES for piece in pieces[:-1])
        self.objects[key] = b"".join(pieces)

    def abort(self, _bucket: str, key: str, *, upload_id: str) -> None:
        del self.uploads[upload_id]
        self.aborted.append(key)


def s3_of(fake: FakeS3) -> S3Builds:
    return cast(S3Builds, fake)


def zeros_of(fake: FakeS3, part_bytes: int = 8 * MIB) -> Zeros:
    return Zeros(s3_of(fake), bucket="b", key="zeros", part_bytes=part_bytes, cancellation=Cancellation())


def put(fake: FakeS3, parts: Any) -> None:
    assemble(s3_of(fake), bucket="b", key="disk", parts=parts, metadata={}, cancellation=Cancellation())


@settings(max_examples=8, deadline=None)
@given(
    places=st.lists(st.integers(0, 159), unique=True, max_size=12),
    ending=st.sampled_from([b"", b"f" * 512]),
)
def test_a_disk_of_holes_is_the_same_disk(places: list[int], ending: bytes) -> None:
    """160 blocks of 512 KiB: gaps of every kind, at both ends too."""
    half = MIB // 2
    blocks = [(place * half, bytes([place + 1]) * half) for place in sorted(places)]
    fake = FakeS3()
    zeros = zeros_of(fake)
    put(fake, disk_parts(blocks, disk_bytes=80 * MIB, ending=ending, part_bytes=8 * MIB, zeros=zeros))
    expected = bytearray(80 * MIB)
    for offset, data in blocks:
        expected[offset : offset + half] = data
    assert fake.objects["disk"] == bytes(expected) + ending
    zeros.remove()
    assert set(fake.objects) == {"disk"}


def test_zeros_are_copied_in_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_streams, "_MOST_ZEROS", 1 << 40)
    fake = FakeS3()
    parts = list(zeros_of(fake, part_bytes=5 * MIB).parts(300 * MIB))
    assert len(fake.objects["zeros"]) == 320 * MIB
    assert [(part.source, part.length) for part in parts] == [("zeros", 300 * MIB)]


def test_a_stream_has_parts_of_one_size() -> None:
    pieces = [bytes([number]) * (3 * MIB) for number in range(7)]
    parts = list(stream_parts(pieces, part_bytes=8 * MIB))
    assert [len(part.data) for part in parts] == [8 * MIB, 8 * MIB, 5 * MIB]
    assert b"".join(part.data for part in parts) == b"".join(pieces)


@pytest.mark.parametrize(("disk", "part"), [(1, 8), (70 << 10, 8), (100 << 10, 12), (2040 << 10, 233)])
def test_s3_takes_ten_thousand_parts(disk: int, part: int) -> None:
    """Both in MiB."""
    assert part_size(disk * MIB) == part * MIB
    assert disk / part < 9100


@pytest.mark.parametrize("error", [DssError("the disk is gone"), KeyboardInterrupt()])
def test_an_upload_whose_source_fails_is_given_up(error: BaseException) -> None:
    def parts() -> Any:
        yield Part(data=bytes(5 * MIB))
        raise error

    fake = FakeS3()
    with pytest.raises(type(error)):
        put(fake, parts())
    assert (fake.aborted, fake.uploads, fake.objects) == (["disk"], {}, {})


def test_an_upload_that_fails_is_given_up() -> None:
    fake = FakeS3()
    fake.fails_at = 2
    with pytest.raises(AwsError, match="broken"):
        put(fake, (Part(data=bytes(5 * MIB)) for _ in range(9)))
    assert (fake.aborted, fake.uploads, fake.objects) == (["disk"], {}, {})
