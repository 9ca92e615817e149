"""A private temporary directory, that goes when we end, or at the next run when we were killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "dss-verify-"


def _parent() -> Path:
    # Disks are large: /tmp is often in memory, /var/tmp is not (file-hierarchy(7)).
    return Path(os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()))


@contextmanager
def workspace() -> Iterator[Path]:
    """Yields the directory (mode 0700). Who holds its lock lives; directories without a holder are removed."""
    _remove_abandoned(_parent())
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # one that looks for abandoned ones may hold it for a moment
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.geteuid():
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A directory that was made a moment ago may not be locked yet by its maker.
                if any(path.iterdir()):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
