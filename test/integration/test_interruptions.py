"""Ctrl-C, SIGTERM and kill -9 at several moments of a real build: nothing is left, and the next run goes on.

The packages of the base come from a tar instead of a mirror (a program of the test's own in the place of mmdebstrap),
so that each moment is reached within seconds. All else is real.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from test.integration.conftest import ca_options
from test.support.command import Running, started

ROLES_LEFT_OUT = ["poetry", "jupyter", "docker", "script_languages", "netplan"]


class Build:
    """A small build (roles base, password, seal) in a folder of its own."""

    def __init__(self, folder: Path, base_tar: Path, *, slow_base: bool = False) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.work = folder / "work"
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        program = bin_folder / "mmdebstrap"
        wait = "mkdir -p $root; mount -t tmpfs tmpfs $root; sleep 600 & wait" if slow_base else ":"
        program.write_text(
            "#!/bin/sh\n"
            'if [ "$1" = --version ]; then echo "mmdebstrap 0"; exit; fi\n'
            "for word; do case $word in /*) root=$word;; esac; done\n"
            'echo "I: extracting archives..." >&2\n'
            f"{wait}\n"
            f"mkdir -p $root && tar -C $root -xf {base_tar}\n"
        )
        program.chmod(0o755)
        self.env = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "DSS_DEFAULT_PASSWORD": "first-Login-4711",
        }

    def arguments(self, *more: str) -> list[str | Path]:
        without = [word for role in ROLES_LEFT_OUT for word in ("--without", role)]
        return [
            *("create-vm", "--base", "debian-12", "--asset-id", "cut", "--output-directory", self.out),
            *("--work-directory", self.work, "--disk-size", "4G", "--vm-image-format", "VMDK"),
            *without,
            *ca_options(),
            *more,
        ]

    def assert_nothing_left(self) -> None:
        assert not self.out.exists(), list(self.out.iterdir())
        assert list(self.work.iterdir()) == []
        self.assert_no_process_or_mount()

    def assert_no_process_or_mount(self) -> None:
        """Processes may need a moment after a kill -9; mounts go with them."""
        deadline = time.monotonic() + 10
        while left := self.processes():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
        assert str(self.folder) not in Path("/proc/self/mountinfo").read_text()
        loops = subprocess.run(
            ["losetup", "--list", "--output", "BACK-FILE"], capture_output=True, text=True, check=False
        )
        assert str(self.folder) not in loops.stdout

    def processes(self) -> str:
        done = subprocess.run(["pgrep", "-a", "-f", str(self.folder)], capture_output=True, text=True, check=False)
        return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(f"{os.getpid()} "))


#: What a line of progress says at the moment, and whether the build would verify at the end.
MOMENTS = {
    "while packages are unpacked": ("root file system …", ["--no-verify"]),
    # Without the cache, from which the role comes once another of these builds has got that far.
    "while Ansible runs": ("role base …", ["--no-verify", "--no-cache"]),
    "while the image is sealed": ("role seal …", ["--no-verify"]),
    "while the disk is filled": ("fill the root partition …", ["--no-verify"]),
    "while the image is written": ("image formats …", ["--no-verify"]),
    "while the image is booted": ("verification …", []),
}


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("while packages are unpacked", signal.SIGINT),
        ("while Ansible runs", signal.SIGINT),
        ("while Ansible runs", signal.SIGTERM),
        ("while the image is sealed", signal.SIGHUP),
        ("while the disk is filled", signal.SIGTERM),
        ("while the image is written", signal.SIGINT),
        ("while the image is booted", signal.SIGTERM),
    ],
)
def test_a_signal_ends_it_and_nothing_is_left(
    moment: str, number: signal.Signals, tmp_path: Path, debian_12_tar: Path
) -> None:
    words, options = MOMENTS[moment]
    build = Build(tmp_path, debian_12_tar, slow_base=moment == "while packages are unpacked")
    with started(build.arguments(*options), cwd=tmp_path, env=build.env) as running:
        running.wait_for(words)
        time.sleep(4 if moment == "while the image is booted" else 0.7)
        running.signal(number)
        assert running.end() == 130, running.text
        assert f"Interrupted ({number.name}); cleaned up." in running.text
        assert "Traceback" not in running.text
        build.assert_nothing_left()


def test_later_signals_do_not_break_the_clean_up(tmp_path: Path, debian_12_tar: Path) -> None:
    build = Build(tmp_path, debian_12_tar)
    with started(build.arguments("--no-verify", "--no-cache"), cwd=tmp_path, env=build.env) as running:
        running.wait_for("role base …")
        time.sleep(1)
        for _ in range(5):
            running.signal(signal.SIGINT)
            time.sleep(0.02)
        assert running.end() == 130
        build.assert_nothing_left()


def kill(running: Running) -> None:
    running.signal(signal.SIGKILL)
    running.end()


def test_after_kill_9_at_any_moment_the_next_run_cleans_up_and_ends_well(tmp_path: Path, debian_12_tar: Path) -> None:
    build = Build(tmp_path, debian_12_tar)
    for moment in ("while Ansible runs", "while the image is written", "while the image is booted"):
        words, options = MOMENTS[moment]
        with started(build.arguments(*options), cwd=tmp_path, env=build.env) as running:
            running.wait_for(words)
            time.sleep(4 if moment == "while the image is booted" else 0.7)
            kill(running)
        build.assert_no_process_or_mount()
        assert not (build.out / "manifest.json").exists()
    assert len(list(build.work.iterdir())) == 1, "each run removed what the one before it left"
    with started(build.arguments("--no-verify"), cwd=tmp_path, env=build.env) as running:
        assert running.end(deadline_s=300) == 0, running.text
        assert "Removing what an interrupted build left" in running.text
    assert list(build.work.iterdir()) == []
    assert sorted(path.name for path in build.out.iterdir()) == [
        "SHA256SUMS",
        "exasol-like-dss-cut.vmdk",
        "manifest.json",
        "sbom.cdx.json",
    ]
