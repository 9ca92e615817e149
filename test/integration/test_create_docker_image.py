"""``dss create-docker-image`` with a real engine and a real registry: what comes out, what arrives, what stays."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exasol_like_dss.access.docker import Docker, RegistryLogin
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.references import parse_repository
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.registry import check_login, published_digest, push
from test.integration.conftest import REGISTRY_PASSWORD, REGISTRY_USER, BuiltImage, DockerImage, ca_options
from test.support.command import dss
from test.support.docker_engine import Engine
from test.support.git_server import free_port
from test.support.registry import BreakingWay, Registry

NAME = "exasol/data-science-sandbox"
LOGIN = RegistryLogin(REGISTRY_USER, REGISTRY_PASSWORD)


@pytest.fixture
def docker(docker_engine: Engine) -> Iterator[Docker]:
    with closing(Docker(docker_engine.host)) as found:
        yield found


@pytest.fixture
def small(docker_engine: Engine, docker: Docker, tmp_path: Path) -> Iterator[str]:
    """The id of an image with two megabytes that nobody has had before."""
    (tmp_path / "random").write_bytes(os.urandom(2 << 20))
    subprocess.run(["tar", "-C", str(tmp_path), "-cf", str(tmp_path / "x.tar"), "random"], check=True)
    with (tmp_path / "x.tar").open("rb") as tar:
        image = docker.import_tar(iter(lambda: tar.read(1 << 16), b""), repository="dss-small", tag="1", changes=[])
    yield image
    docker_engine.docker("rmi", "--force", image)


def test_the_result_names_what_the_registry_has(docker_image: DockerImage) -> None:
    image, registry = docker_image.result["container_image"], docker_image.registry
    digest, manifest = registry.manifest(NAME, "1.0.0")
    assert image["digest"] == digest == registry.manifest(NAME, "latest")[0]
    assert manifest["config"]["digest"] == image["image_id"]
    assert image["references"] == [docker_image.reference, docker_image.reference.replace(":1.0.0", ":latest")]
    compressed = sum(layer["size"] for layer in manifest["layers"])
    print(f"compressed: {compressed / 1e6:.0f} MB, layers: {[layer['size'] for layer in manifest['layers']]}")
    assert compressed <= 600_000_000


def test_an_update_pulls_little(docker_image: DockerImage) -> None:
    layers = docker_image.registry.manifest(NAME, "1.0.0")[1]["layers"]
    assert len(layers) == 3, "base, packages, application"
    assert layers[2]["size"] < 2_000_000 < layers[0]["size"] < layers[1]["size"]


def test_it_was_verified_and_described(docker_image: DockerImage) -> None:
    folder = Path(docker_image.result["directory"])
    assert docker_image.result["verification"] == "passed"
    assert json.loads((folder / "verification.json").read_text())["passed"]
    sbom = json.loads((folder / "sbom.cdx.json").read_text())
    names = {component["name"] for component in sbom["components"]}
    assert {"jupyterlab", "pandas", "tini", "docker-cli", "libc6"} <= names
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "push" in docker_image.progress and "layer " in docker_image.progress


def test_the_labels_say_what_it_is(docker_image: DockerImage) -> None:
    found = json.loads(docker_image.engine.docker("inspect", docker_image.reference))[0]["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    assert found["dss-asset-id"] == found[f"{prefix}version"] == "1.0.0"
    assert found[f"{prefix}licenses"] == "MIT"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", found[f"{prefix}created"])
    assert re.match(r"[0-9a-f]{40}", found[f"{prefix}revision"])
    assert not [name for name in found if "process" in name]


def test_nothing_of_the_build_is_in_it(docker_image: DockerImage) -> None:
    text = docker_image.engine.docker("inspect", docker_image.reference)
    text += docker_image.engine.docker("history", "--no-trunc", docker_image.reference)
    assert REGISTRY_PASSWORD not in text
    assert not re.search("proxy|CA_BUNDLE|PIP_", text, re.IGNORECASE)
    assert docker_image.engine.leftovers() == docker_image.left_before
    assert "dss-build" not in docker_image.engine.docker("images")


def test_the_real_engine_is_used_through_its_socket(docker_image: DockerImage) -> None:
    engine = docker_image.engine
    seen = engine.docker(
        "run", "--rm", "--volume", f"{engine.socket}:/var/run/docker.sock", docker_image.reference,
        "sh", "-c", "id -u; docker ps --format x | head -1; git -C ~/script-languages-release describe --tags",
    )  # fmt: skip
    assert seen.split() == ["1000", "x", "5.0.0"]


def test_latest_is_not_moved_back(docker_engine: Engine, docker: Docker, registry: Registry, tmp_path: Path) -> None:
    """Before anything is built; what had to be pulled for the comparison goes again."""
    name = f"{registry.address}/latest/moves"
    label = 'LABEL org.opencontainers.image.version="1.10.0"'
    newer = docker.import_tar([bytes(1024)], repository=name, tag="latest", changes=[label])
    push(docker, parse_repository(name), "latest", login=LOGIN, progress=Progress(), cancellation=Cancellation())
    docker_engine.docker("rmi", "--force", newer)
    for version, more, code, message in (
        ("1.9.0", (), 2, f"{name}:latest is 1.10.0, which is later than 1.9.0"),
        # These get as far as the base image, which does not exist.
        ("1.9.0", ("--force-latest",), 2, "missing/base"),
        ("1.11.0", (), 2, "missing/base"),
    ):
        done = dss(
            *("create-docker-image", "--repository", name, "--version", version, "--publish", "--latest", *more),
            *("--base-image", f"{registry.address}/missing/base:1", "--registry-user", REGISTRY_USER, "--no-verify"),
            *("--without", "script_languages"),
            *("--work-directory", tmp_path / "work"),
            cwd=tmp_path,
            env={"DOCKER_HOST": docker_engine.host, "DOCKER_REGISTRY_PASSWORD": REGISTRY_PASSWORD},
        )
        assert done.code == code, done.err
        assert message in next(line for line in done.err.splitlines() if line.startswith("Error: ")), done.err
        assert docker.image(newer) is None
    assert registry.tags("latest/moves") == ["latest"]


def test_a_broken_connection_is_tried_again(docker: Docker, registry: Registry, small: str) -> None:
    way = BreakingWay(registry.port, after_bytes=1 << 20, times=2)
    repository = parse_repository(f"127.0.0.1:{way.port}/broken/once")
    with closing(way):
        docker.tag(small, str(repository), "1")
        digest = push(docker, repository, "1", login=LOGIN, progress=Progress(), cancellation=Cancellation(),
                      pause_s=0.1)  # fmt: skip
        docker.remove_image(f"{repository}:1")
    assert way.broken == 2
    assert registry.manifest("broken/once", "1")[0] == digest


def test_a_refused_login_is_known_before_the_build(docker: Docker, registry: Registry) -> None:
    repository = parse_repository(f"{registry.address}/{NAME}")
    check_login(docker, repository, LOGIN)
    with pytest.raises(InputError, match="refuses the login of user 'release'"):
        check_login(docker, repository, RegistryLogin(REGISTRY_USER, "wrong"))
    with pytest.raises(DssError, match="can't be reached"):
        check_login(docker, parse_repository(f"127.0.0.1:{free_port()}/x"), LOGIN)


def test_what_is_published_already_is_known(docker: Docker, docker_image: DockerImage) -> None:
    repository = parse_repository(docker_image.reference.rpartition(":")[0])
    digest = docker_image.result["container_image"]["digest"]
    assert published_digest(docker, repository, "1.0.0", LOGIN) == digest
    assert published_digest(docker, repository, "2.0.0", LOGIN) is None
    assert published_digest(docker, repository, "1.0.0", None) is None


def test_a_push_without_a_login_is_refused(docker: Docker, registry: Registry, small: str) -> None:
    repository = parse_repository(f"{registry.address}/nobody/x")
    docker.tag(small, str(repository), "1")
    with pytest.raises(InputError, match="refuses the login"):
        push(docker, repository, "1", login=None, progress=Progress(), cancellation=Cancellation())
    docker.remove_image(f"{repository}:1")


def test_the_stored_login_is_used_and_stays_as_it_is(
    docker_engine: Engine, registry: Registry, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.json"
    stored = base64.b64encode(f"{REGISTRY_USER}:{REGISTRY_PASSWORD}".encode()).decode()
    config.write_text(json.dumps({"auths": {registry.address: {"auth": stored}}}))
    before = config.read_bytes()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    repository = parse_repository(f"{registry.address}/stored/x")
    with closing(Docker(docker_engine.host)) as docker:
        docker.tag(small, str(repository), "1")
        push(docker, repository, "1", login=None, progress=Progress(), cancellation=Cancellation())
        docker.remove_image(f"{repository}:1")
    assert registry.tags("stored/x") == ["1"]
    assert config.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--repository", "Exasol/X"], {}, "no valid name"),
        (["--repository", "a/b:1"], {}, "a tag or a digest"),
        (["--version", "1+2"], {}, "can't be the tag"),
        (["--version", "1.0.0-rc1", "--publish", "--latest"], {}, "is no release"),
        (["--latest"], {}, "--publish"),
        (["--base", "debian-12", "--base-image", "debian:12"], {}, "exclude each other"),
        (["--base-image", "a b"], {}, "no valid name"),
        (["--from-rootfs", "/etc/passwd"], {}, "no root file system"),
        (["--without", "jupyter"], {}, "can't be left out"),
        (["--without", "nothing"], {}, "no role"),
        (["--publish"], {"DOCKER_REGISTRY_PASSWORD": "x"}, "no user"),
        (["--publish", "--repository", "127.0.0.1:1/x/y"], {}, "can't be reached"),
        ([], {"DOCKER_HOST": "unix:///nowhere/docker.sock"}, "can't be reached"),
        (["--ca-bundle", "/nowhere"], {}, "no readable file"),
        (["--extra-vars", "dss_layers=x"], {}, "can't be set"),
    ],
)
def test_wrong_input_is_told_before_anything_is_made(
    docker_engine: Engine, tmp_path: Path, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    images = docker_engine.docker("images", "--all", "--quiet")
    done = dss("create-docker-image", *arguments, cwd=tmp_path, env={"DOCKER_HOST": docker_engine.host, **environment})
    lines = [line for line in done.err.splitlines() if line.startswith(("Error: ", "Hint: "))]
    assert done.code == 2, done.err
    assert len(lines) == 2 and message in lines[0], done.err
    assert "Traceback" not in done.err
    assert docker_engine.docker("images", "--all", "--quiet") == images
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_password_ends_before_the_build(docker_engine: Engine, registry: Registry, tmp_path: Path) -> None:
    done = dss(
        *("create-docker-image", "--repository", f"{registry.address}/x", "--publish", "--registry-user", "release"),
        cwd=tmp_path,
        env={"DOCKER_HOST": docker_engine.host, "DOCKER_REGISTRY_PASSWORD": "wrong-4712"},
    )
    assert done.code == 2, done.err
    assert "refuses the login" in done.err and "wrong-4712" not in done.err + done.out


def test_an_image_of_a_virtual_machines_bytes(built_image: BuiltImage, docker_engine: Engine, tmp_path: Path) -> None:
    """--from-rootfs: no mirror, no registry; the packages are those of the virtual machine."""
    before = docker_engine.leftovers()
    done = dss(
        *("create-docker-image", "--repository", "from-vm", "--version", "1", "--without", "script_languages"),
        *("--from-rootfs", str(built_image.directory), "--work-directory", str(tmp_path / "work"), "--output", "json"),
        *ca_options(),
        cwd=tmp_path,
        env={"DOCKER_HOST": docker_engine.host},
    )
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["verification"] == "passed"
    show = "sha256sum /usr/bin/bash /opt/jupyter/venv/bin/jupyter-lab /usr/lib/x86_64-linux-gnu/libc.so.6; id -un"
    lines = docker_engine.docker("run", "--rm", "from-vm:1", "sh", "-c", show).splitlines()
    kept = built_image.directory / f"exasol-like-dss-{built_image.asset_id}.rootfs.tar.gz"
    for line in lines[:3]:
        digest, path = line.split()
        member = subprocess.run(["tar", "-xzOf", str(kept), f".{path}"], capture_output=True, check=True).stdout
        assert hashlib.sha256(member).hexdigest() == digest, path
    assert lines[3] == "jupyter"
    docker_engine.docker("rmi", "from-vm:1")
    assert docker_engine.leftovers() == before
