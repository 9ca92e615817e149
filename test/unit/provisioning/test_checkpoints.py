"""The playbook's command waits until the layer is kept, and hears when it is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

from exasol_like_dss.lib.provisioning.checkpoints import Checkpoints


def ask(command: str, role: str) -> str:
    return subprocess.run(
        ["sh", "-c", f"{command} {role}"], capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()


def test_each_role_is_kept_in_its_turn(tmp_path: Path) -> None:
    folder = tmp_path / "with 'quotes' and spaces"
    folder.mkdir()
    seen: list[str] = []
    with Checkpoints(folder, seen.append) as checkpoints:
        assert [ask(checkpoints.command, role) for role in ("base", "jupyter")] == ["kept", "kept"]
    assert seen == ["base", "jupyter"]
    assert list(folder.iterdir()) == []
    assert checkpoints.failed is None


def test_a_failure_is_told_and_remembered(tmp_path: Path) -> None:
    def keep(role: str) -> None:
        raise OSError(role)

    with Checkpoints(tmp_path, keep) as checkpoints:
        assert ask(checkpoints.command, "base") == "failed"
    assert isinstance(checkpoints.failed, OSError)
