"""Names of what a build of a container image makes on its way: build containers and the images of its layers.

A name says which process made it, so that what a killed build left can be found by anybody (``docker ps --all``,
``docker images dss-build``), and is removed by the next build. Not a label: the labels of a build container would be in
the finished image.
"""

from __future__ import annotations

import itertools

from exasol_like_dss.access.docker import Docker
from exasol_like_dss.lib.containers import PROCESS_LABEL, is_left, process_label
from exasol_like_dss.lib.progress import Progress

#: Repository of the images that are not finished.
BUILD_REPOSITORY = "dss-build"
_PREFIX, _KEPT = "dss-build_", "dss-kept_"
_numbers = itertools.count(1)


def build_name() -> str:
    """A name for a build container of this process, another one each time."""
    return f"{_PREFIX}{_process()}_{next(_numbers)}"


def kept_name(name: str) -> str:
    """The name under which a build container stays: no later build takes it for a leftover."""
    return _KEPT + name.removeprefix(_PREFIX)


def build_tag() -> str:
    """A tag in ``BUILD_REPOSITORY`` for an image of this process, another one each time."""
    return f"p_{_process()}_{next(_numbers)}"


def sweep_builds(docker: Docker, *, progress: Progress) -> None:
    """Removes the build containers and unfinished images of processes of this host that are gone."""
    containers = [name for name in docker.container_names(_PREFIX) if _is_left(name.removeprefix(_PREFIX))]
    images = [name for name in docker.images(BUILD_REPOSITORY) if _is_left(name.rpartition(":")[2].removeprefix("p_"))]
    if containers or images:
        progress.note(
            f"Removing what an interrupted build left in the Docker engine: {len(containers)} containers, "
            f"{len(images)} images"
        )
    for name in containers:
        docker.remove_container(name)
    for name in images:
        docker.remove_image(name)


def _process() -> str:
    # A host name has no underscore (RFC 952), the other two are numbers.
    return process_label()[PROCESS_LABEL].replace(":", "_")


def _is_left(process: str) -> bool:
    host, pid, start, *_ = [*process.split("_"), "", ""]
    return is_left(f"{host}:{pid}:{start}")
