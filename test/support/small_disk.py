"""A raw disk that is large and holds little: a partition table, some blocks, and data in its last sector."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random

BLOCK_BYTES = 512 << 10


def small_disk(
    folder: Path, *, name: str = "disk.raw", blocks: Sequence[int] = (2, 3, 90), size_bytes: int = 64 << 20
) -> Path:
    """blocks: the places, in units of 512 KiB, that hold something; the first and the last one always do."""
    random = Random(4711)
    path = folder / name
    # A partition table ("MBR") with one partition of Linux: UEFI Specification, 5.2.1.
    entry = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xff\xff\xff", 2048, size_bytes // 512 - 2048)
    with path.open("wb") as file:
        file.truncate(size_bytes)
        file.write(bytes(446) + entry + bytes(48) + b"\x55\xaa")
        for block in blocks:
            file.seek(block * BLOCK_BYTES + 4096)
            file.write(random.randbytes(BLOCK_BYTES - 8192))
        file.seek(size_bytes - 512)
        file.write(b"the last sector".ljust(512, b"."))
    return path
