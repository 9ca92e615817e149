"""Ctrl-C, SIGTERM and kill -9 in the middle of a Docker build, and a push that fails at its end."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from test.integration.conftest import REGISTRY_PASSWORD, REGISTRY_USER, DockerImage, ca_options
from test.support.command import dss, started
from test.support.registry import BreakingWay


class Build:
    """A build on top of the finished image: each moment is reached within seconds."""

    def __init__(self, image: DockerImage, folder: Path) -> None:
        self.engine = image.engine
        self.folder = folder
        self.config = folder / "docker"
        self.config.mkdir()
        (self.config / "config.json").write_text("{}")
        self.env = {"DOCKER_HOST": image.engine.host, "DOCKER_CONFIG": str(self.config)}
        self._base = image.reference
        self.images = self._images()
        self.left_before = self.engine.leftovers()

    def arguments(self, *more: str | Path) -> Sequence[str | Path]:
        return [
            *("create-docker-image", "--repository", "interrupted", "--version", "1", "--base-image", self._base),
            *("--without", "script_languages", "--no-verify", "--work-directory", str(self.folder / "work")),
            *ca_options(),
            *more,
        ]

    def _images(self) -> list[str]:
        """Those that a build can make: its own unfinished ones, and those of this module's name."""
        shown = self.engine.docker("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
        return sorted(line for line in shown if line.startswith(("dss-build:", "interrupted:", "127.0.0.1:")))

    def assert_nothing_left(self, *, but: Sequence[str] = ()) -> None:
        assert self.engine.leftovers() == self.left_before
        assert self._images() == self.images
        assert (self.config / "config.json").read_text() == "{}"
        assert [path.name for path in self.folder.iterdir() if path.name not in ("docker", "work", *but)] == []
        assert list((self.folder / "work").iterdir()) == []


@pytest.fixture
def build(docker_image: DockerImage, tmp_path: Path) -> Build:
    return Build(docker_image, tmp_path)


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "role base …"), (signal.SIGTERM, "application layer …"), (signal.SIGINT, "packages layer …")],
)
def test_a_signal_leaves_nothing(build: Build, number: signal.Signals, moment: str) -> None:
    with started(build.arguments(), cwd=build.folder, env=build.env) as running:
        running.wait_for(moment)
        running.signal(number)
        assert running.end(deadline_s=60) == 130, running.text
    build.assert_nothing_left()


def test_what_a_killed_build_left_is_found_and_removed(build: Build) -> None:
    with started(build.arguments(), cwd=build.folder, env=build.env) as running:
        running.wait_for("role base …")  # its container is there
        running.signal(signal.SIGKILL)
        running.end()
    containers, _ = build.engine.leftovers()
    assert containers and all(name.startswith("dss-build_") for name in containers)
    with started(build.arguments(), cwd=build.folder, env=build.env) as running:
        running.wait_for("Removing what an interrupted build left in the Docker engine")
        running.wait_for("packages layer …")
        running.signal(signal.SIGTERM)
        assert running.end(deadline_s=60) == 130, running.text
    build.assert_nothing_left()


def test_a_failed_role_leaves_nothing(build: Build) -> None:
    done = dss(*build.arguments("--extra-vars", "poetry_version===99999"), cwd=build.folder, env=build.env)
    assert done.code == 1, done.err
    assert "role poetry" in done.err
    build.assert_nothing_left()


def test_the_container_is_kept_if_asked_for(build: Build) -> None:
    done = dss(*build.arguments("--keep-container"), cwd=build.folder, env=build.env)
    assert done.code == 0, done.err
    kept = [name for name in build.engine.leftovers()[0] if name.startswith("dss-kept_")]
    assert len(kept) == 1 and kept[0] in done.err
    build.engine.docker("rm", "--volumes", kept[0])
    build.engine.docker("rmi", "interrupted:1")
    # The container needed the image of its packages layer; the next build would remove that.
    unfinished = build.engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "dss-build").split()
    assert len(unfinished) == 1
    build.engine.docker("rmi", *unfinished)
    build.assert_nothing_left(but=["exasol-like-dss-docker-1"])


def test_a_registry_that_dies_in_the_middle_of_a_push_is_the_commands_error(
    build: Build, docker_image: DockerImage
) -> None:
    """The engine itself tries for fifty seconds."""
    way = BreakingWay(docker_image.registry.port, after_bytes=100_000, dies=True)
    name = f"127.0.0.1:{way.port}/never/arrives"
    with closing(way):
        done = dss(
            *build.arguments("--publish", "--repository", name, "--registry-user", REGISTRY_USER),
            cwd=build.folder,
            env={**build.env, "DOCKER_REGISTRY_PASSWORD": REGISTRY_PASSWORD},
        )
    assert way.broken == 1
    assert done.code == 1, done.err
    assert "can't be pushed" in done.err and REGISTRY_PASSWORD not in done.err
    assert build.engine.leftovers() == build.left_before
    build.engine.docker("rmi", f"{name}:1")
    build.assert_nothing_left()
