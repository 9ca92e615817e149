"""How ``latest`` is moved in a registry: pulled by digest where it is missing, pushed, and only when it has to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exasol_like_dss.access.docker import Docker, EngineRefused
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.references import parse_repository
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.manifest import ContainerImage
from exasol_like_dss.lib.releases import publish
from exasol_like_dss.lib.releases.latest import check_moves_forward
from test.support.notes import Notes

NAME, DIGEST, OTHER = "registry.example.org/o/n", "sha256:" + "a" * 64, "sha256:" + "b" * 64


@dataclass
class FakeDocker:
    """An engine and a registry. tags: of the registry, to digests. here: what the engine has."""

    tags: dict[str, str]
    here: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    pushes: str = DIGEST
    labels: dict[str, str] = field(default_factory=dict)

    def registry_digest(self, reference: str, _login: object) -> str:
        tag = reference.partition("@")[2] or reference.rpartition(":")[2]
        if tag.startswith("sha256") and tag in self.tags.values():
            return tag
        if tag not in self.tags:
            raise EngineRefused("asking", "manifest unknown", status=404)
        return self.tags[tag]

    def image(self, reference: str) -> object | None:
        return SimpleNamespace(labels=self.labels) if reference in self.here else None

    def remove_image(self, reference: str) -> bool:
        self.calls.append(f"remove {reference}")
        self.here.discard(reference)
        return True

    def pull(self, repository: str, tag: str, login: object) -> Iterator[Mapping[str, Any]]:
        assert login is None
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


def check(docker: FakeDocker, version: str) -> list[str]:
    progress = Notes()
    check_moves_forward(
        version,
        parse_repository(NAME),
        docker=cast(Docker, docker),
        login=None,
        progress=progress,
        cancellation=Cancellation(),
    )
    return progress.notes


def engine_with(version: str, **more: Any) -> FakeDocker:
    return FakeDocker({"latest": OTHER}, labels={"org.opencontainers.image.version": version}, **more)


@pytest.mark.parametrize("there", ["1.9.0", "v1.9.0", "1.10.0", "2.0.0-rc1", "nightly"])
def test_it_moves_forward(there: str) -> None:
    docker = engine_with(there)
    assert check(docker, "1.10.0") == []
    assert docker.calls == [f"pull {OTHER}", f"remove {NAME}@{OTHER}"]


@pytest.mark.parametrize(("there", "version"), [("1.10.0", "1.9.0"), ("v2.0.0", "v1.99.99")])
def test_it_does_not_move_back(there: str, version: str) -> None:
    docker = engine_with(there)
    with pytest.raises(InputError, match=f"latest is {there}, which is later than {version}") as caught:
        check(docker, version)
    assert "--force-latest" in caught.value.hint
    assert docker.calls[-1] == f"remove {NAME}@{OTHER}"


def test_an_image_that_is_here_already_is_neither_pulled_nor_removed() -> None:
    docker = engine_with("1.9.0", here={f"{NAME}@{OTHER}"})
    assert check(docker, "1.10.0") == []
    assert docker.calls == []


def test_a_first_latest_and_one_that_tells_no_version() -> None:
    docker = FakeDocker({})
    assert check(docker, "1.0.0") == []
    assert docker.calls == []
    assert check(FakeDocker({"latest": OTHER}), "1.0.0") == [
        f"{NAME}:latest does not say which version it is: it will be 1.0.0."
    ]


def test_what_can_not_be_read_is_not_moved() -> None:
    class Broken(FakeDocker):
        def pull(self, *_: object) -> Iterator[Mapping[str, Any]]:
            raise EngineRefused("pulling", "unexpected EOF")

    with pytest.raises(DssError, match="can't be pulled: unexpected EOF"):
        check(Broken({"latest": OTHER}), "1.0.0")


@pytest.mark.parametrize("there", [None, OTHER])
def test_the_verified_image_has_to_be_in_the_registry(there: str | None) -> None:
    docker = FakeDocker({"1.0.0": there} if there else {})
    with pytest.raises(InputError, match=f"is {there or 'not'} in its registry; {DIGEST} was verified"):
        publish._check_pushed(content(), docker, None)  # type: ignore[arg-type]
    publish._check_pushed(content(), FakeDocker({"1.0.0": DIGEST}), None)  # type: ignore[arg-type]
