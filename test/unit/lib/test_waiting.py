from __future__ import annotations

import os
import signal
import time

import pytest

from exasol_like_dss.lib.errors import DeadlinePassed, Interrupted
from exasol_like_dss.lib.interrupts import SignalPolicy
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.waiting import unbroken, wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_returns_what_the_probe_found() -> None:
    clock = Clock()
    answers = iter([None, "", "up"])
    found = wait_until(
        "the guest", lambda: next(answers), deadline_s=10, progress=Progress(), hint="-", clock=clock, sleep=clock.sleep
    )
    assert found == "up"
    assert clock.now == 1.0


def test_a_deadline_names_what_was_waited_for_and_what_was_seen() -> None:
    clock = Clock()
    with pytest.raises(DeadlinePassed, match=r"Waiting for the guest took longer than 3 s\. Last seen: GRUB") as caught:
        wait_until(
            "the guest",
            lambda: None,
            deadline_s=3,
            progress=Progress(),
            hint="Look at the console.",
            detail=lambda: "GRUB",
            clock=clock,
            sleep=clock.sleep,
        )
    assert caught.value.hint == "Look at the console."
    assert clock.now == 3.0


def test_probes_once_more_at_the_deadline() -> None:
    clock = Clock()
    assert wait_until(
        "it", lambda: clock.now >= 3, deadline_s=3, progress=Progress(), hint="", clock=clock, sleep=clock.sleep
    )


def test_work_is_ended_before_a_signal_goes_on() -> None:
    done: list[str] = []

    def work() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.4)
        done.append("made")
        return "made"

    with SignalPolicy().installed(), pytest.raises(Interrupted):
        unbroken(work)
    assert done == ["made"]
    assert unbroken(lambda: 1) == 1


@pytest.mark.parametrize(("takes_s", "looks"), [(60, 45), (480, 190), (2100, 350), (6 * 3600, 1750)])
def test_what_takes_long_is_looked_at_less_often_and_noticed_in_time(takes_s: float, looks: int) -> None:
    clock = Clock()
    seen = []

    def probe() -> bool:
        seen.append(clock.now)
        return clock.now >= takes_s

    wait_until(
        "AWS", probe, deadline_s=10**5, interval_s=2.0, progress=Progress(), hint="-", clock=clock, sleep=clock.sleep
    )
    assert takes_s <= clock.now <= takes_s * 1.01 + 2.0
    assert len(seen) <= looks
