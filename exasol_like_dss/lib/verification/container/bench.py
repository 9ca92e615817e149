"""Where containers of one image are tried: made, waited for, and talked to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from exasol_like_dss.access.docker import Docker, EngineMissing, EngineRefused, Executed
from exasol_like_dss.access.jupyter import Jupyter
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, tail
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress, Step
from exasol_like_dss.lib.verification.container import processes
from exasol_like_dss.lib.verification.container.configuration import PORT
from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.report import Checks
from exasol_like_dss.lib.waiting import wait_until

#: From the start to the first answer takes two seconds on an idle machine; the engine asks for the health rarely.
_START_S = 120.0
_INTERVAL_S = 0.25
#: What a container prints for its user. The password is a secret.
_PASSWORD = re.compile(r"^(Password:\s+)(\S+)\s*$", re.MULTILINE)
_ADDRESS = re.compile(r"^JupyterLab:\s+(http://localhost:\d+/lab)\s*$", re.MULTILINE)
T = TypeVar("T")


class PartEnds(Exception):
    """What comes next in this part makes no sense any more. Its reason is among the results."""


@contextmanager
def judged(checks: Checks, name: str, *, goes_on: bool = False) -> Iterator[None]:
    """What fails in the block fails the check, and ends the part. An engine that is gone is not the image's fault."""
    try:
        yield
    except EngineMissing:
        raise
    except DssError as error:
        checks.add(name, False, error.message)
        if not goes_on:
            raise PartEnds(name) from error


@dataclass(frozen=True)
class Bench:
    """labels: for all that is made, so that it is removed. folder: an empty one, for the browser."""

    docker: Docker
    reference: str
    facts: ImageFacts
    labels: Mapping[str, str]
    folder: Path
    programs: Programs
    progress: Progress
    cancellation: Cancellation
    step: Step = field(repr=False)

    @property
    def python(self) -> str:
        """The image's Python; a base may have none on its PATH."""
        venv = self.facts.text("jupyter", "venv")
        return f"{venv}/bin/python" if venv else "python3"

    def volume(self) -> str:
        """A new one, empty."""
        return self.docker.create_volume(self.labels)

    def helper(self, volumes: Mapping[str, str]) -> Container:
        """A container of the image, for root, in which nothing runs; to fill volumes and to look around."""
        made = self.docker.create_container(
            self.reference,
            entrypoint=["/bin/sleep"],
            command=["3600"],
            user="0",
            labels=self.labels,
            volumes=volumes,
            init=True,
        )
        self.docker.start(made)
        return Container(self, made)

    def start(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        volumes: Mapping[str, str] | None = None,
        user: str | None = None,
        tmpfs: Mapping[str, str] | None = None,
        read_only: bool = False,
        cap_drop: Sequence[str] = (),
        security_options: Sequence[str] = (),
    ) -> Container:
        """A container as a user starts it."""
        made = self.docker.create_container(
            self.reference,
            labels=self.labels,
            ports=[PORT],
            environment=environment,
            volumes=volumes,
            user=user,
            tmpfs=tmpfs,
            read_only=read_only,
            cap_drop=cap_drop,
            security_options=security_options,
        )
        self.docker.start(made)
        return Container(self, made)

    def said(self, command: Sequence[str]) -> str:
        """What ``docker run IMAGE COMMAND…`` prints."""
        made = self.docker.create_container(self.reference, command=command, labels=self.labels)
        self.docker.start(made)
        container = Container(self, made)
        self.wait("a command in a container", lambda: not self.docker.state(made).running or None)
        return container.output()

    def wait(
        self,
        what: str,
        probe: Callable[[], T | None],
        *,
        deadline_s: float = _START_S,
        detail: Callable[[], str] = lambda: "",
    ) -> T:
        """As ``wait_until``; ends when the work is called off."""

        def checked() -> T | None:
            self.cancellation.check()
            return probe()

        return wait_until(
            what,
            checked,
            deadline_s=deadline_s,
            progress=self.progress,
            interval_s=_INTERVAL_S,
            detail=detail,
            hint="Start a container of the image, and look at its output: docker logs CONTAINER",
        )


class Container:
    """A running container of the image."""

    def __init__(self, bench: Bench, container: str) -> None:
        self.bench = bench
        self.id = container
        self._port = 0

    @property
    def port(self) -> int:
        """Where JupyterLab is, on 127.0.0.1 of this machine."""
        if not self._port:
            self._port = self.bench.docker.state(self.id).ports.get(PORT, 0)
        if not self._port:
            raise DssError(f"The container does not publish port {PORT}.")
        return self._port

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stranger(self) -> Jupyter:
        """Somebody without a password."""
        return Jupyter(port=self.port)

    def visitor(self, password: str) -> Jupyter:
        """Somebody who has logged in. Raises ``DssError`` when the password is refused."""
        jupyter = Jupyter(port=self.port)
        if not jupyter.log_in(password):
            raise DssError("JupyterLab refuses the password.")
        return jupyter

    def output(self) -> str:
        return self.bench.docker.logs(self.id)

    def password(self) -> str:
        """The generated one, as the container printed it; empty where it did not."""
        found = _PASSWORD.search(self.output())
        return found.group(2) if found else ""

    def printed_address(self) -> str:
        found = _ADDRESS.search(self.output())
        return found.group(1) if found else ""

    def check(self) -> None:
        """Raises ``DssError`` when the container has ended."""
        state = self.bench.docker.state(self.id)
        if not state.running:
            said = _PASSWORD.sub(r"\1…", self.output())
            raise DssError(f"the container ended with exit code {state.exit_code}: {tail(said, lines=5)}")

    def wait_for_answer(self) -> None:
        """Until JupyterLab answers at all."""

        def probe() -> bool | None:
            self.check()
            try:
                return self.stranger().get("/api", timeout_s=5).status == 200 or None
            except DssError:
                return None

        self.bench.wait("JupyterLab to answer", probe)

    def wait_for_health(self) -> str:
        """Until the engine takes it for healthy; without a health check, until it answers. Returns what was seen."""
        begin = time.monotonic()
        self.wait_for_answer()
        answered = time.monotonic() - begin
        if not self.bench.docker.state(self.id).health:
            return f"answers after {answered:.0f} s; without a health check nobody knows more"

        def healthy() -> bool | None:
            self.check()
            health = self.bench.docker.state(self.id).health
            if health == "unhealthy":
                raise DssError("JupyterLab answers, and the engine takes the container for unhealthy.")
            return health == "healthy" or None

        self.bench.wait("the container to be healthy", healthy)
        return f"answers after {answered:.0f} s, healthy after {time.monotonic() - begin:.0f} s"

    def execute(self, *command: str, user: str = "0", stdin: bytes | None = None) -> Executed:
        return self.bench.docker.execute(self.id, command, user=user, stdin=stdin)

    def ran(self, *command: str, user: str = "0", stdin: bytes | None = None) -> str:
        """As ``execute``. Raises ``DssError`` when the command fails."""
        done = self.execute(*command, user=user, stdin=stdin)
        if done.exit_code:
            raise DssError(f"{command[0]} ended with exit code {done.exit_code}: {tail(done.output, lines=3)}")
        return done.output

    def processes(self) -> list[processes.Process]:
        # As nobody: so that what looks around is no process of root's or of the user's.
        return processes.parse(self.ran(*processes.LIST, user="65534:65534"))

    def remove(self) -> None:
        """Before the end, to make room for others. What can't be removed now is removed at the end."""
        try:
            self.bench.docker.remove_container(self.id)
        except EngineRefused:
            return
