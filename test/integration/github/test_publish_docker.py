"""The Docker image of a release with a real engine and registry: in the end ``latest`` names what was verified."""

from __future__ import annotations

import io
import tarfile

from test.integration.conftest import REGISTRY_PASSWORD, REGISTRY_USER
from test.integration.github.conftest import VERSION, Releases
from test.support.docker_engine import Engine
from test.support.planted_release import docker_folder
from test.support.registry import Registry


def _push(engine: Engine, name: str, tag: str, text: str) -> None:
    """An image of one small file."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("text")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    engine.docker("import", "-", f"{name}:{tag}", stdin=archive.getvalue())
    engine.docker("push", f"{name}:{tag}")


def test_latest_moves_to_the_verified_image_and_to_no_other(
    releases: Releases, docker_engine: Engine, registry: Registry
) -> None:
    path = "exasol/released"
    name = f"{registry.address}/{path}"
    folder = releases.folder / "login"
    folder.mkdir()
    releases.more |= {
        "DOCKER_HOST": docker_engine.host, "DOCKER_CONFIG": str(folder), "DOCKER_REGISTRY_USER": REGISTRY_USER,
        "DOCKER_REGISTRY_PASSWORD": REGISTRY_PASSWORD,
    }  # fmt: skip
    login = ("login", "--username", REGISTRY_USER, "--password-stdin", registry.address)
    docker_engine.docker(*login, stdin=REGISTRY_PASSWORD.encode())
    try:
        _push(docker_engine, name, VERSION, "new")
        _push(docker_engine, name, "latest", "old")
        digest, old = (registry.manifest(path, tag)[0] for tag in (VERSION, "latest"))
        assert digest != old
        release = releases.github.add_release(tag=VERSION)
        described = docker_folder(releases.folder / "described", VERSION, digest=digest, repository=name)
        done = releases.update(release.id, "--docker-manifest", described)
        assert done.code == 0, done.err
        assert f"docker pull {name}@{digest}" in release.body
        # On another machine: the engine has nothing of it.
        docker_engine.docker("rmi", f"{name}:{VERSION}", f"{name}:latest")
        # A later version is out: latest stays.
        later = releases.github.add_release(tag="v10.0.0", draft=False)
        done = releases.publish(release.id, "--dry-run")
        assert f"leave {name}:latest" in done.out
        later.draft = True
        done = releases.publish(release.id)
        assert done.code == 0, done.err
        assert registry.manifest(path, "latest")[0] == digest
        assert not release.draft
        # Somebody replaces the tag in the registry: the release does not become public again as it is.
        _push(docker_engine, name, VERSION, "changed")
        done = releases.publish(release.id)
        assert done.code == 2
        assert f"{digest} was verified" in done.err
        assert registry.manifest(path, "latest")[0] == digest
    finally:
        docker_engine.docker("logout", registry.address, check=False)
        shown = docker_engine.docker("images", "--quiet", "--no-trunc", name).split()
        docker_engine.docker("rmi", "--force", *dict.fromkeys(shown), check=False)
