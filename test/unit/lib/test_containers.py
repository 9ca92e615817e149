"""What a killed command left in an engine is found and removed, and nothing else."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from typing import cast

import pytest

from exasol_like_dss.access.docker import Docker
from exasol_like_dss.lib.containers import PROCESS_LABEL, is_left, process_label, removed_at_end, sweep
from exasol_like_dss.lib.progress import Progress


class FakeDocker:
    """Containers and volumes by name, with their labels."""

    def __init__(self) -> None:
        self.made: dict[str, Mapping[str, str]] = {}

    def containers(self, label: str) -> dict[str, Mapping[str, str]]:
        name, _, value = label.partition("=")
        return {
            made: labels
            for made, labels in self.made.items()
            if name in labels and (not value or labels[name] == value)
        }

    def volumes(self, label: str) -> dict[str, Mapping[str, str]]:
        return {name: labels for name, labels in self.containers(label).items() if name.startswith("volume")}

    def remove_container(self, name: str) -> None:
        self.made.pop(name, None)

    remove_volume = remove_container


@pytest.fixture
def docker() -> FakeDocker:
    return FakeDocker()


def test_this_process_is_not_left() -> None:
    label = process_label()[PROCESS_LABEL]
    assert re.match(rf"{re.escape(socket.gethostname())}\.\d+:{os.getpid()}:\d+$", label)
    assert not is_left(label)


def test_gone_processes_are_known() -> None:
    host = process_label()[PROCESS_LABEL].partition(":")[0]
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert is_left(f"{host}:{process.pid}:1")
    assert is_left(f"{host}:{os.getpid()}:1"), "the number is used again"
    assert not is_left("elsewhere:1:1")
    assert not is_left(f"{socket.gethostname()}.1:1:1"), "the processes of another namespace"
    assert not is_left("")
    assert not is_left(f"{host}:x:1")


def test_only_what_is_left_is_swept(docker: FakeDocker) -> None:
    host = process_label()[PROCESS_LABEL].partition(":")[0]
    docker.made = {
        "old": {PROCESS_LABEL: f"{host}:{os.getpid()}:1"},
        "volume": {PROCESS_LABEL: f"{host}:{os.getpid()}:1"},
        "mine": process_label(),
        "theirs": {PROCESS_LABEL: "elsewhere:1:1"},
        "other": {},
    }
    sweep(cast(Docker, docker), progress=Progress())
    assert list(docker.made) == ["mine", "theirs", "other"]


def test_a_group_goes_at_the_end_in_any_case(docker: FakeDocker) -> None:
    docker.made = {"mine": process_label()}
    with pytest.raises(KeyboardInterrupt), removed_at_end(cast(Docker, docker), progress=Progress()) as group:
        docker.made["container"] = docker.made["volume"] = group.labels
        raise KeyboardInterrupt
    assert list(docker.made) == ["mine"]
