"""Turns of the pipeline that need no machine: what is changed in place, taken over, made anew, made public."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from unittest import mock

import pytest

from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import AssetNames
from exasol_like_dss.lib.machines import lease
from test.integration.aws_ec2.conftest import BUCKET, ID, Commands
from test.integration.aws_ec2.forked import share_models
from test.integration.aws_ec2.test_faults import CREATE, STEM, Sweep, truth
from test.support.aws import Fault

SETUP = ("setup-ec2", "--asset-id", ID, "--volume-size", "20G", "--keep", "--ssh-cidr")


@pytest.fixture(scope="module", autouse=True)
def models() -> Iterator[None]:
    with share_models():
        yield


@pytest.fixture
def runs(commands: Commands) -> Sweep:
    made = Sweep(commands)
    made.begin()
    return made


def names(runs: Sweep) -> list[str]:
    return sorted(uri.rpartition("/")[2] for uri in truth(runs.commands).get("s3-object", []))


def test_another_address_changes_the_stack_in_place(runs: Sweep) -> None:
    first = runs.dss(*SETUP, "127.0.0.1/32")
    assert first.code == 0, first.text
    before = truth(runs.commands)
    second = runs.dss(*SETUP, "127.0.0.2/32")
    assert second.code == 0, second.text
    assert truth(runs.commands) == before
    assert "cloudformation:UpdateStack" in second.calls
    (group,) = runs.commands.aws.client("ec2").describe_security_groups(
        Filters=[{"Name": "tag:dss-asset-id", "Values": [ID]}]
    )["SecurityGroups"]
    assert [rule["IpRanges"][0]["CidrIp"] for rule in group["IpPermissions"]] == ["127.0.0.2/32"]
    runs.check_gone("kept")


def test_another_type_makes_the_stack_anew(runs: Sweep) -> None:
    assert runs.dss(*SETUP, "127.0.0.1/32").code == 0
    second = runs.dss(*SETUP, "127.0.0.1/32", "--ec2-instance-type", "t3.medium")
    assert second.code == 0, second.text
    assert "was made with another InstanceType" in second.text
    assert len(truth(runs.commands)["instance"]) == 1
    runs.check_gone("kept")


def test_the_images_of_a_machine_that_is_kept(runs: Sweep) -> None:
    assert runs.dss(*SETUP, "127.0.0.1/32").code == 0
    done = runs.dss("export-vm", "--stack-name", AssetNames.of(AssetId(ID)).stack, "--vm-image-format", "OVA")
    assert done.code == 0, done.text
    assert names(runs) == sorted([f"{STEM}.ova", "SHA256SUMS", "manifest.json"])
    assert {"stack", "instance", "key-pair", "ami"} <= set(truth(runs.commands))
    runs.check_gone("kept")


def test_other_roles_are_another_ami_and_fresh_makes_it(runs: Sweep) -> None:
    assert runs.dss(*CREATE).code == 0
    first = truth(runs.commands)["ami"]
    other = runs.dss(*CREATE, "--without", "poetry")
    assert other.code == 2
    assert "was made of other roles" in other.text
    fresh = runs.dss(*CREATE, "--without", "poetry", "--fresh", "--make-ami-public")
    runs.check_finished(fresh, "fresh")
    assert truth(runs.commands)["ami"] != first
    (image,) = runs.commands.aws.client("ec2").describe_images(Owners=["self"])["Images"]
    assert image["Public"]
    runs.check_gone("fresh")


def test_an_upload_whose_beginning_was_lost_does_not_stay(runs: Sweep) -> None:
    runs.commands.aws.inject(Fault(action="CreateMultipartUpload", moment="after", effect="drop"))
    done = runs.dss(*CREATE)
    runs.commands.aws.inject()
    runs.check_finished(done, "lost")
    runs.check_gone("lost")


def test_aws_exports_an_ami_in_one_format_at_a_time(runs: Sweep) -> None:
    runs.commands.aws.inject(Fault(action="ExportImage", nth=2, times=2, code="InvalidParameter"))
    done = runs.dss(*CREATE)
    runs.check_finished(done, "one at a time")
    runs.check_gone("one at a time")
    assert runs.dss(*CREATE, "--no-vm").code == 0
    runs.commands.aws.inject(Fault(action="ExportImage", times=100, code="InvalidParameter"))
    refused = runs.dss(*CREATE, "--vm-image-format", "RAW")
    runs.commands.aws.inject()
    assert refused.code == 1
    assert "ec2:ExportImage failed in eu-central-1: injected by the test" in refused.text
    assert refused.calls.count("ec2:ExportImage") == 3
    runs.check_gone("refused")


def test_a_lock_from_elsewhere_is_watched(runs: Sweep) -> None:
    holder = "other:00000000:1:2:3"
    tags = [
        {"Key": key, "Value": value}
        for key, value in (("dss-asset-id", ID), (lease.HOLDER, holder), (lease.UNTIL, lease._end()))
    ]
    ec2 = runs.commands.aws.client("ec2")
    key = ec2.create_key_pair(
        KeyName=AssetNames.of(AssetId(ID)).key_pair, TagSpecifications=[{"ResourceType": "key-pair", "Tags": tags}]
    )["KeyPairId"]
    with mock.patch.object(lease, "LEASE_S", 0.6):
        done = runs.dss(*CREATE, "--no-vm")
        assert done.code == 0, done.text
        assert "A build of this asset-id began elsewhere (on other, process 2)" in done.text
    assert runs.dss("cleanup-aws-assets", "--asset-id", ID, "--yes").code == 0
    key = ec2.create_key_pair(
        KeyName=AssetNames.of(AssetId(ID)).key_pair, TagSpecifications=[{"ResourceType": "key-pair", "Tags": tags}]
    )["KeyPairId"]
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
    assert refused.code == 2, refused.text
    assert f"A build of the asset-id {ID} is running (on other, process 2)" in refused.text


def test_the_address_of_this_machine(runs: Sweep) -> None:
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
        runs.commands.more["DSS_CHECK_IP_URL"] = url
        shown = runs.dss(*plain, "--dry-run")
        server.shutdown()
        thread.join()
    assert shown.code == 0, shown.text
    assert "ssh from 203.0.113.9/32" in shown.text
    refused = runs.dss(*plain, "--dry-run")
    assert refused.code == 2
    assert "The address of this machine can't be found out" in refused.text
    assert BUCKET in shown.text
