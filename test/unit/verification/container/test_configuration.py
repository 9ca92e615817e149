"""What an image says of itself: each property broken once, and secrets in every place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from exasol_like_dss.access.docker import ImageDetails
from exasol_like_dss.lib.verification.container.configuration import judge_configuration, judge_secrets, secrets_in
from exasol_like_dss.lib.verification.facts import ImageFacts

FACTS = ImageFacts("1.0.0", "docker", frozenset({"jupyter"}), "jupyter", 8888)
OCI = "org.opencontainers.image."
GOOD: dict[str, Any] = {
    "Entrypoint": ["/usr/local/bin/dss-container"],
    "Cmd": None,
    "ExposedPorts": {"8888/tcp": {}},
    "Volumes": {"/home/jupyter/notebooks": {}},
    "Healthcheck": {"Test": ["CMD", "/usr/local/bin/dss-container-health"]},
    "Env": ["PATH=/usr/bin", "GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D", "JUPYTER_PASSWORD=",
            "JUPYTER_PASSWORD_FILE=/run/secrets/password"],
    "Labels": {f"{OCI}title": "Sandbox", f"{OCI}description": "the password: see the guide", f"{OCI}version": "1.0.0",
               f"{OCI}created": "2026-11-22T10:00:00+00:00", f"{OCI}licenses": "MIT", f"{OCI}authors": "us",
               "dss-asset-id": "1.0.0"},
}  # fmt: skip


def image(config: dict[str, Any]) -> ImageDetails:
    return ImageDetails("sha256:1", (), (), 1, "amd64", (), config)


def broken(config: dict[str, Any], facts: ImageFacts | None = FACTS) -> dict[str, str]:
    results = [*judge_configuration(image(config), facts), *judge_secrets(image(config), [])]
    return {result.name: result.seen for result in results if not result.passed}


def test_a_good_configuration_passes() -> None:
    assert broken(GOOD) == {}
    assert broken({**GOOD, "Entrypoint": ["/usr/bin/tini", "--", "/usr/local/bin/dss-container"]}) == {}
    assert len(judge_configuration(image(GOOD), FACTS)) == 6
    assert len(judge_configuration(image(GOOD), None)) == 5


def change(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(config: dict[str, Any]) -> None:
        here = config
        for key in path[:-1]:
            here = here[key]
        here[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("name", "break_it", "seen"),
    [
        ("entrypoint", change("Entrypoint", to=["/bin/bash"]), "/bin/bash"),
        ("entrypoint", change("Entrypoint", to=None), "nothing"),
        ("entrypoint", change("Cmd", to=["bash"]), "dss-container bash"),
        ("port", change("ExposedPorts", to=None), "no port"),
        ("port", change("ExposedPorts", "22/tcp", to={}), "22/tcp, 8888/tcp"),
        ("volume", change("Volumes", to={}), "no volume"),
        ("health check", change("Healthcheck", to=None), "no health check"),
        ("health check", change("Healthcheck", to={"Test": ["NONE"]}), "NONE"),
        ("labels", change("Labels", to=None), "no dss-asset-id"),
        ("labels", change("Labels", f"{OCI}created", to="yesterday"), "'yesterday' is no time"),
        ("labels", change("Labels", f"{OCI}created", to="2026-11-22T10:00:00"), "no time zone"),
        ("labels", change("Labels", "dss-asset-id", to="2.0.0"), "the image's own file says 1.0.0"),
        ("no secret in the environment", change("Env", to=["DB_PASSWORD=hunter2"]), "DB_PASSWORD"),
        ("no secret in the environment", change("Env", to=["https_proxy=http://10.0.0.1:3128"]), "https_proxy"),
        ("no secret in the environment", change("Env", to=["URL=https://me:hunter2@example.org"]), "a login in an"),
        ("no secret in the labels", change("Labels", "registry-token", to="hunter2"), "registry-token"),
        ("no secret in the labels", change("Labels", "note", to="AKIA" + "A" * 16), "an AWS access key"),
    ],
)
def test_each_property_is_judged(name: str, break_it: Callable[[dict[str, Any]], object], seen: str) -> None:
    config = copy.deepcopy(GOOD)
    break_it(config)
    found = broken(config)
    assert list(found) == [name]
    assert seen in found[name]
    assert "hunter2" not in str(found), "a secret is never shown"


def test_an_image_of_another_edition_is_none() -> None:
    assert list(broken(GOOD, ImageFacts("1.0.0", "sandbox", frozenset(), "ubuntu", 8888))) == ["edition"]


def test_secrets_in_arguments_and_history() -> None:
    config = {**GOOD, "Entrypoint": ["/usr/local/bin/dss-container", "--token", "hunter2"]}
    results = judge_secrets(image(config), [{"CreatedBy": "|1 http_proxy=http://10.0.0.1 /bin/sh -c apt-get update"},
                                            {"CreatedBy": None, "Comment": None}])  # fmt: skip
    seen = {result.name: result.seen for result in results if not result.passed}
    assert seen == {"no secret in the entrypoint arguments": "token", "no secret in the history": "http_proxy"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ENV JUPYTER_PASSWORD=hunter2", ["JUPYTER_PASSWORD"]),
        ("RUN login --password 'hunter 2' host", ["password"]),
        ("ARG API_KEY=abc SECRET: x", ["API_KEY", "SECRET"]),
        ("curl -H 'Authorization: Bearer x'", ["Authorization"]),
        ("echo -----BEGIN OPENSSH PRIVATE KEY-----", ["a private key"]),
        ("git clone https://x:y@host/repo", ["a login in an address"]),
        ("export GH=ghp_" + "a" * 36, ["a GitHub token"]),
        ("jwt eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.x", ["a JSON web token"]),
        ("docker login --password-stdin", []),
        ("PASSWORD=$(cat /run/secret) TOKEN=${TOKEN} SECRET=", []),
        ("ENV JUPYTER_PASSWORD_FILE=/run/secrets/password", []),
        ("LABEL org.opencontainers.image.authors=us", []),
        ("RUN --mount=type=secret,id=key make install  # a token is asked for", []),
        ("sleep infinity", []),
    ],
)
def test_what_looks_like_a_secret(text: str, names: list[str]) -> None:
    assert list(secrets_in(text)) == names
