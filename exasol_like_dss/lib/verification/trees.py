"""Files inside an image, read without mounting it: no rights, no loop device, no journal replay that would write."""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError

_SECTOR = 512
_EXT_MAGIC = 0xEF53


@dataclass(frozen=True)
class Entry:
    """One name in a directory. kind: ``file``, ``directory``, ``symlink`` or ``other``."""

    name: str
    kind: str
    size_bytes: int


class FileTree(Protocol):
    """A root file system at rest. Paths are absolute; a symlink at a path's end is never followed."""

    def list(self, path: str) -> list[Entry]:
        """The entries of a directory, sorted, without ``.`` and ``..``; nothing when there is no such directory."""

    def read(self, path: str) -> str:
        """The text of a file (what is not UTF-8 is replaced); empty when there is no such file."""


def find(tree: FileTree, path: str) -> Entry | None:
    """What is at ``path``, or ``None``."""
    pure = PurePosixPath(path)
    return next((entry for entry in tree.list(str(pure.parent)) if entry.name == pure.name), None)


def files_below(tree: FileTree, path: str) -> list[tuple[str, Entry]]:
    """Everything below ``path`` that is not a directory, with its path."""
    found: list[tuple[str, Entry]] = []
    for entry in tree.list(path):
        below = f"{path.rstrip('/')}/{entry.name}"
        if entry.kind == "directory":
            found += files_below(tree, below)
        else:
            found.append((below, entry))
    return found


def _kind(mode: int) -> str:
    names = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
    return names.get(stat.S_IFMT(mode), "other")


class ListedTree:
    """What ``probe.before_boot`` found in a machine that runs."""

    def __init__(self, *, folders: Mapping[str, Iterable[tuple[str, str, int]]], texts: Mapping[str, str]) -> None:
        self._folders = {path: [Entry(*entry) for entry in entries] for path, entries in folders.items()}
        self._texts = texts

    def list(self, path: str) -> list[Entry]:
        return self._folders.get(path, [])

    def read(self, path: str) -> str:
        return self._texts.get(path, "")


class DirectoryTree:
    """A root file system in a directory of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _at(self, path: str) -> Path | None:
        # Links inside the tree mean paths of the tree, not of this machine: no directory on the way may be one.
        here = self._root
        for part in PurePosixPath(path).parts[1:]:
            if here.is_symlink():
                return None
            here = here / part
        return here

    def list(self, path: str) -> list[Entry]:
        here = self._at(path)
        if here is None or here.is_symlink() or not here.is_dir():
            return []
        return sorted(
            (Entry(child.name, _kind(child.lstat().st_mode), child.lstat().st_size) for child in here.iterdir()),
            key=lambda entry: entry.name,
        )

    def read(self, path: str) -> str:
        here = self._at(path)
        if here is None or here.is_symlink() or not here.is_file():
            return ""
        return here.read_text(errors="replace")


class DebugfsTree:
    """The ext4 at ``offset_bytes`` of a raw disk, read by debugfs (e2fsprogs), which opens it read-only."""

    def __init__(
        self, disk: Path, offset_bytes: int, programs: Programs, *, check: Callable[[], None] = lambda: None
    ) -> None:
        """check: called before each look; may raise, to call the work off."""
        self._device = f"{disk}?offset={offset_bytes}"
        self._programs = programs
        self._check = check
        self._listed: dict[str, list[Entry]] = {}

    def _ask(self, request: str) -> str:
        self._check()
        return self._programs.run(
            ["debugfs", "-R", request, self._device], what="reading the image's file system", deadline_s=120
        )

    def list(self, path: str) -> list[Entry]:
        path = str(PurePosixPath(path))
        if path not in self._listed:
            # debugfs lists the directory of the same name for "no such file": it prints nothing on standard output.
            # A line is /inode/mode/uid/gid/name/size/, with an empty size for directories.
            entries = []
            for line in self._ask(f"ls -p {_quoted(path)}").splitlines():
                fields = line.split("/")
                if len(fields) == 8 and fields[1] != "0" and fields[5] not in (".", ".."):
                    entries.append(Entry(fields[5], _kind(int(fields[2], 8)), int(fields[6] or 0)))
            self._listed[path] = sorted(entries, key=lambda entry: entry.name)
        return self._listed[path]

    def read(self, path: str) -> str:
        entry = find(self, path)
        return self._ask(f"cat {_quoted(path)}") if entry and entry.kind == "file" else ""


def _quoted(path: str) -> str:
    return '"' + path.replace('"', '""') + '"'


def root_file_system_offset(disk: Path) -> int:
    """Bytes from the start of a raw disk to its ext4 root: the largest GPT partition that holds an ext file system.

    GPT: UEFI specification 2.10, section 5.3; the ext magic is at byte 56 of the superblock, at byte 1024.
    Raises ``InputError`` when there is none.
    """
    found: list[tuple[int, int]] = []
    with disk.open("rb") as file:
        file.seek(_SECTOR)
        header = file.read(92)
        if header[:8] == b"EFI PART":
            table, count, size = struct.unpack_from("<QII", header, 72)
            file.seek(table * _SECTOR)
            entries = file.read(min(count, 1024) * size)
            for index in range(0, len(entries) - size + 1, size):
                first, last = struct.unpack_from("<QQ", entries, index + 32)
                if any(entries[index : index + 16]) and last >= first:
                    found.append((last - first, first * _SECTOR))
        for _, offset in sorted(found, reverse=True):
            file.seek(offset + 1024 + 56)
            if file.read(2) == struct.pack("<H", _EXT_MAGIC):
                return offset
    raise InputError("The image has no GPT partition with an ext4 file system.", hint="Was it made by dss create-vm?")
