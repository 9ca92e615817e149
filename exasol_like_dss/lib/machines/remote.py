"""Any host that is reached over ssh with a key: a machine that runs."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DeadlinePassed, InputError, ProgramFailed, tail
from exasol_like_dss.lib.machines.protocol import CA_VARIABLES
from exasol_like_dss.lib.progress import Progress

_CONNECT_S = 15
#: On a tmpfs: a reboot takes it away, should we not come to it.
_BUILD = "/run/dss-build"
_CA = f"{_BUILD}/ca.crt"


class RemoteMachine:
    """A host reached by ``user@host:port``. Its host key is pinned at the first contact, for the time of the command.

    work_directory: private; holds the pinned key. ca_bundle: for https from there, for the time of the command.
    host_keys: public ones ("ssh-ed25519 AAAA…"), if they are known: then no other is accepted.
    """

    is_live = True

    def __init__(
        self,
        *,
        host: str,
        port: int,
        user: str,
        private_key: Path,
        ca_bundle: Path | None,
        work_directory: Path,
        programs: Programs,
        progress: Progress,
        host_keys: Sequence[str] = (),
    ) -> None:
        self._host = host
        self._port = port
        self._user = user
        self._private_key = private_key
        self._ca_bundle = ca_bundle
        self._known_hosts = work_directory / "known_hosts"
        self._programs = programs
        self._progress = progress
        self._host_keys = tuple(host_keys)
        if host_keys:
            place = host if port == 22 else f"[{host}]:{port}"
            self._known_hosts.write_text("".join(f"{place} {key}\n" for key in host_keys))

    @contextmanager
    def started(self) -> Iterator[None]:
        """Logs in once. Raises ``InputError`` when that fails, in ssh's own words."""
        try:
            self.run("sudo -n true")
        except ProgramFailed as failed:
            raise InputError(
                f"{self._user}@{self._host} (port {self._port}) can't be used: {tail(failed.output, lines=2)}",
                hint="Needed are a reachable ssh server, a key it accepts, and sudo without a password.",
            ) from failed
        if not self._host_keys:
            self._progress.note(
                f"The ssh host key of {self._host} was accepted at first contact: {self._fingerprint()}"
            )
        if not self._ca_bundle:
            yield
            return
        self.run(f"sudo -n sh -c 'mkdir -p {_BUILD} && cat > {_CA}'", stdin=self._ca_bundle.read_bytes())
        try:
            yield
        finally:
            with contextlib.suppress(ProgramFailed, DeadlinePassed):  # the host may be gone, or its login expired
                self.run(f"sudo -n rm -rf {_BUILD}")

    def connection_variables(self) -> Mapping[str, Any]:
        return {
            "ansible_connection": "ssh",
            "ansible_host": self._host,
            "ansible_port": self._port,
            "ansible_user": self._user,
            "ansible_ssh_private_key_file": str(self._private_key),
            "ansible_ssh_common_args": shlex.join(self._options()),
        }

    def build_environment(self) -> Mapping[str, str]:
        return {
            "DEBIAN_FRONTEND": "noninteractive",
            **(dict.fromkeys(CA_VARIABLES, _CA) if self._ca_bundle else {}),
        }

    def run(self, command: str, *, stdin: bytes | None = None, deadline_s: float = 4 * _CONNECT_S) -> str:
        """Runs a shell command there; its standard output. Raises ``ProgramFailed``, ``DeadlinePassed``."""
        return self._programs.run(
            self.command(command), what=f"logging in at {self._host}", stdin=stdin, deadline_s=deadline_s
        )

    def command(self, command: str) -> list[str]:
        """The program on this machine that runs a shell command there."""
        return [
            *("ssh", "-p", str(self._port), "-i", str(self._private_key)),
            *self._options(),
            f"{self._user}@{self._host}",
            command,
        ]

    def _options(self) -> list[str]:
        settings = {
            "BatchMode": "yes",
            "ConnectTimeout": str(_CONNECT_S),
            "IdentitiesOnly": "yes",
            "ServerAliveInterval": "15",
            "StrictHostKeyChecking": "yes" if self._host_keys else "accept-new",
            "UserKnownHostsFile": str(self._known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
        }
        return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    def _fingerprint(self) -> str:
        try:
            listed = self._programs.run(["ssh-keygen", "-l", "-f", str(self._known_hosts)])
        except ProgramFailed:
            return "unknown"
        return listed.split()[1] if len(listed.split()) > 1 else "unknown"
