"""Threads that send hundreds of requests a second, and can be left behind when one of them hangs.

A thread that reads from a socket can't be called off. ``access.aws.patience`` therefore gives every request a thread of
its own, which costs a third of the request; here the threads stay, and who waits for them stops waiting.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from exasol_like_dss.access.aws import patience
from exasol_like_dss.lib.interrupts import Cancellation

T = TypeVar("T")
_NOTICE_S = 0.2


class Crew:
    """As ``ThreadPoolExecutor``, for a block of code. size: how many threads at most.

    After the cancellation nothing is waited for longer than ``patience.GRACE_S``. At the end of the block, what has not
    begun is given up when the block has failed.
    """

    def __init__(self, size: int, *, name: str, cancellation: Cancellation) -> None:
        self._size = size
        self._name = name
        self._cancellation = cancellation
        self._work = queue.SimpleQueue[Callable[[], None] | None]()
        self._threads: list[threading.Thread] = []
        self._leave_at: float | None = None

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind:
            with suppress(queue.Empty):
                while True:
                    self._work.get_nowait()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            while thread.is_alive() and not self._is_over():
                thread.join(_NOTICE_S)

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = work(*arguments)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._work.put(run)
        if len(self._threads) < self._size:
            thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def awaited(self, future: Future[T]) -> T:
        """The result. Waits in slices: the main thread handles signals only between them. Raises ``Interrupted``."""
        while not future.done():
            try:
                future.exception(timeout=_NOTICE_S)
            except TimeoutError:
                pass
            except BaseException:  # a signal: the grace begins now, not after what is cleaned up first
                self._is_over()
                raise
            if not future.done() and self._is_over():
                self._cancellation.check()
        return future.result()

    def _serve(self) -> None:
        with patience.can_be_left():
            while (run := self._work.get()) is not None:
                run()
                del run  # and with it the data of the last request

    def _is_over(self) -> bool:
        """Whether the grace after the cancellation is."""
        if not self._cancellation.cancelled:
            return False
        now = time.monotonic()
        if self._leave_at is None:
            self._leave_at = now + patience.GRACE_S
        return now >= self._leave_at
