"""Folders are locked by flock(2) on the folder itself: the kernel lets go of it when the process ends, anyhow."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock for the time of the block. Raises ``BlockingIOError`` when another has it, unless ``wait``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def is_free(folder: Path) -> bool:
    """Whether the folder is there, and nobody holds its lock."""
    try:
        with locked(folder, wait=False):
            return True
    except (BlockingIOError, FileNotFoundError):
        return False
