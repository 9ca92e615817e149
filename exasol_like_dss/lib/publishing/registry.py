"""Pushes an image to its registry, shows the progress of each layer, and reads back what arrived."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack

from exasol_like_dss.access.docker import Docker, EngineRefused, RegistryLogin
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.references import Repository
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress, Step

#: The engine itself tries each layer five times.
_ATTEMPTS = 3
_PAUSE_S = 2.0
#: How engines word a connection that broke, and a registry that is overloaded or starting.
_TRANSIENT = re.compile(
    r"\bEOF\b|connection re(set|fused)|broken pipe|time(d )?out|i/o|deadline exceeded|server closed|no route to host"
    r"|status:? 5\d\d|HTTP status: 5\d\d|too many requests|toomanyrequests|unexpected status",
    re.IGNORECASE,
)
_NO_HOST = re.compile(r"no such host|dial tcp|server gave HTTP response|x509|certificate", re.IGNORECASE)
_REFUSED = re.compile(
    r"unauthorized|denied|authentication required|no basic auth|incorrect username|forbidden", re.IGNORECASE
)


def check_login(docker: Docker, repository: Repository, login: RegistryLogin) -> None:
    """Whether the registry takes the login, before anything is built. Raises ``InputError`` when it does not."""
    try:
        docker.check_login(repository.host, login)
    except EngineRefused as error:
        if _REFUSED.search(error.said) or error.status in (401, 403):
            raise _refusal(repository, login, error) from error
        raise DssError(
            f"The registry {repository.registry} can't be reached: {error.said}.",
            hint="Check its name and the network.",
        ) from error


def published_digest(docker: Docker, repository: Repository, tag: str, login: RegistryLogin | None) -> str | None:
    """What a tag names in the registry now. ``None``: nothing, or what may not be asked before the first push.

    Raises ``InputError`` when the registry does not answer: better now than after a build.
    """
    try:
        return docker.registry_digest(f"{repository}:{tag}", login)
    except EngineRefused as error:
        if _TRANSIENT.search(error.said) or _NO_HOST.search(error.said):
            raise InputError(
                f"The registry {repository.registry} can't be reached: {error.said}.",
                hint="Check its name and the network, or leave out --publish.",
            ) from error
        return None


def push(
    docker: Docker,
    repository: Repository,
    tag: str,
    *,
    login: RegistryLogin | None,
    progress: Progress,
    cancellation: Cancellation,
    pause_s: float = _PAUSE_S,
) -> str:
    """Pushes ``repository:tag``; returns the digest of its manifest, as the registry has it.

    A broken connection is tried again: layers that arrived are not sent twice. Raises ``InputError`` when the registry
    refuses the login, ``DssError`` for everything else that goes wrong, also when the registry has something else.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        cancellation.check()
        try:
            digest = _push_once(docker, repository, tag, login, progress, cancellation)
            break
        except EngineRefused as error:
            if _REFUSED.search(error.said):
                raise _refusal(repository, login, error) from error
            if attempt == _ATTEMPTS or not _TRANSIENT.search(error.said):
                raise DssError(
                    f"{repository}:{tag} can't be pushed: {error.said}.",
                    hint="Run the command again when the registry answers: layers that arrived are not sent twice.",
                ) from error
            progress.note(f"The push broke off ({error.said}); attempt {attempt + 1} of {_ATTEMPTS} follows.")
            end = time.monotonic() + pause_s * 2 ** (attempt - 1)
            while time.monotonic() < end:
                cancellation.check()
                time.sleep(0.1)
    _read_back(docker, repository, tag, digest, login)
    return digest


def _push_once(
    docker: Docker,
    repository: Repository,
    tag: str,
    login: RegistryLogin | None,
    progress: Progress,
    cancellation: Cancellation,
) -> str:
    digest = ""
    layers: dict[str, tuple[ExitStack, Step]] = {}
    with ExitStack() as all_layers:
        for event in docker.push(repository=str(repository), tag=tag, login=login):
            cancellation.check()
            digest = (event.get("aux") or {}).get("Digest", digest)
            layer, status, detail = event.get("id", ""), event.get("status", ""), event.get("progressDetail") or {}
            if status == "Pushing" and detail.get("current"):
                if layer not in layers:
                    own = all_layers.enter_context(ExitStack())
                    layers[layer] = own, own.enter_context(progress.step(f"layer {layer}"))
                progress.bytes(layers[layer][1], int(detail["current"]), int(detail.get("total") or 0) or None)
            elif layer in layers and status == "Pushed":
                layers[layer][0].close()
    if not digest:
        raise DssError(f"The engine did not say which digest {repository}:{tag} got.", hint="Push it again.")
    return digest


def _read_back(docker: Docker, repository: Repository, tag: str, digest: str, login: RegistryLogin | None) -> None:
    for name in (f"{repository}@{digest}", f"{repository}:{tag}"):
        try:
            found = docker.registry_digest(name, login)
        except EngineRefused as error:
            raise DssError(
                f"{name} was pushed, but the registry does not give it back: {error.said}.", hint="Push it again."
            ) from error
        if found != digest:
            raise DssError(
                f"{name} has the digest {found} in the registry, not {digest}, which was pushed.",
                hint="Did somebody else push the same tag?",
            )


def _refusal(repository: Repository, login: RegistryLogin | None, error: EngineRefused) -> InputError:
    who = f"of user {login.user!r}" if login else "that the Docker client has stored, or there is none"
    return InputError(
        f"The registry {repository.registry} refuses the login {who}: {error.said}.",
        hint="Give --registry-user, and the password in DOCKER_REGISTRY_PASSWORD; or run docker login.",
    )
