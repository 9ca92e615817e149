"""The disk in a snapshot, read in order through the EBS direct APIs: several blocks at a time, each compared with its
checksum, and never more than a few in memory."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.crew import Crew
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.images.formats.sparse import BLOCK_BYTES as LARGEST
from exasol_like_dss.lib.images.formats.sparse import Block, is_zero

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ebs import BlockPage, Ebs, ListedBlock
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.pace import Pace

#: So often a block is fetched again that does not fit its checksum.
_TRIES = 4
#: An expired token has this code, and so has a wrong one.
_INVALID = "ValidationException"


class SnapshotDisk:
    """A completed snapshot. size_bytes: of the disk. read, lists: blocks and lists of blocks that were asked for."""

    def __init__(self, ebs: Ebs, snapshot_id: str, *, pace: Pace, cancellation: Cancellation) -> None:
        """Asks for the first list. Raises ``AwsError``, ``DssError``."""
        self._ebs = ebs
        self._id = snapshot_id
        self._pace = pace
        self._cancellation = cancellation
        self.read = 0
        self.lists = 0
        self._renewing = threading.Lock()
        self._renewed: dict[int, ListedBlock] = {}
        self._first = self._list(start=0)
        self.size_bytes = self._first.volume_gib << 30
        self._block_bytes = self._first.block_bytes
        if self._block_bytes > LARGEST or LARGEST % self._block_bytes:
            raise DssError(f"AWS's blocks have {self._block_bytes} bytes, which was not known when this was written.")

    @property
    def content_id(self) -> bytes:
        """16 bytes that stand for the content: a snapshot never changes."""
        return hashlib.sha256(f"snapshot\0{self._id}\0{self.size_bytes}".encode()).digest()[:16]

    def blocks(self) -> Iterator[Block]:
        """What is not all zeros, in ascending order. Raises ``AwsError``, ``DssError``, ``Interrupted``."""
        with Crew(self._pace.most, name="blocks", cancellation=self._cancellation) as crew:
            waiting: deque[Future[Block]] = deque()
            for listed in self._listed():
                self._cancellation.check()
                waiting.append(crew.submit(self._fetch, listed))
                if len(waiting) > 2 * self._pace.most:
                    yield from self._taken(crew.awaited(waiting.popleft()))
            while waiting:
                yield from self._taken(crew.awaited(waiting.popleft()))

    def _taken(self, block: Block) -> Iterator[Block]:
        self.read += 1
        if not is_zero(block[1]):
            yield block

    def _listed(self) -> Iterator[ListedBlock]:
        page, following = self._first, 0
        while True:
            for block in page.blocks:
                following = block.index + 1
                yield block
            if page.following is None:
                return
            try:
                page = self._list(following=page.following)
            except AwsError as error:
                if error.code != _INVALID:
                    raise
                page = self._list(start=following)  # the token has expired

    def _list(self, *, start: int = 0, following: str | None = None) -> BlockPage:
        self.lists += 1
        return self._pace.run(lambda: self._ebs.blocks(self._id, start=start, following=following))

    def _fetch(self, listed: ListedBlock) -> Block:
        for left in reversed(range(_TRIES)):
            self._cancellation.check()
            now = listed
            try:
                block = self._pace.run(lambda now=now: self._ebs.block(self._id, now))  # type: ignore[misc]
            except AwsError as error:
                if error.code != _INVALID or not left:
                    raise
                listed = self._again(listed)
                continue
            if len(block.data) == self._block_bytes and block.checksum == _checksum(block.data):
                return listed.index * self._block_bytes, block.data
        raise DssError(
            f"Block {listed.index} of the snapshot {self._id} does not fit its checksum.",
            hint="Is there a proxy on the way that changes it? Run the same command again.",
        )

    def _again(self, expired: ListedBlock) -> ListedBlock:
        """The same block with a new token. Those that follow get theirs from the same list."""
        with self._renewing:
            known = self._renewed.get(expired.index)
            if known is None or known.token == expired.token:
                self._renewed = {block.index: block for block in self._list(start=expired.index).blocks}
            if expired.index not in self._renewed:
                raise DssError(f"The snapshot {self._id} has lost the block {expired.index}.")
            return self._renewed[expired.index]


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
