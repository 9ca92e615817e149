from __future__ import annotations

import threading

import pytest

from exasol_like_dss.lib.progress import Progress


def test_steps_nest_and_are_timed() -> None:
    progress = Progress()
    with progress.step("build"), progress.step("disk"):
        pass
    assert [step.path for step in progress.finished] == ["build / disk", "build"]
    assert set(progress.seconds()) == {"build / disk", "build"}
    assert progress.running == []


def test_a_step_in_another_thread_hangs_under_its_parent() -> None:
    progress = Progress()
    with progress.step("formats") as parent:

        def work() -> None:
            with progress.step("VMDK", under=parent) as step:
                progress.bytes(step, 5, 10)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert "formats / VMDK" in progress.seconds()
    assert progress.finished[0].done_bytes == 5


def test_a_failed_step_says_so_and_ends() -> None:
    progress = Progress()
    with pytest.raises(KeyError), progress.step("build"):
        raise KeyError
    assert progress.finished[0].failed


def test_a_step_that_runs_twice_is_summed() -> None:
    progress = Progress()
    for _ in range(2):
        with progress.step("wait") as step:
            step.start -= 1
    assert 2 <= progress.seconds()["wait"] < 3
