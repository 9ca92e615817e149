"""Pure parts of the EC2 pipeline: who holds a lock, what a console tells, what was provisioned with."""

from __future__ import annotations

from pathlib import Path

import pytest

from exasol_like_dss.access.aws.cloudformation import StackEvent
from exasol_like_dss.lib.machines import lease
from exasol_like_dss.lib.machines.ec2 import host_keys_of
from exasol_like_dss.lib.provisioning.fingerprint import fingerprint
from exasol_like_dss.lib.stacks.following import failure

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq0Ck4bq3qkGm2v5v2r1Q0u0m8Wj2mC9Xw0l3y9wT1s"


def test_a_holder_is_this_very_process() -> None:
    assert lease.is_alive(lease.our_name()) is True
    place, _, _ = lease.our_name().rpartition(":")
    assert lease.is_alive(f"{place}:1") is False
    elsewhere = "other" + lease.our_name()[lease.our_name().index(":") :]
    assert lease.is_alive(elsewhere) is None
    for nonsense in ("", "x", "a:b:c:d:e", ":::::"):
        assert lease.is_alive(nonsense) is None


def test_host_keys_are_those_that_the_console_told_last() -> None:
    block = "-----BEGIN SSH HOST KEY KEYS-----\r\n{}\r\n-----END SSH HOST KEY KEYS-----\r\n"
    assert host_keys_of("[  1.0] boot\n") == ()
    assert host_keys_of(block.format("ssh-rsa nothing")) == ()
    console = block.format("ssh-rsa " + "A" * 50 + " root@old") + "noise\n" + block.format(f"{KEY} root@ip-10-0-0-1")
    assert host_keys_of(console) == (KEY,)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles/main.yml").write_text("a")
    return tmp_path


def test_another_role_variable_or_task_is_another_fingerprint(tree: Path) -> None:
    def print_of(*, roles: tuple[str, ...] = ("base",), value: int = 1, word: str = "x", source: str = "ami") -> str:
        return fingerprint(
            tree, edition="sandbox", roles=roles, variables={"v": value}, source=source, password=word
        )  # fmt: skip

    first = print_of()
    assert print_of() == first
    others = [print_of(roles=("base", "seal")), print_of(value=2), print_of(source="other")]
    (tree / "roles/main.yml").write_text("b")
    others.append(print_of())
    assert len({first, *others}) == 5
    (tree / "roles/main.yml").write_text("a")
    assert print_of(word="y").partition("-")[0] == first.partition("-")[0]
    assert print_of(word="y") != first


def test_the_first_that_failed_is_named() -> None:
    events = [
        StackEvent("stack", "AWS::CloudFormation::Stack", "ROLLBACK_IN_PROGRESS", "failed: [Instance]"),
        StackEvent("Other", "AWS::EC2::Volume", "CREATE_FAILED", "Resource creation cancelled"),
        StackEvent("Instance", "AWS::EC2::Instance", "CREATE_FAILED", "We do not have sufficient t3.large capacity"),
        StackEvent("Instance", "AWS::EC2::Instance", "CREATE_IN_PROGRESS", ""),
    ]
    error = failure("name", events)
    assert error.message.startswith("AWS::EC2::Instance Instance of the stack name failed: We do not have")
    assert "--ec2-instance-type" in error.hint
