"""Where this machine's apt gets packages from, remembered: apt takes a second to say so.

What it says follows from its configuration and its sources (apt.conf(5), sources.list(5)), from the package lists that
are there, and from dpkg's architectures. Number, size and times of all these files stand for what is in them.
Configuration that sends apt to other places is not followed: then apt is asked each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache.answers import Answers
from exasol_like_dss.lib.images.bases import INDEX_TARGETS, OS_RELEASE, HostArchive, host_archive

_NAME = "what this machine's apt uses"
_CONFIGURATION = Path("/etc/apt")
_STATE = (Path("/var/lib/apt/lists"), Path("/var/lib/dpkg/arch"))
#: Configuration that names other places to read from. Those of what apt downloads don't matter (Docker's images of
#: Debian set some).
_ELSEWHERE = re.compile(rb'#include|\brootdir\b|\bdir\s*("|\{|::(?!cache\b|log\b))', re.IGNORECASE)


def remembered_host_archive(
    programs: Programs,
    *,
    answers: Answers,
    configuration: Path = _CONFIGURATION,
    state: tuple[Path, ...] = _STATE,
    os_release: Path = OS_RELEASE,
) -> HostArchive:
    """As ``host_archive``, without asking apt when nothing has changed since it said so last.

    state: what apt and dpkg keep; of a folder, only that itself is looked at. Raises as ``host_archive``.
    """
    seen = _seen([Path(programs.find(INDEX_TARGETS[0])), os_release, *state], configuration)
    with suppress(ValueError, TypeError):
        return HostArchive(**json.loads(answers.kept_text(_NAME, validator=seen)))
    found = host_archive(programs, os_release=os_release)
    if not _reads_elsewhere(configuration):
        answers.note(_NAME, json.dumps(asdict(found)), validator=seen)
    return found


def _seen(single: list[Path], configuration: Path) -> str:
    """64 hexadecimal digits that change with each of the files, and with how apt is asked."""
    paths = [*single, *_below(configuration), *_named()]
    rows = [[os.fspath(path), *_status(path)] for path in paths]
    return hashlib.sha256(json.dumps([INDEX_TARGETS, os.environ.get("APT_CONFIG"), rows]).encode()).hexdigest()


def _status(path: Path) -> list[int]:
    """The time of change can't be set by anybody; a link that points elsewhere shows in the inode's number."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _below(folder: Path) -> Iterator[Path]:
    """The folder and all that is in it, in the order of the names; linked folders, too."""
    passed: set[str] = set()
    folders = [folder]
    while folders:
        current = folders.pop()
        real = os.path.realpath(current)
        if real in passed:
            continue
        passed.add(real)
        yield current
        try:
            inside = sorted(current.iterdir())
        except OSError:
            continue
        yield from inside
        folders += [path for path in inside if path.is_dir()]


def _named() -> list[Path]:
    """The file in the environment variable that apt reads besides (apt.conf(5))."""
    named = os.environ.get("APT_CONFIG")
    return [Path(named)] if named else []


def _reads_elsewhere(configuration: Path) -> bool:
    files = [configuration / "apt.conf", *_below(configuration / "apt.conf.d"), *_named()]
    return any(_ELSEWHERE.search(path.read_bytes()) for path in files if path.is_file())
