from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.images.formats.vhd import geometry, vhd_footer
from exasol_like_dss.lib.images.partitions import MIB


def test_footer_fields() -> None:
    footer = vhd_footer(100 << 30, unique_id=bytes(range(16)), timestamp=946684800 + 77)
    assert len(footer) == 512
    assert footer[:8] == b"conectix"
    assert struct.unpack_from(">IIQI", footer, 8) == (2, 0x00010000, 2**64 - 1, 77)
    assert footer[28:32] == b"win "
    assert struct.unpack_from(">QQ", footer, 40) == (100 << 30, 100 << 30)
    assert struct.unpack_from(">HBBI", footer, 56) == (51400, 16, 255, 2)
    assert footer[68:84] == bytes(range(16))
    (checksum,) = struct.unpack_from(">I", footer, 64)
    assert checksum == ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("mib", "expected"),
    # The integration tests compare many sizes with what qemu-img writes.
    [(1, (30, 4, 17)), (100, (1003, 12, 17)), (1024, (2080, 16, 63)), (1 << 20, (65535, 16, 255))],
)
def test_geometry(mib: int, expected: tuple[int, int, int]) -> None:
    assert geometry(mib * 2048) == expected


@settings(deadline=None)
@given(st.integers(1, 1 << 24))
def test_geometry_covers_no_more_than_the_disk(mib: int) -> None:
    cylinders, heads, sectors = geometry(mib * MIB // 512)
    assert 0 < cylinders <= 65535
    assert 0 < heads <= 16
    assert sectors in (17, 31, 63, 255)
    assert cylinders * heads * sectors <= mib * 2048


def test_times_before_the_format_are_its_beginning() -> None:
    assert vhd_footer(MIB, unique_id=bytes(16), timestamp=0)[24:28] == bytes(4)
