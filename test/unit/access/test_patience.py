"""Requests that hang: until a signal for as long as botocore takes, after it for a bounded time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from unittest import mock

import pytest

from exasol_like_dss.access.aws import patience
from exasol_like_dss.access.aws.errors import Unreachable
from exasol_like_dss.access.aws.patience import Patience
from exasol_like_dss.lib.errors import Interrupted
from exasol_like_dss.lib.interrupts import Cancellation


@pytest.fixture(autouse=True)
def short() -> Iterator[None]:
    with mock.patch.object(patience, "GRACE_S", 0.3), mock.patch.object(patience, "_NOTICE_S", 0.01):
        yield


def test_what_is_returned_and_raised_comes_through() -> None:
    assert Patience().run(lambda: 42, what="it") == 42
    with pytest.raises(KeyError):
        Patience().run(lambda: dict[int, int]()[1], what="it")


def test_a_request_that_hangs_is_left_behind_after_a_signal() -> None:
    cancellation, hangs = Cancellation(), threading.Event()
    threading.Timer(0.05, cancellation.cancel).start()
    try:
        with pytest.raises(Unreachable, match="AWS does not answer at it"):
            Patience(lambda: cancellation.cancelled).run(hangs.wait, what="it")
    finally:
        hangs.set()


def test_a_request_of_the_clean_up_is_waited_for() -> None:
    cancellation, answers = Cancellation(), threading.Event()
    cancellation.cancel()
    threading.Timer(0.05, answers.set).start()
    assert Patience(lambda: cancellation.cancelled).run(answers.wait, what="it")


def test_a_signal_waits_for_the_answer_that_is_under_way() -> None:
    answers, done = threading.Event(), []

    def cancelled() -> bool:
        threading.Timer(0.05, answers.set).start()
        raise Interrupted("SIGINT")

    with pytest.raises(Interrupted):
        Patience(cancelled).run(lambda: done.append(answers.wait()), what="it")
    assert done == [True]
