"""``create-vm --builder ec2`` in full: from the stack to the objects in S3, with real Ansible and real disk bytes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from test.integration.aws_ec2.conftest import BUCKET, ID, Commands, bucket_stack
from test.integration.conftest import ca_options

PREFIX = f"data_science_sandbox/{ID}/"
#: A container has no Docker engine, no network card and no kernel of its own.
BUILD = (
    *("create-vm", "--builder", "ec2", "--base", "debian-12", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32"),
    *("--log-level", "info", "--volume-size", "20G", "--without", "docker", "--without", "netplan"),
)
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


def test_from_the_stack_to_the_images(on_machines: Commands, disk: Path) -> None:
    bucket_stack(on_machines.aws)
    on_machines.aws.change(disk_file=str(disk))
    done = on_machines.run(*BUILD, *SMALL, *ca_options(), "--output", "json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["verification"] == "passed"
    found = objects(on_machines)
    stem = f"exasol-like-dss-{ID}"
    assert sorted(found) == sorted(
        [f"{stem}.vmdk", f"{stem}.vhd", f"{stem}.ova", "manifest.json", "SHA256SUMS", "sbom.cdx.json",
         "verification.json"]
    )  # fmt: skip
    for line in found["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(found[name]).hexdigest() == digest, name
    assert sorted(set(on_machines.left())) == ["ami", "s3-object", "snapshot"]
    again = on_machines.run(*BUILD, *SMALL, *ca_options(), "--output", "json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["image_id"] == result["image_id"]
    assert json.loads(again.out)["artifacts"] == result["artifacts"]
    assert on_machines.run("cleanup-aws-assets", "--asset-id", ID, "--yes").code == 0
    assert on_machines.left() == []


def test_with_jupyterlab(on_machines: Commands) -> None:
    """Its notebooks run, through a tunnel, on the machine that is started from the AMI."""
    done = on_machines.run(*BUILD, "--without", "script_languages", *ca_options(), "--no-vm", "--output", "json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["verification"] == "passed"
    assert sorted(set(on_machines.left())) == ["ami", "snapshot"]
    assert on_machines.run("cleanup-aws-assets", "--asset-id", ID, "--yes").code == 0
