"""``dss`` in a forked child of the tests: nothing is imported anew, and it can be killed at any call.

Faked are the parts that need a machine: ssh, Ansible, the verification. All that talks to AWS is real.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import botocore.handlers
import botocore.session

import exasol_like_dss.lib.pipeline.ec2 as pipeline
from exasol_like_dss.access.ansible import PlaybookResult
from exasol_like_dss.cli.main import main
from exasol_like_dss.lib import waiting
from exasol_like_dss.lib.machines.ec2 import Ec2Login, Ec2Machine
from exasol_like_dss.lib.provisioning import playbooks
from exasol_like_dss.lib.verification import instance as verification
from exasol_like_dss.lib.verification.report import CheckResult, VerificationReport

_LONGEST_S = 120.0
#: The longest pause between two looks.
_PAUSE_S = 0.06


def share_models() -> Any:
    """A patch: all sessions, also those of the children, read botocore's models (seconds' worth of JSON) once."""
    return mock.patch.object(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))


@dataclass(frozen=True)
class Ended:
    """code: negative for the signal that killed it. calls: to AWS, "service:Action". text: all that it printed."""

    code: int
    calls: list[str]
    text: str


@dataclass(frozen=True)
class Kill:
    """SIGKILL at the nth call: before it leaves, or after its answer has come."""

    nth: int
    after: bool


def run(
    arguments: Sequence[str], *, folder: Path, env: Mapping[str, str], kill: Kill | None = None, ansible: str = ""
) -> Ended:
    """ansible: "kill" for a SIGKILL while it runs."""
    journal, output = folder / "calls", folder / "output"
    journal.write_text("")
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = _in_child(arguments, env=env, journal=journal, output=output, kill=kill, ansible=ansible)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + _LONGEST_S
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError(f"{arguments} hangs:\n{output.read_text()}")
        time.sleep(0.005)
    return Ended(os.waitstatus_to_exitcode(status), journal.read_text().split(), output.read_text())


def _in_child(
    arguments: Sequence[str], *, env: Mapping[str, str], journal: Path, output: Path, kill: Kill | None, ansible: str
) -> int:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.environ.update(env)
    count = 0

    def before_send(event_name: str, **_: Any) -> None:
        nonlocal count
        count += 1
        with journal.open("a") as lines:
            lines.write(":".join(event_name.split(".")[1:]) + "\n")
        if kill and not kill.after and count == kill.nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def response_received(**_: Any) -> None:
        if kill and kill.after and count >= kill.nth:
            os.kill(os.getpid(), signal.SIGKILL)

    botocore.handlers.BUILTIN_HANDLERS += [
        ("before-send", before_send), ("response-received", response_received)
    ]  # fmt: skip
    with _faked(ansible):
        try:
            main(list(arguments))
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


@contextmanager
def _faked(ansible: str) -> Iterator[None]:
    assert waiting.wait_until.__kwdefaults__
    sleep = time.sleep

    def ready(self: Ec2Machine) -> Ec2Login:
        self._login = Ec2Login(address="127.0.0.1", user="ubuntu", private_key=Path("/none"), host_keys=())
        return self._login

    def install(*_: Any, **__: Any) -> PlaybookResult:
        if ansible == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return PlaybookResult("successful", 1, (), "")

    class Collector:
        def write_sbom(self, target: Path, **_: Any) -> int:
            target.write_text("{}")
            return 1

    @contextmanager
    def collector(*_: Any) -> Iterator[Collector]:
        yield Collector()

    def verified(*_: Any, image_id: str, **__: Any) -> VerificationReport:
        return VerificationReport(image_id, "", "EC2", (), (CheckResult("boots", True, "yes", "once"),))

    patches: list[Callable[[], Any]] = [
        lambda: mock.patch.dict(
            waiting.wait_until.__kwdefaults__ or {}, {"sleep": lambda seconds: sleep(min(seconds, _PAUSE_S))}
        ),
        lambda: mock.patch.object(Ec2Machine, "wait_until_ready", ready),
        lambda: mock.patch.object(Ec2Machine, "started", lambda _: contextlib.nullcontext()),
        lambda: mock.patch.object(Ec2Machine, "remote", None),
        lambda: mock.patch.object(playbooks, "install", install),
        lambda: mock.patch.object(pipeline, "waiting_collector", collector),
        lambda: mock.patch.object(pipeline, "wait_for_host_keys", lambda *_, **__: ()),
        lambda: mock.patch.object(verification, "verify_instance", verified),
    ]
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch())
        yield
