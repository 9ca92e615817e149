"""``create-docker-image``: a container image from the same Ansible tree, checked in use, pushed to a registry."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exasol_like_dss import __version__
from exasol_like_dss.access.docker import Docker, ImageDetails, RegistryLogin
from exasol_like_dss.lib import preflight
from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.builds import BUILD_REPOSITORY, build_tag, sweep_builds
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.bases import Base
from exasol_like_dss.lib.images.references import Repository, check_tag, is_release
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.machines.container import ContainerMachine
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.pipeline.container_base import Lowest, lowest_layer, plan_lowest
from exasol_like_dss.lib.pipeline.describing import move_finished, now, shown, tool_versions
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.provisioning import editions, playbooks
from exasol_like_dss.lib.publishing import registry
from exasol_like_dss.lib.publishing.checksums import write_sha256sums
from exasol_like_dss.lib.publishing.manifest import ContainerImage, Manifest, Verification, write_manifest
from exasol_like_dss.lib.publishing.sbom import write_container_sbom
from exasol_like_dss.lib.releases.latest import LATEST, check_moves_forward
from exasol_like_dss.lib.workspace import staging, workspace

if TYPE_CHECKING:
    from exasol_like_dss.lib.verification.report import VerificationReport

EDITION = "docker"
#: What the image is started with, and how (docs.docker.com/reference/dockerfile).
_NOTEBOOKS = "/home/jupyter/notebooks"
_INSTRUCTIONS = (
    'ENTRYPOINT ["/usr/local/bin/dss-container"]',
    "CMD []",
    "USER root",
    f"WORKDIR {_NOTEBOOKS}",
    f"VOLUME {_NOTEBOOKS}",
    "ENV LANG=C.UTF-8",
    "HEALTHCHECK --interval=10s --timeout=10s --start-period=120s --retries=3 "
    'CMD ["/usr/local/bin/dss-container-health"]',
)


@dataclass(frozen=True, kw_only=True)
class ContainerBuild:
    """What ``create-docker-image`` is asked for.

    base, base_image, from_rootfs: one of them says what the lowest layer is. login: ``None`` for what the Docker client
    has stored. force_latest: ``latest`` moves from a later version, too. source, revision: where the tool's own source
    is, for the labels; may be empty.
    """

    repository: Repository
    version: str
    asset_id: AssetId
    output_directory: Path
    base: Base | None = None
    base_image: str | None = None
    from_rootfs: Path | None = None
    without: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    mirror: str | None = None
    ca_bundle: Path | None = None
    verify: bool = True
    publish: bool = False
    latest: bool = False
    force_latest: bool = False
    login: RegistryLogin | None = None
    keep_container: bool = False
    source: str = ""
    revision: str = ""
    work_directory: Path = Path("/var/tmp/exasol-like-dss")

    @property
    def reference(self) -> str:
        return f"{self.repository}:{self.version}"


@dataclass(frozen=True)
class CreatedImage:
    """What a build left in the engine, in the registry, and in its output directory."""

    directory: Path
    manifest: Manifest
    image: ContainerImage
    report: VerificationReport | None


def create_docker_image(
    build: ContainerBuild, *, docker: Docker, access: Access, progress: Progress, cancellation: Cancellation
) -> CreatedImage:
    """Builds an image in three layers, checks it in use, names it, and publishes it.

    Nothing has the image's name before it is verified, and nothing is pushed. Raises ``InputError`` before anything is
    made, ``DssError`` when a step fails; then neither container nor image of the build is left.
    """
    with progress.step("check the input"):
        roles, lowest = _plan(build, docker=docker, access=access, progress=progress)
        if build.latest and not build.force_latest:
            check_moves_forward(build.version, build.repository, docker=docker, login=build.login, progress=progress,
                                cancellation=cancellation)  # fmt: skip
    sweep_builds(docker, progress=progress)
    with (
        staging(build.output_directory, f"{PRODUCT}-{EDITION}-{build.version}", progress=progress) as staged,
        workspace(build.work_directory, progress=progress) as work,
        _removed_names(docker) as names,
    ):
        with progress.step("base layer"):
            below = lowest_layer(lowest, tag=names.new(), ca_bundle=build.ca_bundle, work_directory=work,
                                 docker=docker, programs=access.programs, progress=progress,
                                 cancellation=cancellation)  # fmt: skip
        for layer in ("packages", "application"):
            with progress.step(f"{layer} layer"):
                below = _add_layer(layer, below, build, roles, lowest, tag=names.new(), work=work, staged=staged,
                                   docker=docker, access=access, progress=progress,
                                   cancellation=cancellation)  # fmt: skip
        report = None
        if build.verify:
            with progress.step("verification"):
                report = _verify(below, staged, docker, access, progress, cancellation)
        digest = ""
        with progress.step("name"):
            tags = [build.version, *([LATEST] if build.latest else [])]
            for tag in tags:
                _name(docker, below, build.repository, tag)
        if build.publish:
            for tag in tags:
                with progress.step(f"push {build.repository}:{tag}"):
                    digest = registry.push(docker, build.repository, tag, login=build.login, progress=progress,
                                           cancellation=cancellation)  # fmt: skip
        found = docker.image(below)
        assert found
        image = _image(build, found, digest, tags)
        manifest = _describe(build, roles, lowest, image, report, directory=staged, progress=progress)
        move_finished(staged, build.output_directory, replaced=("manifest.json", "verification.json"))
    return CreatedImage(build.output_directory, manifest, image, report)


def _plan(
    build: ContainerBuild, *, docker: Docker, access: Access, progress: Progress
) -> tuple[tuple[str, ...], Lowest]:
    """Checks everything that can be checked beforehand; nothing is made."""
    check_tag(build.version)
    if build.latest and not is_release(build.version):
        raise InputError(
            f"{build.version} is no release: {LATEST!r} stays where it is.",
            hint="Leave out --latest. Releases are three numbers, as 1.2.3.",
        )
    if build.force_latest and not build.latest:
        raise InputError("--force-latest says how --latest works.", hint="Add --latest, or leave it out.")
    if build.latest and not build.publish:
        raise InputError(
            f"Without --publish there is no {LATEST!r} to be moved.", hint="Add --publish, or leave it out."
        )
    tree = access.ansible.tree
    known = editions.edition_roles(tree, EDITION, kind=editions.CONTAINER)
    roles = tuple(editions.choose_roles(known, without=build.without, kind=editions.CONTAINER))
    if build.ca_bundle:
        preflight.check_readable_file(build.ca_bundle, what="CA bundle")
    preflight.check_output_directory(build.output_directory, build.asset_id, force=True)
    preflight.check_programs(("docker", "setpriv"), programs=access.programs)
    docker.check()
    if build.verify:
        from exasol_like_dss.lib.verification.container.verify import check_tools

        check_tools(docker, access.programs)
    if not build.source:
        progress.note(
            "No label will say where the source is: this is no checkout of a public address. --source URL does."
        )
    if build.publish:
        if build.login:
            registry.check_login(docker, build.repository, build.login)
        there = registry.published_digest(docker, build.repository, build.version, build.login)
        if there:
            progress.note(f"{build.reference} is in the registry already ({there}): the new image will replace it.")
    lowest = plan_lowest(base=build.base, base_image=build.base_image, from_rootfs=build.from_rootfs,
                         mirror=build.mirror, access=access)  # fmt: skip
    if "script_languages" in roles:
        preflight.check_script_languages(tree, build.extra_vars, ca_bundle=build.ca_bundle, programs=access.programs)
    return roles, lowest


def _add_layer(
    layer: str,
    below: str,
    build: ContainerBuild,
    roles: tuple[str, ...],
    lowest: Lowest,
    *,
    tag: str,
    work: Path,
    staged: Path,
    docker: Docker,
    access: Access,
    progress: Progress,
    cancellation: Cancellation,
) -> str:
    machine = ContainerMachine(below, docker=docker, programs=access.programs, progress=progress,
                               cancellation=cancellation, ca_bundle=build.ca_bundle,
                               keep=build.keep_container and layer == "application")  # fmt: skip
    with machine.started():
        playbooks.install(
            machine,
            edition=EDITION,
            roles=roles,
            variables={
                **build.extra_vars,
                "dss_layers": [layer],
                "dss_asset_id": build.asset_id.value,
                "dss_version": __version__,
            },
            ansible=access.ansible,
            work_directory=work,
            progress=progress,
            cancellation=cancellation,
        )
        changes: list[str] = []
        if layer == "application":
            port = json.loads(machine.read("cat /etc/exasol-like-dss/image.json"))["jupyter_port"]
            changes = [*_INSTRUCTIONS, f"EXPOSE {port}", *_labels(build, lowest)]
            with progress.step("bill of materials"):
                write_container_sbom(read=machine.read, target=staged / "sbom.cdx.json", name=str(build.repository),
                                     version=build.version, timestamp=now())  # fmt: skip
        return machine.commit(BUILD_REPOSITORY, tag, message=f"{PRODUCT} {__version__}: {layer}", changes=changes)


def _labels(build: ContainerBuild, lowest: Lowest) -> list[str]:
    """The annotations of the OCI image specification, as far as they are known."""
    prefix = "org.opencontainers.image."
    labels = {
        f"{prefix}title": "Data Science Sandbox",
        f"{prefix}description": "JupyterLab, Docker client and Poetry in one container",
        f"{prefix}version": build.version,
        f"{prefix}created": now().isoformat(),
        f"{prefix}licenses": "MIT",
        f"{prefix}source": build.source,
        f"{prefix}revision": build.revision,
        f"{prefix}base.name": lowest.name,
        "dss-asset-id": build.asset_id.value,
        "dss-version": __version__,
    }
    return [f"LABEL {name}={json.dumps(text)}" for name, text in labels.items() if text]


def _verify(
    image: str, staged: Path, docker: Docker, access: Access, progress: Progress, cancellation: Cancellation
) -> VerificationReport:
    from exasol_like_dss.lib.verification.container.verify import verify_docker_image
    from exasol_like_dss.lib.verification.verify import write_report

    report = verify_docker_image(image, docker=docker, programs=access.programs, progress=progress,
                                 cancellation=cancellation)  # fmt: skip
    write_report(report, staged / "verification.json")
    if not report.passed:
        seen = "; ".join(f"{check.name} ({check.seen})" for check in report.failed)
        raise DssError(
            f"The image did not pass its verification: {seen}",
            hint="--keep-container keeps the container that the image was made of; --no-verify keeps the image.",
        )
    return report


def _name(docker: Docker, image: str, repository: Repository, tag: str) -> None:
    """Gives the image its name. An image that had it before, and has no other, goes (unless a container uses it)."""
    before = docker.image(f"{repository}:{tag}")
    docker.tag(image, str(repository), tag)
    if before and before.image_id != image:
        left = docker.image(before.image_id)
        if left and not left.tags:
            docker.remove_image(before.image_id)


def _image(build: ContainerBuild, found: ImageDetails, digest: str, tags: list[str]) -> ContainerImage:
    return ContainerImage(
        references=tuple(f"{build.repository}:{tag}" for tag in tags),
        image_id=found.image_id,
        digest=digest or None,
        size_bytes=found.size_bytes,
        layers=found.layers,
    )


def _describe(
    build: ContainerBuild,
    roles: tuple[str, ...],
    lowest: Lowest,
    image: ContainerImage,
    report: VerificationReport | None,
    *,
    directory: Path,
    progress: Progress,
) -> Manifest:
    manifest = Manifest(
        asset_id=build.asset_id.value,
        tool_version=__version__,
        edition=EDITION,
        base=lowest.name,
        created=now(),
        verification=Verification.PASSED if report else Verification.SKIPPED,
        artifacts=(),
        inputs={
            "repository": str(build.repository),
            "version": build.version,
            "roles": list(roles),
            "extra_vars": {name: shown(name, value) for name, value in build.extra_vars.items()},
            "published": build.publish,
        },
        versions=tool_versions(),
        seconds_per_step=progress.seconds(),
        container_image=image,
    )
    write_manifest(manifest, directory / "manifest.json")
    names = ("sbom.cdx.json", "verification.json", "manifest.json")
    write_sha256sums([path for name in names if (path := directory / name).exists()], directory / "SHA256SUMS")
    return manifest


class _Names:
    """Tags of images that are not finished."""

    def __init__(self) -> None:
        self.tags: list[str] = []

    def new(self) -> str:
        self.tags.append(build_tag())
        return self.tags[-1]


@contextmanager
def _removed_names(docker: Docker) -> Iterator[_Names]:
    """Takes the names of unfinished images away at the end, the newest first: an image that nothing else names goes."""
    names = _Names()
    with ExitStack() as stack:
        stack.callback(lambda: [docker.remove_image(f"{BUILD_REPOSITORY}:{tag}") for tag in reversed(names.tags)])
        yield names
