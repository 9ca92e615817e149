from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from exasol_like_dss.access.aws.errors import AwsError, ExpiredCredentials, Throttled
from exasol_like_dss.lib.errors import Interrupted
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def pace(clock: Clock, *, start: int = 8, most: int = 32) -> Pace:
    return Pace(cancellation=Cancellation(), start=start, most=most, clock=clock, sleep=clock.sleep)


def failing(times: int, error: AwsError) -> tuple[list[int], Callable[[], str]]:
    tried: list[int] = []

    def request() -> str:
        tried.append(len(tried))
        if len(tried) <= times:
            raise error
        return "answer"

    return tried, request


def throttled(retry_after_s: float = 0.0) -> Throttled:
    error = Throttled("slower", code="RequestThrottledException")
    error.retry_after_s = retry_after_s
    return error


def test_what_works_lets_more_go_at_once_by_one_for_each_round() -> None:
    clock = Clock()
    one = pace(clock, start=1, most=3)
    for _ in range(20):
        one.run(lambda: None)
    # Alone, no more than one is ever under way: the limit grows only when it is used up.
    assert (one.limit, one.requests) == (2.0, 20)


def test_throttling_halves_what_goes_at_once_and_is_waited_out() -> None:
    clock = Clock()
    one = pace(clock)
    tried, request = failing(3, throttled())
    assert one.run(request) == "answer"
    assert len(tried) == 4
    assert one.throttled == 3
    assert one.limit == 2.0, "down to one, and one more for what worked"
    assert clock.now > 100.0


def test_those_that_were_under_way_together_count_once() -> None:
    one = pace(Clock(), start=8)
    eras = [one._enter() for _ in range(8)]
    for era in eras:
        one._leave(era, throttled())
    assert (one.limit, one.throttled) == (4.0, 8)


def test_retry_after_holds_all_requests_back() -> None:
    clock = Clock()
    one = pace(clock)
    era = one._enter()
    one._leave(era, throttled(7.5))
    assert one.run(lambda: clock.now) >= 107.5


def test_an_own_repetition_ends_after_some_tries() -> None:
    one = pace(Clock())
    tried, request = failing(99, AwsError("broken", code="InternalServerException"))
    with pytest.raises(AwsError, match="broken"):
        one.run(request)
    assert len(tried) == 6


def test_throttling_that_does_not_end_is_given_up_after_minutes() -> None:
    clock = Clock()
    tried, request = failing(10**6, throttled())
    with pytest.raises(Throttled):
        pace(clock).run(request)
    assert 300 <= clock.now - 100 < 320
    assert len(tried) < 80


@pytest.mark.parametrize(
    "error", [AwsError("no", code="ValidationException"), ExpiredCredentials("over", code="ExpiredTokenException")]
)
def test_what_does_not_pass_is_not_repeated(error: AwsError) -> None:
    tried, request = failing(99, error)
    with pytest.raises(type(error)):
        pace(Clock()).run(request)
    assert len(tried) == 1


def test_what_passes_by_itself_is_for_the_caller_to_say() -> None:
    tried, request = failing(12, AwsError("not yet", code="ResourceNotFoundException"))
    assert pace(Clock()).run(request, again=lambda error: error.not_found) == "answer"
    assert len(tried) == 13


def test_a_cancellation_ends_a_pause() -> None:
    stop = Cancellation()
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        stop.cancel()

    one = Pace(cancellation=stop, clock=clock, sleep=sleep)
    _, request = failing(99, throttled())
    with pytest.raises(Interrupted):
        one.run(request)


def test_no_more_than_the_limit_go_at_once() -> None:
    one = Pace(cancellation=Cancellation(), start=3, most=3)
    running, most, lock = 0, 0, threading.Lock()
    gate = threading.Barrier(3)

    def request() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(20)
        with lock:
            running -= 1

    threads = [threading.Thread(target=one.run, args=(request,)) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, one.requests) == (3, 9)
