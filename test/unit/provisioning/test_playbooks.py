from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from exasol_like_dss.access.ansible import Ansible, PlaybookResult, TaskEvent
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.machines.protocol import Machine
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.provisioning.playbooks import ProvisioningFailed, install


class FakeMachine:
    is_live = False

    def connection_variables(self) -> Mapping[str, Any]:
        return {}

    def build_environment(self) -> Mapping[str, str]:
        return {}


class FailingAnsible:
    """One task of a role fails."""

    def __init__(self, role: str) -> None:
        self._role = role

    def run_playbook(self, *_: object, **__: object) -> PlaybookResult:
        failed = TaskEvent("failed", self._role, "Install", message="No package matching 'x' is available")
        return PlaybookResult("failed", 0, (failed,), "")


@pytest.mark.parametrize(
    ("role", "hint"), [("poetry", "--without poetry"), ("base", "check --extra-vars"), ("seal", "check --extra-vars")]
)
def test_only_a_role_that_can_be_left_out_is_said_to_be(tmp_path: Path, role: str, hint: str) -> None:
    with pytest.raises(ProvisioningFailed, match=f"role {role}, task “Install”: No package") as caught:
        install(
            cast(Machine, FakeMachine()),
            edition="sandbox",
            roles=["base", "poetry", "seal"],
            variables={},
            ansible=cast(Ansible, FailingAnsible(role)),
            work_directory=tmp_path,
            progress=Progress(),
            cancellation=Cancellation(),
        )
    assert hint in caught.value.hint
    assert ("--without" in caught.value.hint) == (role == "poetry")
