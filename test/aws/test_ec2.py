"""The EC2 builder against a real account: an AMI, its verification, one export, and nothing left. About an hour."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.support.command import Done, dss

pytestmark = [
    pytest.mark.aws,
    pytest.mark.skipif(
        os.environ.get("DSS_RUN_AWS_TEST") != "true" or not os.environ.get("AWS_PROFILE"),
        reason="needs DSS_RUN_AWS_TEST=true and AWS_PROFILE",
    ),
]
_LONG_S = 3 * 3600.0
#: What no test with the stand-in can see: its instances are containers, without a disk, a network card and an engine.
CONTAINERS_CAN_NOT = {
    "network through netplan",
    "root file system fills the disk",
    "docker runs a container without sudo",
    "hygiene: no cloud-init state",  # cloud-init itself does not run there
}


class Account:
    """``dss`` with an asset-id of its own, in the account of the profile."""

    def __init__(self, folder: Path) -> None:
        self.asset_id = f"test-{secrets.token_hex(4)}"
        self._folder = folder

    def run(self, command: str, *arguments: str) -> Done:
        env = {"DSS_DEFAULT_PASSWORD": "first-Login-4711"}
        return dss(
            command, "--asset-id", self.asset_id, *arguments, cwd=self._folder, env=env, deadline_s=_LONG_S
        )  # fmt: skip

    def left(self) -> list[str]:
        done = self.run("show-aws-assets", "--output", "json")
        assert done.code == 0, done.err
        return [one["kind"] for one in json.loads(done.out)["assets"] if one["kind"] != "export-task"]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    made = Account(tmp_path)
    yield made
    done = made.run("cleanup-aws-assets", "--yes")
    assert done.code == 0, done.err
    assert made.left() == []


def read_object(uri: str) -> bytes:
    import boto3

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    content: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


@pytest.mark.parametrize("base", ["ubuntu-24.04", "debian-13"])
def test_dry_run(account: Account, base: str) -> None:
    done = account.run("create-vm", "--builder", "ec2", "--base", base, "--no-vm", "--dry-run")
    assert done.code == 0, done.err
    assert account.left() == []


def test_a_machine(account: Account) -> None:
    done = account.run("setup-ec2", "--keep")
    assert done.code == 0, done.err
    assert "ssh -i " in done.out
    assert {"stack", "instance", "volume", "key-pair", "security-group"} <= set(account.left())


def test_from_the_stack_to_an_image(account: Account) -> None:
    build = ("--builder", "ec2", "--base", "debian-13", "--volume-size", "20G", "--vm-image-format", "OVA")
    done = account.run("create-vm", *build, "--output", "json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["verification"] == "passed"
    assert [one["format"] for one in result["artifacts"]] == ["OVA"]
    report = json.loads(read_object(result["uri"] + "verification.json"))
    assert {check["name"] for check in report["checks"] if check["passed"]} >= CONTAINERS_CAN_NOT
    assert [one.partition(" ")[0] for one in report["left_out"]] == ["hygiene"]
    assert set(account.left()) == {"ami", "snapshot", "s3-object"}
    again = account.run("create-vm", *build, "--output", "json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["image_id"] == result["image_id"]
