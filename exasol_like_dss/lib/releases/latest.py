"""The Docker tag ``latest`` moves forward only: what it names now tells its version in a label."""

from __future__ import annotations

from exasol_like_dss.access.docker import Docker, EngineRefused, RegistryLogin
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.references import Repository
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.registry import published_digest
from exasol_like_dss.lib.releases.versions import is_newest

LATEST = "latest"
#: Of the OCI image specification (annotations.md).
_VERSION_LABEL = "org.opencontainers.image.version"


def check_moves_forward(
    version: str,
    repository: Repository,
    *,
    docker: Docker,
    login: RegistryLogin | None,
    progress: Progress,
    cancellation: Cancellation,
) -> None:
    """Raises ``InputError`` when ``latest`` names a later release in the registry, ``DssError`` when it can't be read.

    An engine tells the labels of its own images only: so the image is pulled where it is missing, and goes again. What
    does not tell its version, or is a pre-release, is passed over, as ``publish-release`` does with tags.
    """
    digest = published_digest(docker, repository, LATEST, login)
    if digest is None:
        return
    there = f"{repository}:{LATEST}"
    with progress.step(f"which version {there} is"):
        was_here = docker.image(f"{repository}@{digest}") is not None
        try:
            image = docker.image(
                pull_pinned(docker, repository, digest, login=login, progress=progress, cancellation=cancellation)
            )
        finally:
            if not was_here:
                docker.remove_image(f"{repository}@{digest}")
    found = str(image.labels.get(_VERSION_LABEL, "")) if image else ""
    if not is_newest(version, [found]):
        raise InputError(
            f"{there} is {found}, which is later than {version}: it stays where it is.",
            hint="Leave out --latest; --force-latest moves it back.",
        )
    if not found:
        progress.note(f"{there} does not say which version it is: it will be {version}.")


def pull_pinned(
    docker: Docker,
    repository: Repository,
    digest: str,
    *,
    login: RegistryLogin | None,
    progress: Progress,
    cancellation: Cancellation,
) -> str:
    """``repository@digest``, which the engine then has. Raises ``DssError``."""
    pinned = f"{repository}@{digest}"
    if docker.image(pinned) is None:
        progress.status("pulling it")
        try:
            for _ in docker.pull(str(repository), digest, login):
                cancellation.check()
        except EngineRefused as error:
            raise DssError(f"{pinned} can't be pulled: {error.said}.", hint="Run the same command again.") from error
    return pinned
