"""What the stand-in knows, and the rules by which it answers wrongly."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

REPOSITORY = "octo/sandbox"
TOKEN = "github_pat_write_4711"
READ_TOKEN = "github_pat_read_4711"
Effect = Literal["status", "drop before", "drop after", "drop in the middle"]


@dataclass(frozen=True)
class Fault:
    """A request that goes wrong. path: a regular expression, searched for. times: how many; then all is well again.

    effect: ``status`` answers with ``status``, ``headers`` and ``message``, and does nothing; the others close the
    connection: before anything was done, after all was done, or with half of an upload read.
    """

    method: str
    path: str
    effect: Effect = "status"
    status: int = 500
    message: str = "Server Error"
    headers: tuple[tuple[str, str], ...] = ()
    times: int = 1

    @staticmethod
    def throttled(method: str = ".*", path: str = ".*", *, reset: int = 1_900_000_000) -> Fault:
        """The primary rate limit is used up. reset: seconds since 1970."""
        return Fault(
            method, path, status=403, message="API rate limit exceeded for user ID 1.",
            headers=(("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", str(reset))), times=1000,
        )  # fmt: skip


@dataclass
class Asset:
    """state: ``uploaded`` or ``starter``."""

    id: int
    name: str
    data: bytes
    content_type: str
    state: str = "uploaded"


@dataclass
class Release:
    id: int
    tag: str
    title: str
    body: str
    draft: bool
    prerelease: bool
    target: str
    latest: bool = False
    assets: dict[int, Asset] = field(default_factory=dict)


class GitHubStandIn:
    """address: of the server, for example ``http://127.0.0.1:4711``. digests: whether assets have them."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.releases: dict[int, Release] = {}
        self.branches = ["main"]
        self.calls: list[str] = []
        self.digests = True
        self.lock = threading.RLock()
        self._faults: list[tuple[Fault, int]] = []
        self._ids = itertools.count(101)

    def environment(self, token: str = TOKEN) -> dict[str, str]:
        """For a child process: where GitHub is, and the token."""
        return {"GITHUB_API_URL": f"{self.address}/api/v3", "GITHUB_TOKEN": token}

    def add_release(
        self, *, tag: str = "1.2.3", title: str = "", body: str = "", draft: bool = True, prerelease: bool = False
    ) -> Release:
        with self.lock:
            made = Release(next(self._ids), tag, title or tag, body, draft, prerelease, "main")
            self.releases[made.id] = made
            return made

    def add_asset(
        self, release_id: int, name: str, data: bytes, content_type: str = "", state: str = "uploaded"
    ) -> Asset:
        with self.lock:
            made = Asset(next(self._ids), name, data, content_type, state)
            self.releases[release_id].assets[made.id] = made
            return made

    def asset(self, release_id: int, name: str) -> Asset:
        """The file of this name. Raises ``KeyError``."""
        return {one.name: one for one in self.releases[release_id].assets.values()}[name]

    def names(self, release_id: int) -> list[str]:
        return sorted(one.name for one in self.releases[release_id].assets.values())

    def inject(self, fault: Fault) -> None:
        with self.lock:
            self._faults.append((fault, fault.times))

    def clear(self) -> None:
        """No fault, and no call so far; what there is stays."""
        with self.lock:
            self._faults.clear()
            self.calls.clear()

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets; it has one time less then."""
        with self.lock:
            for place, (fault, left) in enumerate(self._faults):
                if left and re.fullmatch(fault.method, method) and re.search(fault.path, path):
                    self._faults[place] = (fault, left - 1)
                    return fault
            return None

    def writes(self) -> list[str]:
        """The calls that change something."""
        return [call for call in self.calls if not call.startswith(("GET ", "HEAD "))]

    # --- as GitHub shows it ---

    def shown(self, release: Release) -> dict[str, Any]:
        base = f"{self.address}/api/v3/repos/{REPOSITORY}/releases/{release.id}"
        return {
            "id": release.id,
            "url": base,
            "assets_url": f"{base}/assets",
            "upload_url": f"{self.address}/api/uploads/repos/{REPOSITORY}/releases/{release.id}/assets{{?name,label}}",
            "html_url": f"{self.address}/{REPOSITORY}/releases/"
            + (f"edit/untagged-{release.id:020x}" if release.draft else f"tag/{release.tag}"),
            "tag_name": release.tag,
            "name": release.title,
            "body": release.body,
            "draft": release.draft,
            "prerelease": release.prerelease,
            "target_commitish": release.target,
            "created_at": "2026-01-01T00:00:00Z",
            "published_at": None if release.draft else "2026-01-02T00:00:00Z",
            "assets": [self.shown_asset(release, one) for one in release.assets.values()],
        }

    def shown_asset(self, release: Release, asset: Asset) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(asset.data).hexdigest()
        return {
            "id": asset.id,
            "url": f"{self.address}/api/v3/repos/{REPOSITORY}/releases/assets/{asset.id}",
            "browser_download_url": f"{self.address}/{REPOSITORY}/releases/download/{release.tag}/{asset.name}",
            "name": asset.name,
            "label": "",
            "state": asset.state,
            "content_type": asset.content_type,
            "size": len(asset.data),
            "digest": digest if self.digests and asset.state == "uploaded" else None,
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
        }
