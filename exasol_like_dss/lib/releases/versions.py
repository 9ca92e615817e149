"""Versions are compared as versions (semver.org), never as text: 1.10.0 comes after 1.9.0, and 1.10.0-rc1 before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from exasol_like_dss.lib.errors import InputError

if TYPE_CHECKING:
    from semver import Version


def parse_version(text: str, *, what: str) -> Version:
    """SemVer, with or without ``v`` before it. what: it is, for the error. Raises ``InputError``.

    Build metadata is refused: a tag of Docker can't hold ``+``.
    """
    from semver import Version

    try:
        version = Version.parse(text.removeprefix("v"))
    except ValueError:
        raise InputError(f"{what} {text!r} is no version.", hint="Three numbers, as 1.2.3 or 1.2.3-rc1.") from None
    if version.build:
        raise InputError(f"{what} {text!r} has build metadata.", hint=f"Leave out +{version.build}.")
    return version


def is_newest(text: str, others: Iterable[str]) -> bool:
    """Whether a version is a release, and none of the others is a later one. What is no version is passed over."""
    version = parse_version(text, what="The version")
    if version.prerelease:
        return False
    for other in others:
        try:
            found = parse_version(other, what="The tag")
        except InputError:
            continue
        if not found.prerelease and found > version:
            return False
    return True
