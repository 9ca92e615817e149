"""An OVA put together from ranges is byte for byte head, disk and end; no part is too small for S3."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exasol_like_dss.lib.publishing.s3_objects import copy_parts
from exasol_like_dss.lib.publishing.s3_ova import ova_parts


@given(
    head=st.binary(min_size=1, max_size=40),
    end=st.binary(min_size=1, max_size=10),
    disk=st.binary(max_size=300),
    least=st.integers(1, 30),
    part=st.integers(1, 80),
)
def test_parts_of_an_ova(head: bytes, end: bytes, disk: bytes, least: int, part: int) -> None:
    parts = ova_parts(
        head,
        end,
        source="disk",
        size_bytes=len(disk),
        read=lambda start, stop: disk[start:stop],
        least_bytes=least,
        part_bytes=part,
    )
    pieces = [one.data or disk[one.start : one.start + one.length] for one in parts]
    assert b"".join(pieces) == head + disk + end
    assert all(len(piece) >= least for piece in pieces[:-1])


@given(start=st.integers(0, 100), length=st.integers(1, 5000), part=st.integers(1, 900))
def test_parts_of_a_copy(start: int, length: int, part: int) -> None:
    parts = copy_parts("source", start=start, end=start + length, part_bytes=part)
    assert parts[0].start == start
    assert sum(one.length for one in parts) == length
    assert all(first.start + first.length == second.start for first, second in pairwise(parts))
    assert all(one.length >= min(part, length) and one.length <= 2 * part + 1 for one in parts)
