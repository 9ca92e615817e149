"""An instance in EC2 as a machine: when it is ready, and how it is reached.

Ready means: ssh answers, cloud-init has ended without an error, and the apt lock is free. The host key is compared with
what the instance printed on its console, which only AWS and the instance can write to.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.errors import DeadlinePassed, DssError, InputError, ProgramFailed, tail
from exasol_like_dss.lib.machines.remote import RemoteMachine
from exasol_like_dss.lib.waiting import wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_build import Ec2Builds
    from exasol_like_dss.access.programs import Programs
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

SSH_S = 420.0
LOGIN_S = 180.0
CLOUD_INIT_S = 900.0
APT_S = 900.0
CONSOLE_S = 60.0
_INTERVAL_S = 2.0
_CONSOLE_LINES = 15
# cloud-init's module keys_to_console
_KEYS = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_KEY = re.compile(r"((?:ssh|ecdsa|sk)-[\w@.-]+ [A-Za-z0-9+/=]{40,})")
_STATUS = "if command -v cloud-init >/dev/null; then cloud-init status --format json; else echo '{}'; fi; true"
# apt and dpkg lock with fcntl(2): flock(1) does not see it.
_APT_LOCKS = """\
import fcntl, sys
for name in ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"):
    try:
        with open(name, "a") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except OSError:
        sys.exit(name)
print("free")
"""


@dataclass(frozen=True, kw_only=True)
class Ec2Login:
    """How one gets in. host_keys: empty when the console did not tell them."""

    address: str
    user: str
    private_key: Path
    host_keys: tuple[str, ...]

    def ssh_line(self) -> str:
        """For the user's shell."""
        return f"ssh -i {self.private_key} {self.user}@{self.address}"

    def tunnel_line(self, port: int) -> str:
        """The same, with JupyterLab's port led to this machine: the port is open to nobody."""
        return f"ssh -i {self.private_key} -N -L 127.0.0.1:{port}:127.0.0.1:{port} {self.user}@{self.address}"


def host_keys_of(console: str) -> tuple[str, ...]:
    """The public host keys that cloud-init printed last; nothing while it did not."""
    blocks = _KEYS.findall(console.replace("\r", ""))
    return tuple(_KEY.findall(blocks[-1])) if blocks else ()


class Ec2Machine:
    """One running instance. work_directory: private. ca_bundle: see ``RemoteMachine``."""

    is_live = True

    def __init__(
        self,
        *,
        instance_id: str,
        user: str,
        private_key: Path,
        ca_bundle: Path | None,
        work_directory: Path,
        builds: Ec2Builds,
        programs: Programs,
        progress: Progress,
        cancellation: Cancellation,
    ) -> None:
        self.instance_id = instance_id
        self._user = user
        self._private_key = private_key
        self._ca_bundle = ca_bundle
        self._work_directory = work_directory
        self._builds = builds
        self._programs = programs
        self._progress = progress
        self._cancellation = cancellation
        self._remote: RemoteMachine | None = None
        self._login: Ec2Login | None = None

    def login_with(self, private_key: Path) -> Ec2Login:
        """The same login with its key in another place."""
        assert self._login
        return replace(self._login, private_key=private_key)

    def wait_until_ready(self) -> Ec2Login:
        """Raises ``DssError`` with the last lines of the console."""
        try:
            return self._ready()
        except DssError as error:
            lines = tail(self._console(), lines=_CONSOLE_LINES)
            shown = f"\nThe last lines of its console:\n{lines}" if lines else "\nIts console is empty so far."
            raise type(error)(error.message + shown, hint=error.hint) from error

    def _ready(self) -> Ec2Login:
        address = self._address()
        with self._progress.step("wait for ssh"):
            self._wait(
                "ssh to answer", lambda: ssh_answers(address), SSH_S, "Is port 22 free from here? See --ssh-cidr."
            )
            keys = self._host_keys()
            if not keys:
                self._progress.note(f"The console of {self.instance_id} does not tell the ssh host key.")
            login = Ec2Login(address=address, user=self._user, private_key=self._private_key, host_keys=keys)
            self._login = login
            self._remote = self._made_remote(login)
            self._log_in(self._remote)
        with self._progress.step("wait for cloud-init"):
            self._wait_for_cloud_init(self._remote)
        with self._progress.step("wait for the apt lock"):
            self._wait(
                "apt to be free", self._apt_is_free, APT_S, "Something installs packages: see ps on the machine."
            )
        return login

    @contextmanager
    def started(self) -> Iterator[None]:
        """It runs already. Raises ``InputError`` when nobody gets in."""
        assert self._remote, "wait_until_ready comes first"
        with self._remote.started():
            yield

    def connection_variables(self) -> Any:
        assert self._remote
        return self._remote.connection_variables()

    def build_environment(self) -> Any:
        assert self._remote
        return self._remote.build_environment()

    @property
    def remote(self) -> RemoteMachine:
        assert self._remote
        return self._remote

    def _made_remote(self, login: Ec2Login) -> RemoteMachine:
        return RemoteMachine(
            host=login.address,
            port=22,
            user=login.user,
            private_key=login.private_key,
            ca_bundle=self._ca_bundle,
            work_directory=self._work_directory,
            programs=self._programs,
            progress=self._progress,
            host_keys=login.host_keys,
        )

    def _address(self) -> str:
        found = self._builds.instance(self.instance_id)
        address = found.public_address or self._builds.private_address(self.instance_id)
        if found.state != "running" or not address:
            raise DssError(f"The instance {self.instance_id} is {found.state}, and has no address to reach it by.")
        return address

    def _host_keys(self) -> tuple[str, ...]:
        return wait_for_host_keys(
            self._builds, self.instance_id, progress=self._progress, cancellation=self._cancellation
        )

    def _log_in(self, remote: RemoteMachine) -> None:
        said = ""

        def enter() -> bool:
            nonlocal said
            try:
                remote.run("true", deadline_s=30)
            except (ProgramFailed, DeadlinePassed) as error:
                said = tail(error.output, lines=3) if isinstance(error, ProgramFailed) else error.message
                if "Host key verification failed" in said:
                    raise DssError(
                        f"The ssh host key of {self.instance_id} is not the one that it printed on its console.",
                        hint="Somebody may be in between. Remove the machine, and try it from another network.",
                    ) from error
                return False
            return True

        try:
            self._wait("the login", enter, LOGIN_S, "Does the key belong to the instance, and the user to the AMI?",
                       detail=lambda: said)  # fmt: skip
        except DeadlinePassed as error:
            raise InputError(
                f"Nobody gets into {self.instance_id}: {said or error.message}", hint=error.hint
            ) from error

    def _wait_for_cloud_init(self, remote: RemoteMachine) -> None:
        status = "not known"

        def ended() -> bool:
            nonlocal status
            said = remote.run(_STATUS)
            try:
                found: dict[str, Any] = json.loads(said[said.index("{") :])
            except ValueError:
                raise DssError(f"cloud-init says nothing of use: {tail(said, lines=3)}") from None
            status = str(found.get("status", "none"))
            if status == "error" or (status == "degraded" and found.get("errors")):
                errors = "; ".join(str(error) for error in found.get("errors", [])) or "see /var/log/cloud-init.log"
                raise DssError(
                    f"cloud-init ended with errors on {self.instance_id}: {errors}",
                    hint="Run the same command with --fresh; if it happens again, try another --ec2-source-ami.",
                )
            return status in ("done", "disabled", "degraded", "none")

        self._wait("cloud-init to end", ended, CLOUD_INIT_S, "Log in and see: cloud-init status --long",
                   detail=lambda: status)  # fmt: skip

    def _apt_is_free(self) -> bool:
        try:
            return "free" in self.remote.run("sudo -n python3 -", stdin=_APT_LOCKS.encode())
        except ProgramFailed as failed:
            if "/lock" in failed.output:
                return False
            raise

    def _console(self) -> str:
        try:
            return console_of(self._builds, self.instance_id)
        except DssError:
            return ""

    def _wait(
        self, what: str, probe: Callable[[], Any], deadline_s: float, hint: str, *, detail: Callable[[], str] = str
    ) -> Any:
        def checked() -> Any:
            self._cancellation.check()
            return probe()

        return wait_until(
            what,
            checked,
            deadline_s=deadline_s,
            interval_s=_INTERVAL_S,
            progress=self._progress,
            hint=hint,
            detail=detail,
        )


def console_of(builds: Ec2Builds, instance_id: str) -> str:
    """As new as AWS has it for this type of instance. Raises ``AwsError``."""
    try:
        return builds.console_output(instance_id, latest=True)
    except AwsError as error:
        if error.code != "UnsupportedOperation":
            raise
    return builds.console_output(instance_id, latest=False)


def wait_for_host_keys(
    builds: Ec2Builds, instance_id: str, *, progress: Progress, cancellation: Cancellation
) -> tuple[str, ...]:
    """The public host keys on the console: AWS shows late what an instance prints. Empty when they don't come."""

    def look() -> tuple[str, ...] | None:
        cancellation.check()
        console = console_of(builds, instance_id)
        keys = host_keys_of(console)
        if not keys and re.search(r"login: *$", console):
            raise DeadlinePassed("it is at its login, and told no host keys")
        return keys or None

    try:
        return wait_until(
            "the host keys on the console",
            look,
            deadline_s=CONSOLE_S,
            interval_s=_INTERVAL_S,
            progress=progress,
            hint="",
        )
    except DeadlinePassed:
        return ()


def ssh_answers(address: str, port: int = 22) -> bool:
    """Whether a server tells its version (RFC 4253, section 4.2)."""
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
