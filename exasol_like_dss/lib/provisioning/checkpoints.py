"""A playbook that waits, after each role, until what it has made is kept.

Ansible's events come when its next task runs already. So the playbook itself calls: a command on this machine writes
the role's name into one pipe (fifo(7)) and waits for an answer on another. One process of Ansible runs all roles, which
saves some seconds per role.
"""

from __future__ import annotations

import os
import select
import shlex
import threading
from collections.abc import Callable
from pathlib import Path

_SLICE_S = 0.2


class Checkpoints:
    """Answers the playbook for the time of the block. keep: called with the role's name, in a thread of its own.

    failed: what ``keep`` raised; the playbook fails then, too.
    """

    def __init__(self, folder: Path, keep: Callable[[str], None]) -> None:
        self._asked, self._answered = folder / "keep-asked", folder / "keep-answered"
        self._keep = keep
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="checkpoints")
        self.failed: BaseException | None = None

    @property
    def command(self) -> str:
        """What the playbook runs, with the role's name as the next word (its variable ``dss_keep``)."""
        asked, answered = shlex.quote(str(self._asked)), shlex.quote(str(self._answered))
        script = f'echo "$1" > {asked}; read -r answer < {answered}; echo "$answer"'
        return shlex.join(["sh", "-c", script, "sh"])

    def __enter__(self) -> Checkpoints:
        for path in (self._asked, self._answered):
            os.mkfifo(path, 0o600)
        # Open for reading and writing: then neither side ever waits for the other to open it (fifo(7), Linux).
        self._ask = os.open(self._asked, os.O_RDWR | os.O_CLOEXEC)
        self._answer = os.open(self._answered, os.O_RDWR | os.O_CLOEXEC)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._ask)
        os.close(self._answer)
        for path in (self._asked, self._answered):
            path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self._stop.is_set():
            ready, _, _ = select.select([self._ask], [], [], _SLICE_S)
            if not ready:
                continue
            role = os.read(self._ask, 4096).decode().strip()
            answer = "kept"
            try:
                self._keep(role)
            except BaseException as error:
                self.failed = error
                answer = "failed"
            os.write(self._answer, f"{answer}\n".encode())
