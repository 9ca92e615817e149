"""``update-release``: the notes and files of a GitHub release, from what a build left. It can always be run again.

The order keeps every state whole: all is read and checked; then the sums are completed and signed in S3, then the files
are uploaded, then the notes that name them are written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.publishing.s3_release import SUMS
from exasol_like_dss.lib.publishing.signing import SIGNATURE, Signer, signer
from exasol_like_dss.lib.releases.content import DOCKER, SIGNED_BY, SIGNED_SUMS, ReleaseContent, gather
from exasol_like_dss.lib.releases.files import EnsuredFiles, ensure_files
from exasol_like_dss.lib.releases.notes import replaced_notes
from exasol_like_dss.lib.releases.place import find_place
from exasol_like_dss.lib.releases.rendering import render_notes
from exasol_like_dss.lib.releases.versions import parse_version

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.access.github import GitHub, Release
    from exasol_like_dss.access.programs import Programs
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

_TYPES = {".json": "application/json"}


@dataclass(frozen=True, kw_only=True)
class ReleaseWorld:
    """What the commands of a release are handed."""

    github: GitHub
    aws: AwsSession
    programs: Programs
    progress: Progress
    cancellation: Cancellation


@dataclass(frozen=True, kw_only=True)
class ReleaseWish:
    """asset_id: ``None`` takes the release's tag. sign_key: see ``signing.signer``; ``None``: a signature that fits is
    kept. docker_directory: see ``gather``."""

    release_id: int
    asset_id: AssetId | None = None
    regions: Sequence[str] = ()
    docker_directory: Path | None = None
    sign_key: str | None = None


@dataclass(frozen=True)
class UpdatedRelease:
    """notes: the part of dss alone. files: ``None`` when nothing was to be changed."""

    release: Release
    content: ReleaseContent
    notes: str
    notes_changed: bool
    files: EnsuredFiles | None


def asset_id_of(release: Release, given: AssetId | None) -> AssetId:
    """The release's tag is the asset-id, with or without ``v``. Raises ``InputError`` when they don't fit."""
    version = parse_version(release.tag, what=f"The tag of the release {release.id}")
    if given is None:
        return AssetId(str(version))
    if str(parse_version(given.value, what="The asset-id")) != str(version):
        raise InputError(
            f"The release {release.id} has the tag {release.tag}, and the asset-id is {given}.",
            hint="They have to be the same version: change the tag of the draft, or give the other release.",
        )
    return given


def update_release(wish: ReleaseWish, *, dry_run: bool, world: ReleaseWorld) -> UpdatedRelease:
    """Raises ``InputError`` before anything is changed; ``GitHubError``, ``AwsError``, ``DssError`` later."""
    with world.progress.step("check the release"):
        release = world.github.release(wish.release_id)
        asset_id = asset_id_of(release, wish.asset_id)
        replaced_notes(release.body, "")
    with world.progress.step("check the artifacts"):
        content = gather(
            asset_id,
            find_place(world.aws),
            regions=wish.regions,
            docker_directory=wish.docker_directory,
            aws=world.aws,
        )
    if not content.docker:
        world.progress.note("There is no Docker image in this release: none is described in S3, nor given.")
    with (
        signer(wish.sign_key, programs=world.programs, progress=world.progress)
        if wish.sign_key
        else nullcontext() as key
    ):
        if dry_run:
            if key:
                content = replace(content, files={**content.files, SIGNATURE: b""}, signed_by=key.fingerprint)
            notes = render_notes(content)
            return UpdatedRelease(release, content, notes, replaced_notes(release.body, notes) != release.body, None)
        with world.progress.step("describe in S3"):
            content = _ensure_described(content, key, world=world)
    notes = render_notes(content)
    replaced_notes(release.body, notes)
    with world.progress.step("files of the release"):
        files = ensure_files(
            world.github, release.id, content.files, progress=world.progress, cancellation=world.cancellation
        )
        _drop_stale_signature(content, release, world=world)
    with world.progress.step("notes"):
        # Once more, as late as possible: GitHub has no way to say "only if it is still as it was".
        release = world.github.release(release.id)
        body = replaced_notes(release.body, notes)
        changed = body != release.body
        if changed:
            release = world.github.update_body(release.id, body)
    return UpdatedRelease(release, content, notes, changed, files)


def _ensure_described(content: ReleaseContent, key: Signer | None, *, world: ReleaseWorld) -> ReleaseContent:
    """The Docker image's description and the completed sums are in S3, and signed if there is a key for it."""
    s3, bucket = world.aws.s3_builds(), content.place.bucket

    def put(name: str, data: bytes, metadata: dict[str, str] | None = None) -> None:
        content_type = _TYPES.get(Path(name).suffix, "text/plain; charset=utf-8")
        s3.write(bucket, content.prefix + name, data, content_type=content_type, metadata=metadata)

    if content.sums != content.sums_in_s3:
        for name, data in content.files.items():
            if name.startswith(DOCKER):
                put(name, data)
        put(SUMS, content.sums)
    if SIGNATURE not in content.files and key is None:
        world.progress.note(f"{SUMS} is not signed: there is no --sign-key.")
        s3.delete(bucket, content.prefix + SIGNATURE)  # one of other sums
    if key is None or (SIGNATURE in content.files and content.signed_by == key.fingerprint):
        return content
    with world.progress.step("sign"), TemporaryDirectory(prefix="dss-") as folder:
        file = Path(folder) / SUMS
        file.write_bytes(content.sums)
        signature = key.sign(file).encode()
    put(
        SIGNATURE, signature,
        {SIGNED_SUMS: hashlib.sha256(content.sums).hexdigest(), SIGNED_BY: key.fingerprint},
    )  # fmt: skip
    return replace(content, files={**content.files, SIGNATURE: signature}, signed_by=key.fingerprint)


def _drop_stale_signature(content: ReleaseContent, release: Release, *, world: ReleaseWorld) -> None:
    """One of other sums would make every check of the download fail."""
    if SIGNATURE in content.files:
        return
    for asset in world.github.assets(release.id):
        if asset.name == SIGNATURE:
            world.progress.note(f"The {SIGNATURE} of the release was of other sums: it goes. --sign-key makes one.")
            world.github.delete_asset(asset.id)
