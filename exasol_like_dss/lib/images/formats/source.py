"""One disk, read once for all formats that are written at the same time.

             ┌─> RAW, VHD, QCOW2   (blocks)
one reader ──┼─> SHA-256 of the content, for RAW and VHD
             └─> one VMDK encoder ─┬─> VMDK      (its stream)
                                   └─> OVA
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from exasol_like_dss.lib.images.formats.broadcast import Broadcast
from exasol_like_dss.lib.images.formats.content import DiskContent
from exasol_like_dss.lib.images.formats.protocol import Reads
from exasol_like_dss.lib.images.formats.sparse import GRAIN_BYTES, Block, hash_zeros
from exasol_like_dss.lib.images.formats.vmdk import Extent, vmdk_stream
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress, Step

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

T = TypeVar("T")

#: Progress is shown in steps of so many bytes.
_SHOWN_BYTES = 64 << 20
_NOTICE_S = 0.2


@dataclass(frozen=True)
class VmdkFacts:
    """Known when the stream has ended. ``data_bytes``: the grains that are not zeros, before compression."""

    size_bytes: int
    sha256: str
    data_bytes: int


class SharedSource:
    """The source of all writers.

    readers: how many formats take what. name: of the VMDK file. ``tasks()`` must run in threads of their own.
    """

    def __init__(
        self,
        content: DiskContent,
        *,
        readers: dict[Reads, int],
        name: str,
        cancellation: Cancellation,
        progress: Progress,
    ) -> None:
        self._content = content
        self.raw_file = content.raw_file
        self.size_bytes = content.size_bytes
        self.content_id = content.fingerprint()
        self.extent = Extent(self.size_bytes, self.content_id, name)
        self._cancellation = cancellation
        self._progress = progress
        self._wants_hash = readers.get(Reads.BLOCKS_AND_HASH, 0) > 0
        self._wants_vmdk = readers.get(Reads.VMDK_STREAM, 0) > 0
        self._blocks = Broadcast[Block](
            consumers=readers.get(Reads.BLOCKS, 0)
            + readers.get(Reads.BLOCKS_AND_HASH, 0)
            + self._wants_hash
            + self._wants_vmdk,
            cancellation=cancellation,
        )
        self._vmdk = Broadcast[bytes](consumers=readers.get(Reads.VMDK_STREAM, 0), cancellation=cancellation)
        self._vmdk_facts: Future[VmdkFacts] = Future()
        self._content_hash: Future[Hash] = Future()

    def tasks(self) -> list[Callable[[Step | None], None]]:
        """What has to run beside the writers. Each takes the step that it shows its own under."""
        return [self._read, *[self._hash] * self._wants_hash, *[self._encode] * self._wants_vmdk]

    def blocks(self) -> Iterator[Block]:
        """The data of the image, for one writer."""
        return self._blocks.items()

    def vmdk_stream(self) -> Iterator[bytes]:
        """The VMDK, for one writer."""
        return self._vmdk.items()

    def vmdk_facts(self) -> VmdkFacts:
        """Waits for the end of the VMDK stream."""
        return self._result(self._vmdk_facts)

    def content_hash(self) -> Hash:
        """Waits for the SHA-256 over the whole raw image; a copy, so that a format can add what follows."""
        return self._result(self._content_hash).copy()

    def _read(self, _under: Step | None) -> None:
        self._blocks.send(self._content.blocks(cancellation=self._cancellation))

    def _encode(self, _under: Step | None) -> None:
        digest = hashlib.sha256()
        size_bytes = grains = 0

        def count(more: int) -> None:
            nonlocal grains
            grains += more

        def hashed() -> Generator[bytes, None, None]:
            nonlocal size_bytes
            with closing(vmdk_stream(self.blocks(), extent=self.extent, on_grains=count)) as pieces:
                for piece in pieces:
                    digest.update(piece)
                    size_bytes += len(piece)
                    yield piece
            self._vmdk_facts.set_result(VmdkFacts(size_bytes, digest.hexdigest(), grains * GRAIN_BYTES))

        # Closed at once when a consumer gives up: the threads that compress end with the stream.
        with closing(hashed()) as stream:
            self._vmdk.send(stream)

    def _hash(self, under: Step | None) -> None:
        digest = hashlib.sha256()
        position = shown = 0

        with self._progress.step("SHA-256 of the content", under=under) as step:

            def advance(count: int) -> None:
                nonlocal position, shown
                position += count
                if position - shown >= _SHOWN_BYTES or position == self.size_bytes:
                    shown = position
                    self._progress.bytes(step, position, self.size_bytes)

            for offset, data in self.blocks():
                hash_zeros(digest, offset - position, cancellation=self._cancellation, on_bytes=advance)
                digest.update(data)
                advance(len(data))
            # The zeros at the end take longest, and nobody waits for them: others (a machine that boots from the VMDK)
            # go first. Not before: all read at the pace of the slowest.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
            hash_zeros(digest, self.size_bytes - position, cancellation=self._cancellation, on_bytes=advance)
        self._content_hash.set_result(digest)

    def _result(self, future: Future[T]) -> T:
        while True:
            self._cancellation.check()
            try:
                return future.result(timeout=_NOTICE_S)
            except TimeoutError:
                continue
