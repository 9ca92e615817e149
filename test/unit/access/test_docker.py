from __future__ import annotations

from typing import Any

import docker.errors
import pytest

from exasol_like_dss.access.docker import Docker, EngineRefused


class Response:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


class Api:
    """An engine that answers a removal with an error."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.waited: list[tuple[str, str]] = []

    def remove_container(self, container: str, *, v: bool, force: bool) -> None:
        assert (container, v, force) == ("some", True, True)
        if self.error:
            raise self.error

    def wait(self, container: str, *, condition: str, timeout: int) -> None:
        assert timeout > 0
        self.waited.append((container, condition))


def removed(error: Exception | None) -> Api:
    engine, api = Docker("unix:///nowhere"), Api(error)
    connected: Any = api
    engine._connected = connected
    engine.remove_container("some")
    return api


def refusal(status: int, text: str) -> Exception:
    kind = docker.errors.NotFound if status == 404 else docker.errors.APIError
    error: Exception = kind(text, response=Response(status), explanation=text)
    return error


def test_what_is_being_removed_is_waited_for() -> None:
    assert removed(refusal(409, "removal of container some is already in progress")).waited == [("some", "removed")]


def test_what_is_gone_is_fine() -> None:
    assert not removed(refusal(404, "No such container: some")).waited
    assert not removed(None).waited


def test_other_refusals_are_told() -> None:
    with pytest.raises(EngineRefused, match="you cannot"):
        removed(refusal(409, "you cannot"))
