"""What is written in other formats: the content of a disk, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from exasol_like_dss.lib.images.formats.sparse import Block, fingerprint, read_blocks
from exasol_like_dss.lib.interrupts import Cancellation


class DiskContent(Protocol):
    """A disk that can be read from front to end.

    path: of the file that it comes from. size_bytes: of the disk. raw_file: a raw image with just this content, if any.
    """

    @property
    def path(self) -> Path: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def raw_file(self) -> Path | None: ...

    def blocks(self, *, cancellation: Cancellation) -> Iterator[Block]:
        """The data, in ascending order; none crosses a multiple of ``BLOCK_BYTES``, blocks of zeros are left out."""
        ...

    def fingerprint(self) -> bytes:
        """16 bytes made from the content alone (``sparse.fingerprint``)."""
        ...


class RawFile:
    """A raw image, sparse or not. Raises ``OSError`` when it can't be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = path.stat().st_size

    @property
    def raw_file(self) -> Path:
        return self.path

    def blocks(self, *, cancellation: Cancellation) -> Iterator[Block]:
        return read_blocks(self.path, cancellation=cancellation)

    def fingerprint(self) -> bytes:
        return fingerprint(self.path)


def same_file(one: Path, other: Path) -> bool:
    """Whether both names lead to one file, through links of either kind, too."""
    try:
        return one.samefile(other)
    except OSError:
        return one.resolve() == other.resolve()
