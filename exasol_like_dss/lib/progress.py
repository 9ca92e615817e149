"""Progress is an object apart from the work: steps that nest and are timed, bytes where bytes are known.

The work knows only ``Progress``. ``cli.output`` decides what it looks like: a live display on a terminal, plain lines
elsewhere, nothing in tests. Progress goes to standard error; results go to standard output.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Step:
    """One named piece of work. ``seconds`` is ``None`` while it runs."""

    name: str
    parents: tuple[str, ...]
    start: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    status: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    failed: bool = False

    @property
    def path(self) -> str:
        return " / ".join((*self.parents, self.name))

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.start if self.seconds is None else self.seconds


class Progress:
    """Steps, per thread nested. The base class shows nothing, and remembers the times.

    ``finished`` holds every finished step in the order of their ends: the manifest takes the seconds from it.
    """

    def __init__(self) -> None:
        self.finished: list[Step] = []
        self.running: list[Step] = []
        self._lock = threading.RLock()
        self._local = threading.local()

    @contextmanager
    def step(self, name: str, *, under: Step | None = None) -> Iterator[Step]:
        """Announces a step for the time of the block. ``under``: the parent, when the block runs in another thread."""
        stack: list[Step] = self._stack()
        parent = under or (stack[-1] if stack else None)
        step = Step(name, (*parent.parents, parent.name) if parent else ())
        stack.append(step)
        with self._lock:
            self.running.append(step)
            self.on_start(step)
        try:
            yield step
        except BaseException:
            step.failed = True
            raise
        finally:
            step.seconds = time.monotonic() - step.start
            stack.remove(step)
            with self._lock:
                self.running.remove(step)
                self.finished.append(step)
                self.on_end(step)

    def status(self, text: str) -> None:
        """What the running step of this thread is doing just now. May be shown, may be overwritten soon."""
        stack = self._stack()
        if stack and stack[-1].status != text:
            stack[-1].status = text
            with self._lock:
                self.on_status(stack[-1])

    def bytes(self, step: Step, done: int, total: int | None = None) -> None:
        """How many bytes of a step are done."""
        step.done_bytes = done
        step.total_bytes = total if total is not None else step.total_bytes
        with self._lock:
            self.on_status(step)

    def note(self, text: str) -> None:
        """A line that stays: something that the user should know."""
        with self._lock:
            self.on_note(text)

    def current(self) -> Step | None:
        """The running step of this thread."""
        stack = self._stack()
        return stack[-1] if stack else None

    def seconds(self) -> dict[str, float]:
        """Seconds per finished step, by path; a step that ran twice is summed."""
        result: dict[str, float] = {}
        with self._lock:
            for step in self.finished:
                result[step.path] = round(result.get(step.path, 0.0) + (step.seconds or 0.0), 2)
        return result

    def _stack(self) -> list[Step]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[Step] = self._local.stack
        return stack

    def close(self) -> None:
        """Takes a live display away. Safe to call twice."""

    def reopen(self) -> None:
        """Shows it again, after something was printed or asked."""

    def on_start(self, step: Step) -> None: ...

    def on_end(self, step: Step) -> None: ...

    def on_status(self, step: Step) -> None: ...

    def on_note(self, text: str) -> None: ...
