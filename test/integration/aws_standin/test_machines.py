"""Real machines behind instances: ssh with the pair's key and the console's host keys, images that keep files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.integration.aws_standin.conftest import image_of, instance_of, ubuntu, until
from test.support.aws import Aws, running_aws
from test.support.aws.machines import Machines, real_machines
from test.support.docker_engine import Engine


@pytest.fixture(scope="module")
def machines(docker_engine: Engine, debian_12_tar: Path) -> Iterator[Machines]:
    with real_machines(docker_engine, debian_12_tar) as found:
        yield found


def _start(aws: Aws, image_id: str) -> str:
    started = aws.client("ec2").run_instances(
        ImageId=image_id, InstanceType="t3.medium", KeyName="mine", MinCount=1, MaxCount=1
    )
    instance_id = str(started["Instances"][0]["InstanceId"])
    until(lambda: instance_of(aws, instance_id)["State"]["Name"] == "running", deadline_s=60)
    return instance_id


def _ssh(aws: Aws, instance_id: str, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """With the host keys that the console shows, and no others."""
    address = instance_of(aws, instance_id)["PublicIpAddress"]
    console = until(lambda: aws.client("ec2").get_console_output(InstanceId=instance_id).get("Output"))
    shown = console.split("-----BEGIN SSH HOST KEY KEYS-----\n")[1].split("-----END")[0]
    known = folder / "known_hosts"
    known.write_text("".join(f"{address} {line}\n" for line in shown.splitlines()))
    options = ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes"]
    return subprocess.run(
        ["ssh", "-i", str(folder / "key"), *options, f"admin@{address}", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_machine_and_one_of_its_image(machines: Machines, tmp_path: Path) -> None:
    with running_aws(**machines.callbacks()) as aws:
        ec2 = aws.client("ec2")
        key = tmp_path / "key"
        key.write_text(ec2.create_key_pair(KeyName="mine", KeyType="ed25519")["KeyMaterial"])
        key.chmod(0o600)
        first = _start(aws, ubuntu(aws))
        done = _ssh(aws, first, tmp_path, "sudo id -un && cloud-init status --wait && echo ours | sudo tee /opt/made")
        assert (done.returncode, done.stdout.split()) == (0, ["root", "status:", "done", "ours"]), done.stderr
        machines.set_cloud_init(first, "error", ("it broke",))
        failed = _ssh(aws, first, tmp_path, "cloud-init status --wait --format json")
        assert (failed.returncode, '"it broke"' in failed.stdout) == (1, True)
        image_id = ec2.create_image(InstanceId=first, Name="sandbox")["ImageId"]
        until(lambda: image_of(aws, image_id)["State"] == "available", deadline_s=60)
        second = _start(aws, image_id)
        assert _ssh(aws, second, tmp_path, "cat /opt/made && cloud-init status").stdout == "ours\nstatus: done\n"
        read = "cat /etc/ssh/ssh_host_ed25519_key.pub"
        assert machines.run(first, read).split()[1] != machines.run(second, read).split()[1]
        ec2.terminate_instances(InstanceIds=[first, second])
        until(lambda: machines.containers() == [], deadline_s=60)
