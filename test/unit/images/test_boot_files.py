from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, Interrupted
from exasol_like_dss.lib.images.boot_files import _MAKE_BESIDE, MAKE_BOOT_FILES, BootFiles, index_modules
from exasol_like_dss.lib.progress import Progress


class FakePrograms:
    """Runs ``work`` instead of a program."""

    def __init__(self, work: Callable[[Callable[[], bool]], None]) -> None:
        self.argv: list[Sequence[str]] = []
        self._work = work

    def run(self, argv: Sequence[str], *, cancelled: Callable[[], bool], **_: Any) -> str:
        self.argv.append(argv)
        self._work(cancelled)
        return ""


def boot_files(programs: FakePrograms, *, timestamp: int = 0, cancelled: bool = False) -> BootFiles:
    return BootFiles(["enter", "--root"], first_in_path="/first", timestamp=timestamp,
                     programs=cast(Programs, programs), progress=Progress(), cancelled=lambda: cancelled)  # fmt: skip


@pytest.mark.parametrize(
    ("timestamp", "words"), [(0, ["/usr/bin/env"]), (12, ["/usr/bin/env", "SOURCE_DATE_EPOCH=12"])]
)
def test_it_runs_inside_with_the_archives_time(timestamp: int, words: list[str]) -> None:
    programs = FakePrograms(lambda _: None)
    with boot_files(programs, timestamp=timestamp) as making:
        making.finish()
        making.finish()  # each checkpoint asks
    (argv,) = programs.argv
    assert argv[: 2 + len(words) + 2] == ["enter", "--root", *words, "sh", "-c"]
    assert argv[-2:] == ["/first", MAKE_BOOT_FILES]


def test_what_fails_is_said_to_the_one_who_waits() -> None:
    def fail(_: Callable[[], bool]) -> None:
        raise DssError("no room")

    with boot_files(FakePrograms(fail)) as making, pytest.raises(DssError, match="no room"):
        making.finish()


def test_an_error_beside_it_ends_it() -> None:
    stopped = threading.Event()

    def wait(cancelled: Callable[[], bool]) -> None:
        while not cancelled():
            stopped.wait(0.01)
        stopped.set()
        raise Interrupted

    with pytest.raises(ZeroDivisionError), boot_files(FakePrograms(wait)):
        raise ZeroDivisionError
    assert stopped.is_set()


def test_every_kernel_without_a_ram_disk_gets_one(tmp_path: Path) -> None:
    boot, log, modules = tmp_path / "boot", tmp_path / "log", tmp_path / "modules"
    boot.mkdir()
    for name in ("vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-6.12", "config-7"):
        (boot / name).touch()
    for name in ("depmod", "update-initramfs"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\n')
        program.chmod(0o755)

    def make() -> None:
        script = MAKE_BOOT_FILES.replace("/boot", str(boot)).replace("/lib/modules", str(modules))
        subprocess.run(["sh", "-c", script], env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}, check=True)

    make()
    assert log.read_text().splitlines() == ["depmod 6.12", "update-initramfs -c -k 6.12"]
    (boot / "initrd.img-6.12").touch()
    make()
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize("late", [False, True])
def test_modules_are_indexed_again_when_more_came(tmp_path: Path, late: bool) -> None:
    boot, log, modules = tmp_path / "boot", tmp_path / "log", tmp_path / "modules"
    for folder in (boot, modules / "6.12"):
        folder.mkdir(parents=True)
    (boot / "vmlinuz-6.12").touch()
    (modules / "6.12/early.ko.xz").touch()
    index = modules / "6.12/modules.dep.bin"
    index.touch()
    # What dpkg unpacks has the time of its package; the time of its inode is later.
    second = 1_000_000_000
    os.utime(index, ns=(0, index.stat().st_ctime_ns + (-second if late else second)))
    for name in ("depmod", "update-initramfs"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} >> {log}\n")
        program.chmod(0o755)
    script = MAKE_BOOT_FILES.replace("/boot", str(boot)).replace("/lib/modules", str(modules))
    subprocess.run(["sh", "-c", script], env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}, check=True)
    assert log.read_text().splitlines() == (["depmod"] if late else []) + ["update-initramfs"]


def test_without_a_kernel_nothing_is_done(tmp_path: Path) -> None:
    script = MAKE_BOOT_FILES.replace("/boot", str(tmp_path))
    subprocess.run(["sh", "-c", script], env={"PATH": "/nowhere"}, executable="/bin/sh", check=True)


def test_an_update_of_the_ram_disk_waits_for_the_first_one(tmp_path: Path) -> None:
    """What a role's package asks for meanwhile is neither lost nor done at the same time."""
    first, log, go = tmp_path / "first", tmp_path / "log", tmp_path / "go"
    first.mkdir()
    os.mkfifo(go)
    beside = _MAKE_BESIDE.replace("/usr/sbin/update-initramfs", f"{tmp_path}/real")
    (tmp_path / "real").write_text(f'#!/bin/sh\necho updated "$@" >> {log}\n')
    (tmp_path / "real").chmod(0o755)
    making = subprocess.Popen(["sh", "-c", beside, "sh", first, f"echo begun >> {log}; cat {go}; echo made >> {log}"])
    while not log.exists():
        time.sleep(0.01)
    update = subprocess.Popen([first / "update-initramfs", "-u"])
    go.write_text("")
    assert (making.wait(timeout=60), update.wait(timeout=60)) == (0, 0)
    assert log.read_text().splitlines() == ["begun", "made", "updated -u"]


@pytest.mark.parametrize(
    ("name", "top"), [("linux-image-6.12-amd64", "/usr/lib"), ("linux-modules-6.12-amd64", "/lib")]
)
def test_modules_are_indexed_when_dpkg_has_unpacked_them(tmp_path: Path, name: str, top: str) -> None:
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    programs = FakePrograms(lambda _: None)
    asked = 0

    def ended() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            (info / "linux-image-6.12-other.list").write_text("/.\n/boot\n/boot/vmlinuz-6.12-amd64\n")
        if asked == 4:
            (info / f"{name}.list").write_text(f"/.\n{top}/modules/6.12-amd64/modules.order\n/boot\n")
        return asked > 10

    index_modules(tmp_path, programs=cast(Programs, programs), ended=ended, cancelled=lambda: False)
    assert programs.argv == [["chroot", str(tmp_path), "depmod", "6.12-amd64"]]
    assert asked == 4


def test_without_a_kernel_no_modules_are_indexed(tmp_path: Path) -> None:
    programs = FakePrograms(lambda _: None)
    answers = iter([False, True])
    index_modules(tmp_path, programs=cast(Programs, programs), ended=lambda: next(answers), cancelled=lambda: False)
    assert not programs.argv
