"""Layers on top of each other give the folder that they were made from, with all that a file system keeps."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache.delta import apply_delta, changed, look, write_delta
from exasol_like_dss.lib.errors import DssError, Interrupted
from exasol_like_dss.lib.interrupts import Cancellation


def described(root: Path) -> dict[str, tuple[object, ...]]:
    result: dict[str, tuple[object, ...]] = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        folder = stat.S_ISDIR(kind)
        result[str(path.relative_to(root))] = (
            *(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns),
            *(content, None if folder else status.st_nlink),
        )  # fmt: skip
    return result


def keep(root: Path, target: Path, before: dict[str, tuple[int, int, int, int]] | None = None) -> dict[
    str, tuple[int, int, int, int]
]:  # fmt: skip
    after = dict(look(root, passed_over=["build"]))
    write_delta(root, target, before=before or {}, after=after, programs=Programs(), cancellation=Cancellation())
    time.sleep(0.02)  # the kernel's clock of file times ticks at least 100 times a second
    return after


def unpack(root: Path, *archives: Path) -> None:
    root.mkdir()
    for archive in archives:
        with archive.open("rb") as file:
            apply_delta(file, root, programs=Programs(), cancellation=Cancellation())


def test_layers_give_back_what_was_there(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "deep/er").mkdir(parents=True)
    (root / "same").write_text("same")
    (root / "changed").write_text("old")
    (root / "gone").write_text("gone")
    (root / "deep/er/file").write_bytes(os.urandom(3 << 20))
    (root / "deep/er/sparse").touch()
    os.truncate(root / "deep/er/sparse", 50 << 20)
    (root / "folder becomes link").mkdir()
    (root / "folder becomes link/inside").write_text("x")
    (root / "link becomes file").symlink_to("same")
    (root / "one").write_text("two names")
    (root / "two").hardlink_to(root / "one")
    (root / "-strange\nname ü").write_text("strange")
    (root / os.fsdecode(b"latin-\xe9")).write_text("no UTF-8")
    (root / "setuid").write_text("")
    (root / "setuid").chmod(0o4755)
    os.mkfifo(root / "pipe")
    (root / "build").write_text("belongs to the build")
    os.utime(root / "deep/er", ns=(1, 1234567890123456789))
    first = keep(root, tmp_path / "1.gz")

    inode = (root / "changed").stat()
    (root / "changed").write_text("new")
    os.utime(root / "changed", ns=(inode.st_atime_ns, inode.st_mtime_ns))  # by its times it has not changed
    (root / "gone").unlink()
    for path in [root / "folder becomes link/inside"]:
        path.unlink()
    (root / "folder becomes link").rmdir()
    (root / "folder becomes link").symlink_to("deep")
    (root / "link becomes file").unlink()
    (root / "link becomes file").write_text("a file now")
    (root / "two").unlink()
    (root / "same").chmod(0o600)
    (root / "deep/new").mkdir()
    second = keep(root, tmp_path / "2.gz", first)

    written, removed = changed(first, second)
    assert removed == ["folder becomes link", "folder becomes link/inside", "gone", "link becomes file", "two"]
    assert "deep/er" not in written
    assert "deep/er/file" not in written
    assert {"changed", "same", "one", "deep/new", "deep", "."} <= set(written)

    (root / "build").unlink()
    os.utime(root, ns=(1, 5))
    unpack(tmp_path / "copy", tmp_path / "1.gz", tmp_path / "2.gz")
    os.utime(tmp_path / "copy", ns=(1, 5))
    assert described(tmp_path / "copy") == described(root)
    assert (tmp_path / "copy/deep/er/sparse").stat().st_blocks == 0


def test_nothing_changed_is_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_text("a")
    state = look(root)
    assert changed(state, look(root)) == ([], [])


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_archive_is_noticed(damage: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(os.urandom(1 << 20))
    keep(root, tmp_path / "a.gz")
    data = bytearray((tmp_path / "a.gz").read_bytes())
    if damage == "cut":
        del data[-1000:]
    elif damage == "flipped":
        data[len(data) // 2] ^= 0xFF
    else:
        data.clear()
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(DssError):
        unpack(tmp_path / "copy", tmp_path / "a.gz")


def test_unpacking_can_be_called_off(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("x")
    keep(root, tmp_path / "a.gz")
    off = Cancellation()
    off.cancel()
    (tmp_path / "copy").mkdir()
    with (tmp_path / "a.gz").open("rb") as file, pytest.raises(Interrupted):
        apply_delta(file, tmp_path / "copy", programs=Programs(), cancellation=off)
