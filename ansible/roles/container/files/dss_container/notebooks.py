"""The volume of the user's notebooks: who may write there, and the notebooks that we bring."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from identity import Identity
from settings import warn

#: In the volume: which notebooks of ours it has had. {name: [SHA-256 of each version]}
_RECORD = ".dss-defaults.json"


def give_root_owned(folder: Path, user: Identity) -> None:
    """Gives a folder that belongs to root (a fresh volume, one of an older image, a folder that Docker made on the
    host) to the user, with what belongs to root in it. What belongs to others is left alone, as is any other folder.

    By descriptors, without following links: nothing outside of the volume is reached.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid != 0:
            return
        device = folder.stat().st_dev
        for _, folders, files, here in os.fwalk(folder, follow_symlinks=False):
            folders[:] = [name for name in folders if os.lstat(name, dir_fd=here).st_dev == device]
            for name in (*folders, *files):
                if os.lstat(name, dir_fd=here).st_uid == 0:
                    os.chown(name, user.uid, user.gid, dir_fd=here, follow_symlinks=False)
        # Last: whoever ends us before leaves a folder that the next start takes up again.
        os.chown(folder, user.uid, user.gid)
        folder.chmod(folder.stat().st_mode | 0o700)
    except OSError as error:
        warn(f"{folder} belongs to root and can't be given to the user: {error.strerror}.")


def bring_defaults(defaults: Path, folder: Path, version: str) -> None:
    """Copies the notebooks of the image into the volume, each version once.

    A file of the user is never touched: a notebook whose name is taken by something else comes beside it, with the
    version in its name. One that has been there before, and that the user removed, does not come back.
    """
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        warn(
            f"{folder} can't be written by user id {os.geteuid()}: notebooks can't be saved there. Start the container "
            f"as root (the default), or let the group of the volume write."
        )
        return
    record = _read_record(folder / _RECORD)
    before = json.dumps(record, sort_keys=True)
    for source in sorted(path for path in defaults.rglob("*") if path.is_file()):
        name = source.relative_to(defaults).as_posix()
        content = source.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest in record.get(name, []):
            continue
        try:
            _bring(content, folder / name, version)
        except OSError as error:
            warn(f"{name} can't be copied to {folder}: {error.strerror}.")
            continue
        record.setdefault(name, []).append(digest)
    if json.dumps(record, sort_keys=True) != before:
        with contextlib.suppress(OSError):
            _write_new(folder / (_RECORD + ".new"), json.dumps(record, indent=1).encode())
            (folder / (_RECORD + ".new")).replace(folder / _RECORD)


def _bring(content: bytes, target: Path, version: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for number in range(100):
        if number:
            suffix = version if number == 1 else f"{version}-{number}"
            candidate = target.with_name(f"{target.stem}-{suffix}{target.suffix}")
        else:
            candidate = target
        if candidate.is_file() and candidate.read_bytes() == content:
            return
        if candidate.exists() or candidate.is_symlink():
            continue
        unfinished = target.with_name(f".{target.name}.dss-new")
        _write_new(unfinished, content)
        try:
            os.link(unfinished, candidate)  # fails where somebody was faster, which a rename does not
            return
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            unfinished.replace(candidate)
            return
        finally:
            unfinished.unlink(missing_ok=True)


def _write_new(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664), "wb") as file:
        file.write(content)


def _read_record(path: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [str(digest) for digest in digests] for name, digests in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
