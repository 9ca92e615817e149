"""After a kill at a place of its own choice: all is listed, the same command goes on, a clean-up leaves nothing."""

from __future__ import annotations

import json
import os
import secrets
import signal
from pathlib import Path

import pytest

from test.support.command import dss, started

pytestmark = [
    pytest.mark.aws,
    pytest.mark.skipif(
        os.environ.get("DSS_RUN_AWS_TEST") != "true" or not os.environ.get("AWS_PROFILE"),
        reason="needs DSS_RUN_AWS_TEST=true and AWS_PROFILE",
    ),
]
_MINUTES_S = 1800.0


def _left(asset_id: str, folder: Path) -> set[str]:
    done = dss("show-aws-assets", "--asset-id", asset_id, "--output", "json", cwd=folder, deadline_s=_MINUTES_S)
    assert done.code == 0, done.err
    return {asset["kind"] for asset in json.loads(done.out)["assets"]}


@pytest.mark.parametrize("words", ["stack with the machine …", "wait for ssh …"])
def test_a_machine_whose_command_was_killed(tmp_path: Path, words: str) -> None:
    asset_id = f"test-{secrets.token_hex(4)}"
    command = ("setup-ec2", "--asset-id", asset_id, "--log-level", "info")
    try:
        with started(command, cwd=tmp_path) as running:
            running.wait_for(words, deadline_s=_MINUTES_S)
            running.signal(signal.SIGKILL)
            running.end()
        assert "key-pair" in _left(asset_id, tmp_path)
        again = dss(*command, "--keep", cwd=tmp_path, deadline_s=_MINUTES_S)
        assert again.code == 0, again.err
        assert {"stack", "instance", "volume", "key-pair", "security-group"} <= _left(asset_id, tmp_path)
    finally:
        gone = dss("cleanup-aws-assets", "--asset-id", asset_id, "--yes", cwd=tmp_path, deadline_s=_MINUTES_S)
    assert gone.code == 0, gone.err
    assert _left(asset_id, tmp_path) == set()
