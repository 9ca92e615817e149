"""Where things are: what the Ansible roles wrote, and how this program talks."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path


class Stop(Exception):
    """The container can't start. message: without a full stop. code: the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Settings:
    """Read from the files of the image; the defaults are for tests."""

    def __init__(self, folder: Path = Path("/etc/exasol-like-dss")) -> None:
        conf = _assignments(folder / "jupyter.conf")
        image = _json(folder / "image.json")
        jupyter = image.get("jupyter") or {}
        self.user = conf.get("LOGIN_USER", "jupyter")
        self.home = Path(conf.get("LOGIN_USER_HOME", "/home/jupyter"))
        self.port = int(conf.get("JUPYTER_PORT", "8888"))
        self.venv = Path(conf.get("JUPYTER_VENV", "/opt/jupyter/venv"))
        self.notebooks = Path(jupyter.get("notebook_directory", self.home / "notebooks"))
        self.defaults = Path(conf.get("JUPYTER_DEFAULT_NOTEBOOKS", "/usr/local/share/exasol-like-dss/notebooks"))
        self.version = str(image.get("asset_id") or image.get("version") or "new")


def warn(text: str, *, prefix: str = "Warning") -> None:
    """One line on standard error, where ``docker logs`` shows it."""
    print(f"{prefix}: {text}", file=sys.stderr, flush=True)


def _assignments(path: Path) -> dict[str, str]:
    """The assignments in a file that the shell can read too."""
    try:
        words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def _json(path: Path) -> dict:  # type: ignore[type-arg]
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


SETTINGS = Settings()
