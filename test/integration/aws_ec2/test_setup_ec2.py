"""``setup-ec2``: the machine's whole life, with real ssh, and what is left after each end."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
from pathlib import Path

from test.integration.aws_ec2.conftest import ID, Commands, interrupt

SETUP = ("setup-ec2", "--asset-id", ID, "--base", "debian-12", "--ssh-cidr", "127.0.0.1/32", "--log-level", "info")


def test_a_machine_until_ctrl_c(on_machines: Commands) -> None:
    with on_machines.started(*SETUP) as running:
        running.wait_for("wait for the apt lock", deadline_s=120)
        running.wait_for("stack with the machine")
        ec2 = on_machines.aws.client("ec2")
        (group,) = ec2.describe_security_groups(Filters=[{"Name": "tag:dss-asset-id", "Values": [ID]}])[
            "SecurityGroups"
        ]
        assert [(rule["FromPort"], rule["IpRanges"][0]["CidrIp"]) for rule in group["IpPermissions"]] == [
            (22, "127.0.0.1/32")
        ]
        (instance,) = ec2.describe_instances()["Reservations"][0]["Instances"]
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert "IamInstanceProfile" not in instance
        (volume,) = ec2.describe_volumes(Filters=[{"Name": "tag:dss-asset-id", "Values": [ID]}])["Volumes"]
        assert (volume["VolumeType"], volume["Encrypted"], volume["Size"]) == ("gp3", False, 100)
        (key,) = on_machines.folder.glob("dss-key-*/key")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
        assert interrupt(running) in (0, 130)
    assert on_machines.left() == []
    assert not list(on_machines.folder.glob("dss-*"))


def test_a_machine_that_is_kept_is_found_again(on_machines: Commands) -> None:
    done = on_machines.run(*SETUP, "--keep")
    assert done.code == 0, done.err
    line = re.search(r"Log in: +ssh -i (\S+) (\S+)", done.out)
    assert line, done.out
    key, target = Path(line[1]), line[2]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    said = subprocess.run(
        ["ssh", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", target, "id -un"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert said.stdout == "admin\n"
    assert "with the host key that is on its console" in done.out
    instances = [call for call in on_machines.aws.actions() if call == "cloudformation:CreateStack"]
    again = on_machines.run(*SETUP, "--keep")
    assert again.code == 0, again.err
    assert [call for call in on_machines.aws.actions() if call == "cloudformation:CreateStack"] == instances
    gone = on_machines.run("cleanup-aws-assets", "--asset-id", ID, "--yes")
    assert gone.code == 0, gone.err
    assert on_machines.left() == []


def test_a_second_one_is_refused_while_it_runs_and_not_after_a_kill(on_machines: Commands) -> None:
    with on_machines.started(*SETUP) as running:
        running.wait_for("wait for ssh", deadline_s=120)
        second = on_machines.run(*SETUP)
        assert second.code == 2, second.err
        assert f"A build of the asset-id {ID} is running" in second.err
        running.signal(signal.SIGKILL)
        running.end()
    assert sorted(set(on_machines.left())) == [
        "instance", "key-pair", "security-group", "stack", "stack-resource", "volume"
    ]  # fmt: skip
    after = on_machines.run(*SETUP, "--keep")
    assert after.code == 0, after.err
    assert "nobody has its key any more" in after.err
    assert len(on_machines.aws.client("ec2").describe_key_pairs()["KeyPairs"]) == 1
    assert on_machines.run("cleanup-aws-assets", "--asset-id", ID, "--yes").code == 0
    assert on_machines.left() == []
