"""A root file system on its way into a container image."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError, Interrupted
from exasol_like_dss.lib.images.root_tar import (
    archive_date,
    find_root_file_system,
    stream_root_tar,
    write_root_archive,
)
from exasol_like_dss.lib.interrupts import Cancellation


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("boot", "usr/lib/modules/6.1", "opt/jupyter/venv", "var/lib/dpkg", "etc", "dev", "var/lib/apt/lists"):
        (root / name).mkdir(parents=True)
    (root / "boot/vmlinuz").write_text("kernel")
    (root / "usr/lib/modules/6.1/x.ko").write_text("module")
    (root / "opt/jupyter/venv/tool").write_text("#!/bin/sh\n")
    (root / "opt/jupyter/venv/tool").chmod(0o755)
    (root / "opt/jupyter/venv/data").write_text("data")
    (root / "opt/jupyter/venv/data").chmod(0o640)
    (root / "var/lib/dpkg/status").write_text("Package: x\n")
    os.link(root / "var/lib/dpkg/status", root / "var/lib/dpkg/status-again")
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    (root / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    (root / "var/lib/apt/lists/a_InRelease").write_text("Origin: X\nDate: Sat, 01 Nov 2025 00:00:00 UTC\n")
    os.utime(root / "opt/jupyter/venv/data", (1, 1))
    return root


def _tar(source: Path, newest: int | None = None) -> tarfile.TarFile:
    pieces = stream_root_tar(source, newest=newest, programs=Programs(), cancellation=Cancellation())
    return tarfile.open(fileobj=io.BytesIO(b"".join(pieces)))


def test_what_a_container_can_use_and_nothing_else(root: Path) -> None:
    with _tar(root) as tar:
        names = set(tar.getnames())
    assert {"boot", "dev", "usr/lib/modules", "opt/jupyter/venv/tool", "etc/os-release"} <= names
    assert not names & {"boot/vmlinuz", "usr/lib/modules/6.1/x.ko", "etc/resolv.conf", "var/lib/apt/lists/a_InRelease"}


def test_owners_modes_links_and_times(root: Path) -> None:
    with _tar(root, newest=1000) as tar:
        tool, data = tar.getmember("opt/jupyter/venv/tool"), tar.getmember("opt/jupyter/venv/data")
        assert (tool.mode & 0o777, tool.gid, data.mode & 0o777) == (0o775, 0, 0o660)
        assert (tool.mtime, data.mtime) == (1000, 1)
        again = tar.getmember("var/lib/dpkg/status-again")
        assert again.islnk() and again.linkname == "var/lib/dpkg/status"
        assert tar.getmember("etc/os-release").linkname == "../usr/lib/os-release"


def test_a_kept_root_is_read_like_the_folder(root: Path, tmp_path: Path) -> None:
    kept = tmp_path / "exasol-like-dss-1.rootfs.tar.gz"
    write_root_archive(root, kept, programs=Programs(), cancellation=Cancellation())
    with _tar(root) as folder, _tar(find_root_file_system(tmp_path)) as archive:
        assert folder.getnames() == archive.getnames()
        assert [member.mode for member in folder] == [member.mode for member in archive]


def test_a_kept_root_of_a_reproducible_build_is_made_by_zlib_and_has_its_time(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    kept = tmp_path / "kept.tar.gz"
    contents = []
    for _ in range(2):
        write_root_archive(root, kept, programs=Programs(), cancellation=Cancellation())
        contents.append(kept.read_bytes())
    assert contents[0] == contents[1]
    # RFC 1952: magic, method, no flags (no name), and the time.
    assert contents[0][:8] == b"\x1f\x8b\x08\x00" + (1790000000).to_bytes(4, "little")
    coder = zlib.compressobj(3, zlib.DEFLATED, -zlib.MAX_WBITS)
    made = coder.compress(gzip.decompress(contents[0])) + coder.flush()
    assert contents[0][10:-8] == made, "these bytes follow from the content alone"
    with _tar(root) as folder, _tar(kept) as archive:
        assert folder.getnames() == archive.getnames()


def test_the_same_root_gives_the_same_bytes(root: Path) -> None:
    def stream() -> bytes:
        (root / "opt/jupyter/venv/tool").touch()
        return b"".join(stream_root_tar(root, newest=1000, programs=Programs(), cancellation=Cancellation()))

    assert stream() == stream()


def test_what_is_no_root(tmp_path: Path, root: Path) -> None:
    assert find_root_file_system(root) == root
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="no root file system"):
            find_root_file_system(path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="did not keep"):
        find_root_file_system(tmp_path)
    for content in (b"", b"no tar at all", b"\x1f\x8b\x08\x00broken"):
        (tmp_path / "x.tar.gz").write_bytes(content)
        with pytest.raises(InputError, match="can't be read"):
            list(stream_root_tar(tmp_path / "x.tar.gz", newest=None, programs=Programs(), cancellation=Cancellation()))


def test_a_reader_who_gives_up_and_one_who_is_called_off(root: Path) -> None:
    (root / "big").write_bytes(os.urandom(8 << 20))
    pieces = stream_root_tar(root, newest=None, programs=Programs(), cancellation=Cancellation())
    next(iter(pieces))
    pieces.close()  # type: ignore[attr-defined]
    cancelled = Cancellation()
    cancelled.cancel()
    with pytest.raises(Interrupted):
        list(stream_root_tar(root, newest=None, programs=Programs(), cancellation=cancelled))


def test_the_date_of_the_archive(root: Path, tmp_path: Path) -> None:
    assert archive_date(root) == 1761955200
    assert archive_date(tmp_path) == 0
