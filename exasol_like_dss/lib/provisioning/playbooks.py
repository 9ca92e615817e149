"""Runs the playbooks on a machine, whichever it is, and turns what Ansible says into steps and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from exasol_like_dss.access.ansible import Ansible, PlaybookResult, TaskEvent
from exasol_like_dss.lib.errors import DssError, Interrupted, tail
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.machines.protocol import Machine
from exasol_like_dss.lib.progress import Progress, Step
from exasol_like_dss.lib.provisioning.editions import INDISPENSABLE


class ProvisioningFailed(DssError):
    """A task of the playbook failed. role and task: which one."""

    def __init__(self, message: str, *, role: str, task: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.role = role
        self.task = task


def install(
    machine: Machine,
    *,
    edition: str,
    roles: Sequence[str],
    variables: Mapping[str, Any],
    ansible: Ansible,
    work_directory: Path,
    progress: Progress,
    cancellation: Cancellation,
) -> PlaybookResult:
    """Runs the roles of an edition on a started machine. Raises ``ProvisioningFailed``."""
    return _run(
        f"{edition}.yml",
        machine=machine,
        variables={**variables, "dss_roles": list(roles), "dss_edition": edition},
        ansible=ansible,
        work_directory=work_directory,
        progress=progress,
        cancellation=cancellation,
    )


def reset_password(
    machine: Machine,
    *,
    default_password: str,
    ansible: Ansible,
    work_directory: Path,
    progress: Progress,
    cancellation: Cancellation,
) -> PlaybookResult:
    """Sets the default password, expired, turns password login on, and removes every user's ``~/.ssh``."""
    return _run(
        "reset_password.yml",
        machine=machine,
        variables={"default_password": default_password},
        ansible=ansible,
        work_directory=work_directory,
        progress=progress,
        cancellation=cancellation,
    )


def _run(
    playbook: str,
    *,
    machine: Machine,
    variables: Mapping[str, Any],
    ansible: Ansible,
    work_directory: Path,
    progress: Progress,
    cancellation: Cancellation,
) -> PlaybookResult:
    steps = _RoleSteps(progress)
    try:
        result = ansible.run_playbook(
            playbook,
            host_variables=machine.connection_variables(),
            extra_variables={
                **variables,
                "target_is_live": machine.is_live,
                "build_environment": dict(machine.build_environment()),
            },
            work_directory=work_directory,
            on_event=steps.handle,
            cancelled=lambda: cancellation.cancelled,
        )
    except Interrupted:
        cancellation.cancel()
        raise
    if result.status == "successful":
        return result
    cancellation.check()
    raise _explained(playbook, result)


class _RoleSteps:
    """One progress step per role. Lives in the thread that Ansible's events come from."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._under: Step | None = progress.current()
        self._stack = ExitStack()
        self._role: str | None = None

    def handle(self, event: TaskEvent) -> None:
        if event.kind == "end":
            self.close()
        if event.kind != "start":
            return
        if event.role != self._role:
            self.close()
            self._role = event.role
            if event.role:
                self._stack.enter_context(self._progress.step(f"role {event.role}", under=self._under))
        self._progress.status(event.task)

    def close(self) -> None:
        self._stack.close()


def _explained(playbook: str, result: PlaybookResult) -> ProvisioningFailed:
    if not result.failures:
        return ProvisioningFailed(
            f"The playbook {playbook} ended early ({result.status}).\n{tail(result.output, lines=12)}",
            role="",
            task="",
            hint="Run it again with --log-level debug.",
        )
    first = result.failures[0]
    where = f"role {first.role}, task “{first.task}”" if first.role else f"task “{first.task}”"
    if first.kind == "unreachable":
        message = f"The machine can't be reached ({where}): {tail(first.message, lines=3)}"
        hint = "Check host name, key and network; the machine's user needs sudo without a password."
    else:
        message = f"Installing failed in {where}: {tail(first.message, lines=12)}"
        hint = ""
        if first.role and not all(first.role in roles for roles in INDISPENSABLE.values()):
            hint = f"A role that you don't need can be left out: --without {first.role}"
        elif first.role:
            hint = "Every image needs this role: check --extra-vars, the network and the package mirror."
    return ProvisioningFailed(message, role=first.role, task=first.task, hint=hint)
