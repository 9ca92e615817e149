"""How ``latest`` is moved in a registry: pulled by digest where it is missing, pushed, and only when it has to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from exasol_like_dss.access.docker import EngineRefused
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.manifest import ContainerImage
from exasol_like_dss.lib.releases import publish

NAME, DIGEST, OTHER = "registry.example.org/o/n", "sha256:" + "a" * 64, "sha256:" + "b" * 64


@dataclass
class FakeDocker:
    """An engine and a registry. tags: of the registry, to digests. here: what the engine has."""

    tags: dict[str, str]
    here: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    pushes: str = DIGEST

    def registry_digest(self, reference: str, _login: object) -> str:
        tag = reference.partition("@")[2] or reference.rpartition(":")[2]
        if tag.startswith("sha256") and tag in self.tags.values():
            return tag
        if tag not in self.tags:
            raise EngineRefused("asking", "manifest unknown", status=404)
        return self.tags[tag]

    def image(self, reference: str) -> object | None:
        return reference if reference in self.here else None

    def pull(self, repository: str, tag: str) -> Iterator[Mapping[str, Any]]:
        self.calls.append(f"pull {tag}")
        if tag not in self.tags.values():
            raise EngineRefused("pulling", "manifest unknown", status=404)
        self.here.add(f"{repository}@{tag}")
        yield {}

    def tag(self, image: str, _repository: str, tag: str) -> None:
        assert image in self.here
        self.calls.append(f"tag {tag}")

    def push(self, repository: str, tag: str, login: object) -> Iterator[Mapping[str, Any]]:
        assert (repository, login) == (NAME, None)
        self.calls.append(f"push {tag}")
        self.tags[tag] = self.pushes
        yield {"aux": {"Digest": self.pushes}}


def content() -> Any:
    image = ContainerImage((f"{NAME}:1.0.0",), "sha256:0", DIGEST, 1, ())
    return SimpleNamespace(docker=image, asset_id=AssetId("1.0.0"))


def move(docker: FakeDocker) -> None:
    world = SimpleNamespace(progress=Progress(), cancellation=Cancellation())
    publish._move_latest(content(), docker, None, world)  # type: ignore[arg-type]


def test_it_is_pulled_by_digest_and_pushed() -> None:
    docker = FakeDocker({"1.0.0": DIGEST, "latest": OTHER})
    move(docker)
    assert docker.calls == [f"pull {DIGEST}", "tag latest", "push latest"]
    assert docker.tags["latest"] == DIGEST


def test_what_the_engine_has_is_not_pulled_and_a_first_latest_is_made() -> None:
    docker = FakeDocker({"1.0.0": DIGEST}, {f"{NAME}@{DIGEST}"})
    move(docker)
    assert docker.calls == ["tag latest", "push latest"]


def test_nothing_is_done_twice() -> None:
    docker = FakeDocker({"1.0.0": DIGEST, "latest": DIGEST})
    move(docker)
    assert docker.calls == []


def test_an_image_that_is_gone() -> None:
    with pytest.raises(DssError, match="can't be pulled: manifest unknown"):
        move(FakeDocker({"1.0.0": OTHER}))


def test_an_engine_that_makes_other_layers_is_told() -> None:
    docker = FakeDocker({"1.0.0": DIGEST}, pushes=OTHER)
    with pytest.raises(DssError, match=f"is {OTHER} now, not {DIGEST}") as caught:
        move(docker)
    assert f"--tag {NAME}:latest {NAME}@{DIGEST}" in caught.value.hint


@pytest.mark.parametrize("there", [None, OTHER])
def test_the_verified_image_has_to_be_in_the_registry(there: str | None) -> None:
    docker = FakeDocker({"1.0.0": there} if there else {})
    with pytest.raises(InputError, match=f"is {there or 'not'} in its registry; {DIGEST} was verified"):
        publish._check_pushed(content(), docker, None)  # type: ignore[arg-type]
    publish._check_pushed(content(), FakeDocker({"1.0.0": DIGEST}), None)  # type: ignore[arg-type]
