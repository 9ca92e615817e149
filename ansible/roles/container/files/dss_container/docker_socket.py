"""The socket of a Docker engine, where the container got one: whether the user may use it, and if not, why."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from settings import warn

_USUAL = Path("/var/run/docker.sock")
_CONNECT_S = 5.0


def path() -> Path | None:
    """Where ``docker`` in here would look for it; ``None`` for an engine that is reached over a network."""
    host = os.environ.get("DOCKER_HOST", "")
    if host:
        return Path(host[len("unix://") :]) if host.startswith("unix://") else None
    return _USUAL


def group(found: Path | None) -> int | None:
    """The group that may use the socket, where being in it helps."""
    try:
        status = found.stat() if found else None
    except OSError:
        return None
    if status and stat.S_ISSOCK(status.st_mode) and status.st_mode & 0o060 == 0o060:
        return status.st_gid
    return None


def check(found: Path | None) -> None:
    """Called as the user. One warning with the reason, where there is a socket that the user can't use."""
    if found is None or not os.path.lexists(found):
        return
    reason = _reason(found)
    if reason:
        warn(f"Docker can't be used from here: {reason} JupyterLab runs all the same.")


def _reason(found: Path) -> str:
    try:
        status = found.stat()
    except OSError as error:
        return f"{found}: {error.strerror}."
    if stat.S_ISDIR(status.st_mode):
        return f"{found} is a folder. Docker makes one where the host has no such file: is an engine running there?"
    if not stat.S_ISSOCK(status.st_mode):
        return f"{found} is no socket."
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(_CONNECT_S)
        try:
            tried.connect(str(found))
        except PermissionError:
            owner = f"it belongs to {status.st_uid}:{status.st_gid} with mode {stat.S_IMODE(status.st_mode):04o}"
            if not status.st_mode & 0o020:
                return f"{found} can't be written by its group ({owner}); so it is with Docker Desktop on Windows."
            if status.st_gid in os.getgroups():
                return f"{found} refuses user id {os.geteuid()} ({owner}); a rootless engine serves only its own user."
            return f"user id {os.geteuid()} is not in its group ({owner}); add --group-add {status.st_gid}."
        except OSError as error:
            return f"no engine answers at {found} ({error.strerror or error})."
    return ""
