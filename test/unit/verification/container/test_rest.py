"""The files of a container, as hygiene sees them: the same rules as for a disk, and those that a container has."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from exasol_like_dss.access.docker import Docker, EngineRefused
from exasol_like_dss.lib.verification import hygiene
from exasol_like_dss.lib.verification.container.rest import RULES, ContainerTree, read_texts
from exasol_like_dss.lib.verification.facts import ImageFacts

FACTS = ImageFacts("a", "docker", frozenset({"jupyter", "seal"}), "jupyter", 8888)


class FakeDocker:
    """A container whose files are in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []

    def read_archive(self, _container: str, path: str) -> Iterator[bytes]:
        self.asked.append(path)
        source = self.root / path.lstrip("/")
        if not source.exists():
            raise EngineRefused(f"Reading {path}", "no such file", status=404)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(source, arcname=source.name)
        yield packed.getvalue()[:1000]
        yield packed.getvalue()[1000:]


@pytest.fixture
def docker(tmp_path: Path) -> FakeDocker:
    for folder in ("etc/ssl/certs", "home/jupyter/notebooks", "tmp", "root", "usr/share"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\njupyter:x:1000:1000::/home/jupyter:/bin/sh\n")
    (tmp_path / "etc/shadow").write_text("root:*:20000::::::\njupyter:!:20000::::::\n")
    (tmp_path / "usr/share/odd\nname").write_text("x")
    (tmp_path / "usr/share/link").symlink_to("/etc/passwd")
    return FakeDocker(tmp_path)


def tree(docker: FakeDocker) -> ContainerTree:
    command: list[str | Path] = ["find", docker.root, docker.root / "home", "-xdev", "-printf", r"%y\t%s\t/%P\0"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return ContainerTree(listing, cast(Docker, docker), "container")


def broken(docker: FakeDocker) -> dict[str, str]:
    results = hygiene.judge(tree(docker), FACTS, RULES)
    return {result.name.removeprefix("hygiene: "): result.seen for result in results if not result.passed}


def test_a_clean_container_breaks_no_rule(docker: FakeDocker) -> None:
    assert broken(docker) == {}, "a container needs no machine-id"
    assert docker.asked == ["/etc"], "a folder of which many files are read is fetched once"


def test_what_a_build_leaves_is_found(docker: FakeDocker) -> None:
    (docker.root / "etc/machine-id").write_text("abc\n")
    (docker.root / "usr/share/dss-build.crt").write_text("x")
    (docker.root / "root/.ansible").mkdir()
    assert broken(docker) == {
        "machine-id is empty": "/etc/machine-id is not empty",
        "no files of the build": "/root/.ansible, /usr/share/dss-build.crt",
    }


def test_names_and_links_are_taken_as_they_are(docker: FakeDocker) -> None:
    found = tree(docker)
    assert [(entry.name, entry.kind) for entry in found.list("/usr/share")] == [
        ("link", "symlink"),
        ("odd\nname", "file"),
    ]
    assert found.read("/usr/share/odd\nname") == "x"
    assert found.read("/usr/share/link") == ""
    assert found.read("/nowhere") == ""


def test_a_file_that_is_not_there_is_no_error(docker: FakeDocker) -> None:
    assert read_texts(cast(Docker, docker), "container", "/etc/none") == {}
