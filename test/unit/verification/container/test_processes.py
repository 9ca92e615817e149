"""Processes of a container, from the text of ``/proc``."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

from exasol_like_dss.lib.verification.container import processes
from exasol_like_dss.lib.verification.container.processes import Process, judge_users, parse, server, started

NOBODY: frozenset[int] = frozenset()
TINI = Process(1, 0, 0, 0, NOBODY, "/usr/bin/tini -- start")
START = Process(7, 1, 0, 0, NOBODY, "/usr/bin/python3 -IBS /usr/local/lib/dss_container serve")
LAB = Process(20, 7, 1000, 1000, frozenset({4711}), "/opt/venv/bin/python /opt/venv/bin/jupyter-lab --no-browser")
KERNEL = Process(30, 20, 1000, 1000, NOBODY, "/opt/venv/bin/python -m ipykernel_launcher")
SHELL = Process(31, 20, 1000, 1000, NOBODY, "/bin/bash -l")
OUTSIDE = Process(40, 0, 0, 0, NOBODY, "sh -c jupyter lab list")
ALL = [TINI, START, LAB, KERNEL, SHELL, OUTSIDE]


def test_good_processes() -> None:
    assert judge_users(ALL) == (True, "JupyterLab as uid 1000")
    assert server(ALL) == LAB
    assert started(ALL) == ALL[:-1], "what is run from outside is not the container's own"


def test_whatever_the_user_can_use_must_not_be_roots() -> None:
    for process in (LAB, KERNEL, SHELL):
        changed = [replace(p, uid=0) if p is process else p for p in ALL]
        passed, seen = judge_users(changed)
        assert not passed
        assert process.argv.split()[0] in seen
    assert judge_users([TINI, START, OUTSIDE]) == (False, "no process of JupyterLab")


def test_a_program_that_starts_jupyter_is_not_jupyter() -> None:
    above = Process(19, 7, 0, 0, NOBODY, "/bin/sh -c /opt/venv/bin/jupyter lab")
    lab = Process(20, 19, 1000, 1000, NOBODY, LAB.argv)
    assert server([TINI, START, above, lab, KERNEL]) == lab


def test_loops_of_parents_end() -> None:
    assert started([Process(5, 6, 0, 0, NOBODY, "a"), Process(6, 5, 0, 0, NOBODY, "b"), TINI]) == [TINI]


def test_the_command_gives_what_is_parsed() -> None:
    """Run here: processes end meanwhile here, too."""
    listed = subprocess.run(processes.LIST, capture_output=True, text=True, check=True).stdout
    found = {process.pid: process for process in parse(listed)}
    me = found[os.getpid()]
    assert (me.parent, me.uid, me.gid) == (os.getppid(), os.geteuid(), os.getegid())
    assert me.groups == frozenset(os.getgroups())
    assert "pytest" in me.argv


def test_settings_are_shown() -> None:
    with subprocess.Popen(["sleep", "60"], env={"DSS_SEEN": "yes"}) as sleeping:
        shown = subprocess.run(
            processes.show_settings([sleeping.pid, 99999999]), capture_output=True, text=True, check=True
        )
        sleeping.kill()
    assert {"DSS_SEEN=yes", "sleep", "60"} <= set(shown.stdout.splitlines())


def test_what_cannot_be_read_is_left_out() -> None:
    assert parse("") == []
    assert parse("pid 3\nargv \npid 4\nPPid:\t1\nUid:\t0\t1000\t0\t0\nGid:\t0\t1000\t0\t0\nargv a b \n") == [
        Process(4, 1, 1000, 1000, NOBODY, "a b")
    ]
