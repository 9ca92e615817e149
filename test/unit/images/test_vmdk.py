"""The VMDK, read back by a small reader that follows the markers from front to end, as importers of streams do."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.images.formats.deflate import zlib_deflate
from exasol_like_dss.lib.images.formats.sparse import BLOCK_BYTES, GRAIN_BYTES, Block, read_blocks
from exasol_like_dss.lib.images.formats.vmdk import Extent, vmdk_stream, write_vmdk
from exasol_like_dss.lib.images.formats.vmdk_reader import Damaged, VmdkReader
from exasol_like_dss.lib.interrupts import Cancellation
from test.unit.images.conftest import make_image

ID = bytes(range(16))
TABLE_SPAN = 32 << 20


def made(blocks: Iterable[Block], size_bytes: int, *, workers: int = 2) -> bytes:
    return b"".join(vmdk_stream(blocks, extent=Extent(size_bytes, ID, "disk.vmdk"), workers=workers))


def follow_markers(data: bytes) -> tuple[dict[int, bytes], list[int]]:
    """The grains by their address in bytes, and the types of the markers in their order."""
    grains: dict[int, bytes] = {}
    markers = []
    position = 128 * 512
    while position < len(data):
        value, size = struct.unpack_from("<QI", data, position)
        if size:
            content = zlib.decompress(data[position + 12 : position + 12 + size])
            assert len(content) == GRAIN_BYTES
            grains[value * 512] = content
            position += -(-(12 + size) // 512) * 512
            continue
        (kind,) = struct.unpack_from("<I", data, position + 12)
        markers.append(kind)
        position += 512 + value * 512
    return grains, markers


@settings(deadline=None, max_examples=40)
@given(
    size=st.integers(1, 3 * TABLE_SPAN),
    content=st.dictionaries(st.integers(0, 3 * TABLE_SPAN), st.binary(min_size=1, max_size=5000), max_size=6),
    workers=st.integers(1, 3),
)
def test_round_trip(size: int, content: dict[int, bytes], workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = make_image(Path(folder) / "image", size, content)
        expected = dict(read_blocks(source, cancellation=Cancellation()))
        data = made(expected.items(), size, workers=workers)
    assert len(data) % 512 == 0
    grains, markers = follow_markers(data)
    assert markers[-3:] == [2, 3, 0]
    assert set(markers[:-3]) <= {1}

    reader = VmdkReader(io.BytesIO(data), size_bytes=len(data))
    reader.check(deep=True)
    assert reader.virtual_bytes == -(-size // 512) * 512
    by_tables = {number * GRAIN_BYTES: reader.read_grain(number, place) for number, place in reader.grains()}
    assert by_tables == grains, "tables and markers tell the same"
    whole = {
        offset + start: block[start : start + GRAIN_BYTES].ljust(GRAIN_BYTES, b"\0")
        for offset, block in expected.items()
        for start in range(0, len(block), GRAIN_BYTES)
        if any(block[start : start + GRAIN_BYTES])
    }
    assert grains == whole


def test_header_fields() -> None:
    data = made([(0, b"x" * BLOCK_BYTES)], 100 << 30)
    (magic, version, flags, capacity, grain, descriptor, descriptor_size, entries, redundant, directory, overhead,
     unclean, newlines, compression) = struct.unpack_from("<4sIIQQQQIQQQB4sH", data)  # fmt: skip
    assert (magic, version, flags) == (b"KDMV", 3, 0x30001)
    assert (capacity, grain, entries) == ((100 << 30) // 512, 128, 512)
    assert (descriptor, descriptor_size, overhead) == (1, 20, 128)
    assert (redundant, directory) == (0, 2**64 - 1)
    assert (unclean, newlines, compression) == (0, b"\n \r\n", 1)
    footer = data[-1024:-512]
    assert footer[:56] + footer[64:] == data[:56] + data[64:512]
    assert data[-512:] == bytes(512)


def test_descriptor() -> None:
    data = made([], 1 << 30)
    text = VmdkReader(io.BytesIO(data), size_bytes=len(data)).descriptor()
    for line in (
        "version=1",
        "CID=00010203",
        "parentCID=ffffffff",
        'createType="streamOptimized"',
        'RDONLY 2097152 SPARSE "disk.vmdk"',
        'ddb.adapterType = "lsilogic"',
        'ddb.toolsVersion = "2147483647"',
    ):
        assert line in text.splitlines()


def test_zeros_take_no_room() -> None:
    assert len(made([], 300 << 30)) == 128 * 512 + 512 + (300 << 30) // TABLE_SPAN * 4 + 3 * 512
    with_zeros = made([(0, b"a".ljust(GRAIN_BYTES, b"\0") + bytes(BLOCK_BYTES - GRAIN_BYTES))], 1 << 20)
    assert set(follow_markers(with_zeros)[0]) == {0}


def test_the_bytes_do_not_depend_on_the_threads() -> None:
    blocks = [(number * BLOCK_BYTES, bytes([number + 1]) * BLOCK_BYTES) for number in range(40)]
    assert len({made(blocks, 40 << 20, workers=workers) for workers in (1, 2, 5)}) == 1


def test_memory_is_bounded() -> None:
    taken = 0

    def blocks() -> Iterable[Block]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number * BLOCK_BYTES, b"\1" * BLOCK_BYTES

    stream = vmdk_stream(blocks(), extent=Extent(1000 * BLOCK_BYTES, ID, "disk"), workers=2)
    next(stream), next(stream)  # the head, and the first block
    assert taken <= 6
    stream.close()


def test_writes_into_anything_and_with_plain_zlib() -> None:
    blocks = [(0, b"text " * 10000)]
    extent = Extent(50000, ID, "disk")
    output = io.BytesIO()
    write_vmdk(blocks, output, extent=extent)
    plain = b"".join(vmdk_stream(blocks, extent=extent, coder=zlib_deflate))
    assert follow_markers(plain)[0] == follow_markers(output.getvalue())[0]


def test_a_coder_that_fails_ends_the_stream() -> None:
    def broken(_: bytes | memoryview) -> bytes:
        raise MemoryError

    with pytest.raises(MemoryError):
        list(vmdk_stream([(0, b"a" * GRAIN_BYTES)] * 20, extent=Extent(1 << 30, ID, "disk"), coder=broken))


@pytest.mark.parametrize("name", ["x" * 11000, 'quo"te\n'])
def test_names(name: str) -> None:
    if len(name) > 10000:
        with pytest.raises(DssError, match="too long"):
            Extent(512, ID, name).head()
    else:
        assert b'SPARSE "quo_te_"\n' in Extent(512, ID, name).head()


def test_too_large() -> None:
    with pytest.raises(DssError, match="2 TiB"):
        list(vmdk_stream([], extent=Extent(2 << 40, ID, "disk")))


@settings(deadline=None, max_examples=60)
@given(cut=st.integers(0, 10**9))
def test_reader_notices_every_cut(cut: int) -> None:
    data = made([(0, b"some data" * 50000), (64 << 20, b"more")], 100 << 20)
    short = data[: cut % len(data)]
    with pytest.raises(Damaged):
        VmdkReader(io.BytesIO(short), size_bytes=len(short)).check()


@settings(deadline=None, max_examples=60)
@given(place=st.integers(128 * 512, 10**9), bit=st.integers(0, 7))
def test_deep_check_notices_flipped_bits(place: int, bit: int) -> None:
    """In a grain, a table, the directory: either it is noticed, or it changed nothing that is read (padding)."""
    data = bytearray(made([(0, bytes(range(256)) * 4096), (64 << 20, b"more")], 100 << 20))
    before = content(data)
    data[128 * 512 + place % (len(data) - 128 * 512)] ^= 1 << bit
    try:
        VmdkReader(io.BytesIO(data), size_bytes=len(data)).check(deep=True)
    except Damaged:
        return
    assert content(data) == before


def content(data: bytes | bytearray) -> dict[int, bytes]:
    reader = VmdkReader(io.BytesIO(data), size_bytes=len(data))
    return {number: reader.read_grain(number, place) for number, place in reader.grains()}
