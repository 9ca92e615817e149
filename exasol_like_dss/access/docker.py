"""A Docker engine (Engine API, docs.docker.com/reference/api/engine), by way of Docker's own package for Python.

Which engine: ``DOCKER_HOST`` (with ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH``), else the current context of the
Docker client, else the usual socket. The package is imported when an engine is first talked to.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from exasol_like_dss.lib.errors import DssError, InputError

_USUAL_HOST = "unix:///var/run/docker.sock"
_TIMEOUT_S = 120
#: HTTP status of what is being done already. Seconds that a removal may take.
_CONFLICT, _REMOVAL_S = 409, 60


class EngineMissing(DssError):
    """No engine answers."""


class EngineRefused(DssError):
    """The engine answered with an error. status: the HTTP status of the answer, 0 for an error within a stream."""

    def __init__(self, what: str, said: str, *, status: int = 0) -> None:
        super().__init__(f"{what} failed: {said}")
        self.said = said
        self.status = status


@dataclass(frozen=True)
class ImageDetails:
    """image_id: ``sha256:…`` of the configuration. size_bytes: unpacked. layers: their diff-ids, the lowest first.

    config: as in the image (keys ``User``, ``Env``, ``Labels`` …). history: what made each layer, the newest first.
    """

    image_id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size_bytes: int
    architecture: str
    layers: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.get("Labels") or {}


@dataclass(frozen=True)
class ContainerState:
    """health: ``starting``, ``healthy``, ``unhealthy``, or empty where the image has no check. ports: of this machine,
    by port in the container."""

    running: bool
    exit_code: int
    health: str
    ports: Mapping[int, int]


@dataclass(frozen=True)
class Executed:
    """What a command in a container did. output: both streams."""

    exit_code: int
    output: str


@dataclass(frozen=True)
class RegistryLogin:
    """password is a secret. Without one, the engine gets what the Docker client has stored for the registry."""

    user: str
    password: str = field(repr=False)


class Docker:
    """One engine. Every method is one request; errors are ``EngineMissing`` and ``EngineRefused``."""

    def __init__(self, host: str | None = None) -> None:
        """host: ``unix://…``, ``tcp://…`` or ``ssh://…``; ``None``: as the Docker client would choose."""
        self.host = host or os.environ.get("DOCKER_HOST") or _context_host() or _USUAL_HOST
        self._connected: Any = None

    @property
    def is_local(self) -> bool:
        """Whether the engine's published ports are on this machine."""
        return urlsplit(self.host).scheme in ("unix", "npipe")

    def close(self) -> None:
        if self._connected:
            self._connected.close()
            self._connected = None

    def check(self) -> str:
        """The engine's version. Raises ``InputError`` when none answers: nothing has been touched."""
        try:
            with self._asked("Asking the Docker engine for its version") as api:
                return str(api.version()["Version"])
        except EngineMissing as error:
            raise InputError(error.message, hint=error.hint) from error

    # --- images ---

    def image(self, reference: str) -> ImageDetails | None:
        """By name or id; ``None`` when the engine does not have it."""
        from docker.errors import ImageNotFound, NotFound

        with self._asked(f"Inspecting {reference}") as api:
            try:
                found = api.inspect_image(reference)
            except (ImageNotFound, NotFound):
                return None
        return ImageDetails(
            image_id=found["Id"],
            tags=tuple(found.get("RepoTags") or ()),
            digests=tuple(found.get("RepoDigests") or ()),
            size_bytes=int(found["Size"]),
            architecture=str(found.get("Architecture", "")),
            layers=tuple(found.get("RootFS", {}).get("Layers") or ()),
            config=found.get("Config") or {},
        )

    def history(self, reference: str) -> list[Mapping[str, Any]]:
        """What made each layer (``CreatedBy``, ``Comment``, ``Size`` in bytes), the newest first."""
        with self._asked(f"Reading the history of {reference}") as api:
            return list(api.history(reference))

    def images(self, repository: str) -> list[str]:
        """All names with tags in a repository."""
        with self._asked("Listing images") as api:
            return [tag for found in api.images(name=repository) for tag in found.get("RepoTags") or ()]

    def pull(self, repository: str, tag: str, login: RegistryLogin | None = None) -> Iterator[Mapping[str, Any]]:
        """The engine's events while it pulls. Raises ``EngineRefused`` for one that is an error."""
        what = f"Pulling {repository}:{tag}"
        with self._asked(what) as api:
            events = api.pull(repository, tag=tag, stream=True, decode=True, auth_config=_auth(login))
            yield from _checked(events, what)

    def import_tar(self, tar: Iterable[bytes], *, repository: str, tag: str, changes: Sequence[str]) -> str:
        """Makes an image of one layer from a tar, compressed or not, in pieces; returns its id."""
        what = "Importing the root file system"
        with self._asked(what) as api:
            said = str(api.import_image((piece for piece in tar), repository, tag, changes=list(changes)))
            events = list(_checked([json.loads(line) for line in said.splitlines() if line.strip()], what))
        return str(events[-1]["status"])

    def save(self, image: str) -> Iterator[bytes]:
        """An image as the tar that ``docker save`` writes, in pieces."""
        with self._asked(f"Saving {image}") as api:
            yield from api.get_image(image)

    def tag(self, image: str, repository: str, tag: str) -> None:
        with self._asked(f"Tagging {repository}:{tag}") as api:
            api.tag(image, repository, tag, force=True)

    def remove_image(self, reference: str) -> bool:
        """Removes a name, and the image with its last one. ``False``: something still needs it, or it is gone."""
        from docker.errors import APIError

        with self._asked(f"Removing the image {reference}") as api:
            try:
                api.remove_image(reference)
            except APIError as error:
                if error.status_code in (404, _CONFLICT):
                    return False
                raise
            return True

    def check_login(self, registry: str, login: RegistryLogin) -> None:
        """Lets the engine log in at a registry (host and port; empty for the engine's default). Nothing is stored."""
        with self._asked(f"Logging in at {registry or 'the default registry'}") as api:
            api.login(login.user, password=login.password, registry=registry or None, reauth=True)

    def push(self, repository: str, tag: str, login: RegistryLogin | None) -> Iterator[Mapping[str, Any]]:
        """The engine's events while it pushes: per layer ``id``, ``status`` and ``progressDetail``; at the end ``aux``
        with ``Digest``. Raises ``EngineRefused`` for one that is an error."""
        what = f"Pushing {repository}:{tag}"
        with self._asked(what) as api:
            yield from _checked(api.push(repository, tag=tag, stream=True, decode=True, auth_config=_auth(login)), what)

    def registry_digest(self, reference: str, login: RegistryLogin | None) -> str:
        """Asks the registry, through the engine, for the digest that a name has there."""
        with self._asked(f"Reading {reference} back from its registry") as api:
            return str(api.inspect_distribution(reference, auth_config=_auth(login))["Descriptor"]["digest"])

    # --- containers ---

    def create_container(
        self,
        image: str,
        *,
        name: str | None = None,
        command: Sequence[str] | None = None,
        entrypoint: Sequence[str] | None = None,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        volumes: Mapping[str, str] | None = None,
        tmpfs: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
        read_only: bool = False,
        cap_drop: Sequence[str] = (),
        security_options: Sequence[str] = (),
        init: bool = False,
    ) -> str:
        """Makes a container, and returns its id.

        volumes: named volume or folder of the engine's machine, to the place in the container (``:ro`` allowed).
        tmpfs: place to mount options. ports: of the container, each published on a free port of 127.0.0.1.
        """
        with self._asked(f"Making a container of {image}") as api:
            settings = api.create_host_config(
                binds=[f"{name}:{place}" for name, place in (volumes or {}).items()],
                tmpfs=dict(tmpfs or {}),
                port_bindings=dict.fromkeys(ports, ("127.0.0.1",)),
                read_only=read_only,
                cap_drop=list(cap_drop),
                security_opt=list(security_options),
                init=init,
            )
            made = api.create_container(
                image,
                name=name,
                command=list(command) if command is not None else None,
                entrypoint=list(entrypoint) if entrypoint is not None else None,
                user=user,
                environment=dict(environment or {}),
                labels=dict(labels or {}),
                ports=list(ports),
                host_config=settings,
                # The proxies of the client's configuration may hold passwords, and would be in the image.
                use_config_proxy=False,
            )
        return str(made["Id"])

    def start(self, container: str) -> None:
        with self._asked("Starting a container") as api:
            api.start(container)

    def state(self, container: str) -> ContainerState:
        with self._asked("Inspecting a container") as api:
            found = api.inspect_container(container)
        state, ports = found["State"], found["NetworkSettings"].get("Ports") or {}
        return ContainerState(
            running=bool(state["Running"]),
            exit_code=int(state["ExitCode"]),
            health=str((state.get("Health") or {}).get("Status", "")),
            ports={int(name.split("/")[0]): int(rows[0]["HostPort"]) for name, rows in ports.items() if rows},
        )

    def logs(self, container: str) -> str:
        with self._asked("Reading a container's output") as api:
            found: bytes = api.logs(container)
        return found.decode(errors="replace")

    def execute(
        self,
        container: str,
        command: Sequence[str],
        *,
        user: str = "",
        environment: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> Executed:
        """Runs a command in a running container, to its end."""
        with self._asked("Running a command in a container") as api:
            made = api.exec_create(container, list(command), user=user, environment=dict(environment or {}),
                                   stdin=stdin is not None)  # fmt: skip
            if stdin is None:
                output = api.exec_start(made["Id"])
            else:
                output = _talk(api.exec_start(made["Id"], socket=True), stdin)
            code = api.exec_inspect(made["Id"])["ExitCode"]
        return Executed(int(code), output.decode(errors="replace"))

    def read_archive(self, container: str, path: str) -> Iterator[bytes]:
        """A file or folder of a container as a tar, in pieces."""
        with self._asked(f"Reading {path} of a container") as api:
            pieces, _ = api.get_archive(container, path)
            yield from pieces

    def stop(self, container: str, *, timeout_s: int) -> None:
        """SIGTERM (or the image's own signal), and SIGKILL after ``timeout_s``."""
        with self._asked("Stopping a container") as api:
            api.stop(container, timeout=timeout_s)

    def commit(self, container: str, *, repository: str, tag: str, message: str, changes: Sequence[str]) -> str:
        """Makes an image of what a container changed; returns its id. changes: Dockerfile instructions."""
        with self._asked("Making an image of a container") as api:
            made = api.commit(container, repository=repository, tag=tag, message=message, changes=list(changes))
        return str(made["Id"])

    def containers(self, label: str) -> dict[str, Mapping[str, str]]:
        """All containers with a label, running or not: id to labels."""
        with self._asked("Listing containers") as api:
            return {found["Id"]: found["Labels"] for found in api.containers(all=True, filters={"label": label})}

    def container_names(self, prefix: str) -> list[str]:
        """The names that begin with ``prefix``, of all containers, running or not."""
        with self._asked("Listing containers") as api:
            found = [name.lstrip("/") for row in api.containers(all=True) for name in row["Names"] or ()]
        return [name for name in found if name.startswith(prefix)]

    def rename_container(self, container: str, name: str) -> None:
        with self._asked("Renaming a container") as api:
            api.rename(container, name)

    def remove_container(self, container: str) -> None:
        """Ends and removes it with its anonymous volumes. Fine when it is gone, or is being removed: then it waits."""
        from docker.errors import APIError, NotFound

        with self._asked("Removing a container") as api, contextlib.suppress(NotFound):
            try:
                api.remove_container(container, v=True, force=True)
            except APIError as error:
                if error.status_code != _CONFLICT or "in progress" not in str(error.explanation):
                    raise
                api.wait(container, condition="removed", timeout=_REMOVAL_S)

    # --- volumes ---

    def create_volume(self, labels: Mapping[str, str]) -> str:
        """Makes an empty volume, and returns its name."""
        with self._asked("Making a volume") as api:
            return str(api.create_volume(labels=dict(labels))["Name"])

    def volumes(self, label: str) -> dict[str, Mapping[str, str]]:
        """All volumes with a label: name to labels."""
        with self._asked("Listing volumes") as api:
            found = api.volumes(filters={"label": label})["Volumes"] or []
        return {volume["Name"]: volume["Labels"] for volume in found}

    def remove_volume(self, name: str) -> None:
        from docker.errors import NotFound

        with self._asked("Removing a volume") as api, contextlib.suppress(NotFound):
            api.remove_volume(name, force=True)

    def volume_folder(self, name: str) -> str:
        """Where the volume is on the engine's machine."""
        with self._asked("Inspecting a volume") as api:
            return str(api.inspect_volume(name)["Mountpoint"])

    @contextmanager
    def _asked(self, what: str) -> Iterator[Any]:
        """The connection, with errors in our words."""
        import requests
        from docker.errors import APIError, DockerException

        try:
            if self._connected is None:
                self._connected = self._connect()
            yield self._connected
        except APIError as error:
            raise EngineRefused(what, _said(error), status=error.status_code or 0) from error
        except requests.Timeout as error:
            raise EngineMissing(
                f"The Docker engine at {self.host} does not answer in time ({what}).", hint="Is it overloaded?"
            ) from error
        except (requests.ConnectionError, DockerException) as error:
            raise EngineMissing(
                f"The Docker engine at {self.host} can't be reached: {_innermost(error)}.",
                hint="Start it (systemctl start docker), or set DOCKER_HOST; your user needs the right to use it "
                "(group docker).",
            ) from error

    def _connect(self) -> Any:
        from docker.api.client import APIClient
        from docker.utils import kwargs_from_env

        settings = kwargs_from_env(environment={**os.environ, "DOCKER_HOST": self.host})
        return APIClient(version="auto", timeout=_TIMEOUT_S, **settings)


def _context_host() -> str | None:
    """The address of the Docker client's current context (``docker context use``)."""
    from docker.context import ContextAPI
    from docker.errors import DockerException

    try:
        context = ContextAPI.get_current_context()
        host = context.Host if context and context.Name != "default" else None
    except (DockerException, OSError, ValueError):
        return None
    return str(host) if host else None


def _auth(login: RegistryLogin | None) -> dict[str, str] | None:
    return {"username": login.user, "password": login.password} if login else None


def _checked(events: Any, what: str) -> Iterator[Mapping[str, Any]]:
    for event in events:
        if "error" in event:
            said = (event.get("errorDetail") or {}).get("message") or event["error"]
            for _ in events:  # to the end of the answer: else its connection stays open
                pass
            raise EngineRefused(what, str(said).strip())
        yield event


def _talk(connection: Any, stdin: bytes) -> bytes:
    """Writes to a command, closes its input, and reads both of its streams (they come in frames)."""
    import socket

    from docker.utils.socket import frames_iter

    raw = getattr(connection, "_sock", connection)
    try:
        raw.sendall(stdin)
        raw.shutdown(socket.SHUT_WR)
        return b"".join(data for _, data in frames_iter(connection, tty=False))
    finally:
        connection.close()
        raw.close()


def _said(error: Any) -> str:
    return str(error.explanation or error).strip().rstrip(".")


def _innermost(error: BaseException) -> str:
    """The reason at the end of a chain of wrappers, such as “No such file or directory”."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return getattr(error, "strerror", None) or str(error)
