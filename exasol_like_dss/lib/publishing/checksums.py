"""SHA-256 of the result files, and ``SHA256SUMS`` as ``sha256sum -c`` reads it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.files import write_text_atomically
from exasol_like_dss.lib.images.formats.sparse import hash_zeros, read_blocks
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.publishing.manifest import Artifact

#: GNU coreutils manual, "cksum output modes": digest, a space, a space (text) or asterisk (binary), the name.
_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]{64}) [ *](?P<name>.+)")


class ChecksumResult(StrEnum):
    OK = "ok"
    DIFFERS = "differs"
    MISSING = "missing"


@dataclass(frozen=True)
class CheckedFile:
    """One line of ``SHA256SUMS`` and what was found."""

    name: str
    result: ChecksumResult


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file, 64 lower-case hexadecimal digits.

    on_bytes: called with the number of bytes done so far, after each MiB of data and at the end. Holes of a sparse file
    are hashed as zeros without being read: a 100 GiB disk does not push everything else out of the page cache.
    Raises ``OSError``, and ``DssError`` when the file becomes shorter meanwhile.
    """
    never = Cancellation()
    digest = hashlib.sha256()
    done = 0
    for offset, data in read_blocks(path, cancellation=never):
        hash_zeros(digest, offset - done, cancellation=never)
        digest.update(data)
        done = offset + len(data)
        if on_bytes:
            on_bytes(done)
    size_bytes = path.stat().st_size
    hash_zeros(digest, size_bytes - done, cancellation=never)
    if on_bytes and done < size_bytes:
        on_bytes(size_bytes)
    return digest.hexdigest()


def write_sha256sums(files: Iterable[Artifact | Path], target: Path) -> None:
    """Writes one line per file, in the order given. An ``Artifact`` brings its sum, a ``Path`` is read.

    The names are written without folders: the files are expected beside ``target``.
    Raises ``ValueError`` for a name with a line break or a backslash, and ``OSError``.
    """
    lines = []
    for file in files:
        digest = file.sha256 if isinstance(file, Artifact) else sha256_of(file)
        name = Path(file.name).name
        if re.search(r"[\\\r\n]", name):
            raise ValueError(f"{name!r} can't stand in SHA256SUMS")
        lines.append(f"{digest}  {name}\n")
    write_text_atomically(target, "".join(lines))


def add_sha256sums(files: Iterable[Artifact], *, before: Path, target: Path) -> None:
    """Writes ``target``: the lines of ``before`` (where it is there) for other files, then those of ``files``.

    Raises ``InputError`` when ``before`` is no list of sums, ``ValueError`` as ``write_sha256sums``, and ``OSError``.
    """
    ours = list(files)
    names = {file.name for file in ours}
    kept = []
    if before.exists():
        for line in before.read_text(encoding="utf-8", errors="replace").splitlines():
            found = _LINE.fullmatch(line)
            if not found:
                raise InputError(f"{before} is no list of SHA-256 sums: {line[:80]!r}.", hint="Move it away.")
            if found["name"] not in names:
                kept.append(line + "\n")
    write_sha256sums(ours, target)
    write_text_atomically(target, "".join(kept) + target.read_text(encoding="utf-8"))


def read_sha256sums(path: Path) -> dict[str, str]:
    """Sums by name, 64 lower-case hexadecimal digits each, in the order of the file.

    Raises ``InputError`` when ``path`` can't be read, is empty, or is not of that format.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}.", hint="Give the SHA256SUMS of a build.") from None
    return parse_sha256sums(text, path)


def parse_sha256sums(text: str, path: object = "SHA256SUMS") -> dict[str, str]:
    """As ``read_sha256sums``. path: for the error."""
    sums: dict[str, str] = {}
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        name = found["name"] if found else ""
        if not found or Path(name).name != name or name in ("", ".", ".."):
            raise InputError(
                f"{path} is no list of SHA-256 sums: {line[:80]!r}.", hint="Give the SHA256SUMS of a build."
            )
        if sums.setdefault(name, found["digest"].lower()) != found["digest"].lower():
            raise InputError(f"{path} has two different sums for {name}.", hint="Get it again.")
    if not sums:
        raise InputError(f"{path} is empty.", hint="Give the SHA256SUMS of a build.")
    return sums


def verify_sha256sums(path: Path) -> list[CheckedFile]:
    """Compares the files beside ``path`` with their sums, like ``sha256sum -c``. All lines are checked.

    Raises ``InputError`` as ``read_sha256sums`` does; ``OSError`` when a file that is there can't be read.
    """
    return [CheckedFile(name, _check(path.parent / name, digest)) for name, digest in read_sha256sums(path).items()]


def _check(file: Path, expected: str) -> ChecksumResult:
    if not file.exists():
        return ChecksumResult.MISSING
    return ChecksumResult.OK if sha256_of(file) == expected else ChecksumResult.DIFFERS
