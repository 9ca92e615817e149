"""How long an answer of AWS is waited for: as botocore is told, but not much longer than a signal.

Requests run in threads of their own. A thread that reads from a socket can't be called off; one can be left behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from exasol_like_dss.access.aws.errors import Unreachable

T = TypeVar("T")
#: After a signal, for each request: those under way, and those of the clean-up.
GRACE_S = 10.0
_NOTICE_S = 0.1
_here = threading.local()


@contextmanager
def can_be_left() -> Iterator[None]:
    """Requests of this thread are waited for in it: who waits for the thread leaves it behind (see ``lib.crew``)."""
    _here.can_be_left = True
    try:
        yield
    finally:
        _here.can_be_left = False


class Patience:
    """cancelled: whether the work has been called off, by a signal."""

    def __init__(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._cancelled = cancelled

    def run(self, work: Callable[[], T], *, what: str) -> T:
        """The result of ``work``; raises what that raises, and ``Unreachable`` when it takes too long after a signal.

        A signal that comes in the meantime is raised when ``work`` has ended or the time is over: what AWS is about to
        make is there then, when the clean-up looks.
        """
        if getattr(_here, "can_be_left", False):
            return work()
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(work())
            except BaseException as error:
                result.set_exception(error)

        thread = threading.Thread(target=run, name="aws", daemon=True)
        try:
            thread.start()
            self._await(result, what)
        except Unreachable:
            raise
        except BaseException:
            wait([result], timeout=GRACE_S if thread.is_alive() else 0)
            raise
        return result.result()

    def send(self, client: Any) -> None:
        """Lets all requests of a boto3 client pass by here."""
        # botocore takes what a handler of this event returns as the response ("Extensibility guide"); there is no
        # public way to its HTTP session, which knows proxies and certificates.
        session, endpoint = client._endpoint.http_session, client.meta.endpoint_url

        def before_send(request: Any, **_: Any) -> Any:
            return self.run(lambda: session.send(request), what=endpoint)

        client.meta.events.register_last("before-send", before_send, unique_id="dss-patience")

    def _await(self, result: Future[T], what: str) -> None:
        """Waits in slices: the main thread handles signals only between them."""
        end: float | None = None
        while not result.done():
            wait([result], timeout=_NOTICE_S)
            if not self._cancelled():
                continue
            end = end or time.monotonic() + GRACE_S
            if time.monotonic() >= end and not result.done():
                raise Unreachable(
                    f"AWS does not answer at {what}, and the work is to end.",
                    hint="See what is there: dss show-aws-assets",
                )
