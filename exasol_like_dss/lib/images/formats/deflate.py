"""The deflate coder: ISA-L where it is installed (about ten times as fast), zlib where it is not.

What they write differs, so a VMDK is bit-identical only when made with the same coder; and with zlib, see ``_FAST``.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable

try:
    from isal import igzip_lib, isal_zlib
except ImportError:  # pragma: no cover - there are no wheels for other processors
    isal_zlib = None  # type: ignore[assignment]

#: Level 2 of ISA-L, on root file systems: 8 % larger than zlib's level 6, at twelve times its speed. Level 1 is 1 %
#: larger and no faster; level 3 is 1.5 % smaller and takes half as long again.
_ISAL_LEVEL = 2
_ZLIB_LEVEL = 3
#: qcow2: "raw deflate, window of 4 KiB".
_SMALL_WINDOW_BITS = 12

#: ISA-L's output depends, rarely, on memory that nobody has initialized: other bytes, the same content (python-isal
#: 1.9.1: level 1 with glibc's MALLOC_PERTURB_=165; level 2 seen once in 70,000 grains). So a build that is to be
#: reproducible (https://reproducible-builds.org/specs/source-date-epoch/) takes zlib.
_FAST = isal_zlib is not None and "SOURCE_DATE_EPOCH" not in os.environ

CODER = "isal" if _FAST else "zlib"

Coder = Callable[[bytes | memoryview], bytes]


def zlib_deflate(data: bytes | memoryview) -> bytes:
    """One RFC 1950 stream, made by zlib."""
    return zlib.compress(data, _ZLIB_LEVEL)


def zlib_deflate_small_window(data: bytes | memoryview) -> bytes:
    """One RFC 1951 stream that looks back 4 KiB at most, made by zlib."""
    coder = zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, -_SMALL_WINDOW_BITS)
    return coder.compress(data) + coder.flush()


def _isal_deflate(data: bytes | memoryview) -> bytes:
    compressed: bytes = isal_zlib.compress(data, _ISAL_LEVEL)
    return compressed


def _isal_deflate_small_window(data: bytes | memoryview) -> bytes:
    compressed: bytes = igzip_lib.compress(
        data, _ISAL_LEVEL, igzip_lib.COMP_DEFLATE, igzip_lib.MEM_LEVEL_DEFAULT, _SMALL_WINDOW_BITS
    )
    return compressed


#: The fastest coders of this machine whose output is as exact as it has to be.
deflate: Coder = _isal_deflate if _FAST else zlib_deflate
deflate_small_window: Coder = _isal_deflate_small_window if _FAST else zlib_deflate_small_window
