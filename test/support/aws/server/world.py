"""What all handlers share: settings, time, moto's clients, their own stores, and the calls back to the test."""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from moto import mock_aws
from moto.core.base_backend import BackendDict

from test.support.aws.rules import Settings
from test.support.aws.server.protocol import ApiError, boto_name

ACCOUNT = "123456789012"
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Request:
    """One operation to be carried out. parameters: as boto3 takes them."""

    world: World
    service: str
    action: str
    region: str
    parameters: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        return self.parameters.get(name, default)

    def forward(self, **changes: Any) -> dict[str, Any]:
        """Lets moto do it, with some parameters changed; None removes one."""
        given = {**self.parameters, **changes}
        kept = {name: value for name, value in given.items() if value is not None}
        return self.world.moto(self.service, self.action, kept, self.region)


Handler = Callable[[Request], Mapping[str, Any]]
#: By (service, action).
HANDLERS: dict[tuple[str, str], Handler] = {}
#: What is done with a region when it is first asked for anything. They get the region's name.
STARTERS: list[Callable[[World, str], None]] = []


def handles(service: str, *actions: str) -> Callable[[Handler], Handler]:
    """Registers a function as what carries out these operations instead of moto."""

    def register(handler: Handler) -> Handler:
        for action in actions:
            HANDLERS[service, action] = handler
        return handler

    return register


class World:
    """The state of the stand-in. All but slow work happens under its lock."""

    def __init__(
        self, *, settings: Mapping[str, Any], callbacks: str, machines: bool, imaging: bool, folder: Path
    ) -> None:
        self.lock = threading.RLock()
        self.folder = folder
        self.machines = machines
        self.imaging = imaging
        self._callbacks = callbacks
        self._given = dict(settings)
        self.settings = Settings(**self._given)
        self.generation = 0
        self._parts: dict[type[Any], Any] = {}
        self._touched: set[str] = set()
        self._clients: dict[tuple[str, str], Any] = {}
        self._due: list[tuple[float, int, int, str, Callable[[], None]]] = []
        self._order = itertools.count()
        self._awake = threading.Condition()
        #: What goes on by calls: begun by the last one, and by the one before it.
        self._fresh: list[Callable[[], None]] = []
        self._ripe: list[Callable[[], None]] = []
        self._virtual = 0.0
        self._asides = 0
        self._mock = mock_aws()
        self._mock.start()
        threading.Thread(target=self._run_timers, daemon=True).start()

    def part(self, kind: type[_Part]) -> _Part:
        """The store of a module: made when first asked for, dropped by ``reset``."""
        if kind not in self._parts:
            self._parts[kind] = kind()
        found: _Part = self._parts[kind]
        return found

    def reset(self) -> None:
        """An empty account; what was under way is forgotten."""
        with self.lock:
            self.generation += 1
            self._parts.clear()
            self._touched.clear()
            self._fresh, self._ripe = [], []
            self.settings = Settings(**self._given)
            BackendDict.reset()

    def touch(self, region: str) -> None:
        """Gives a region what it has from the first day."""
        if region and region not in self._touched:
            self._touched.add(region)
            for start in STARTERS:
                start(self, region)

    def after(self, seconds: float, kind: str, do: Callable[[], None]) -> None:
        """Does something later, under the lock, unless there was a ``reset`` in between. kind: see ``held``."""
        if self.settings.pace != "clock":
            self._fresh.append(do)
            return
        with self._awake:
            entry = (self._time() + seconds, next(self._order), self.generation, kind, do)
            heapq.heappush(self._due, entry)
            self._awake.notify()

    def answered(self, *, by_test: bool) -> None:
        """A call has been answered: time goes on, if it goes by calls. See ``rules.Pace``."""
        pace = self.settings.pace
        if pace == "clock" or (pace == "calls" and by_test):
            return
        with self.lock:
            begun, due, self._fresh = self._fresh, self._ripe, []
            if pace == "at-once":
                begun, due = [], [*due, *begun]
            while due:
                _attempt(due.pop(0))
                due += self._fresh
                self._fresh = []
            self._ripe = begun

    def aside(self, do: Callable[[], None]) -> None:
        """Does something slow in a thread of its own, without the lock."""
        if self.settings.pace != "clock":
            _attempt(do)
            return

        def run() -> None:
            try:
                do()
            except Exception:
                traceback.print_exc()
            finally:
                with self._awake:
                    self._asides -= 1
                    self._awake.notify_all()

        with self._awake:
            self._asides += 1
        threading.Thread(target=run, daemon=True).start()

    def _time(self) -> float:
        return self._virtual if self.settings.virtual_time else time.monotonic()

    def advance(self, to: float) -> None:
        """Sets virtual time forward, and does what is due until then. Not under the lock."""
        while True:
            with self._awake:
                self._awake.wait_for(lambda: not self._asides, timeout=60)
                if not self._due or self._due[0][0] > to:
                    self._virtual = to
                    return
                self._virtual, _, generation, _, do = heapq.heappop(self._due)
            with self.lock:
                if generation == self.generation:
                    do()

    def _run_timers(self) -> None:
        while True:
            with self._awake:
                while self.settings.virtual_time or not self._due or self._due[0][0] > time.monotonic():
                    stopped = self.settings.virtual_time or not self._due
                    self._awake.wait(None if stopped else self._due[0][0] - time.monotonic())
                _, _, generation, kind, do = heapq.heappop(self._due)
            with self.lock:
                if generation == self.generation and kind in self.settings.held:
                    self.after(0.02, kind, do)
                elif generation == self.generation:
                    _attempt(do)

    def perform(self, service: str, action: str, parameters: dict[str, Any], region: str) -> dict[str, Any]:
        """Carries out an operation: by our handler if there is one, else by moto. Raises ``ApiError``."""
        handler = HANDLERS.get((service, action))
        if handler is None:
            return self.moto(service, action, parameters, region)
        return dict(handler(Request(self, service, action, region, parameters)))

    def moto(self, service: str, action: str, parameters: dict[str, Any], region: str) -> dict[str, Any]:
        """moto's own operation, within this process."""
        try:
            result = getattr(self.client(service, region), xform_name(action))(**parameters)
        except ClientError as error:
            problem = error.response["Error"]
            status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
            raise ApiError(problem["Code"], problem.get("Message", ""), status) from None
        except ParamValidationError as error:
            raise ApiError("ValidationError", str(error)) from None
        result.pop("ResponseMetadata", None)
        return dict(result)

    def client(self, service: str, region: str) -> Any:
        """moto's, in this process: neither journal nor faults."""
        key = (service, region)
        if key not in self._clients:
            config = Config(retries={"total_max_attempts": 1}, parameter_validation=service != "ec2")
            make: Any = boto3.client
            self._clients[key] = make(boto_name(service), region_name=region, config=config)
        return self._clients[key]

    def ask(self, what: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Asks the test. Not under the lock: the test may take its time, and may call us meanwhile."""
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self._callbacks}/{what}",
            data=json.dumps(data).encode(),
            headers={"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=600) as answer:
            return dict(json.loads(answer.read()))


def _attempt(do: Callable[[], None]) -> None:
    try:
        do()
    except Exception:
        traceback.print_exc()


def matches(patterns: list[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
