from __future__ import annotations

import os
import signal

import pytest

from exasol_like_dss.lib.errors import Interrupted
from exasol_like_dss.lib.interrupts import Cancellation, SignalPolicy


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_interrupts_and_later_ones_are_noted(number: signal.Signals) -> None:
    cleaned = False
    before = signal.getsignal(number)
    with SignalPolicy().installed() as policy:
        with pytest.raises(Interrupted) as caught:
            try:
                os.kill(os.getpid(), number)
                signal.pause()
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)
                cleaned = True
        assert cleaned
        assert caught.value.signal_name == number.name
        assert policy.received == [number.name, "SIGTERM", "SIGINT"]
    assert signal.getsignal(number) is before


def test_an_interruption_is_no_exception_that_could_be_swallowed() -> None:
    assert not issubclass(Interrupted, Exception)


def test_cancelled_work_is_told() -> None:
    cancellation = Cancellation()
    cancellation.check()
    cancellation.cancel()
    with pytest.raises(Interrupted):
        cancellation.check()
