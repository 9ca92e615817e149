"""Waiting is one function: it has a deadline, shows progress, and says what to do when the deadline passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from exasol_like_dss.lib.errors import DeadlinePassed
from exasol_like_dss.lib.progress import Progress

T = TypeVar("T")
_NOTICE_S = 0.2
#: How much later than possible the end of a wait may be noticed, as a share of it; and between two looks at most.
_LATE = 0.01
_LONGEST_PAUSE_S = 15.0


def wait_until(
    what: str,
    probe: Callable[[], T | None],
    *,
    deadline_s: float,
    progress: Progress,
    hint: str,
    interval_s: float = 0.5,
    detail: Callable[[], str] = lambda: "",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Calls ``probe`` until it returns something true, and returns that.

    what: completes the sentence "waiting for …".
    deadline_s: seconds after which ``DeadlinePassed`` is raised, with ``hint``.
    interval_s: seconds between two probes, at first. What takes long is looked at less often: after a hundredth of the
    time that has passed, so that no more than that is lost, and every 15 seconds at least.
    detail: what is seen meanwhile, for the progress line and the error.
    """
    start = clock()
    while True:
        found = probe()
        if found:
            return found
        waited = clock() - start
        if waited >= deadline_s:
            seen = detail()
            raise DeadlinePassed(
                f"Waiting for {what} took longer than {deadline_s:.0f} s." + (f" Last seen: {seen}" if seen else ""),
                hint=hint,
            )
        progress.status(f"waiting for {what} ({waited:.0f} s of at most {deadline_s:.0f} s) {detail()}".rstrip())
        pause_s = max(interval_s, min(waited * _LATE, _LONGEST_PAUSE_S))
        sleep(min(pause_s, max(0.0, deadline_s - waited)))


def unbroken(work: Callable[[], T]) -> T:
    """Runs ``work`` to its end, also when a signal comes meanwhile; that is raised afterwards.

    For requests that make something: what is broken off here goes on at the other end, and appears after the clean-up.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, name="unbroken")
    try:
        thread.start()
        return awaited(result)
    finally:
        # A signal may come even while the thread is being started: it gets a moment to show up.
        shown_up = time.monotonic() + 5 * _NOTICE_S
        while not result.done() and (thread.is_alive() or time.monotonic() < shown_up):
            wait([result], timeout=_NOTICE_S)


def awaited(future: Future[T]) -> T:
    """The result of work in another thread. Waits in slices: the main thread handles signals only between them."""
    while not future.done():
        wait([future], timeout=_NOTICE_S)
    return future.result()
