"""The journal of calls, and the rules by which some of them go wrong."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from typing import Any

from test.support.aws.rules import Call, Fault


class Journal:
    """Calls in the order in which they came. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._faults: list[Fault] = []
        self._seen: list[int] = []

    def set_faults(self, faults: list[dict[str, Any]]) -> None:
        with self._lock:
            self._faults = [Fault(**fault) for fault in faults]
            self._seen = [0] * len(faults)

    def clear(self) -> None:
        with self._lock:
            self._calls = []

    def begin(self, call: Call) -> tuple[Call, Fault | None]:
        """Notes a call; says which fault hits it. Every rule that matches counts it; the first that is due hits."""
        with self._lock:
            hit = None
            for index, fault in enumerate(self._faults):
                if not (fnmatchcase(call.action, fault.action) or fnmatchcase(call.name, fault.action)):
                    continue
                if fault.first_attempts and call.attempt > 1:
                    continue
                self._seen[index] += 1
                if hit is None and fault.nth <= self._seen[index] < fault.nth + fault.times:
                    hit = index
            noted = replace(call, number=len(self._calls), fault=hit)
            self._calls.append(noted)
            return noted, None if hit is None else self._faults[hit]

    def end(self, call: Call) -> None:
        """Notes how it ended, unless the journal was cleared meanwhile."""
        with self._lock:
            if call.number < len(self._calls) and self._calls[call.number].name == call.name:
                self._calls[call.number] = call

    def as_json(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(call) for call in self._calls]
