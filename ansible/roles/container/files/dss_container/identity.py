"""Who JupyterLab runs as, and how this process becomes that user."""

from __future__ import annotations

import os
import pwd
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from settings import SETTINGS, warn

#: So many settings of a shell are the container's, not the user's.
_SECRETS = ("JUPYTER_PASSWORD", "JUPYTER_PASSWORD_FILE")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Identity:
    """groups: supplementary ones, with ``gid`` or without."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @classmethod
    def of_process(cls) -> Identity:
        return cls(os.geteuid(), os.getegid(), tuple(os.getgroups()))

    def with_group(self, group: int) -> Identity:
        return replace(self, groups=tuple(dict.fromkeys((*self.groups, group))))


def of_volume(folder: Path) -> Identity:
    """The image's user, or the owner of the notebooks where that is somebody else (but not root).

    So the files of a folder of the host stay those of their owner, and new ones become theirs. They are in the group
    root, which may write in home directory and virtual environment.
    """
    user = pwd.getpwnam(SETTINGS.user)
    try:
        found = folder.stat()
    except OSError:
        return Identity(user.pw_uid, user.pw_gid, (user.pw_gid,))
    if found.st_uid in (0, user.pw_uid):
        return Identity(user.pw_uid, user.pw_gid, (user.pw_gid,))
    return Identity(found.st_uid, found.st_gid, (found.st_gid, 0))


def record(user: Identity) -> None:
    """Writes the user's numbers into /etc/passwd and /etc/group, where those can be written: then ``whoami``, sudo and
    ``docker exec --user jupyter`` know them."""
    known = pwd.getpwnam(SETTINGS.user)
    if not os.access("/etc", os.W_OK) or _is_read_only("/etc"):
        return
    if (known.pw_uid, known.pw_gid) != (user.uid, user.gid):
        _edit("/etc/passwd", lambda row: _with_ids(row, user))
    rows = {int(row.split(":")[2]) for row in Path("/etc/group").read_text(encoding="utf-8").splitlines() if row}
    extra = [group for group in user.groups if group != user.gid]
    added = [f"dss-{group}:x:{group}:{SETTINGS.user}" for group in extra if group not in rows]
    _edit("/etc/group", lambda row: _with_member(row, extra), added)


def become(user: Identity) -> None:
    """Ends root's rights of this process for good."""
    os.setgroups(list(user.groups))
    os.setgid(user.gid)
    os.setuid(user.uid)


def environment(user: Identity) -> dict[str, str]:
    """What the user's programs get: without the passwords, with a home directory that can be written."""
    result = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    try:
        name = pwd.getpwuid(user.uid).pw_name
    except KeyError:  # an id that the image does not know
        name = SETTINGS.user
    result |= {"HOME": str(home_of(user.uid)), "USER": name, "LOGNAME": name, "SHELL": "/bin/bash"}
    result["PATH"] = f"{SETTINGS.venv}/bin:{result.get('PATH') or _PATH}"
    if not os.access(tempfile.gettempdir(), os.W_OK):
        result["TMPDIR"] = result["HOME"]
    return result


def home_of(uid: int) -> Path:
    """The home directory, or a folder for one whose owner is ``uid``. Called as that user."""
    if os.access(SETTINGS.home, os.W_OK):
        return SETTINGS.home
    other = Path("/tmp") / f"dss-home-{uid}"
    try:
        other.mkdir(mode=0o700, exist_ok=True)
        if other.stat().st_uid != uid or other.is_symlink():
            raise OSError("it belongs to somebody else")
    except OSError:
        warn(f"neither {SETTINGS.home} nor {other} can be written: JupyterLab has no place for its files")
        return SETTINGS.home
    return other


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _with_ids(row: str, user: Identity) -> str:
    fields = row.split(":")
    if fields[0] != SETTINGS.user:
        return row
    return ":".join([*fields[:2], str(user.uid), str(user.gid), *fields[4:]])


def _with_member(row: str, groups: list[int]) -> str:
    fields = row.split(":")
    members = [name for name in fields[3].split(",") if name] if len(fields) == 4 else []
    if len(fields) != 4 or int(fields[2]) not in groups or SETTINGS.user in members:
        return row
    return ":".join([*fields[:3], ",".join([*members, SETTINGS.user])])


def _edit(path: str, change, added=()) -> None:  # type: ignore[no-untyped-def]
    """Replaces a file by its changed rows, whole or not at all."""
    file = Path(path)
    before = file.read_text(encoding="utf-8")
    after = "\n".join([*(change(row) for row in before.splitlines()), *added]) + "\n"
    if after == before:
        return
    unfinished = file.with_name(file.name + ".dss")
    try:
        unfinished.write_text(after, encoding="utf-8")
        unfinished.chmod(0o644)
        unfinished.replace(file)
    except OSError as error:
        warn(f"{path} can't be changed: {error.strerror}")
