"""``publish-release``: all is there and verified; then it becomes public, the release itself as the last.

Each step looks whether it is done already, so that a run that failed in between is simply repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exasol_like_dss.access.docker import Docker
from exasol_like_dss.access.github import GitHubError
from exasol_like_dss.lib.assets.public import make_image_public
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.references import parse_repository
from exasol_like_dss.lib.publishing import registry
from exasol_like_dss.lib.publishing.signing import SIGNATURE
from exasol_like_dss.lib.releases.content import docker_repository, gather
from exasol_like_dss.lib.releases.files import differing_files
from exasol_like_dss.lib.releases.latest import LATEST, pull_pinned
from exasol_like_dss.lib.releases.notes import replaced_notes
from exasol_like_dss.lib.releases.place import find_place
from exasol_like_dss.lib.releases.rendering import render_notes
from exasol_like_dss.lib.releases.update import asset_id_of
from exasol_like_dss.lib.releases.versions import is_newest

if TYPE_CHECKING:
    from exasol_like_dss.access.docker import RegistryLogin
    from exasol_like_dss.access.github import Release
    from exasol_like_dss.lib.releases.content import ReleaseContent
    from exasol_like_dss.lib.releases.update import ReleaseWish, ReleaseWorld


@dataclass(frozen=True)
class PublishPlan:
    """All of it has been checked. newest: no published release is a later version, and this one is no pre-release."""

    release: Release
    content: ReleaseContent
    newest: bool

    def steps(self) -> list[tuple[str, str, bool]]:
        """What, of what, and whether it is still to be done, as far as that is known."""
        rows = [
            (f"make {one.image.id} in {one.region} public", one.image.name, not one.image.public)
            for one in self.content.images
        ]
        if self.content.docker:
            name = docker_repository(self.content.docker, self.content.asset_id)
            if self.newest:
                rows.append(
                    (f"let {name}:{LATEST} name {self.content.asset_id}", self.content.docker.digest or "", True)
                )
            else:
                rows.append((f"leave {name}:{LATEST}", "a pre-release, or not the newest version", False))
        rows.append((f"publish the release {self.release.tag}", self.release.url, self.release.draft))
        return rows


def plan_publication(
    wish: ReleaseWish,
    *,
    docker: Docker | None,
    login: RegistryLogin | None,
    require_signature: bool,
    world: ReleaseWorld,
) -> PublishPlan:
    """Everything is there, verified, and described by the release. docker: ``None`` for one without a Docker image.

    Raises ``InputError`` with what is missing; nothing is changed. ``GitHubError``, ``AwsError``.
    """
    with world.progress.step("check the release"):
        release = world.github.release(wish.release_id)
        asset_id = asset_id_of(release, wish.asset_id)
    again = f"dss update-release --release-id {release.id} --asset-id {asset_id}"
    with world.progress.step("check the artifacts"):
        content = gather(
            asset_id, find_place(world.aws), regions=wish.regions, docker_directory=None, aws=world.aws
        )  # fmt: skip
        if content.docker is None and docker is not None:
            raise InputError(
                f"There is no Docker image of {asset_id}.",
                hint=f"Make it, and run {again} --docker-manifest FOLDER; or say --no-docker.",
            )
        if content.sums != content.sums_in_s3:
            raise InputError(f"The sums of {asset_id} in S3 are not complete.", hint=f"Run {again}")
        if require_signature and SIGNATURE not in content.files:
            raise InputError(f"The sums of {asset_id} are not signed.", hint=f"Run {again} --sign-key KEY")
        if docker and content.docker:
            _check_pushed(content, docker, login)
    with world.progress.step("check what the release says"):
        if replaced_notes(release.body, render_notes(content)) != release.body:
            raise InputError(f"The notes of the release {release.id} are not those of {asset_id}.", hint=f"Run {again}")
        differing = differing_files(world.github, release.id, content.files)
        if differing:
            raise InputError(
                f"Files of the release {release.id} are missing or others: {', '.join(differing)}.", hint=f"Run {again}"
            )
        others = [one.tag for one in world.github.releases() if not one.draft and one.id != release.id]
    newest = not release.prerelease and is_newest(release.tag, others)
    return PublishPlan(release, content, newest)


def publish(
    plan: PublishPlan, *, docker: Docker | None, login: RegistryLogin | None, world: ReleaseWorld
) -> PublishPlan:
    """Makes it public. Raises ``DssError``, ``GitHubError``, ``AwsError``."""
    content = plan.content
    for one in content.images:
        world.cancellation.check()
        if not one.image.public:
            with world.progress.step(f"make {one.image.id} public"):
                make_image_public(world.aws.ec2(one.region), one.image)
    if docker and content.docker and plan.newest:
        with world.progress.step(f"tag {LATEST}"):
            _move_latest(content, docker, login, world)
    release = plan.release
    if release.draft:
        world.cancellation.check()
        with world.progress.step("publish the release"):
            try:
                release = world.github.publish(release.id, latest=plan.newest)
            except GitHubError as error:
                raise DssError(
                    f"The release could not be published: {error.message}",
                    hint="AMIs and Docker tags are public by now. Run the same command again: it goes on here.",
                ) from error
    return PublishPlan(release, content, plan.newest)


def _check_pushed(content: ReleaseContent, docker: Docker, login: RegistryLogin | None) -> None:
    assert content.docker
    name = docker_repository(content.docker, content.asset_id)
    tag = next(one.rpartition(":")[2] for one in content.docker.references if one.startswith(f"{name}:"))
    there = registry.published_digest(docker, parse_repository(name), tag, login)
    if there != content.docker.digest:
        raise InputError(
            f"{name}:{tag} is {there or 'not'} in its registry; {content.docker.digest} was verified.",
            hint="Push the verified image again: dss create-docker-image --publish, and dss update-release.",
        )


def _move_latest(content: ReleaseContent, docker: Docker, login: RegistryLogin | None, world: ReleaseWorld) -> None:
    assert content.docker and content.docker.digest
    repository = parse_repository(docker_repository(content.docker, content.asset_id))
    digest = content.docker.digest
    if registry.published_digest(docker, repository, LATEST, login) == digest:
        world.progress.note(f"{repository}:{LATEST} is this image already.")
        return
    pinned = pull_pinned(
        docker, repository, digest, login=login, progress=world.progress, cancellation=world.cancellation
    )
    docker.tag(pinned, str(repository), LATEST)
    pushed = registry.push(
        docker, repository, LATEST, login=login, progress=world.progress, cancellation=world.cancellation
    )
    if pushed != digest:
        raise DssError(
            f"{repository}:{LATEST} is {pushed} now, not {digest}: the engine made other layers of it.",
            hint=f"Set it right: docker buildx imagetools create --tag {repository}:{LATEST} {pinned}",
        )
