"""The last changes to a root file system that is to be the same, bit by bit, whenever it is made."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_DAY_S = 86400


def settle(root: Path, *, timestamp: int) -> None:
    """Files that are newer than ``timestamp`` (seconds since 1970) get that time, and so does what depends on it.

    Times inside files: Python's byte code names the time of its source (PEP 552; one that names another time would be
    compiled anew at each start), and shadow(5) the day of a password's last change.
    """
    folders = [os.fspath(root)]
    while folders:
        folder = folders.pop()
        newer: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(entry.path)
                if status.st_mtime_ns > timestamp * 10**9:
                    newer.append(entry.name)
        for name in newer:
            os.utime(f"{folder}/{name}", (timestamp, timestamp), follow_symlinks=False)
            if name.endswith(".py"):
                _settle_byte_code(folder, name.removesuffix(".py"), timestamp)
    for name in ("etc/shadow", "etc/shadow-"):
        if (root / name).is_file():
            _settle_shadow(root / name, timestamp)
    os.utime(root, (timestamp, timestamp))


def _settle_byte_code(folder: str, stem: str, timestamp: int) -> None:
    """In ``__pycache__/STEM.*.pyc``: a magic number, flags (0: checked by time), time and size of the source."""
    try:
        with os.scandir(f"{folder}/__pycache__") as entries:
            found = [
                entry.path for entry in entries if entry.name.startswith(f"{stem}.") and entry.name.endswith(".pyc")
            ]
    except FileNotFoundError:
        return
    for path in found:
        with Path(path).open("r+b") as file:
            head = file.read(8)
            if head[4:] == bytes(4):
                file.write(timestamp.to_bytes(4, "little"))
        os.utime(path, (timestamp, timestamp))


def _settle_shadow(path: Path, timestamp: int) -> None:
    status = path.stat()
    lines = []
    for line in path.read_text().splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdecimal():
            fields[2] = str(min(int(fields[2]), timestamp // _DAY_S))
        lines.append(":".join(fields))
    path.write_text("\n".join(lines) + "\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
