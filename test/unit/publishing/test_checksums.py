"""Checksums agree with coreutils, in both directions."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.files import write_text_atomically, written_atomically
from exasol_like_dss.lib.publishing.checksums import (
    CheckedFile,
    ChecksumResult,
    sha256_of,
    verify_sha256sums,
    write_sha256sums,
)
from exasol_like_dss.lib.publishing.manifest import Artifact


@settings(deadline=None)  # files on a busy machine
@given(content=st.binary(max_size=4096))
def test_sha256_of_any_content(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "content"
    path.write_bytes(content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()


@settings(deadline=None)  # files on a busy machine
@given(pieces=st.lists(st.tuples(st.integers(0, 3_000_000), st.binary(min_size=1, max_size=64)), max_size=4))
def test_sha256_of_a_sparse_file(tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]]) -> None:
    path = tmp_path_factory.getbasetemp() / "sparse"
    with path.open("wb") as file:
        file.truncate(3_500_001)
        for offset, piece in pieces:
            file.seek(offset)
            file.write(piece)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_progress_is_the_sum_so_far(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom((2 << 20) + 1))
    seen: list[int] = []
    sha256_of(path, seen.append)
    assert seen == [1 << 20, 2 << 20, (2 << 20) + 1]


def test_sha256sum_reads_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "image one.vmdk").write_bytes(b"one")
    (tmp_path / "two.ova").write_bytes(b"two")
    two = Artifact("two.ova", "OVA", 3, hashlib.sha256(b"two").hexdigest())
    write_sha256sums([tmp_path / "image one.vmdk", two], tmp_path / "SHA256SUMS")
    command = ["sha256sum", "-c", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "image one.vmdk: OK\ntwo.ova: OK\n")


def test_what_sha256sum_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"good")
    (tmp_path / "bad").write_bytes(b"bad")
    (tmp_path / "gone").write_bytes(b"gone")
    for mode in ("--text", "--binary"):
        sums = subprocess.run(["sha256sum", mode, "good", "bad", "gone"], cwd=tmp_path, capture_output=True, check=True)
        (tmp_path / f"SUMS{mode}").write_bytes(sums.stdout)
    (tmp_path / "bad").write_bytes(b"changed")
    (tmp_path / "gone").unlink()
    for mode in ("--text", "--binary"):
        assert verify_sha256sums(tmp_path / f"SUMS{mode}") == [
            CheckedFile("good", ChecksumResult.OK),
            CheckedFile("bad", ChecksumResult.DIFFERS),
            CheckedFile("gone", ChecksumResult.MISSING),
        ]


@pytest.mark.parametrize("text", ["", "hello\n", f"{'a' * 64} one-space\n", f"{'a' * 64}  ../../etc/passwd\n", "\x00"])
def test_what_is_no_list_of_sums(tmp_path: Path, text: str) -> None:
    (tmp_path / "SHA256SUMS").write_text(text)
    with pytest.raises(InputError):
        verify_sha256sums(tmp_path / "SHA256SUMS")


def test_a_name_that_coreutils_would_escape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't stand"):
        write_sha256sums([Artifact("a\nb", "RAW", 1, "a" * 64)], tmp_path / "SHA256SUMS")


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "manifest.json"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_atomically(target) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_killed_write_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".manifest.json.part").write_text("left by a killed process")
    write_text_atomically(tmp_path / "manifest.json", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"manifest.json": "new"}
