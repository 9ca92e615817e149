"""How many requests go to a service at once, as many as it takes: fewer when it throttles, slowly more when it doesn't.

Additive increase and multiplicative decrease, as TCP has it (RFC 5681). Requests that were under way when the service
began to throttle count once: they all tell the same.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from exasol_like_dss.access.aws.errors import AwsError, Throttled, Unreachable, WrongCredentials
from exasol_like_dss.lib.interrupts import Cancellation

T = TypeVar("T")
_START = 8
_MOST = 48
#: So often a request is repeated that failed for another reason than throttling, and so long one that is throttled.
_TRIES = 6
_PATIENCE_S = 300.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 8.0
_NOTICE_S = 0.2


class Pace:
    """Of all requests to one service. From any number of threads; more than ``most`` are of no use.

    limit: how many may be under way just now. requests, throttled: counted for people.
    """

    def __init__(
        self,
        *,
        cancellation: Cancellation,
        most: int | None = None,
        start: int = _START,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.most = _MOST if most is None else most
        self.limit = float(min(start, self.most))
        self.requests = 0
        self.throttled = 0
        self._cancellation = cancellation
        self._clock = clock
        self._sleep = sleep
        self._free = threading.Condition()
        self._under_way = 0
        self._era = 0
        self._not_before = 0.0

    def run(self, request: Callable[[], T], *, again: Callable[[AwsError], bool] = lambda _: False) -> T:
        """The answer to a request, which is repeated while it makes sense, and paused as the service says.

        again: what else but throttling, failures of the service and of the connection passes by itself.
        Raises ``AwsError``, ``Interrupted``.
        """
        since = self._clock()
        failures = 0
        while True:
            era = self._enter()
            try:
                answer = request()
            except AwsError as error:
                failures += 1
                self._leave(era, error)
                waited = self._clock() - since
                gives_up = waited >= _PATIENCE_S if isinstance(error, Throttled) else failures >= _TRIES
                if again(error):
                    gives_up = waited >= _PATIENCE_S
                elif not _passes(error):
                    raise
                if gives_up:
                    raise
                self._pause(max(error.retry_after_s, _pause_s(failures)))
            except BaseException:
                self._leave(era, None, counts=False)
                raise
            else:
                self._leave(era, None)
                return answer

    def _enter(self) -> int:
        while True:
            self._cancellation.check()
            with self._free:
                wait_s = self._not_before - self._clock()
                if wait_s <= 0:
                    if self._under_way < max(1, int(self.limit)):
                        self._under_way += 1
                        self.requests += 1
                        return self._era
                    self._free.wait(_NOTICE_S)
                    continue
            self._sleep(min(wait_s, _NOTICE_S))

    def _leave(self, era: int, error: AwsError | None, *, counts: bool = True) -> None:
        with self._free:
            if isinstance(error, Throttled):
                self.throttled += 1
                if error.retry_after_s:
                    self._not_before = max(self._not_before, self._clock() + error.retry_after_s)
                if era == self._era:
                    self._era += 1
                    self.limit = max(1.0, min(self.limit, self._under_way) / 2)
                    # Fewer at once can't be: where answers come at once, one after the other is still too many.
                    if self.limit == 1:
                        self._not_before = max(self._not_before, self._clock() + _FIRST_PAUSE_S)
            elif error is None and counts and self._under_way >= int(self.limit):
                self.limit = min(float(self.most), self.limit + 1 / self.limit)
            self._under_way -= 1
            # No more than there is room for: dozens that wake up for nothing cost more than the request.
            self._free.notify(max(0, int(self.limit) - self._under_way))

    def _pause(self, seconds: float) -> None:
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0:
            self._cancellation.check()
            self._sleep(min(left, _NOTICE_S))


def _passes(error: AwsError) -> bool:
    if isinstance(error, WrongCredentials):
        return False
    return isinstance(error, Throttled | Unreachable) or error.passes or not error.code


def _pause_s(failures: int) -> float:
    """Longer and longer, and never the same for two ("Exponential Backoff And Jitter", AWS Architecture Blog)."""
    longest: float = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**failures)
    return random.uniform(longest / 2, longest)
