"""What is checked, and made on GitHub, before the release job starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import AssetNames
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.releases.builds import Kind, WantedBuild
from exasol_like_dss.lib.releases.versions import parse_version

if TYPE_CHECKING:
    from exasol_like_dss.access.github import GitHub, Release
    from exasol_like_dss.lib.progress import Progress

_BODY = "A test of the release, made by `dss start-test-release` from the branch `{branch}`. Not for use.\n"


def plan_release(github: GitHub, *, release_id: int, branch: str, publish: bool) -> WantedBuild:
    """The build for a draft that is there. Its tag is the asset-id. publish: at the end it becomes public.

    Raises ``InputError``, ``GitHubError``.
    """
    release = github.release(release_id)
    if not release.draft:
        raise InputError(
            f"The release {release.tag} is published already: {release.url}",
            hint="What is public is not built again. Make a draft for the next version.",
        )
    wanted = _wanted(release.tag, branch=branch, release_id=release_id, kind="release" if publish else "staged")
    check_branch(github, branch)
    return wanted


def check_test_release(github: GitHub, *, branch: str, title: str) -> None:
    """Before anything is made. Raises ``InputError``, ``GitHubError``."""
    _wanted(title, branch=branch, release_id=0, kind="test")
    check_branch(github, branch)


def ensure_test_release(github: GitHub, *, branch: str, title: str, progress: Progress) -> tuple[WantedBuild, Release]:
    """The draft with this title, found or made, and the build for it. Its title is its tag, and the asset-id.

    Raises ``InputError`` when the title belongs to something else, ``GitHubError``.
    """
    found = sorted(
        (one for one in github.releases() if title in (one.title, one.tag)), key=lambda one: (one.draft, one.id)
    )
    if found:
        release = found[0]
        if not release.draft:
            raise InputError(
                f"There is a published release {title}: {release.url}", hint="Choose another --release-title."
            )
        if release.target != branch:
            raise InputError(
                f"There is a draft {title}, of the branch {release.target}: {release.url}",
                hint="Delete the draft, or choose another --release-title.",
            )
        progress.note(f"The draft {title} is there already: {release.url}")
    else:
        body = _BODY.format(branch=branch)
        release = github.create_draft(tag=title, title=title, body=body, target=branch, prerelease=True)
        progress.note(f"A draft was made: {release.url}")
    return _wanted(title, branch=branch, release_id=release.id, kind="test"), release


def check_branch(github: GitHub, name: str) -> None:
    """Raises ``InputError`` when there is no such branch, ``GitHubError``."""
    if not name or not github.has_branch(name):
        raise InputError(
            f"There is no branch {name!r} in {github.repository}.", hint="Push it first, or check --branch."
        )


def _wanted(version: str, *, branch: str, release_id: int, kind: Kind) -> WantedBuild:
    """version: a tag, or what becomes one; the asset-id is the same without ``v``."""
    asset_id = AssetId(str(parse_version(version, what="The tag")))
    AssetNames.of(asset_id)
    return WantedBuild(branch=branch, asset_id=asset_id, release_id=release_id, kind=kind)
