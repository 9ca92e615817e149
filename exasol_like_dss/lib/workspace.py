"""Folders for the time of one build, and what a killed build left of them.

A folder is locked (flock(2) on the folder itself) as long as its process lives; the kernel lets go of the lock when the
process ends, however it ends. So a folder that nobody holds belongs to a build that was killed, and the next one
removes it. Mounts need no such care: they live in namespaces that die with the build (``access.programs``).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, InputError, ProgramFailed
from exasol_like_dss.lib.locks import is_free, locked
from exasol_like_dss.lib.progress import Progress

_PREFIX = "build-"
_CLONE_NEWNS = 0x00020000  # <linux/sched.h>


@contextmanager
def workspace(base: Path, *, progress: Progress) -> Iterator[Path]:
    """A new private folder below ``base``, removed at the end. Removes those of killed builds first.

    Raises ``InputError`` when ``base`` can't be written.
    """
    try:
        base.mkdir(parents=True, exist_ok=True)
        with locked(base):
            for leftover in sorted(base.glob(_PREFIX + "*")):
                if is_free(leftover):
                    progress.note(f"Removing what an interrupted build left: {leftover}")
                    remove_tree(leftover)
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise InputError(
            f"The work directory {base} can't be used: {error.strerror}.", hint="Choose another with --work-directory."
        ) from error
    try:
        yield path
    finally:
        with progress.step("clean up"):
            remove_tree(path)
        os.close(lock)


@contextmanager
def memory_backed(folder: Path, *, size_bytes: int, programs: Programs) -> Iterator[Path]:
    """A folder in ``folder`` that is in memory (tmpfs), for this process and its children only.

    The mount is in a mount namespace of our own (unshare(2)): it goes, with all that is in it, when we end, however we
    end. It is never on ``folder`` itself: that would hide the lock. Where mounting is not allowed, this is ``folder``.
    size_bytes: an upper bound; memory is taken as files are written.
    Main thread only, before others are started: a namespace belongs to a thread, and is inherited.
    """
    mount = folder / "memory"
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.unshare(_CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        mount.mkdir()
        programs.run(["mount", "--make-rprivate", "/"])
        programs.run(["mount", "-t", "tmpfs", "-o", f"mode=700,size={size_bytes}", "tmpfs", str(mount)])
    except (OSError, ProgramFailed):  # no right to do so, in a container for example
        yield folder
        return
    try:
        yield mount
    finally:
        programs.run(["umount", "--lazy", str(mount)])


@contextmanager
def staging(directory: Path, name: str, *, progress: Progress) -> Iterator[Path]:
    """A folder ``.NAME.partial`` in ``directory`` for results that are not finished yet, removed at the end.

    Results get their names by renaming within one file system. ``directory`` is made when missing, and removed again
    when nothing was put into it. Raises ``InputError`` when another process is making the same result there.
    """
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    path = directory / f".{name}.partial"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory):
            if path.exists():
                if not is_free(path):
                    raise InputError(
                        f"Another build of the same asset-id is running in {directory}.",
                        hint="Wait for it to end, or give another --output-directory.",
                    )
                progress.note(f"Removing what an interrupted build left: {path}")
                remove_tree(path)
                if not any(directory.iterdir()):
                    made.append(directory)  # by that build
            path.mkdir(mode=0o755)
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise InputError(
            f"The output directory {directory} can't be written: {error.strerror}.",
            hint="Give another --output-directory, or change its permissions.",
        ) from error
    try:
        yield path
    finally:
        remove_tree(path)
        os.close(lock)
        for folder in made:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()


def remove_tree(path: Path) -> None:
    """Removes a folder and what is in it, but never follows a mount: raises ``DssError`` when one is below it."""
    if not path.exists():
        return
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [mount for mount in mounts if mount.startswith(f"{path.resolve()}/")]
    if below:
        raise DssError(f"{below[0]} is still mounted.", hint=f"umount {below[0]}, then remove {path}.")
    shutil.rmtree(path)
