from __future__ import annotations

import hashlib
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.errors import Interrupted
from exasol_like_dss.lib.images.formats.sparse import (
    BLOCK_BYTES,
    GRAIN_BYTES,
    data_runs,
    fingerprint,
    hash_file,
    is_zero,
    read_blocks,
)
from exasol_like_dss.lib.interrupts import Cancellation
from test.unit.images.conftest import make_image

sizes = st.integers(1, 3 * BLOCK_BYTES + 1000)
contents = st.dictionaries(st.integers(0, 3 * BLOCK_BYTES), st.binary(min_size=1, max_size=2000), max_size=5)


@settings(deadline=None)
@given(size=sizes, content=contents)
def test_blocks_hold_all_that_is_not_zero(size: int, content: dict[int, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = make_image(Path(folder) / "image", size, content)
        expected = path.read_bytes()
        rebuilt = bytearray(size)
        position = 0
        for offset, data in read_blocks(path, cancellation=Cancellation()):
            assert offset >= position
            assert offset % GRAIN_BYTES == 0
            assert offset // BLOCK_BYTES == (offset + len(data) - 1) // BLOCK_BYTES, "crosses a block boundary"
            position = offset + len(data)
            rebuilt[offset:position] = data
        assert rebuilt == expected
        assert hash_file(path, cancellation=Cancellation()) == hashlib.sha256(expected).hexdigest()


def test_holes_are_not_read(tmp_path: Path) -> None:
    path = make_image(tmp_path / "image", 300 << 30, {0: b"a", (300 << 30) - 1: b"z"})
    blocks = list(read_blocks(path, cancellation=Cancellation()))
    assert [offset for offset, _ in blocks] == [0, (300 << 30) - GRAIN_BYTES]


def test_fingerprint_depends_on_content_and_not_on_holes(tmp_path: Path) -> None:
    size = 10 << 20
    sparse = make_image(tmp_path / "sparse", size, {5: b"x", 8 << 20: b"y"})
    full = tmp_path / "full"
    full.write_bytes(sparse.read_bytes())
    other = make_image(tmp_path / "other", size, {5: b"x", 8 << 20: b"z"})
    longer = make_image(tmp_path / "longer", size + 512, {5: b"x", 8 << 20: b"y"})
    assert fingerprint(sparse) == fingerprint(full)
    assert len({fingerprint(path) for path in (sparse, other, longer)}) == 3


def test_reading_stops_when_the_work_is_off(tmp_path: Path) -> None:
    cancellation = Cancellation()
    blocks = read_blocks(make_image(tmp_path / "image", 4 << 20, {0: b"a" * (3 << 20)}), cancellation=cancellation)
    next(blocks)
    cancellation.cancel()
    with pytest.raises(Interrupted):
        next(blocks)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_is_zero(data: bytes) -> None:
    assert is_zero(data) == (not any(data))


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=16), st.integers(0, GRAIN_BYTES - 1))
def test_runs_are_all_that_is_not_zero_and_no_two_touch(grains: list[bool], more: int) -> None:
    data = b"".join((b"x" if full else b"\0") * GRAIN_BYTES for full in grains) + b"y" * more
    runs = list(data_runs(data))
    assert all(data[start : start + len(run)] == run for start, run in runs)
    rebuilt = bytearray(len(data))
    for start, run in runs:
        rebuilt[start : start + len(run)] = run
    assert rebuilt == data
    assert all(start + len(run) < later for (start, run), (later, _) in pairwise(runs))
    assert not any(b"\0" in bytes(run) for _, run in runs)
