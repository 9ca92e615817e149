"""``dss image-size`` for an image of the real engine: with what the engine itself writes for files that are gone."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.command import dss
from test.support.docker_engine import Engine

NAME = "dss-sizes:1"
MIB = 1 << 20


def root_with_rm() -> bytes:
    """The smallest root file system in which something can be removed: coreutils' rm with its libraries."""
    program = shutil.which("rm", path="/usr/bin:/bin")
    assert program
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", dereference=True) as tar:
        for path in (program, *(word for word in listed if word.startswith("/"))):
            tar.add(path, path.lstrip("/"))
        for name, size in (("data/stays", MIB), ("data/gone/a", 2 * MIB), ("data/gone/b", MIB), ("data/new", 3 * MIB)):
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))
        again = tarfile.TarInfo("data/gone/c")
        again.type, again.linkname = tarfile.LNKTYPE, "data/gone/a"
        tar.addfile(again)
    return stream.getvalue()


@pytest.fixture
def image(docker_engine: Engine, tmp_path: Path) -> Iterator[str]:
    """Two layers: the second takes a folder away, and replaces a file."""
    lower = docker_engine.docker("import", "-", "dss-sizes:lower", stdin=root_with_rm()).strip()
    container = docker_engine.docker("create", "--entrypoint", "rm", lower, "-r", "/data/gone").strip()
    docker_engine.docker("start", "--attach", container)
    (tmp_path / "new").write_bytes(b"y" * 1000)
    docker_engine.docker("cp", tmp_path / "new", f"{container}:/data/new")
    docker_engine.docker("commit", "--message", "smaller", container, NAME)
    docker_engine.docker("rm", container)
    yield NAME
    docker_engine.docker("rmi", "--force", NAME, "dss-sizes:lower")


def exported_bytes(engine: Engine, image: str, folder: Path) -> int:
    """What the engine itself puts together of the layers."""
    container = engine.docker("create", image, "rm").strip()
    engine.docker("export", "--output", folder / "exported.tar", container)
    engine.docker("rm", container)
    with tarfile.open(folder / "exported.tar") as tar:
        return sum(member.size for member in tar if member.isreg())


def test_the_engine_and_what_it_saves_give_the_same(docker_engine: Engine, image: str, tmp_path: Path) -> None:
    env = {"DOCKER_HOST": docker_engine.host}
    done = dss("image-size", f"docker://{image}", "--output", "json", cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    usage = json.loads(done.out)
    assert usage["size_bytes"] == exported_bytes(docker_engine, image, tmp_path)
    lower, upper = usage["layers"]
    assert (lower["hidden_bytes"], upper["hidden_bytes"]) == (6 * MIB, 0)
    assert (upper["size_bytes"], upper["made_by"]) == (1000, "smaller")
    assert lower["size_bytes"] - lower["hidden_bytes"] + upper["size_bytes"] == usage["size_bytes"]

    docker_engine.docker("save", "--output", tmp_path / "saved.tar", image)
    saved = dss("image-size", "saved.tar", "--output", "json", cwd=tmp_path)
    assert saved.code == 0, saved.err
    assert json.loads(saved.out) == usage

    for reference, host, message in (
        ("dss-sizes:2", docker_engine.host, "has no image 'dss-sizes:2'"),
        ("Not A Name", docker_engine.host, "is no image"),
        (image, "unix:///nowhere/docker.sock", "can't be reached"),
    ):
        wrong = dss("image-size", f"docker://{reference}", cwd=tmp_path, env={"DOCKER_HOST": host})
        lines = [line for line in wrong.err.splitlines() if line.startswith(("Error: ", "Hint: "))]
        assert wrong.code == 2 and wrong.out == "", wrong.err
        assert len(lines) == 2 and message in lines[0], wrong.err
