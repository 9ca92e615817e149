"""``dss`` as a user runs it: another process, its exit code and what it printed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DSS = (sys.executable, "-m", "exasol_like_dss")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def dss(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    deadline_s: float = 1200,
    program: Sequence[str] = DSS,
) -> Done:
    """Runs a command to its end. program: what stands before the arguments."""
    done = subprocess.run(
        [*program, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that is still running, and the lines of its progress so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, words: str, *, deadline_s: float = 300) -> None:
        """Until a line of progress holds ``words``."""
        end = time.monotonic() + deadline_s
        while words not in self.text:
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {words!r}:\n{self.text}"
            assert time.monotonic() < end, f"no {words!r} within {deadline_s} s:\n{self.text}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, *, deadline_s: float = 60) -> int:
        code = self.process.wait(timeout=deadline_s)
        self._thread.join(5)
        return code


@contextmanager
def started(arguments: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Starts a command for the time of the block."""
    process = subprocess.Popen(
        [*DSS, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    running = Running(process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stderr:
            running._thread.join(5)
            process.stderr.close()
