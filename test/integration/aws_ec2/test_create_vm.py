"""``create-vm --builder ec2`` in full: from the stack to the objects in S3, with real Ansible and real disk bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from test.integration.aws_ec2.conftest import BUCKET, ID, Commands, bucket_stack
from test.integration.conftest import ca_options
from test.support.aws_truth import existing, kinds

PREFIX = f"data_science_sandbox/{ID}/"
#: A container has no Docker engine, no network card and no kernel of its own.
BUILD = (
    *("create-vm", "--builder", "ec2", "--base", "debian-12", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32"),
    *("--log-level", "info", "--volume-size", "20G", "--without", "docker", "--without", "netplan"),
)
WITH_JUPYTER = (*BUILD, "--without", "script_languages")
SMALL = ("--without", "jupyter", "--without", "poetry", "--without", "script_languages")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """24 MiB, of which 12 can't be compressed: the VMDK has more than one part."""
    file = tmp_path / "disk.raw"
    with file.open("wb") as raw:
        raw.write(b"\xeb\x63\x90" + bytes(507) + b"\x55\xaa")
        raw.write(os.urandom(12 << 20))
        raw.truncate(24 << 20)
    return file


def objects(commands: Commands) -> dict[str, bytes]:
    s3 = commands.aws.client("s3")
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX).get("Contents", [])
    return {
        found["Key"].removeprefix(PREFIX): s3.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read()
        for found in listed
    }


def ansible_of(folder: Path) -> int:
    """The Ansible whose files are in ``folder``; 0 when it has ended. Its workers have the same command line."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"playbook" in words and any(str(folder).encode() in word for word in words):
                found[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
    return next((process for process, parent in found.items() if parent not in found), 0)


def check_killed(commands: Commands, whom: str) -> None:
    """A build of which ``dss``, or Ansible, gets SIGKILL while Ansible installs: what is there is listed."""
    with commands.started(*WITH_JUPYTER, *ca_options()) as running:
        if whom == "Ansible":
            running.wait_for("is removed: installing had begun, and did not end")
        running.wait_for("role base", deadline_s=180)
        os.kill(running.process.pid if whom == "dss" else ansible_of(commands.folder), signal.SIGKILL)
        code = running.end(deadline_s=120)
    there = {"instance": 1, "key-pair": 1, "security-group": 1, "stack": 1, "volume": 1}
    if whom == "dss":
        assert code == -signal.SIGKILL
        assert kinds(existing(commands.aws)) == there
    else:
        assert code == 1
        assert "ended early (failed)" in running.text
        assert kinds(existing(commands.aws)) == {}
    assert set(commands.left()) - {"stack-resource"} == set(kinds(existing(commands.aws)))
    for _ in range(600):  # it was killed, or dies with dss
        if not ansible_of(commands.folder):
            return
        signal.sigtimedwait([], 0.05)
    raise AssertionError("Ansible is still running")


def check_objects(commands: Commands, disk: Path, folder: Path, *formats: str) -> None:
    """They are what the sums say, and the VMDK is the disk."""
    found = objects(commands)
    stem = f"exasol-like-dss-{ID}"
    others = ("manifest.json", "SHA256SUMS", "sbom.cdx.json", "verification.json")
    assert sorted(found) == sorted([*(f"{stem}.{name}" for name in formats), *others])
    for line in found["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(found[name]).hexdigest() == digest, name
    (folder / "made.vmdk").write_bytes(found[f"{stem}.vmdk"])
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "vmdk", disk, folder / "made.vmdk"], check=True)


def test_from_the_stack_to_the_images_after_two_kills(on_machines: Commands, disk: Path, tmp_path: Path) -> None:
    """Its notebooks run, through a tunnel, on the machine that is started from the AMI.

    First all in one run with images that are read from the snapshot; then AWS exports the same AMI.
    """
    bucket_stack(on_machines.aws)
    on_machines.aws.change(disk_file=str(disk))
    check_killed(on_machines, "dss")
    check_killed(on_machines, "Ansible")
    direct = ("--export-method", "direct", "--vm-image-format", "VMDK", "--vm-image-format", "OVA")
    done = on_machines.run(*WITH_JUPYTER, *ca_options(), *direct, "--output", "json")
    assert done.code == 0, done.err
    assert kinds(existing(on_machines.aws)) == {"ami": 1, "snapshot": 1, "s3-object": 6}
    actions = on_machines.aws.actions()
    assert (actions.count("ec2:CreateImage"), actions.count("ec2:ExportImage")) == (1, 0)
    result = json.loads(done.out)
    assert result["verification"] == "passed"
    check_objects(on_machines, disk, tmp_path, "vmdk", "ova")
    checks = {check["name"] for check in json.loads(objects(on_machines)["verification.json"])["checks"]}
    assert {f"hygiene: {name}" for name in ("no ssh host keys", "no logs", "machine-id is empty")} <= checks

    for one in result["artifacts"]:
        on_machines.aws.client("s3").delete_object(Bucket=BUCKET, Key=PREFIX + one["name"])
    exported = on_machines.run(*WITH_JUPYTER, *ca_options(), "--output", "json")
    assert exported.code == 0, exported.err
    assert json.loads(exported.out)["image_id"] == result["image_id"]
    # The OVA is made of the VMDK. AWS refuses a second task as long as the first one runs.
    assert sum(call.effect for call in on_machines.aws.calls if call.name == "ec2:ExportImage") == 2
    check_objects(on_machines, disk, tmp_path, "vmdk", "vhd", "ova")
    assert sorted(set(on_machines.left())) == ["ami", "s3-object", "snapshot"]
    again = on_machines.run(*WITH_JUPYTER, *ca_options(), "--output", "json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["image_id"] == result["image_id"]
    assert json.loads(again.out)["artifacts"] == json.loads(exported.out)["artifacts"]
    assert on_machines.run("cleanup-aws-assets", "--asset-id", ID, "--yes").code == 0
    assert on_machines.left() == []
