from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.images.disk import needed_disk_bytes
from exasol_like_dss.lib.images.ext4 import ContentSize, measure
from exasol_like_dss.lib.images.partitions import MIB


def test_names_of_one_file_count_once_and_holes_in_full(tmp_path: Path) -> None:
    before = measure(tmp_path)
    (tmp_path / "file").write_bytes(b"x" * 5000)
    os.link(tmp_path / "file", tmp_path / "again")
    (tmp_path / "short").symlink_to("file")
    (tmp_path / "long").symlink_to("f" * 100)
    after = measure(tmp_path)
    assert after.files - before.files == 3
    assert after.content_bytes - before.content_bytes == 8192 + 4096


@settings(deadline=None)
@given(st.integers(0, 1 << 38), st.integers(0, 1 << 22))
def test_partition_has_room(content_bytes: int, files: int) -> None:
    size = ContentSize(content_bytes, files)
    assert size.partition_bytes % MIB == 0
    assert size.partition_bytes >= content_bytes * 1.15 + 512 * MIB
    inodes = size.partition_bytes // size.bytes_per_inode
    assert inodes > files or size.bytes_per_inode == 1024
    assert 1024 <= size.bytes_per_inode <= 16384


def test_needed_disk_grows_with_content(tmp_path: Path) -> None:
    empty = needed_disk_bytes(tmp_path)
    (tmp_path / "file").write_bytes(b"x" * 10 * MIB)
    assert needed_disk_bytes(tmp_path) >= empty + 11 * MIB
