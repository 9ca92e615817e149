"""Faults at calls of a build and an export: throttled, lost, met by expired credentials, each at its nth call.

After each: what exists is listed; running again ends well, with nothing made twice; a clean-up leaves nothing. Kills at
every call, and the other faults at the first call of each name, are in ``test/integration/aws_sweep``. With
DSS_TEST_FULL_SWEEP=true these here hit every call, too (half an hour), else only a few.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from test.integration.aws_ec2.conftest import BUCKET, ID, Commands, bucket_stack
from test.integration.aws_ec2.forked import Ended, Kill, run, share_models
from test.support.aws import EXPIRED, Fault

STEM = f"exasol-like-dss-{ID}"
CREATE = (
    *("create-vm", "--builder", "ec2", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32", "--volume-size", "20G"),
    *("--without", "script_languages"),
)
CLEANUP = ("cleanup-aws-assets", "--asset-id", ID, "--yes", "--deadline", "60")
#: Of a finished build with the three default formats.
IMAGES = [f"{STEM}.{name}" for name in ("ova", "vhd", "vmdk")]
FINISHED = [*IMAGES, "SHA256SUMS", "manifest.json", "sbom.cdx.json", "verification.json"]
STEP = 1 if os.environ.get("DSS_TEST_FULL_SWEEP") == "true" else 29
AFTER = ("throttled", "lost", "expired")


def truth(commands: Commands) -> dict[str, list[str]]:
    """What there is, whatever its tags."""
    aws = commands.aws
    ec2, s3, formation = aws.client("ec2"), aws.client("s3"), aws.client("cloudformation")
    found: dict[str, list[str]] = {
        "stack": [
            one["StackId"] for one in formation.describe_stacks()["Stacks"] if "VM-Bucket" not in one["StackName"]
        ],
        "instance": [
            one["InstanceId"]
            for group in ec2.describe_instances()["Reservations"]
            for one in group["Instances"]
            if one["State"]["Name"] != "terminated"
        ],
        "key-pair": [one["KeyPairId"] for one in ec2.describe_key_pairs()["KeyPairs"]],
        "ami": [one["ImageId"] for one in ec2.describe_images(Owners=["self"])["Images"]],
        "snapshot": [one["SnapshotId"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]],
        "volume": [one["VolumeId"] for one in ec2.describe_volumes()["Volumes"]],
        "s3-object": [
            f"s3://{BUCKET}/{one['Key']}" for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        ],
        "multipart-upload": [
            one["UploadId"] for one in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        ],
    }  # fmt: skip
    return {kind: ids for kind, ids in found.items() if ids}


class Sweep:
    """One command, again and again."""

    def __init__(self, commands: Commands) -> None:
        self.commands = commands
        self.faults = 0
        self.survived = 0

    def dss(self, *arguments: str, **more: Any) -> Ended:
        return run(arguments, folder=self.commands.folder, env=self.commands.environment, **more)

    def begin(self) -> None:
        aws = self.commands.aws
        aws.reset()
        # So short that one look or two see the end of everything: more calls of the same would show nothing new.
        aws.change(
            stack_step_s=0.004, export_s=0.02, image_pending_s=0.02, instance_pending_s=0.01, instance_stopping_s=0.01
        )
        bucket_stack(aws)

    def hit(self, arguments: tuple[str, ...], how: str, nth: int) -> Ended:
        """Runs it with a fault at its nth call."""
        self.faults += 1
        if how in ("before", "after"):
            return self.dss(*arguments, kill=Kill(nth, how == "after"))
        if how == "ansible":
            return self.dss(*arguments, ansible="kill")
        fault = {
            "throttled": Fault(nth=nth),
            "lost": Fault(nth=nth, moment="after", effect="drop"),
            "expired": Fault(nth=nth, code=EXPIRED, times=10_000),
        }[how]
        self.commands.aws.inject(fault)
        ended = self.dss(*arguments)
        self.commands.aws.inject()
        self.survived += ended.code == 0
        return ended

    def check_listed(self, what: str) -> None:
        """Nothing exists that is not listed."""
        shown = self.dss("show-aws-assets", "--asset-id", ID, "--output", "json")
        assert shown.code == 0, f"{what}\n{shown.text}"
        listed = {asset["id"] for asset in json.loads(shown.text[shown.text.index("{") :])["assets"]}
        missing = [one for ids in truth(self.commands).values() for one in ids if one not in listed]
        assert not missing, f"{what}: {missing}"

    def check_finished(self, again: Ended, what: str) -> None:
        assert again.code == 0, f"{what}\n{again.text}"
        found = truth(self.commands)
        assert {kind: len(ids) for kind, ids in found.items()} == {
            "ami": 1, "snapshot": 1, "s3-object": len(FINISHED)
        }, f"{what}: {found}\n{again.text}"  # fmt: skip
        names = sorted(uri.rpartition("/")[2] for uri in found["s3-object"])
        assert names == sorted(FINISHED), what

    def check_gone(self, what: str) -> None:
        gone = self.dss(*CLEANUP)
        assert gone.code == 0, f"{what}\n{gone.text}"
        assert truth(self.commands) == {}, f"{what}\n{gone.text}"

    def tell(self, name: str) -> None:
        print(f"\n{name}: {self.faults} faults, {self.survived} survived without a second run")


@pytest.fixture(scope="module", autouse=True)
def models() -> Iterator[None]:
    with share_models():
        for service in ("ec2", "s3", "cloudformation", "sts", "ssm", "service-quotas", "iam", "logs"):
            boto3.session.Session(region_name="eu-central-1").client(service)
        yield


@pytest.fixture
def sweep(commands: Commands) -> Sweep:
    return Sweep(commands)


def calls_of(sweep: Sweep, arguments: tuple[str, ...]) -> int:
    done = sweep.dss(*arguments)
    assert done.code == 0, done.text
    return len(done.calls)


@pytest.mark.parametrize("how", AFTER)
def test_create_vm(sweep: Sweep, how: str) -> None:
    sweep.begin()
    count = calls_of(sweep, CREATE)
    for nth in range(1, count + 1, STEP):
        what = f"create-vm, call {nth}, {how}"
        sweep.begin()
        ended = sweep.hit(CREATE, how, nth)
        assert "internal error" not in ended.text, f"{what}\n{ended.text}"
        sweep.check_listed(what)
        sweep.check_finished(ended if ended.code == 0 else sweep.dss(*CREATE), what)
        sweep.check_gone(what)
    sweep.tell(f"create-vm, {how}")


@pytest.mark.parametrize("how", AFTER)
def test_export_vm(sweep: Sweep, how: str, tmp_path: Path) -> None:
    del tmp_path

    def ami() -> str:
        sweep.begin()
        done = sweep.dss(*CREATE, "--no-vm", "--output", "json")
        assert done.code == 0, done.text
        return str(sweep.commands.aws.client("ec2").describe_images(Owners=["self"])["Images"][0]["ImageId"])

    count = calls_of(sweep, ("export-vm", "--ami-id", ami()))
    for nth in range(1, count + 1, STEP):
        what = f"export-vm, call {nth}, {how}"
        command = ("export-vm", "--ami-id", ami())
        ended = sweep.hit(command, how, nth)
        assert "internal error" not in ended.text, f"{what}\n{ended.text}"
        sweep.check_listed(what)
        again = ended if ended.code == 0 else sweep.dss(*command)
        assert again.code == 0, f"{what}\n{again.text}"
        names = sorted(uri.rpartition("/")[2] for uri in truth(sweep.commands)["s3-object"])
        assert names == sorted([*IMAGES, "SHA256SUMS", "manifest.json"]), what
        sweep.check_gone(what)
    sweep.tell(f"export-vm, {how}")
