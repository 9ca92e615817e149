from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, Interrupted
from exasol_like_dss.lib.images.boot_files import MAKE_BOOT_FILES, BootFiles
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
    return BootFiles(["enter", "--root"], timestamp=timestamp, programs=cast(Programs, programs), progress=Progress(),
                     cancelled=lambda: cancelled)  # fmt: skip


@pytest.mark.parametrize(
    ("timestamp", "words"), [(0, ["/usr/bin/env"]), (12, ["/usr/bin/env", "SOURCE_DATE_EPOCH=12"])]
)
def test_it_runs_inside_with_the_archives_time(timestamp: int, words: list[str]) -> None:
    programs = FakePrograms(lambda _: None)
    with boot_files(programs, timestamp=timestamp) as making:
        making.finish()
        making.finish()  # each checkpoint asks
    assert programs.argv == [["enter", "--root", *words, "sh", "-c", MAKE_BOOT_FILES]]


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
    boot, log = tmp_path / "boot", tmp_path / "log"
    boot.mkdir()
    for name in ("vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-6.12", "config-7"):
        (boot / name).touch()
    for name in ("depmod", "update-initramfs"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\n')
        program.chmod(0o755)

    def make() -> None:
        script = MAKE_BOOT_FILES.replace("/boot", str(boot))
        subprocess.run(["sh", "-c", script], env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}, check=True)

    make()
    assert log.read_text().splitlines() == ["depmod 6.12", "update-initramfs -c -k 6.12"]
    (boot / "initrd.img-6.12").touch()
    make()
    assert len(log.read_text().splitlines()) == 2


def test_without_a_kernel_nothing_is_done(tmp_path: Path) -> None:
    script = MAKE_BOOT_FILES.replace("/boot", str(tmp_path))
    subprocess.run(["sh", "-c", script], env={"PATH": "/nowhere"}, executable="/bin/sh", check=True)
