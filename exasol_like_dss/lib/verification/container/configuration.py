"""Judges what an image says of itself: its configuration, and secrets in what everybody can read. Pure.

The keys are those of the image's configuration (OCI image specification, config.md) as the engine shows them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from exasol_like_dss.access.docker import ImageDetails
from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.report import AT_REST, CheckResult, Checks

PORT = 8888
NOTEBOOKS = "/home/jupyter/notebooks"
ENTRYPOINT = "/usr/local/bin/dss-container"
ASSET_ID_LABEL = "dss-asset-id"
_OCI = "org.opencontainers.image."
#: A build without a git checkout knows neither ``revision`` nor ``source``.
_LABELS = (*(_OCI + name for name in ("title", "description", "version", "created", "licenses")), ASSET_ID_LABEL)

_TELLING = r"pass(?:word|wd|phrase)|secret|token|credential|api_?key|access_?key|private_?key|auth(?!ors?\b)"
#: A name that says so, with a value: ``NAME=value``, ``NAME: value``; and ``--name value``.
_ASSIGNED = re.compile(
    rf"(?P<name>[\w.-]*(?:{_TELLING})[\w.-]*)\s*[=:]\s*(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;&|)]*)", re.I
)
_OPTION = re.compile(rf"--(?P<name>[\w-]*(?:{_TELLING})[\w-]*)\s+(?P<value>[^\s-][^\s]*)", re.I)
_PROXY = re.compile(r"\b(?P<name>(?:https?|ftp|all)_proxy)\s*[=:]\s*(?P<value>[^\s]+)", re.I)
_LOOKS_SECRET: Mapping[str, re.Pattern[str]] = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY"),
    "a login in an address": re.compile(r"\w://[^\s/:@]*:[^\s/@]+@"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
    "a GitLab token": re.compile(r"\bglpat-[\w-]{20,}"),
    "a Slack token": re.compile(r"\bxox[abprs]-[\w-]{10,}"),
    "a package index token": re.compile(r"\bpypi-[\w-]{40,}"),
    "a JSON web token": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\."),
}
#: A name that ends like this holds the place of a secret, not the secret.
_PLACE = re.compile(r"_(?:file|path|dir|command)$", re.I)


def judge_configuration(image: ImageDetails, facts: ImageFacts | None) -> list[CheckResult]:
    """One result per property. facts: of the image's own file; ``None`` when it could not be read."""
    checks = Checks(AT_REST)
    config = image.config
    entrypoint, command = tuple(config.get("Entrypoint") or ()), config.get("Cmd") or []
    checks.add("entrypoint", entrypoint[-1:] == (ENTRYPOINT,) and not command, " ".join((*entrypoint, *command)))
    ports = sorted(config.get("ExposedPorts") or {})
    checks.add("port", ports == [f"{PORT}/tcp"], ", ".join(ports) or "no port")
    volumes = sorted(config.get("Volumes") or {})
    checks.add("volume", volumes == [NOTEBOOKS], ", ".join(volumes) or "no volume")
    test = (config.get("Healthcheck") or {}).get("Test") or []
    checks.add("health check", bool(test) and test[0] != "NONE", " ".join(test) or "no health check")
    checks.add("labels", *_labels(image.labels, facts))
    if facts is not None:
        checks.add("edition", facts.edition == "docker", f"{facts.edition}, {len(facts.roles)} roles")
    return checks.results


def _labels(labels: Mapping[str, str], facts: ImageFacts | None) -> tuple[bool, str]:
    wrong = [f"no {name}" for name in _LABELS if not labels.get(name)]
    created = labels.get(_OCI + "created", "")
    try:
        if created and datetime.fromisoformat(created).tzinfo is None:
            wrong.append(f"{_OCI}created {created!r} has no time zone")
    except ValueError:
        wrong.append(f"{_OCI}created {created!r} is no time (RFC 3339)")
    asset_id = labels.get(ASSET_ID_LABEL, "")
    if facts is not None and asset_id and asset_id != facts.asset_id:
        wrong.append(f"{ASSET_ID_LABEL} is {asset_id}, the image's own file says {facts.asset_id}")
    known = ", ".join(sorted(name.removeprefix(_OCI) for name in labels))
    return not wrong, "; ".join(wrong) or known


def judge_secrets(image: ImageDetails, history: Sequence[Mapping[str, Any]]) -> list[CheckResult]:
    """No secret where everybody reads it who has the image. The results name secrets, and never show one."""
    config = image.config
    labels = [f"{name}={value}" for name, value in image.labels.items()]
    arguments = [" ".join([*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())])]
    check = (config.get("Healthcheck") or {}).get("Test") or []
    made = [f"{layer.get('CreatedBy') or ''}\n{layer.get('Comment') or ''}" for layer in history]
    places: dict[str, tuple[Sequence[str], Callable[[str], Iterator[str]]]] = {
        "environment": (config.get("Env") or [], _in_setting),
        "labels": (labels, _in_setting),
        "entrypoint arguments": ([*arguments, " ".join(check)], secrets_in),
        "history": (made, secrets_in),
    }
    checks = Checks(AT_REST)
    for place, (texts, find) in places.items():
        found = list(dict.fromkeys(name for text in texts for name in find(text)))
        checks.add(f"no secret in the {place}", not found, ", ".join(found) or f"{len(texts)} looked at")
    return checks.results


def secrets_in(text: str) -> Iterator[str]:
    """What looks like a secret in a command or a comment, by name."""
    for pattern in (_ASSIGNED, _OPTION, _PROXY):
        for match in pattern.finditer(text):
            if _is_value(match["name"], match["value"]):
                yield match["name"].lstrip("-.")
    yield from _by_look(text)


def _in_setting(setting: str) -> Iterator[str]:
    """As ``secrets_in``, for one ``NAME=value``, whose value is one text."""
    name, _, value = setting.partition("=")
    telling = re.search(rf"(?:{_TELLING})", name, re.I) or re.fullmatch(r"(?:https?|ftp|all)_proxy", name, re.I)
    if telling and _is_value(name, value):
        yield name
    yield from _by_look(value)


def _by_look(text: str) -> Iterator[str]:
    return (name for name, pattern in _LOOKS_SECRET.items() if pattern.search(text))


def _is_value(name: str, value: str) -> bool:
    """Nothing, a variable of the shell, and the place of a file are no secrets."""
    value = value.strip("\"'")
    return bool(value) and not value.startswith(("$", "`", "<")) and not _PLACE.search(name)
