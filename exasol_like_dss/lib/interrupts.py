"""What a signal does to a running command.

The first SIGINT, SIGTERM or SIGHUP raises ``Interrupted`` in the main thread; the stacks of context managers then clean
up. Later ones are noted and don't break the clean-up. Work in other threads looks at ``Cancellation``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from exasol_like_dss.lib.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Cancellation:
    """Tells threads that the work is off. stays: whether the clean-up leaves something, which it has said by then."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.stays = False

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raises ``Interrupted`` when the work is off."""
        if self.cancelled:
            raise Interrupted("cancelled")


class SignalPolicy:
    """Counts signals, and turns the first into ``Interrupted``.

    Python swallows an exception that is raised while it runs a finalizer. So the work is called off as well: those who
    wait look at ``cancellation``.
    """

    def __init__(self, *, process_ends: bool = False) -> None:
        """process_ends: nothing but the process's end follows, so that a late signal must not kill it before."""
        self.received: list[str] = []
        self.cancellation = Cancellation()
        self._process_ends = process_ends

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(signal.Signals(number).name)
        if len(self.received) == 1:
            self.cancellation.cancel()
            raise Interrupted(self.received[0])

    @contextmanager
    def installed(self) -> Iterator[SignalPolicy]:
        """Our handlers for the time of the block. Main thread only (a rule of the ``signal`` module)."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            signal.signal(number, self._handle)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if self._process_ends and self.received else handler)
