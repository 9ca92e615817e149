"""Threads that send requests: their results and errors, and what becomes of one that hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from unittest import mock

import pytest

from exasol_like_dss.access.aws import patience
from exasol_like_dss.access.aws.patience import Patience
from exasol_like_dss.lib import crew as crew_module
from exasol_like_dss.lib.crew import Crew
from exasol_like_dss.lib.errors import Interrupted
from exasol_like_dss.lib.interrupts import Cancellation


@pytest.fixture(autouse=True)
def short() -> Iterator[None]:
    with mock.patch.object(patience, "GRACE_S", 0.3), mock.patch.object(crew_module, "_NOTICE_S", 0.01):
        yield


def test_results_and_errors_come_through() -> None:
    with Crew(3, name="test", cancellation=Cancellation()) as crew:
        futures = [crew.submit(lambda number: 100 // number, number) for number in (1, 2, 0, 5)]
        assert [crew.awaited(futures[each]) for each in (0, 1, 3)] == [100, 50, 20]
        with pytest.raises(ZeroDivisionError):
            crew.awaited(futures[2])


def test_no_more_threads_than_it_may_have_and_all_of_them_end() -> None:
    gate = threading.Barrier(3)

    def work() -> threading.Thread:
        gate.wait(20)
        return threading.current_thread()

    with Crew(3, name="test", cancellation=Cancellation()) as crew:
        threads = {crew.awaited(future) for future in [crew.submit(work) for _ in range(9)]}
    assert len(threads) <= 3
    assert not any(thread.is_alive() for thread in threads)


def test_requests_wait_in_its_threads_and_need_none_of_their_own() -> None:
    with Crew(1, name="test", cancellation=Cancellation()) as crew:
        asked = crew.awaited(crew.submit(lambda: Patience().run(threading.current_thread, what="it")))
    assert asked.name == "test"
    assert Patience().run(threading.current_thread, what="it").name == "aws"


def test_after_an_error_what_has_not_begun_is_given_up() -> None:
    first = threading.Event()
    begun: list[int] = []
    with pytest.raises(KeyError), Crew(1, name="test", cancellation=Cancellation()) as crew:
        crew.submit(first.wait, 20)
        for number in range(5):
            crew.submit(begun.append, number)
        threading.Timer(0.05, first.set).start()
        raise KeyError
    assert begun == []


def test_what_hangs_is_left_behind_after_the_cancellation() -> None:
    cancellation, hangs = Cancellation(), threading.Event()
    try:
        with pytest.raises(Interrupted), Crew(1, name="test", cancellation=cancellation) as crew:
            future = crew.submit(hangs.wait)
            threading.Timer(0.05, cancellation.cancel).start()
            crew.awaited(future)
        assert not future.done()
    finally:
        hangs.set()


def test_what_is_under_way_at_the_cancellation_is_waited_for() -> None:
    cancellation, answers = Cancellation(), threading.Event()
    with Crew(1, name="test", cancellation=cancellation) as crew:
        future = crew.submit(answers.wait, 20)
        cancellation.cancel()
        threading.Timer(0.05, answers.set).start()
        assert crew.awaited(future)
