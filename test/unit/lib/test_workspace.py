from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.workspace import staging, workspace
from test.support.notes import Notes

HOLD = """
import sys, time
from pathlib import Path
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.workspace import staging, workspace
base = Path(sys.argv[1])
with workspace(base / "work", progress=Progress()) as work, staging(base / "out", "x", progress=Progress()) as staged:
    (work / "root").mkdir()
    (staged / "image").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def hold(base: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(base)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_they_are_gone_afterwards_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), workspace(tmp_path / "w", progress=Progress()) as path:
        (path / "file").write_text("x")
        raise KeyError
    assert list((tmp_path / "w").iterdir()) == []
    with staging(tmp_path / "a" / "b", "x", progress=Progress()) as path:
        assert path.is_dir()
    assert not (tmp_path / "a").exists()


def test_what_a_killed_process_left_is_removed_and_said(tmp_path: Path) -> None:
    end(hold(tmp_path))
    left = [*(tmp_path / "work").iterdir(), *(tmp_path / "out").iterdir()]
    assert len(left) == 2
    progress = Notes()
    with workspace(tmp_path / "work", progress=progress), staging(tmp_path / "out", "x", progress=progress) as staged:
        assert list(staged.iterdir()) == []
    assert len(progress.notes) == 2
    assert not any(path.exists() for path in left)


def test_a_running_build_is_left_alone(tmp_path: Path) -> None:
    process = hold(tmp_path)
    try:
        (held,) = (tmp_path / "work").iterdir()
        with workspace(tmp_path / "work", progress=Progress()) as mine:
            assert mine != held
            assert (held / "root").is_dir()
        with (
            pytest.raises(InputError, match="Another build of the same asset-id is running"),
            staging(tmp_path / "out", "x", progress=Progress()),
        ):
            pass
        assert (tmp_path / "out/.x.partial/image").exists()
    finally:
        end(process)


IN_MEMORY = """
import sys
from pathlib import Path
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.workspace import memory_backed, workspace
base = Path(sys.argv[1])
with (
    workspace(base, progress=Progress()) as folder,
    memory_backed(folder, size_bytes=1 << 20, programs=Programs()) as memory,
):
    (memory / "file").write_text("x")
    with workspace(base, progress=Progress()) as other:  # the verification has one in the middle of a build
        assert other != folder
    print(memory != folder, (memory / "file").read_text(), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root rights")
@pytest.mark.parametrize("killed", [False, True])
def test_what_is_in_memory_is_seen_by_nobody_else_and_goes_with_the_process(tmp_path: Path, killed: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IN_MEMORY, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "True x\n"
    (folder,) = tmp_path.iterdir()
    assert list(folder.rglob("file")) == [], "it is in the other process's namespace"
    with workspace(tmp_path, progress=Progress()):
        assert folder.exists(), "another build does not take it for a leftover"
    if killed:
        process.kill()
    process.communicate("\n")
    assert process.returncode == (-signal.SIGKILL if killed else 0)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    with workspace(tmp_path, progress=Progress()):
        assert not folder.exists()


def test_a_place_that_can_not_be_used_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="work directory"), workspace(tmp_path / "file", progress=Progress()):
        pass
    with pytest.raises(InputError, match="output directory"), staging(tmp_path / "file", "x", progress=Progress()):
        pass


def test_a_folder_that_only_a_killed_build_made_goes_with_what_it_left(tmp_path: Path) -> None:
    end(hold(tmp_path))
    with staging(tmp_path / "out", "x", progress=Notes()):
        pass
    assert not (tmp_path / "out").exists()
