"""What a push makes of the engine's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from exasol_like_dss.access.docker import Docker, EngineRefused, RegistryLogin
from exasol_like_dss.lib.errors import DssError, InputError, Interrupted
from exasol_like_dss.lib.images.references import parse_repository
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.registry import published_digest, push

REPOSITORY = parse_repository("registry.example.org/a/b")
DIGEST = "sha256:" + "1" * 64
EVENTS: list[Mapping[str, Any]] = [
    {"status": "The push refers to repository"},
    {"id": "aaa", "status": "Layer already exists"},
    {"id": "bbb", "status": "Pushing", "progressDetail": {"current": 512, "total": 1024}},
    {"id": "ccc", "status": "Pushing", "progressDetail": {"current": 1}},
    {"id": "bbb", "status": "Pushing", "progressDetail": {"current": 1024, "total": 1024}},
    {"id": "bbb", "status": "Pushed"},
    {"status": "1.0: digest", "aux": {"Tag": "1.0", "Digest": DIGEST, "Size": 3}},
]


class FakeEngine:
    """Fails with each of ``sayings`` first, then pushes. there: what the registry has afterwards."""

    def __init__(self, *sayings: str, there: str = DIGEST, events: list[Mapping[str, Any]] = EVENTS) -> None:
        self.sayings = list(sayings)
        self.there = there
        self.events = events
        self.pushes = 0

    def push(self, **_: Any) -> Iterator[Mapping[str, Any]]:
        self.pushes += 1
        yield self.events[0]
        if self.sayings:
            raise EngineRefused("Pushing", self.sayings.pop(0))
        yield from self.events[1:]

    def registry_digest(self, _reference: str, _login: RegistryLogin | None) -> str:
        if not self.there:
            raise EngineRefused("Reading", "manifest unknown", status=404)
        return self.there


class Steps(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def on_note(self, text: str) -> None:
        self.notes.append(text)


def _push(engine: FakeEngine, progress: Progress | None = None, cancellation: Cancellation | None = None) -> str:
    return push(cast(Docker, engine), REPOSITORY, "1.0", login=None, progress=progress or Progress(),
                cancellation=cancellation or Cancellation(), pause_s=0.0)  # fmt: skip


def test_each_layer_that_is_sent_is_a_step() -> None:
    progress = Steps()
    assert _push(FakeEngine(), progress) == DIGEST
    assert {step.name: step.done_bytes for step in progress.finished} == {"layer bbb": 1024, "layer ccc": 1}
    assert not progress.running


@pytest.mark.parametrize(
    "said",
    ["EOF", "write: connection reset by peer", "received unexpected HTTP status: 502 Bad Gateway", "i/o timeout"],
)
def test_what_passes_is_tried_again(said: str) -> None:
    progress = Steps()
    engine = FakeEngine(said, said)
    assert _push(engine, progress) == DIGEST
    assert engine.pushes == 3
    assert len(progress.notes) == 2 and said in progress.notes[0]


def test_what_does_not_pass_is_an_error() -> None:
    engine = FakeEngine(*["EOF"] * 9)
    with pytest.raises(DssError, match="can't be pushed: EOF") as caught:
        _push(engine)
    assert engine.pushes == 3 and not isinstance(caught.value, InputError)
    with pytest.raises(DssError, match="manifest invalid"):
        _push(once := FakeEngine("manifest invalid"))
    assert once.pushes == 1


@pytest.mark.parametrize("said", ["unauthorized: authentication required", "denied: requested access", "no basic auth"])
def test_a_refused_login_is_wrong_input(said: str) -> None:
    engine = FakeEngine(said)
    with pytest.raises(InputError, match="refuses the login"):
        _push(engine)
    assert engine.pushes == 1


def test_what_arrived_is_compared() -> None:
    with pytest.raises(DssError, match="not " + DIGEST):
        _push(FakeEngine(there="sha256:" + "2" * 64))
    with pytest.raises(DssError, match="does not give it back"):
        _push(FakeEngine(there=""))
    with pytest.raises(DssError, match="did not say which digest"):
        _push(FakeEngine(events=EVENTS[:-1]))


def test_a_push_can_be_called_off() -> None:
    cancelled = Cancellation()
    cancelled.cancel()
    with pytest.raises(Interrupted):
        _push(FakeEngine(), cancellation=cancelled)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [("manifest unknown", False), ("unauthorized", False), ("dial tcp: lookup x: no such host", True), ("EOF", True)],
)
def test_whether_a_registry_answers(said: str, wrong: bool) -> None:
    class Engine(FakeEngine):
        def registry_digest(self, _reference: str, _login: RegistryLogin | None) -> str:
            raise EngineRefused("Reading", said)

    if wrong:
        with pytest.raises(InputError, match="can't be reached"):
            published_digest(cast(Docker, Engine()), REPOSITORY, "1", None)
    else:
        assert published_digest(cast(Docker, Engine()), REPOSITORY, "1", None) is None
