"""A machine that only seems to be there: for sweeps of ``create-vm --builder ec2``, in a child of ``forked_runs``.

What AWS is asked for stays as it is. Faked are the way to the machine (ssh), what Ansible does on it, and the checks
that verify a second one.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from exasol_like_dss.access.ansible import Ansible, PlaybookResult
from exasol_like_dss.lib.machines import ec2, lease
from exasol_like_dss.lib.machines.remote import RemoteMachine
from exasol_like_dss.lib.pipeline import ec2 as pipeline
from exasol_like_dss.lib.verification import instance
from exasol_like_dss.lib.verification.report import CheckResult, VerificationReport

#: How ``prepare`` is given to ``Scenario``.
FAKED = "test.support.faked_machine:fake"
ANSIBLE_KILLED, DSS_KILLED = "ansible-killed", "dss-killed"


def fake(ansible: str = "", lease_s: float = lease.LEASE_S) -> None:
    """For the rest of this process. ansible: ``ANSIBLE_KILLED``, or ``DSS_KILLED`` while Ansible runs.

    lease_s: seconds after which the lock of a build elsewhere is free.
    """

    def play(_self: Ansible, _playbook: str, **_: Any) -> PlaybookResult:
        if ansible == DSS_KILLED:
            _die()
        if ansible == ANSIBLE_KILLED:  # as access.ansible tells of it
            return PlaybookResult(status="failed", failures=(), output="", changed=0)
        return PlaybookResult(status="successful", failures=(), output="", changed=1)

    for target, name, made in (
        (ec2, "ssh_answers", lambda *_: True),
        (RemoteMachine, "run", _run),
        (Ansible, "run_playbook", play),
        (pipeline, "waiting_collector", _collector),
        (instance, "verify_instance", _verified),
        (lease, "LEASE_S", lease_s),
    ):
        mock.patch.object(target, name, made).start()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def _run(_self: RemoteMachine, command: str, **_: Any) -> str:
    if "cloud-init" in command:
        return '{"status": "done", "errors": []}'
    return "free\n"


class _Collector:
    def write_sbom(self, target: Path, **_: Any) -> int:
        target.write_text("{}")
        return 0


@contextlib.contextmanager
def _collector(*_: Any) -> Iterator[_Collector]:
    yield _Collector()


def _verified(_login: Any, *, image_id: str, **_: Any) -> VerificationReport:
    return VerificationReport(
        image=image_id,
        asset_id="",
        acceleration="EC2",
        firmwares=(),
        results=(CheckResult("boots", True, "faked", "faked"),),
        left_out=(),
        seconds={},
    )
