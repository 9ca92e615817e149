from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DeadlinePassed, ProgramFailed, ProgramMissing

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root rights")


def test_output_input_and_lines() -> None:
    lines: list[str] = []
    text = Programs().run(["sh", "-c", "cat; echo one >&2; echo two >&2"], stdin=b"in", on_line=lines.append)
    assert text == "in"
    assert lines == ["one", "two"]


def test_a_failure_can_be_pasted_and_shows_the_last_words() -> None:
    with pytest.raises(ProgramFailed, match="baking failed: sh ended with exit code 3") as caught:
        Programs().run(["sh", "-c", "echo 'too hot' >&2; exit 3"], what="baking")
    assert "too hot" in caught.value.message
    assert "sh -c 'echo" in caught.value.hint
    assert caught.value.returncode == 3


def test_a_missing_program() -> None:
    with pytest.raises(ProgramMissing, match="'no-such-program'"):
        Programs().run(["no-such-program"])


def test_a_deadline_ends_the_program_and_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(DeadlinePassed, match="took longer than 1 s"):
        Programs().run(["sh", "-c", f"sleep 100 & echo $! > {pid_file}; wait"], deadline_s=1)
    assert gone(int(pid_file.read_text()))


def test_what_ignores_a_polite_request_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exasol_like_dss.access.programs._TERMINATE_S", 0.2)
    programs = Programs()
    process = programs.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"])
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    with programs.ended(process):
        pass
    assert process.returncode == -signal.SIGKILL


@needs_root
def test_a_contained_program_and_all_its_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    """kill -9 of ours: the daemon that a contained program left in the background is gone too."""
    script = (
        "import sys\n"
        "from exasol_like_dss.access.programs import Programs\n"
        "Programs().run(['sh', '-c', 'setsid sleep 1234.5 & echo up >&2; wait'], contained=True, on_line=print)\n"
    )
    process = subprocess.Popen([sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    assert subprocess.run(["pgrep", "-f", "sleep 1234.5"], capture_output=True, check=False).returncode == 0
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 5
    while subprocess.run(["pgrep", "-f", "sleep 1234.5"], capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs_root
def test_a_contained_program_can_mount_and_leaves_no_mount(tmp_path: Path) -> None:
    Programs().run(["sh", "-c", f"mount -t tmpfs tmpfs {tmp_path} && touch {tmp_path}/x"], contained=True)
    assert list(tmp_path.iterdir()) == []


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False
