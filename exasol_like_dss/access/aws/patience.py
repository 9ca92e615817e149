"""How long an answer of AWS is waited for: as botocore is told, but not much longer than a signal.

Requests run in threads of their own. A thread that reads from a socket can't be called off; one can be left behind.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from exasol_like_dss.access.aws.errors import Unreachable

T = TypeVar("T")
#: After a signal, for each request: those under way, and those of the clean-up.
GRACE_S = 10.0
_NOTICE_S = 0.1
#: A thread that has had nothing to do for so long ends.
_IDLE_S = 5.0


class Patience:
    """cancelled: whether the work has been called off, by a signal."""

    def __init__(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._cancelled = cancelled
        self._idle: list[_Messenger] = []

    def run(self, work: Callable[[], T], *, what: str) -> T:
        """The result of ``work``; raises what that raises, and ``Unreachable`` when it takes too long after a signal.

        A signal that comes in the meantime is raised when ``work`` has ended or the time is over: what AWS is about to
        make is there then, when the clean-up looks.
        """
        errand = _Errand(work)
        try:
            self._hand_out(errand)
            self._await(errand, what)
        except Unreachable:
            raise
        except BaseException:
            if errand.handed_out:
                errand.wait(GRACE_S)
            raise
        return errand.result()

    def _hand_out(self, errand: _Errand[Any]) -> None:
        """To a thread that has nothing to do: hundreds of requests a second don't start one each."""
        try:
            messenger = self._idle.pop()
        except IndexError:
            messenger = _Messenger(self._idle)
            messenger.start()
        errand.handed_out = True
        messenger.errands.put(errand)

    def send(self, client: Any) -> None:
        """Lets all requests of a boto3 client pass by here."""
        # botocore takes what a handler of this event returns as the response ("Extensibility guide"); there is no
        # public way to its HTTP session, which knows proxies and certificates.
        session, endpoint = client._endpoint.http_session, client.meta.endpoint_url

        def before_send(request: Any, **_: Any) -> Any:
            return self.run(lambda: session.send(request), what=endpoint)

        client.meta.events.register_last("before-send", before_send, unique_id="dss-patience")

    def _await(self, errand: _Errand[Any], what: str) -> None:
        """Waits in slices: the main thread handles signals only between them."""
        end: float | None = None
        while not errand.wait(_NOTICE_S):
            if not self._cancelled():
                continue
            end = end or time.monotonic() + GRACE_S
            if time.monotonic() >= end and not errand.wait(0):
                raise Unreachable(
                    f"AWS does not answer at {what}, and the work is to end.",
                    hint="See what is there: dss show-aws-assets",
                )


class _Errand(Generic[T]):
    """Work, and what came of it. A lock is the cheapest thing to wait for that a signal wakes."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._under_way = threading.Lock()
        self._under_way.acquire()
        self._results: list[T] = []
        self._error: BaseException | None = None
        self.handed_out = False

    def do(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:
            self._error = error

    def end(self) -> None:
        self._under_way.release()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended by then."""
        if self._under_way.acquire(timeout=seconds):
            self._under_way.release()
            return True
        return False

    def result(self) -> T:
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback holds this frame
        return self._results[0]


class _Messenger(threading.Thread):
    """Does one errand after the other, and is idle in between."""

    def __init__(self, idle: list[_Messenger]) -> None:
        super().__init__(name="aws", daemon=True)
        self._idle = idle
        self.errands = queue.SimpleQueue[_Errand[Any]]()

    def run(self) -> None:
        while True:
            try:
                errand = self.errands.get(timeout=_IDLE_S)
            except queue.Empty:
                try:
                    self._idle.remove(self)
                except ValueError:  # an errand is on its way
                    continue
                return
            errand.do()
            self._idle.append(self)
            errand.end()
            del errand
