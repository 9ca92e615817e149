"""The qcow2, read back by a small reader that follows the specification, and counts what the refcounts should say."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.images.formats import VmImageFormat, qcow2
from exasol_like_dss.lib.images.formats.deflate import deflate_small_window, zlib_deflate_small_window
from test.unit.images.conftest import Content, make_image, write

CLUSTER = 1 << 16
L2_SPAN = 512 << 20
COMPRESSED = 1 << 62
OFFSET = (1 << 54) - 1


def read_back(data: bytes) -> tuple[int, dict[int, bytes]]:
    """The size of the disk, and its clusters. Checks every refcount."""
    (magic, version, backing, _, bits, size, encryption, l1_size, l1_offset, table_offset, table_clusters, snapshots, _,
     incompatible, _, _, order, length) = struct.unpack_from(">4sIQIIQIIQQIIQQQQII", data)  # fmt: skip
    assert (magic, version, backing, bits, encryption, snapshots) == (b"QFI\xfb", 3, 0, 16, 0, 0)
    assert (incompatible, order, length) == (0, 4, 104)
    assert data[104:112] == bytes(8), "no extensions"
    used: Counter[int] = Counter([0])
    clusters: dict[int, bytes] = {}

    def use(offset: int, size_bytes: int) -> bytes:
        used.update(range(offset // CLUSTER, (offset + size_bytes - 1) // CLUSTER + 1))
        return data[offset : offset + size_bytes]

    l1 = struct.unpack(f">{l1_size}Q", use(l1_offset, 8 * l1_size))
    for number, entry in enumerate(l1):
        if not entry:
            continue
        assert entry >> 63
        assert (entry & OFFSET) % CLUSTER == 0
        for index, found in enumerate(struct.unpack(">8192Q", use(entry & OFFSET, CLUSTER))):
            if not found:
                continue
            offset = found & OFFSET
            if found & COMPRESSED:
                sectors = (found >> 54) & 0xFF
                inflater = zlib.decompressobj(-12)
                content = inflater.decompress(data[offset : (offset // 512 + sectors + 1) * 512])
                assert inflater.eof
                stream = data[offset : (offset // 512 + sectors + 1) * 512]
                use(offset, len(stream) - len(inflater.unused_data))
            else:
                assert found >> 63
                assert offset % CLUSTER == 0
                content = use(offset, CLUSTER)
            assert len(content) == CLUSTER
            clusters[number * 8192 + index] = content
    for block in struct.unpack(f">{table_clusters * 8192}Q", use(table_offset, table_clusters * CLUSTER)):
        if block:
            use(block, CLUSTER)
    counted: dict[int, int] = {}
    table = struct.unpack_from(f">{table_clusters * 8192}Q", data, table_offset)
    for number, block in enumerate(table):
        if block:
            for index, count in enumerate(struct.unpack_from(">32768H", data, block)):
                if count:
                    counted[number * 32768 + index] = count
    assert counted == dict(used)
    assert -(-len(data) // CLUSTER) == len(used), "nothing is lost, nothing beyond the end"
    return size, clusters


@settings(deadline=None, max_examples=25)
@given(
    size=st.integers(1, L2_SPAN + 3 * CLUSTER),
    content=st.dictionaries(
        st.integers(0, L2_SPAN + 2 * CLUSTER),
        st.one_of(st.binary(min_size=1, max_size=3000), st.just(Random(3).randbytes(3 * CLUSTER))),
        max_size=5,
    ),
)
def test_round_trip(size: int, content: dict[int, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = make_image(Path(folder) / "source", size, content)
        [image] = write(source, VmImageFormat.QCOW2, directory=Path(folder))
        found_size, clusters = read_back(image.path.read_bytes())
        assert found_size == -(-size // 512) * 512
        with source.open("rb") as file:
            for number, data in clusters.items():
                file.seek(number * CLUSTER)
                assert file.read(CLUSTER).ljust(CLUSTER, b"\0") == data
        expected = {
            at // CLUSTER
            for offset, data in content.items()
            for at in range(offset, min(offset + len(data), size))
            if data[at - offset]
        }
        # What a later piece of the content has overwritten with zeros can be missing.
        assert set(clusters) <= expected
        assert all(any(data) for data in clusters.values())


def test_what_does_not_get_smaller_is_kept_as_it_is(image: Callable[[int, Content], Path], tmp_path: Path) -> None:
    source = image(8 << 20, {0: b"text " * 40_000, 1 << 20: Random(1).randbytes(6 * CLUSTER), 7 << 20: b"end"})
    [written] = write(source, VmImageFormat.QCOW2, directory=tmp_path)
    _, clusters = read_back(written.path.read_bytes())
    assert {number for number in clusters if 16 <= number < 22} == set(range(16, 22))
    # Header, the text, what is kept, the end; L2, L1, refcounts and their table.
    assert written.size_bytes == (1 + 1 + 6 + 1 + 4) * CLUSTER


def test_both_coders_look_back_four_kib() -> None:
    data = (Random(5).randbytes(5000) * 20)[:CLUSTER]
    for coder in (deflate_small_window, zlib_deflate_small_window):
        assert zlib.decompressobj(-12).decompress(coder(data)) == data


def test_more_than_one_refcount_block() -> None:
    """A file of more than 2 GiB has several; its end is made here without its beginning."""
    layout = qcow2._Layout(1 << 30)
    layout._refcounts.extend([1] * 70_000)
    layout.position = 70_001 * CLUSTER
    tail = b"".join(layout._end())
    blocks = -(-(70_001 + 1 + 3 + 1) // 32768)
    assert blocks == 3
    assert len(tail) == CLUSTER + 3 * CLUSTER + CLUSTER
    header = struct.unpack_from(">4sIQIIQIIQQI", layout.header())
    assert header[8] == 70_001 * CLUSTER
    assert header[9] == (70_001 + 1 + 3) * CLUSTER
    assert struct.unpack_from(">32768H", tail, 3 * CLUSTER)[: 70_006 - 65_536] == (1,) * 4470
    assert not any(tail[3 * CLUSTER + 2 * 4470 : 4 * CLUSTER])
