"""A container of a Docker engine, as a machine: what Ansible changes in it becomes a layer of an image.

/run, /tmp and /var/tmp are tmpfs: what only the build may see (CA bundle, apt's proxy) is there, and thus never in the
image. The container's name says which process made it, so that a later run can remove what a killed one left (its
labels would be in the image).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exasol_like_dss.access.docker import Docker, Executed
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.builds import build_name, kept_name
from exasol_like_dss.lib.errors import DssError, InputError, tail
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.machines.environment import (
    POLICY,
    POLICY_TEXT,
    UNSAFE_IO,
    UNSAFE_IO_TEXT,
    apt_configuration,
    pip_settings,
    proxies,
)
from exasol_like_dss.lib.machines.protocol import CA_VARIABLES
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.waiting import unbroken

_BUILD = "/run/dss-build"
_CA = f"{_BUILD}/ca.crt"
_APT = f"{_BUILD}/apt.conf"
_TMPFS = {"/run": "mode=755", "/tmp": "mode=1777,exec", "/var/tmp": "mode=1777,exec"}


class ContainerMachine:
    """A container of ``image``. keep: it stays when the block ends, stopped, for inspection."""

    is_live = False

    def __init__(
        self,
        image: str,
        *,
        docker: Docker,
        programs: Programs,
        progress: Progress,
        cancellation: Cancellation,
        ca_bundle: Path | None,
        keep: bool = False,
    ) -> None:
        self._image = image
        self._docker = docker
        self._programs = programs
        self._progress = progress
        self._cancellation = cancellation
        self._ca_bundle = ca_bundle
        self._keep = keep
        self._container = ""

    @contextmanager
    def started(self) -> Iterator[None]:
        """Raises ``InputError`` for an image without apt, ``DssError`` when Python can't be installed in it."""
        name = build_name()
        try:
            container = unbroken(
                lambda: self._docker.create_container(
                    self._image,
                    name=name,
                    entrypoint=["sleep"],
                    command=["infinity"],
                    user="0:0",
                    tmpfs=_TMPFS,
                    init=True,
                )
            )
            self._docker.start(container)
            self._container = container
            self._prepare()
            yield
        finally:
            self._container = ""
            if self._keep:
                self._docker.stop(name, timeout_s=1)
                self._docker.rename_container(name, kept_name(name))
                self._progress.note(f"The build container is kept for inspection: {kept_name(name)}")
            else:
                self._docker.remove_container(name)

    def connection_variables(self) -> Mapping[str, Any]:
        assert self._container, "the machine is not started"
        client = [self._programs.find("docker"), "--host", self._docker.host]
        return {
            "ansible_connection": "enter",
            "ansible_enter_command": [*client, "exec", "--interactive", "--user", "0:0", self._container],
        }

    def build_environment(self) -> Mapping[str, str]:
        result = {"APT_CONFIG": _APT, "DEBIAN_FRONTEND": "noninteractive", **pip_settings(), **proxies()}
        if self._ca_bundle:
            result |= dict.fromkeys(CA_VARIABLES, _CA)
        return result

    def commit(self, repository: str, tag: str, *, message: str, changes: Sequence[str]) -> str:
        """Makes an image of what it is now; returns its id."""
        self._run(f"rm -f {POLICY} {UNSAFE_IO}")
        return unbroken(
            lambda: self._docker.commit(
                self._container, repository=repository, tag=tag, message=message, changes=list(changes)
            )
        )

    def read(self, command: str) -> str:
        """What a shell command in it prints. Raises ``DssError`` when it fails."""
        return self._run(command)

    def _prepare(self) -> None:
        if self._execute("command -v apt-get").exit_code:
            raise InputError(
                f"The image {self._image} has no apt: it is not based on Debian or Ubuntu.",
                hint="Give an image of Debian or Ubuntu to --base-image.",
            )
        self._run(f"mkdir -p {_BUILD}")
        self._write(_APT, apt_configuration(self._programs, ca_bundle=_CA if self._ca_bundle else None).encode())
        if self._ca_bundle:
            self._write(_CA, self._ca_bundle.read_bytes())
        self._write(POLICY, POLICY_TEXT.encode())
        self._write(UNSAFE_IO, UNSAFE_IO_TEXT.encode())
        self._run(f"chmod 755 {POLICY}")
        if self._execute("command -v python3").exit_code:
            # Ansible's modules are Python programs.
            self._progress.status("installing Python")
            self._run("apt-get update -q && apt-get install -yq --no-install-recommends python3 ca-certificates")

    def _write(self, path: str, content: bytes) -> None:
        done = self._docker.execute(
            self._container, ["sh", "-c", f"cat > {shlex.quote(path)}"], user="0:0", stdin=content
        )
        if done.exit_code:
            raise DssError(f"{path} can't be written in the build container: {tail(done.output, lines=1)}")

    def _run(self, command: str) -> str:
        self._cancellation.check()
        done = self._execute(command)
        if done.exit_code:
            raise DssError(f"`{command}` failed in the build container: {tail(done.output, lines=6)}")
        return done.output

    def _execute(self, command: str) -> Executed:
        return self._docker.execute(
            self._container, ["sh", "-c", command], user="0:0", environment=self.build_environment()
        )
