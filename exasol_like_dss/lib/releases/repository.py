"""Which repository: a setting, or the remote of the checkout that dss runs from. And what an upload URL says of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from exasol_like_dss.access.github import PUBLIC_API, check_repository
from exasol_like_dss.lib.checkout import checkout, public_address
from exasol_like_dss.lib.errors import InputError

if TYPE_CHECKING:
    from exasol_like_dss.access.programs import Programs

_UPLOAD_PATH = re.compile(
    r"(?P<base>/.*?)?/repos/(?P<name>[^/]+/[^/]+)/releases/(?P<id>\d+)/assets(\{\?name,label\}|\?.*)?"
)


def find_repository(given: str | None, *, programs: Programs) -> str:
    """``OWNER/NAME``. given: that, or the repository's address. Raises ``InputError`` when there is none."""
    if given:
        return check_repository(_name_in(given) if "://" in given or given.startswith("git@") else given)
    remote = checkout(programs).remote
    if not remote:
        raise InputError(
            "Which repository on GitHub is not known: dss does not run from a checkout that has one.",
            hint="Give it with --repository OWNER/NAME.",
        )
    return check_repository(_name_in(remote))


def read_upload_url(url: str, *, repository: str, api_url: str = PUBLIC_API) -> int:
    """The number of the release that an upload URL is for (GitHub REST API, "Releases", ``upload_url``).

    api_url: of the GitHub that is used. Raises ``InputError`` for a URL of another host or repository.
    """
    parts = urlsplit(url)
    found = _UPLOAD_PATH.fullmatch(parts.path + (f"?{parts.query}" if parts.query else ""))
    if parts.scheme not in ("http", "https") or not found:
        raise InputError(
            f"{url!r} is no upload URL of a GitHub release.",
            hint="It looks like https://uploads.github.com/repos/OWNER/NAME/releases/NUMBER/assets{?name,label}: "
            "gh api repos/OWNER/NAME/releases shows it as upload_url.",
        )
    expected = upload_base(api_url)
    if f"{parts.scheme}://{parts.netloc}{found['base'] or ''}" != expected:
        raise InputError(
            f"The upload URL is of another host than the GitHub that is used: {parts.scheme}://{parts.netloc}.",
            hint=f"It has to begin with {expected}/repos/{repository}/.",
        )
    if found["name"].lower() != repository.lower():
        raise InputError(
            f"The upload URL is of the repository {found['name']}, not of {repository}.",
            hint=f"Give --repository {found['name']}, or the URL of the other one.",
        )
    return int(found["id"])


def upload_base(api_url: str) -> str:
    """Where files of releases are sent to. On GitHub Enterprise Server it is a path on the same host."""
    if api_url.rstrip("/") == PUBLIC_API:
        return "https://uploads.github.com"
    parts = urlsplit(api_url)
    return f"{parts.scheme}://{parts.netloc}/api/uploads"


def _name_in(address: str) -> str:
    """``OWNER/NAME`` of an address of a repository."""
    return urlsplit(public_address(address)).path.strip("/")
