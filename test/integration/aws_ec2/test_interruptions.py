"""Signals, failures and lost machines in the middle of a build: what is removed, what stays, and how it goes on."""

from __future__ import annotations

import signal
from pathlib import Path
from queue import Queue

import pytest

from test.integration.aws_ec2.conftest import ID, Commands, interrupt
from test.integration.aws_ec2.test_create_vm import BUILD, SMALL
from test.integration.conftest import ca_options
from test.support.aws import Fault
from test.support.command import Running

INSTALL = (
    *("setup-ec2-and-install-dependencies", "--base", "debian-12", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32"),
    *("--log-level", "info", "--without", "docker", "--without", "netplan", *SMALL),
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_ansible_runs(on_machines: Commands, number: signal.Signals) -> None:
    with on_machines.started(*BUILD, *SMALL, *ca_options(), "--no-vm") as running:
        running.wait_for("role base", deadline_s=180)
        assert interrupt(running, number) == 130
        assert f"Interrupted ({number.name}); cleaned up." in running.text
    assert on_machines.left() == []
    assert not list(on_machines.folder.glob("dss-*"))


def test_a_machine_stays_when_installing_fails(on_machines: Commands) -> None:
    done = on_machines.run(*INSTALL, *ca_options(), "--extra-vars", '{"base_packages": ["no-such-package"]}')
    assert done.code == 1, done.err
    assert "Installing failed in role base" in done.err
    assert "stays for inspection" in done.err
    assert "ssh -i " in done.err
    assert {"stack", "instance", "key-pair"} <= set(on_machines.left())
    key = Path(done.err.partition("ssh -i ")[2].split()[0])
    assert key.exists()
    assert on_machines.run("cleanup-aws-assets", "--asset-id", ID, "--yes").code == 0
    assert on_machines.left() == []


def test_a_machine_with_the_sandbox_until_a_signal(on_machines: Commands) -> None:
    with on_machines.started(*INSTALL, *ca_options()) as running:
        running.wait_for("provisioning done", deadline_s=300)
        signal.sigtimedwait([], 1.0)
        assert interrupt(running, signal.SIGTERM) == 0
    assert on_machines.left() == []


def test_a_signal_while_aws_is_asked_for_the_stack(commands: Commands) -> None:
    """The stack comes to be after the signal: it is waited for, and removed."""
    process: Queue[Running] = Queue()

    def interrupt_first(_: object) -> None:
        process.get(timeout=30).signal(signal.SIGINT)
        signal.sigtimedwait([], 1.0)

    commands.aws.inject(Fault(action="CreateStack", effect="hook", hook=interrupt_first))
    with commands.started("setup-ec2", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32") as running:
        process.put(running)
        assert running.end(deadline_s=90) == 130, running.text
    commands.aws.inject()
    assert "cloudformation:DeleteStack" in commands.aws.actions()
    assert "Interrupted (SIGINT); cleaned up." in running.text
    assert commands.left() == []


def test_what_fails_in_the_stack_is_named(commands: Commands) -> None:
    commands.aws.change(sold_out=["t3.*"])
    done = commands.run("setup-ec2", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32")
    assert done.code == 1
    assert "AWS::EC2::Instance Instance of the stack" in done.err
    assert "capacity" in done.err
    assert "Try another --ec2-instance-type" in done.err
    assert commands.left() == []
