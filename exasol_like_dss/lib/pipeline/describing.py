"""What every pipeline says about its build, and to whom the result belongs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from exasol_like_dss import __version__
from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.images.identity import build_timestamp


def shown(name: str, value: object) -> object:
    """The value of a variable, unless its name says that it is a secret."""
    return "***" if any(word in name.lower() for word in ("password", "secret", "token", "key")) else value


def tool_versions() -> dict[str, str]:
    """The versions of what every build uses."""
    from importlib.metadata import version

    return {
        PRODUCT: __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("ansible-core", "ansible-runner")},
    }


def now() -> datetime:
    """The time that a build says it was made at (``SOURCE_DATE_EPOCH`` where that is set)."""
    return datetime.fromtimestamp(build_timestamp(), UTC)


def give_to_caller(path: Path) -> None:
    """Who ran us with sudo owns the result."""
    if os.environ.get("SUDO_UID", "").isdigit() and os.environ.get("SUDO_GID", "").isdigit():
        with suppress(PermissionError):
            os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def move_finished(staged: Path, directory: Path, *, replaced: Iterable[str]) -> None:
    """Gives finished files their place. replaced: what goes first. The manifest comes last: without it nothing is
    finished."""
    for name in replaced:
        (directory / name).unlink(missing_ok=True)
    for path in sorted(staged.iterdir(), key=lambda path: (path.name == "manifest.json", path.name)):
        give_to_caller(path)
        path.replace(directory / path.name)
    give_to_caller(directory)
