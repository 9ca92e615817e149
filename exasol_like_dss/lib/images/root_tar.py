"""A root file system as the tar of a container image's lowest layer, streamed: nothing is written to the disk.

What a container gets from its engine (/proc, /sys, /dev) and what only a machine needs to boot (kernel, its modules,
the boot loader's files) stays behind. Everything else is the same, byte for byte.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, InputError, tail
from exasol_like_dss.lib.images.identity import build_timestamp, reproducible
from exasol_like_dss.lib.interrupts import Cancellation

_EMPTIED = ("proc", "sys", "dev", "run", "tmp", "var/tmp", "boot", "lib/modules", "usr/lib/modules",
            "var/lib/apt/lists", "var/cache/apt")  # fmt: skip
#: The engine puts files of its own over these.
_LEFT_OUT = frozenset({"etc/resolv.conf", "etc/hostname", ".dockerenv"})
#: JupyterLab's virtual environment: the group root gets the rights of its owner here, since changing them in a
#: container would copy all of it into another layer (role "container").
_SHARED = "opt/jupyter"
#: Of the file that a build keeps its root file system in.
ROOTFS_EXTENSION = "rootfs.tar.gz"
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_PIECE = 1 << 20
_ZLIB_LEVEL = 3


def find_root_file_system(path: Path) -> Path:
    """The folder or tar that ``--from-rootfs`` means: a root file system, a tar of one, or the output directory of a
    build that kept it. Raises ``InputError``."""
    if path.is_file() and path.name.endswith(_SUFFIXES):
        return path
    if path.is_dir():
        if (path / "var/lib/dpkg/status").is_file():
            return path
        kept = sorted(path.glob(f"*.{ROOTFS_EXTENSION}"))
        if len(kept) == 1:
            return kept[0]
        if (path / "manifest.json").exists():
            raise InputError(
                f"The build in {path} did not keep its root file system.",
                hint="Build it again with dss create-vm --keep-rootfs.",
            )
    raise InputError(
        f"{path} is no root file system.",
        hint="Give a folder with one, a tar of one, or the output directory of dss create-vm --keep-rootfs.",
    )


def write_root_archive(root: Path, target: Path, *, programs: Programs, cancellation: Cancellation) -> None:
    """Keeps a root file system as a compressed tar, with numeric owners and extended attributes, sorted by name."""
    with _gzip(target) as stream, _tarred(root, programs) as pipe:
        while piece := pipe.read(_PIECE):
            cancellation.check()
            stream.write(piece)


@contextmanager
def _gzip(target: Path) -> Iterator[Any]:
    """A stream to write to. A reproducible build takes zlib, and no time of its own: see ``formats.deflate``."""
    try:
        from isal import igzip_threaded as threaded
    except ImportError:
        threaded = None  # type: ignore[assignment]
    if threaded and not reproducible():
        open_threaded: Any = threaded.open
        with open_threaded(target, "wb", threads=2, block_size=_PIECE) as stream:
            yield stream
        return
    with target.open("wb") as file, gzip.GzipFile("", "wb", _ZLIB_LEVEL, file, mtime=build_timestamp()) as stream:
        yield stream


@contextmanager
def _tarred(root: Path, programs: Programs) -> Iterator[IO[bytes]]:
    """The tar of a folder. Raises ``DssError`` at the end when it is not whole."""
    argv = ["tar", "--create", "--directory", str(root), "--format=posix", "--numeric-owner", "--sort=name",
            "--xattrs", "--xattrs-include=security.*", "--pax-option=delete=atime,delete=ctime", "."]  # fmt: skip
    process = programs.start(argv, stdout=subprocess.PIPE)
    with programs.ended(process):
        assert process.stdout and process.stderr
        yield process.stdout
        process.stdout.read()  # tar pads its end
        if process.wait():
            raise DssError(f"tar failed: {tail(process.stderr.read().decode(errors='replace'), lines=3)}")


def archive_date(root: Path) -> int:
    """When the package archive was last changed, in seconds since 1970: the newest ``Date`` of its Release files.

    0 where there are none. Files that are newer were made by the build, and get this time: so the same packages give
    the same layer, whenever it is built.
    """
    from email.utils import parsedate_to_datetime

    newest = 0
    for release in (root / "var/lib/apt/lists").glob("*Release"):
        found = re.search(r"^Date: (.+)$", release.read_text(errors="replace"), re.MULTILINE)
        if found:
            newest = max(newest, int(parsedate_to_datetime(found[1]).timestamp()))
    return newest


def stream_root_tar(
    source: Path, *, newest: int | None, programs: Programs, cancellation: Cancellation
) -> Iterator[bytes]:
    """The tar of a root file system in pieces. source: a folder, or a tar of any compression that Python reads.

    newest: later modification times become this one (seconds since 1970). Raises ``InputError`` for a damaged tar,
    ``Interrupted``.
    """
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with os.fdopen(writing, "wb", buffering=_PIECE) as stream:
                _filter(source, stream, newest, programs, cancellation)
        except BrokenPipeError:
            pass  # the reader has given up
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=write, name="root-tar")
    thread.start()
    try:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while piece := pipe.read(_PIECE):
                yield piece
    finally:
        thread.join()
    if failed:
        error = failed[0]
        if isinstance(error, (tarfile.TarError, EOFError, OSError)):
            raise InputError(f"{source} can't be read: {error}.", hint="Is it a whole tar of a root file system?")
        raise error


def _filter(source: Path, stream: object, newest: int | None, programs: Programs, cancellation: Cancellation) -> None:
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as written:  # type: ignore[call-overload]
        if source.is_file():
            with tarfile.open(source, mode="r|*", bufsize=_PIECE) as read:
                _copy(read, written, newest, cancellation)
            return
        with _tarred(source, programs) as pipe, tarfile.open(fileobj=pipe, mode="r|", bufsize=_PIECE) as read:
            _copy(read, written, newest, cancellation)


def _copy(read: tarfile.TarFile, written: tarfile.TarFile, newest: int | None, cancellation: Cancellation) -> None:
    for member in read:
        cancellation.check()
        name = member.name.removeprefix("./").strip("/")
        if name in ("", "."):
            continue
        if name in _LEFT_OUT or any(name.startswith(f"{folder}/") for folder in _EMPTIED):
            continue
        member.name = name
        if member.islnk():
            member.linkname = member.linkname.removeprefix("./")
        member.uname = member.gname = ""
        # Of the extended headers only the attributes: the others win over the fields that are set here.
        member.pax_headers = {key: text for key, text in member.pax_headers.items() if "xattr" in key}
        member.mtime = min(int(member.mtime), newest) if newest else int(member.mtime)
        if name == _SHARED or name.startswith(f"{_SHARED}/"):
            member.gid = 0
            member.mode |= (member.mode & 0o700) >> 3
        written.addfile(member, read.extractfile(member) if member.isreg() else None)
