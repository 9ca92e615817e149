"""What the integration tests share. The expensive parts are made once."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from test.support.command import Done, dss
from test.support.docker_engine import Engine, running_engine
from test.support.git_server import served_repository
from test.support.once import made_once
from test.support.registry import Registry, running_registry

ASSET_ID = "1.0.0-test"
PASSWORD = "first-Login-4711"


def ca_options() -> list[str]:
    """Where the machine's programs trust an extra CA, the build has to, too."""
    bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return ["--ca-bundle", bundle] if bundle else []


REGISTRY_USER, REGISTRY_PASSWORD = "release", "registry-pass-4711"


@dataclass(frozen=True)
class DockerImage:
    """The Docker edition, built, verified and pushed once. result: what ``--output json`` printed.

    left_before: the engine's leftovers before that.
    """

    reference: str
    engine: Engine
    registry: Registry
    result: dict[str, Any]
    progress: str
    left_before: tuple[list[str], list[str]]


@dataclass(frozen=True)
class BuiltImage:
    """A finished build of the full sandbox. done: what ``dss create-vm --output json`` printed."""

    directory: Path
    asset_id: str
    default_password: str
    done: Done

    def path(self, image_format: str) -> Path:
        return self.directory / f"exasol-like-dss-{self.asset_id}.{image_format.lower()}"


@pytest.fixture(scope="session")
def script_languages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_repository(tmp_path_factory.mktemp("git"), tag="5.0.0") as url:
        yield url


@pytest.fixture(scope="session")
def built_image(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> BuiltImage:
    """The main job, once, as a user runs it: all roles, four formats, verified under both firmwares."""

    def make(folder: Path) -> None:
        done = build(folder, request.getfixturevalue("script_languages"))
        (folder / "done.json").write_text(json.dumps(asdict(done)))

    folder = made_once(tmp_path_factory, "built", make)
    return BuiltImage(folder / "out", ASSET_ID, PASSWORD, Done(**json.loads((folder / "done.json").read_text())))


def build(folder: Path, script_languages: str) -> Done:
    done = dss(
        "create-vm",
        "--asset-id",
        ASSET_ID,
        "--output-directory",
        folder / "out",
        "--work-directory",
        folder / "exasol-like-dss",
        "--disk-size",
        "16G",  # not 100G: every reader of the VHD hashes it all, and coreutils takes minutes for that
        *[word for name in ("VMDK", "VHD", "OVA", "QCOW2") for word in ("--vm-image-format", name)],
        "--keep-rootfs",
        "--extra-vars",
        f"script_languages_repository={script_languages}",
        *ca_options(),
        "--output",
        "json",
        cwd=folder,
        # The verification works in the same place as the build, as it does by default.
        env={"DSS_DEFAULT_PASSWORD": PASSWORD, "TMPDIR": str(folder)},
        deadline_s=1500,
    )
    report = folder / "out/not-verified/verification.json"
    failed = (
        [check for check in json.loads(report.read_text())["checks"] if not check["passed"]] if report.exists() else []
    )
    assert done.code == 0, f"{done.err}\n{failed}"
    return done


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The one engine of all tests: a second one would take the first one's network away."""
    with running_engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that wants a password."""
    folder = tmp_path_factory.mktemp("registry")
    with running_registry(folder, user=REGISTRY_USER, password=REGISTRY_PASSWORD) as found:
        yield found


@pytest.fixture(scope="session")
def script_languages_for_containers(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """On the engine's own network: containers have no way to this machine's loopback."""
    with served_repository(tmp_path_factory.mktemp("git"), tag="5.0.0", address=docker_engine.gateway) as url:
        yield url


@pytest.fixture(scope="session")
def docker_image(
    docker_engine: Engine,
    registry: Registry,
    script_languages_for_containers: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> DockerImage:
    """The main job of the Docker edition, once, as a release engineer runs it."""
    folder = tmp_path_factory.mktemp("docker-image")
    name = f"{registry.address}/exasol/data-science-sandbox"
    before = docker_engine.leftovers()
    done = dss(
        *("create-docker-image", "--repository", name, "--version", "1.0.0", "--publish", "--latest"),
        *("--registry-user", REGISTRY_USER, "--work-directory", folder / "exasol-like-dss"),
        *("--extra-vars", f"script_languages_repository={script_languages_for_containers}"),
        *ca_options(),
        *("--output", "json"),
        cwd=folder,
        env={"DOCKER_HOST": docker_engine.host, "DOCKER_REGISTRY_PASSWORD": REGISTRY_PASSWORD},
        deadline_s=1200,
    )
    assert done.code == 0, done.err
    return DockerImage(f"{name}:1.0.0", docker_engine, registry, json.loads(done.out), done.err, before)


@pytest.fixture(scope="session")
def debian_12_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base root file system of Debian 12, as a local build begins with. Not to be changed."""
    return made_once(tmp_path_factory, "debian-12", make_debian_12) / "root"


@pytest.fixture(scope="session")
def debian_12_tar(debian_12_root: Path) -> Path:
    """The same as a tar."""
    return debian_12_root.with_suffix(".tar")


def make_debian_12(folder: Path) -> None:
    from exasol_like_dss.access.programs import Programs
    from exasol_like_dss.access.web import Web
    from exasol_like_dss.lib.images.bases import BASES, choose_mirror, host_archive
    from exasol_like_dss.lib.images.rootfs import build_root_file_system
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

    programs = Programs()
    base = BASES["debian-12"]
    mirror = choose_mirror(base, mirror=None, host=lambda: host_archive(programs), reachable=Web().exists)
    build_root_file_system(
        folder / "root",
        base=base,
        mirror=mirror,
        ca_bundle=None,
        programs=programs,
        progress=Progress(),
        cancellation=Cancellation(),
    )
    subprocess.run(["tar", "-C", str(folder / "root"), "-cf", str(folder / "root.tar"), "."], check=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For ``pytest -n 2 --dist loadgroup``: what belongs to one process, and what begins first.

    There is one Docker engine at a time. Tests of one module share what they have made.
    """

    def group(item: pytest.Item) -> str:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "docker_engine" in fixtures:
            return "docker engine"
        return "built image" if "built_image" in fixtures else str(item.path)

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    order = {"docker engine": 0, "built image": 1}
    items.sort(key=lambda item: order.get(group(item), 2))
