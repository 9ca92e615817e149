from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.access.aws.ebs import BLOCK_BYTES
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.snapshot_content import RawSource, SnapshotContent, read_content
from exasol_like_dss.lib.interrupts import Cancellation


def read(path: Path, size_bytes: int) -> SnapshotContent:
    return read_content(RawSource(path, size_bytes), cancellation=Cancellation())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("content")


@settings(max_examples=30, deadline=None)
@given(
    writes=st.dictionaries(
        st.integers(0, 40 * BLOCK_BYTES), st.binary(min_size=1, max_size=70_000), min_size=1, max_size=6
    ),
    tail=st.integers(0, BLOCK_BYTES),
)
def test_the_blocks_are_those_that_are_not_zeros(folder: Path, writes: dict[int, bytes], tail: int) -> None:
    size = 40 * BLOCK_BYTES + 70_000 + tail
    expected = bytearray(size)
    path = folder / "disk"
    with path.open("wb") as file:
        for offset, data in writes.items():
            expected[offset : offset + len(data)] = data
            file.seek(offset)
            file.write(data)
        file.truncate(size)
    blocks = {
        index: bytes(expected[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]).ljust(BLOCK_BYTES, b"\0")
        for index in range(-(-size // BLOCK_BYTES))
    }
    written = {index: data for index, data in blocks.items() if any(data)}
    if not written:
        with pytest.raises(InputError, match="nothing but zeros"):
            read(path, size)
        return
    content = read(path, size)
    assert list(content.indexes) == sorted(written)
    digests = [hashlib.sha256(written[index]).digest() for index in sorted(written)]
    for number, index in enumerate(content.indexes):
        assert content.block(number) == written[index]
        assert content.block_checksum(number) == base64.b64encode(digests[number]).decode()
    assert content.checksum == base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    assert content.volume_gib == 1


def test_the_id_stands_for_content_and_size_not_for_holes(folder: Path) -> None:
    sparse, full = folder / "sparse", folder / "full"
    with sparse.open("wb") as file:
        file.truncate(8 * BLOCK_BYTES)
        file.seek(5 * BLOCK_BYTES)
        file.write(b"x")
    full.write_bytes(sparse.read_bytes())
    assert read(sparse, 8 * BLOCK_BYTES).id == read(full, 8 * BLOCK_BYTES).id
    other = read(sparse, 6 * BLOCK_BYTES)
    assert other.id == read(full, 8 * BLOCK_BYTES).id, "the same volume of 1 GiB"
    with full.open("r+b") as file:
        file.seek(0)
        file.write(b"y")
    assert read(full, 8 * BLOCK_BYTES).id != other.id


def test_what_stands_behind_the_disk_is_not_read(folder: Path) -> None:
    """The footer of a fixed VHD."""
    path = folder / "vhd"
    path.write_bytes(b"a" * BLOCK_BYTES + b"footer" * 80)
    assert list(read(path, BLOCK_BYTES).indexes) == [0]


def test_a_volume_has_whole_gibibytes(folder: Path) -> None:
    path = folder / "large"
    with path.open("wb") as file:
        file.write(b"x")
        file.truncate((3 << 30) + 1)
    assert read(path, (3 << 30) + 1).volume_gib == 4


def test_more_than_ebs_has(folder: Path) -> None:
    with pytest.raises(InputError, match="larger than a volume can be"):
        read(folder / "large", (65_537 << 30))
