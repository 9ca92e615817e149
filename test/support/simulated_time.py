"""Time that passes only while everybody sleeps: for a run of ``dss`` in a child of ``forked_runs``.

The stand-in's times (``virtual_time`` of its settings) are set forward by this process, when all of the product's
threads sleep, or wait for one that sleeps. So hours take seconds, and the result is the same on every machine.
"""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as futures_wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exasol_like_dss.lib import waiting
from test.support.faked_machine import fake

if TYPE_CHECKING:
    from test.support.sweep import Lane

#: How ``prepare`` is given to ``Launcher.run``; with the keywords of ``simulate``.
SIMULATED = "test.support.simulated_time:simulate"


class Clock:
    """busy: threads that do something. told: gets every new time."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        self._advance = advance
        self._changed = threading.Condition(threading.RLock())
        self._now = 0.0
        self._busy = 1
        self._number = itertools.count()
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._awaited: dict[Future[Any], list[threading.Event]] = {}
        self._tasks: set[Future[Any]] = set()

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        woken = threading.Event()
        with self._changed:
            heapq.heappush(self._sleepers, (self._now + seconds, next(self._number), woken))
            self._idle()
        woken.wait()

    def wait(self, futures: Iterable[Future[Any]], timeout: float | None = None) -> None:
        """Instead of ``concurrent.futures.wait`` in ``lib.waiting``, for one future."""
        (future,) = futures
        woken = threading.Event()
        with self._changed:
            if future.done():
                return
            if future not in self._tasks:  # of a thread that nobody counts: it does something
                futures_wait([future], timeout)
                return
            self._awaited.setdefault(future, []).append(woken)
            self._idle()
        woken.wait()

    def submitted(self, future: Future[Any]) -> None:
        with self._changed:
            self._busy += 1
            self._tasks.add(future)
        future.add_done_callback(self._ended)

    def _ended(self, future: Future[Any]) -> None:
        with self._changed:
            for woken in self._awaited.pop(future, ()):
                self._busy += 1
                woken.set()
            self._idle()

    def _idle(self) -> None:
        """One less is busy; when that was the last, it is the time of the first who wakes."""
        self._busy -= 1
        if self._busy or not self._sleepers:
            return
        self._now, _, woken = heapq.heappop(self._sleepers)
        self._advance(self._now)
        self._busy += 1
        woken.set()


def simulate(endpoint: str, result: str) -> None:
    """For the rest of this process. result: a file for the time that it is at the end, in seconds."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def advance(to: float) -> None:
        request = urllib.request.Request(f"{endpoint}/_control/advance", data=json.dumps(to).encode())  # noqa: S310
        opener.open(request, timeout=60).close()
        Path(result).write_text(str(to))

    clock = Clock(advance)
    submit = ThreadPoolExecutor.submit

    def counted(self: ThreadPoolExecutor, work: Any, /, *args: Any, **more: Any) -> Future[Any]:
        gate = threading.Event()

        def after_gate() -> Any:
            gate.wait()
            return work(*args, **more)

        future = submit(self, after_gate)
        clock.submitted(future)
        gate.set()
        return future

    patched: Any = ThreadPoolExecutor
    patched.submit = counted
    module: Any = waiting
    module.wait = clock.wait
    defaults = waiting.wait_until.__kwdefaults__
    assert defaults
    defaults.update(clock=clock.now, sleep=clock.sleep)
    fake()


INSTANCE_S, AMI_S = 60.0, 480.0
EXPORTS_S = {"VMDK": 1500.0, "VHD": 2100.0}
#: The machine, its AMI, a machine of the AMI that tries it, and the exports: none of these can begin earlier. AWS
#: exports an AMI in one format at a time (VM Import/Export User Guide, "Considerations for image export").
CRITICAL_S = INSTANCE_S + AMI_S + INSTANCE_S + sum(EXPORTS_S.values())


@dataclass(frozen=True)
class Simulated:
    """seconds: of AWS's time, for all of it. calls: to AWS, by name."""

    seconds: float
    calls: Mapping[str, int]

    @property
    def overhead(self) -> float:
        """As a share of the critical path."""
        return self.seconds / CRITICAL_S - 1


def create_vm(lane: Lane, arguments: Sequence[str], environment: Mapping[str, str]) -> Simulated:
    """Runs ``create-vm --builder ec2`` in an account that is ready for it."""
    lane.aws.clear()
    lane.aws.change(
        virtual_time=True,
        pace="clock",
        instance_pending_s=INSTANCE_S,
        image_pending_s=AMI_S,
        export_times=EXPORTS_S,
        stack_step_s=1.0,
    )
    result = lane.folder / "simulated"
    ended = lane.runs.run(
        arguments,
        environment={**lane.aws.environment(), "XDG_DATA_HOME": str(lane.folder), **environment},
        prepare=SIMULATED,
        with_={"endpoint": lane.aws.endpoint, "result": str(result)},
    )
    calls = Counter(call.name for call in lane.aws.calls)
    lane.aws.reset()
    assert ended.code == 0, ended.err
    return Simulated(float(result.read_text()), calls)
