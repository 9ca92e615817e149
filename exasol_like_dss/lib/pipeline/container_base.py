"""The lowest layer of a container image: a distribution, an image that is there already, or the root file system of a
virtual machine image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exasol_like_dss.access.docker import Docker, EngineRefused
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib import preflight
from exasol_like_dss.lib.builds import BUILD_REPOSITORY
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.bases import Base, Mirror, choose_mirror, host_archive
from exasol_like_dss.lib.images.references import parse_reference
from exasol_like_dss.lib.images.root_tar import archive_date, find_root_file_system, stream_root_tar
from exasol_like_dss.lib.images.rootfs import build_root_file_system, check_keyring
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.waiting import unbroken

_PROGRAMS = ("mmdebstrap", "unshare", "tar")
#: What Ansible needs; all else is the roles'.
_PACKAGES = ("apt", "ca-certificates", "python3")
_ROOT_BYTES = preflight.GIB
_COMMAND = 'CMD ["/bin/bash"]'


@dataclass(frozen=True)
class Lowest:
    """What has been decided about the lowest layer. name: for labels and manifest. One of the others is set."""

    name: str
    distribution: tuple[Base, Mirror] | None = None
    image: str | None = None
    rootfs: Path | None = None


def plan_lowest(
    *, base: Base | None, base_image: str | None, from_rootfs: Path | None, mirror: str | None, access: Access
) -> Lowest:
    """Decides, and checks what can be checked beforehand. Raises ``InputError``."""
    if base_image:
        return Lowest(str(parse_reference(base_image)), image=base_image)
    if from_rootfs:
        preflight.check_programs(["tar"], programs=access.programs)
        found = find_root_file_system(from_rootfs)
        return Lowest(found.name, rootfs=found)
    assert base
    preflight.check_root_rights()
    preflight.check_programs(_PROGRAMS, programs=access.programs)
    check_keyring(base)
    chosen = choose_mirror(base, mirror=mirror, host=lambda: host_archive(access.programs),
                           reachable=access.web.exists)  # fmt: skip
    return Lowest(base.name, distribution=(base, chosen))


def lowest_layer(
    lowest: Lowest,
    *,
    tag: str,
    ca_bundle: Path | None,
    work_directory: Path,
    docker: Docker,
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
) -> str:
    """Sees to it that the engine has the image of the lowest layer; returns its id. tag: its name for now."""
    if lowest.image:
        return _existing(docker, lowest.image, progress, cancellation)
    if lowest.rootfs:
        tar = stream_root_tar(lowest.rootfs, newest=None, programs=programs, cancellation=cancellation)
        return unbroken(lambda: docker.import_tar(tar, repository=BUILD_REPOSITORY, tag=tag, changes=[_COMMAND]))
    assert lowest.distribution
    base, mirror = lowest.distribution
    root = work_directory / "root"
    with progress.step("root file system"):
        build_root_file_system(root, base=base, mirror=mirror, packages=_PACKAGES, ca_bundle=ca_bundle,
                               programs=programs, progress=progress, cancellation=cancellation)  # fmt: skip
    with progress.step("import"):
        tar = stream_root_tar(root, newest=archive_date(root), programs=programs, cancellation=cancellation)
        return unbroken(lambda: docker.import_tar(tar, repository=BUILD_REPOSITORY, tag=tag, changes=[_COMMAND]))


def _existing(docker: Docker, text: str, progress: Progress, cancellation: Cancellation) -> str:
    reference = parse_reference(text)
    found = docker.image(text)
    if not found:
        try:
            with progress.step(f"pull {reference}"):
                for event in docker.pull(str(reference.repository), reference.digest or reference.tag):
                    cancellation.check()
                    progress.status(f"{event.get('status', '')} {event.get('id', '')} {event.get('progress', '')}")
        except EngineRefused as error:
            raise InputError(
                f"The image {reference} is not in the engine, and can't be pulled: {error.said}.",
                hint="Check the name; --base needs no registry.",
            ) from error
        found = docker.image(text)
    if not found:
        raise InputError(f"The image {reference} is not in the engine.", hint="Check the name.")
    return found.image_id
