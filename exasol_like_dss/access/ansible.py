"""Ansible, by way of ansible-runner: one playbook, one host, typed events.

Three habits of ansible-runner are kept from us: it takes over SIGINT and SIGTERM (not when it gets a cancel callback
and runs outside of the main thread), it puts extra variables on the command line (not when they come as the file
``env/extravars``), and it finds ansible-playbook by PATH (first on it is a wrapper that starts this interpreter's own,
and lets it die with us).
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ALIVE_S = 0.2
_STOP_S = 20.0
_KINDS = {
    "playbook_on_task_start": "start",
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
    "playbook_on_stats": "end",
}


@dataclass(frozen=True)
class TaskEvent:
    """kind: start, ok, failed, unreachable, skipped, or end (of the playbook, with no task).

    message: what a failed task said (never of a ``no_log`` task).
    """

    kind: str
    role: str
    task: str
    changed: bool = False
    message: str = ""
    ignored: bool = False


@dataclass(frozen=True)
class PlaybookResult:
    """status: successful, failed, canceled or timeout (ansible-runner's words). changed: how many tasks changed it."""

    status: str
    changed: int
    failures: tuple[TaskEvent, ...]
    output: str


class Ansible:
    """Runs playbooks of one tree."""

    def __init__(self, *, tree: Path) -> None:
        self.tree = tree

    def run_playbook(
        self,
        playbook: str,
        *,
        host_variables: Mapping[str, Any],
        extra_variables: Mapping[str, Any],
        work_directory: Path,
        on_event: Callable[[TaskEvent], None],
        cancelled: Callable[[], bool],
    ) -> PlaybookResult:
        """Runs ``playbook`` on the one host of the group ``sandbox``. Returns when it has ended.

        work_directory: a private folder that is removed later; it holds the variables (mode 0600), never the command
        line. on_event is called in another thread. cancelled is asked several times a second.
        """
        private = work_directory / f"ansible-{Path(playbook).stem}"
        _write_private(private / "env" / "extravars", json.dumps(dict(extra_variables)))
        hosts = {"sandbox": {"hosts": {"target": dict(host_variables)}}}
        _write_private(private / "inventory" / "hosts.json", json.dumps(hosts))
        program = private / "bin" / "ansible-playbook"
        command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "ansible", "playbook"]
        _write_private(program, f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', mode=0o700)

        events: list[TaskEvent] = []
        output: list[str] = []

        def handle(raw: dict[str, Any]) -> bool:
            if raw.get("stdout"):
                output.append(raw["stdout"])
            event = _typed(raw)
            if event:
                events.append(event)
                on_event(event)
            return False  # don't keep a file per event

        result: list[Any] = []
        failed: list[BaseException] = []
        stop = threading.Event()

        def work() -> None:
            try:
                import ansible_runner

                result.append(
                    ansible_runner.run(
                        private_data_dir=str(private),
                        project_dir=str(self.tree),
                        playbook=playbook,
                        envvars=self._environment(private),
                        quiet=True,
                        event_handler=handle,
                        cancel_callback=lambda: stop.is_set() or cancelled(),
                        suppress_env_files=True,
                    )
                )
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="ansible")
        thread.start()
        try:
            while thread.is_alive():  # in slices: a signal handler runs only between them
                thread.join(_ALIVE_S)
        finally:
            stop.set()
            thread.join(_STOP_S)
            _end_strays(private / "home")
        if failed:
            raise failed[0]
        return PlaybookResult(
            status=result[0].status,
            changed=sum(event.changed for event in events),
            failures=tuple(e for e in events if e.kind in ("failed", "unreachable") and not e.ignored),
            output="\n".join(output),
        )

    def _environment(self, private: Path) -> dict[str, str]:
        config = private / "ansible.cfg"
        _write_private(config, "[defaults]\n")  # else Ansible reads the user's
        return {
            "ANSIBLE_CONFIG": str(config),
            "ANSIBLE_HOME": str(private / "home"),
            "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
            "ANSIBLE_REMOTE_TMP": "/tmp/.ansible",
            "ANSIBLE_ROLES_PATH": str(self.tree / "roles"),
            "ANSIBLE_CONNECTION_PLUGINS": str(self.tree / "connection_plugins"),
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{private / 'bin'}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
        }


def _end_strays(ansible_home: Path) -> None:
    """Kills what is left of a run: Ansible's workers leave the process group (ansible-core 2.19), and so outlive a
    cancelled playbook. They are known by the environment that we gave them."""
    mark = f"ANSIBLE_HOME={ansible_home}".encode()
    end = time.monotonic() + _STOP_S
    while time.monotonic() < end:
        found = [entry for entry in Path("/proc").glob("[0-9]*") if mark in _environment_of(entry)]
        if not found:
            return
        for entry in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry.name), signal.SIGKILL)
        time.sleep(0.05)


def _environment_of(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is somebody else's
        return []


def _typed(raw: Mapping[str, Any]) -> TaskEvent | None:
    kind = _KINDS.get(raw.get("event", ""))
    if not kind:
        return None
    data = raw.get("event_data", {})
    answer = data.get("res") or {}
    message = ""
    if kind in ("failed", "unreachable"):
        message = answer.get("censored") or "\n".join(
            str(answer[key]).strip() for key in ("msg", "stderr", "stdout") if answer.get(key)
        )
        for item in answer.get("results") or ():
            if item.get("failed"):
                message += f"\n{item.get('msg', '')}"
    return TaskEvent(
        kind=kind,
        role=data.get("role") or "",
        task=data.get("task") or "",
        changed=kind == "ok" and bool(answer.get("changed")),
        message=message,
        ignored=bool(data.get("ignore_errors")),
    )


def _write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
