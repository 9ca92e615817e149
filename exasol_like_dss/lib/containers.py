"""Containers and volumes for the time of one command, and what a killed command left of them.

Each carries a label that names the process it was made by: ``HOST.NAMESPACE:PID:START``. NAMESPACE is that of the
process ids (pid_namespaces(7)): a container may have its host's name, and other processes. START is the process's start
time in clock ticks since the machine's start (field 22 of /proc/PID/stat, proc(5)), so that a number used again is no
mistake.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exasol_like_dss.access.docker import Docker
from exasol_like_dss.lib.progress import Progress

PROCESS_LABEL = "exasol-like-dss.process"
_GROUP_LABEL = "exasol-like-dss.group"


def process_label() -> dict[str, str]:
    """The label that says: made by this process."""
    return {PROCESS_LABEL: f"{_here()}:{os.getpid()}:{_start_time(os.getpid())}"}


def is_left(label: str) -> bool:
    """Whether the process that a label names was one of this host, and is gone. Not known of other hosts: ``False``."""
    host, _, rest = label.partition(":")
    pid, _, start = rest.partition(":")
    if host != _here() or not pid.isdecimal():
        return False
    return _start_time(int(pid)) != start


def sweep(docker: Docker, *, progress: Progress) -> None:
    """Removes the containers and volumes of processes of this host that are gone. Raises as ``Docker`` does."""
    containers = _left(docker.containers(PROCESS_LABEL))
    volumes = _left(docker.volumes(PROCESS_LABEL))
    if containers or volumes:
        progress.note(
            f"Removing what an interrupted command left in the Docker engine: {len(containers)} containers, "
            f"{len(volumes)} volumes"
        )
    for container in containers:
        docker.remove_container(container)
    for volume in volumes:
        docker.remove_volume(volume)


@dataclass(frozen=True)
class Group:
    """Containers and volumes that go together. labels: to be given to each when it is made."""

    labels: Mapping[str, str]


@contextmanager
def removed_at_end(docker: Docker, *, progress: Progress) -> Iterator[Group]:
    """A group for the time of the block; sweeps first.

    What goes is asked of the engine, not remembered: a request that was broken off may have made something. No thread
    may still be making any when the block ends.
    """
    sweep(docker, progress=progress)
    name = uuid.uuid4().hex
    label = f"{_GROUP_LABEL}={name}"
    try:
        yield Group({**process_label(), _GROUP_LABEL: name})
    finally:
        with progress.step("Removing the containers"):
            for container in docker.containers(label):
                docker.remove_container(container)
            for volume in docker.volumes(label):
                docker.remove_volume(volume)


def _left(labelled: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [name for name, labels in labelled.items() if is_left(labels.get(PROCESS_LABEL, ""))]


def _here() -> str:
    return f"{socket.gethostname()}.{Path('/proc/self/ns/pid').stat().st_ino}"


def _start_time(pid: int) -> str:
    """Empty when there is no such process. The name in the second field may hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
