"""One producer, several consumers, each in a thread of its own, and bounded memory between them."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from exasol_like_dss.lib.interrupts import Cancellation

T = TypeVar("T")

#: How far the fastest consumer can be ahead of the slowest one, in items.
_ITEMS = 16
#: How soon a thread that waits notices that the work is off.
_NOTICE_S = 0.2


class Broadcast(Generic[T]):
    """Hands every item to every consumer. The slowest consumer sets the pace.

    consumers: how many there will be. Each takes its ``items()`` once, and reads to the end.
    """

    def __init__(self, *, consumers: int, cancellation: Cancellation) -> None:
        self._queues: list[queue.Queue[T | None]] = [queue.Queue(_ITEMS) for _ in range(consumers)]
        self._free = queue.SimpleQueue[queue.Queue[T | None]]()
        for each in self._queues:
            self._free.put(each)
        self._cancellation = cancellation

    def send(self, items: Iterable[T]) -> None:
        """Hands out all items. Raises ``Interrupted`` when the work is off."""
        for item in items:
            for each in self._queues:
                self._put(each, item)
        for each in self._queues:
            self._put(each, None)

    def items(self) -> Iterator[T]:
        """The items, for one consumer. Raises ``Interrupted`` when the work is off."""
        mine = self._free.get_nowait()
        while (item := self._get(mine)) is not None:
            yield item

    def _put(self, to: queue.Queue[T | None], item: T | None) -> None:
        while True:
            self._cancellation.check()
            try:
                return to.put(item, timeout=_NOTICE_S)
            except queue.Full:
                continue

    def _get(self, source: queue.Queue[T | None]) -> T | None:
        while True:
            self._cancellation.check()
            try:
                return source.get(timeout=_NOTICE_S)
            except queue.Empty:
                continue
