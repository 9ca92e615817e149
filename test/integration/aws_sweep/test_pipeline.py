"""Turns of the pipeline that need no machine: what is changed in place, taken over, made anew, made public."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.lib.machines import lease
from test.integration.aws_ec2.conftest import interrupt
from test.integration.aws_sweep.accounts import ALL_FORMATS, ENVIRONMENT, NAMES, STACK, STEM, object_names
from test.integration.aws_sweep.test_create_sweep import CREATE as BUILD
from test.support.aws import EXPIRED, Aws, ClientFault, Fault
from test.support.aws_truth import existing, kinds
from test.support.command import started
from test.support.forked_runs import Ended
from test.support.planted_assets import BUCKET, ID
from test.support.small_disk import small_disk
from test.support.sweep import Lane

CREATE = ("create-vm", "--builder", "ec2", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32")
SETUP = ("setup-ec2", "--asset-id", ID, "--volume-size", "20G", "--keep", "--ssh-cidr")
FINISHED = sorted([*ALL_FORMATS, "SHA256SUMS", "manifest.json", "sbom.cdx.json", "verification.json"])


@dataclass
class Runs:
    lane: Lane
    environment: dict[str, str]

    @property
    def aws(self) -> Aws:
        return self.lane.aws

    def dss(self, *arguments: str, **with_: Any) -> Ended:
        """with_: see ``faked_machine.fake``."""
        scenario = replace(BUILD, environment={**BUILD.environment, **self.environment})
        return self.lane.run(arguments, scenario, with_=with_)

    def there(self) -> Counter[str]:
        return kinds(existing(self.aws))

    def check_finished(self, ended: Ended, names: Sequence[str] = FINISHED) -> None:
        assert ended.code == 0, ended.err
        assert self.there() == {"ami": 1, "snapshot": 1, "s3-object": len(names)}
        assert object_names(self.aws) == list(names)

    def check_gone(self) -> None:
        gone = self.dss("cleanup-aws-assets", "--asset-id", ID, "--yes")
        assert gone.code == 0, gone.err
        assert self.there() == {}


@pytest.fixture
def runs(two_lanes: list[Lane]) -> Runs:
    two_lanes[0].planted(BUILD)
    return Runs(two_lanes[0], {})


def _images(runs: Runs) -> list[str]:
    return [one["ImageId"] for one in runs.aws.client("ec2").describe_images(Owners=["self"])["Images"]]


def test_another_address_changes_the_stack_in_place(runs: Runs) -> None:
    first = runs.dss(*SETUP, "127.0.0.1/32")
    assert first.code == 0, first.err
    before = existing(runs.aws)
    second = runs.dss(*SETUP, "127.0.0.2/32")
    assert second.code == 0, second.err
    assert existing(runs.aws) == before
    assert "cloudformation:UpdateStack" in runs.aws.actions()
    (group,) = runs.aws.client("ec2").describe_security_groups(Filters=[{"Name": "tag:dss-asset-id", "Values": [ID]}])[
        "SecurityGroups"
    ]
    assert [rule["IpRanges"][0]["CidrIp"] for rule in group["IpPermissions"]] == ["127.0.0.2/32"]
    runs.check_gone()


def test_another_type_makes_the_stack_anew(runs: Runs) -> None:
    assert runs.dss(*SETUP, "127.0.0.1/32").code == 0
    second = runs.dss(*SETUP, "127.0.0.1/32", "--ec2-instance-type", "t3.medium")
    assert second.code == 0, second.err
    assert "was made with another InstanceType" in second.err
    assert runs.there()["instance"] == 1
    runs.check_gone()


def test_the_images_of_a_machine_that_is_kept(runs: Runs) -> None:
    assert runs.dss(*SETUP, "127.0.0.1/32").code == 0
    done = runs.dss("export-vm", "--stack-name", STACK, "--vm-image-format", "OVA")
    assert done.code == 0, done.err
    assert object_names(runs.aws) == sorted([f"{STEM}.ova", "SHA256SUMS", "manifest.json"])
    assert {"stack", "instance", "key-pair", "ami"} <= set(runs.there())
    runs.check_gone()


def test_other_roles_are_another_ami_and_fresh_makes_it(runs: Runs) -> None:
    assert runs.dss(*CREATE).code == 0
    first = _images(runs)
    other = runs.dss(*CREATE, "--without", "poetry")
    assert other.code == 2
    assert "was made of other roles" in other.err
    fresh = runs.dss(*CREATE, "--without", "poetry", "--fresh", "--make-ami-public")
    runs.check_finished(fresh)
    assert _images(runs) != first
    (image,) = runs.aws.client("ec2").describe_images(Owners=["self"])["Images"]
    assert image["Public"]
    runs.check_gone()


def test_a_build_with_a_direct_export_in_one_run(runs: Runs, tmp_path: Path) -> None:
    """Killed when its last image is about to be whole, and gone on with by the same command: no task of AWS's."""
    disk = small_disk(tmp_path, blocks=tuple(range(1, 100, 2)))
    runs.aws.change(disk_file=str(disk))
    formats = ("--vm-image-format", "VMDK", "--vm-image-format", "OVA")
    names = [name for name in FINISHED if not name.endswith(".vhd")]
    command = (*CREATE, *formats, "--export-method", "direct", "--output", "json")
    killed = runs.lane.run(command, BUILD, faults=[ClientFault(do="kill-before", action="CompleteMultipartUpload")])
    assert killed.killed, killed.err
    done = runs.dss(*command)
    runs.check_finished(done, names)
    actions = Counter(runs.aws.actions())
    assert (actions["ec2:CreateImage"], actions["ec2:ExportImage"]) == (1, 0)
    assert 53 <= actions["ebs:GetSnapshotBlock"] <= 2 * 53
    s3, prefix = runs.aws.client("s3"), f"data_science_sandbox/{ID}/"
    for name in names:
        s3.download_file(BUCKET, f"{prefix}{name}", str(tmp_path / name))
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
    subprocess.run(
        ["qemu-img", "compare", "-q", "-f", "raw", "-F", "vmdk", disk, tmp_path / f"{STEM}.vmdk"], check=True
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["inputs"]["export_method"] == "direct"
    result = json.loads(done.out)
    assert {one["format"]: one["sha256"] for one in result["artifacts"]} == {
        one["format"]: one["sha256"] for one in manifest["artifacts"]
    }
    runs.aws.clear()
    again = runs.dss(*command)
    runs.check_finished(again, names)
    assert json.loads(again.out)["artifacts"] == result["artifacts"]
    assert "ebs:GetSnapshotBlock" not in runs.aws.actions()
    runs.check_gone()


def test_an_upload_whose_beginning_was_lost_does_not_stay(runs: Runs) -> None:
    runs.aws.inject(Fault(action="CreateMultipartUpload", moment="after", effect="drop"))
    done = runs.dss(*CREATE)
    runs.aws.inject()
    runs.check_finished(done)
    runs.check_gone()


def test_aws_exports_an_ami_in_one_format_at_a_time(runs: Runs) -> None:
    runs.aws.inject(Fault(action="ExportImage", nth=2, times=2, code="InvalidParameter"))
    done = runs.dss(*CREATE)
    runs.check_finished(done)
    runs.check_gone()
    assert runs.dss(*CREATE, "--no-vm").code == 0
    runs.aws.clear()
    runs.aws.inject(Fault(action="ExportImage", times=100, code="InvalidParameter"))
    refused = runs.dss(*CREATE, "--vm-image-format", "RAW")
    runs.aws.inject()
    assert refused.code == 1
    assert "ec2:ExportImage failed in eu-central-1: injected by the test" in refused.err
    assert runs.aws.actions().count("ec2:ExportImage") == 3
    runs.check_gone()


def test_a_lock_from_elsewhere_is_watched(runs: Runs) -> None:
    holder = "other:00000000:1:2:3"
    tags = [
        {"Key": key, "Value": value}
        for key, value in (("dss-asset-id", ID), (lease.HOLDER, holder), (lease.UNTIL, lease._end()))
    ]
    ec2 = runs.aws.client("ec2")
    key = ec2.create_key_pair(KeyName=NAMES.key_pair, TagSpecifications=[{"ResourceType": "key-pair", "Tags": tags}])[
        "KeyPairId"
    ]
    done = runs.dss(*CREATE, "--no-vm", lease_s=0.6)
    assert done.code == 0, done.err
    assert "A build of this asset-id began elsewhere (on other, process 2)" in done.err
    assert runs.dss("cleanup-aws-assets", "--asset-id", ID, "--yes").code == 0
    key = ec2.create_key_pair(KeyName=NAMES.key_pair, TagSpecifications=[{"ResourceType": "key-pair", "Tags": tags}])[
        "KeyPairId"
    ]
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(0.3):
            ec2.create_tags(Resources=[key], Tags=[{"Key": lease.UNTIL, "Value": f"{lease._end()}"}])

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        refused = runs.dss(*CREATE, "--no-vm")
    finally:
        stop.set()
        thread.join()
    assert refused.code == 2, refused.err
    assert f"A build of the asset-id {ID} is running (on other, process 2)" in refused.err


def test_the_address_of_this_machine(runs: Runs) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"203.0.113.9\n")

        def log_message(self, *_: Any) -> None:
            pass

    plain = tuple(one for one in CREATE if one not in ("--ssh-cidr", "127.0.0.1/32"))
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        runs.environment["DSS_CHECK_IP_URL"] = url
        shown = runs.dss(*plain, "--dry-run")
        server.shutdown()
        thread.join()
    assert shown.code == 0, shown.err
    assert "ssh from 203.0.113.9/32" in shown.out
    refused = runs.dss(*plain, "--dry-run")
    assert refused.code == 2
    assert "The address of this machine can't be found out" in refused.err
    assert BUCKET in shown.out


def test_what_could_not_be_removed_is_said_after_the_result(runs: Runs) -> None:
    runs.aws.inject(Fault(action="DeleteKeyPair", code=EXPIRED))
    done = runs.dss(*CREATE, "--no-vm")
    runs.aws.inject()
    assert done.code == 3
    assert f"AMI:           {_images(runs)[0]}" in done.out
    assert f"Error: All is done, but the key pair {NAMES.key_pair} could not be removed.\n" in done.err
    hint = done.err.partition("Hint: Remove what stays: dss ")[2].split()
    assert runs.there() == {"ami": 1, "snapshot": 1, "key-pair": 1}
    assert runs.dss(*hint, "--yes").code == 0
    assert runs.there() == {"ami": 1, "snapshot": 1}
    runs.aws.inject(Fault(action="DeleteStack", times=100, code="AccessDenied", status=403))
    kept = runs.dss(*CREATE, "--no-vm", "--fresh")
    runs.aws.inject()
    assert kept.code == 3
    assert f"the stack {STACK} and the stack {STACK}-verify could not be removed" in kept.err
    runs.check_gone()


def _with_ami(runs: Runs) -> None:
    made = runs.dss(*CREATE, "--no-vm", "--no-verify")
    assert made.code == 0, made.err


def test_a_signal_during_the_exports(runs: Runs) -> None:
    """In a process of its own: of the machine nothing is needed any more."""
    _with_ami(runs)
    runs.aws.change(pace="clock", export_s=600.0)
    environment = {
        **runs.aws.environment(), **ENVIRONMENT, "TMPDIR": str(runs.lane.folder), "HOME": str(runs.lane.folder)
    }  # fmt: skip
    build = (*CREATE, "--no-verify", "--vm-image-format", "VMDK", "--log-level", "info")
    exporting = threading.Event()
    runs.aws.inject(Fault(action="ExportImage", moment="after", effect="hook", hook=lambda _: exporting.set()))
    with started(build, cwd=runs.lane.folder, env=environment) as running:
        assert exporting.wait(60), running.text
        assert interrupt(running) == 130
    assert "the AMI ami-" in running.text
    assert "the export export-ami-" in running.text
    assert f"dss cleanup-aws-assets --asset-id {ID}" in running.text
    assert runs.there() == {"ami": 1, "snapshot": 1, "export-task": 1}
    runs.aws.change(export_s=0.1)  # that is how long AWS takes to cancel one, too
    runs.check_gone()


def test_exports_that_hang_or_fail_are_tried_once_more(runs: Runs) -> None:
    _with_ami(runs)
    export = ("export-vm", "--ami-id", *_images(runs))
    for setting, image_format, said in (("failing", "VMDK", "InternalError"), ("hanging", "VHD", "hung at")):
        runs.aws.change(**{f"{setting}_exports": 1})
        done = runs.dss(*export, "--vm-image-format", image_format, "--export-patience", "0.01")
        assert done.code == 0, done.err
        assert said in done.err
        assert done.err.count("It is tried once more.") == 1
    runs.aws.change(failing_exports=2)
    failed = runs.dss(*export, "--vm-image-format", "RAW")
    assert failed.code == 1
    assert "failed: " in failed.err
    runs.check_gone()
