"""The git checkout that this tool runs from, if it does: for labels and defaults. An installed wheel has none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError

_DEADLINE_S = 10.0


@dataclass(frozen=True)
class Checkout:
    """revision: the commit, ``-dirty`` where files differ from it. remote: address without a login. May be empty."""

    revision: str
    remote: str


def checkout(programs: Programs, *, folder: Path = Path(__file__).parents[2]) -> Checkout:
    """Never raises for a checkout that isn't one."""
    if not (folder / ".git").exists():
        return Checkout("", "")

    def git(*arguments: str) -> str:
        # Root may read the checkout of another user.
        argv = ["git", "-c", f"safe.directory={folder}", "-C", str(folder), *arguments]
        try:
            return programs.run(argv, deadline_s=_DEADLINE_S).strip()
        except DssError:
            return ""

    return Checkout(
        git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"),
        public_address(git("remote", "get-url", "origin")),
    )


def public_address(url: str) -> str:
    """The address of a git repository as https, without user and password. Empty for one that is not on the web."""
    if url.startswith("git@") and ":" in url:  # the short form of ssh
        host, _, path = url.removeprefix("git@").partition(":")
        url = f"https://{host}/{path}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ssh") or not parts.hostname:
        return ""
    port = f":{parts.port}" if parts.port and parts.scheme != "ssh" else ""
    scheme = "https" if parts.scheme == "ssh" else parts.scheme
    return f"{scheme}://{parts.hostname}{port}{parts.path}".removesuffix(".git")
