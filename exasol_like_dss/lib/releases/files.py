"""The files of a GitHub release, found or made. GitHub replaces none: a new one comes under another name first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exasol_like_dss.access.github import GitHubError
from exasol_like_dss.lib.waiting import wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.github import Asset, GitHub
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

_NEW, _OLD = ".new", ".old"
_TYPES = {"json": "application/json"}
_UPLOAD_S = 300.0
_PAUSE_S = 2.0


@dataclass(frozen=True)
class EnsuredFiles:
    """Names."""

    uploaded: tuple[str, ...]
    replaced: tuple[str, ...]
    kept: tuple[str, ...]


def ensure_files(
    github: GitHub,
    release_id: int,
    wanted: Mapping[str, bytes],
    *,
    progress: Progress,
    cancellation: Cancellation,
    pause_s: float | None = None,
) -> EnsuredFiles:
    """Uploads what is missing, replaces what differs, touches nothing else.

    A replaced file: the new one is uploaded as ``NAME.new`` and checked, the old one renamed to ``NAME.old``, the new
    one to its name, the old one deleted. So there is always one of them; under its own name there is none between two
    requests. What a killed run left of that is finished. pause_s: between two attempts. Raises ``GitHubError``.
    """
    pause_s = _PAUSE_S if pause_s is None else pause_s
    uploaded, replaced, kept = [], [], []
    for name, data in wanted.items():
        cancellation.check()
        with progress.step(name):
            there = _by_name(github, release_id)
            current, new = there.get(name), there.get(name + _NEW)
            if current and _is(current, data):
                kept.append(name)
            elif current is None and (new is None or not _is(new, data)):
                _upload(github, release_id, name, data, progress, cancellation, pause_s)
                uploaded.append(name)
            else:
                if new is None or not _is(new, data):
                    new = _upload(github, release_id, name + _NEW, data, progress, cancellation, pause_s)
                if current:
                    if name + _OLD in there:
                        github.delete_asset(there[name + _OLD].id)
                    github.rename_asset(current.id, name + _OLD)
                github.rename_asset(new.id, name)
                replaced.append(name)
            for left in (name + _NEW, name + _OLD):
                if found := _by_name(github, release_id).get(left):
                    github.delete_asset(found.id)
    return EnsuredFiles(tuple(uploaded), tuple(replaced), tuple(kept))


def differing_files(github: GitHub, release_id: int, wanted: Mapping[str, bytes]) -> list[str]:
    """Names of files that are missing, or not as wanted. Raises ``GitHubError``."""
    there = _by_name(github, release_id)
    return [name for name, data in wanted.items() if name not in there or not _is(there[name], data)]


def _by_name(github: GitHub, release_id: int) -> dict[str, Asset]:
    return {asset.name: asset for asset in github.assets(release_id)}


def _is(asset: Asset, data: bytes) -> bool:
    """Where GitHub knows no digest (old servers), a file never counts as the same."""
    return asset.state == "uploaded" and asset.sha256 == hashlib.sha256(data).hexdigest()


def _upload(
    github: GitHub,
    release_id: int,
    name: str,
    data: bytes,
    progress: Progress,
    cancellation: Cancellation,
    pause_s: float,
) -> Asset:
    """Looks before each attempt: what broke off is removed, and a lost answer is no failure."""
    last: list[GitHubError] = []

    def attempt() -> Asset | None:
        cancellation.check()
        found = _by_name(github, release_id).get(name)
        if found and _is(found, data):
            return found
        if found:
            github.delete_asset(found.id)
        try:
            return github.upload(
                release_id, name=name, data=data, content_type=_TYPES.get(name.rpartition(".")[2], "text/plain")
            )
        except GitHubError as error:
            if not error.passes and "already_exists" not in error.codes:
                raise
            last.append(error)
            if len(last) > 3:
                raise
            return None

    return wait_until(
        f"the upload of {name}",
        attempt,
        deadline_s=_UPLOAD_S,
        interval_s=pause_s,
        progress=progress,
        hint="Run the same command again: what is there stays.",
        detail=lambda: last[-1].message if last else "",
    )
