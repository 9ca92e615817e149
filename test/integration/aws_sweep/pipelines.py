"""What the jobs in CodeBuild call in AWS: run once against the stand-in, for the tests of their roles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.lib.assets.names import BUCKET_STACK, OUTPUT_DOMAIN, STACK_PREFIX
from test.aws import test_ec2
from test.integration.aws_sweep.accounts import ENVIRONMENT, with_bucket
from test.support.aws import Aws, ClientFault
from test.support.command import Done
from test.support.faked_machine import FAKED
from test.support.github import REPOSITORY, running_github
from test.support.planted_assets import ID
from test.support.sweep import Lane, Scenario

#: Everybody may ask who they are (GetCallerIdentity, STS API Reference).
_NEEDS_NONE = {"sts:GetCallerIdentity"}
_FORMATS = ("--vm-image-format", "VMDK", "--vm-image-format", "VHD", "--vm-image-format", "OVA")
BUILD = ("create-vm", "--builder", "ec2", "--ssh-cidr", "127.0.0.1/32", "--asset-id", ID, *_FORMATS)


def _account(aws: Aws) -> None:
    """The permanent stack, with a domain for the downloads besides."""
    with_bucket(aws)
    client = aws.client("cloudformation")
    template = json.loads(json.dumps(client.get_template(StackName=BUCKET_STACK)["TemplateBody"]))
    template["Outputs"][OUTPUT_DOMAIN] = {"Value": "d111111abcdef8.cloudfront.net"}
    client.update_stack(
        StackName=BUCKET_STACK, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    client.get_waiter("stack_update_complete").wait(StackName=BUCKET_STACK, WaiterConfig={"Delay": 0.1})


def _scenario(environment: Mapping[str, str] | None = None) -> Scenario:
    return Scenario(
        name="", asset_id=ID, plant=_account, arguments=(), leaves={}, prepare=FAKED,
        environment={**ENVIRONMENT, **(environment or {})},
    )  # fmt: skip


class Recorder:
    """Runs commands, and keeps what they needed."""

    def __init__(self, lane: Lane, environment: Mapping[str, str] | None = None) -> None:
        self._lane = lane
        self._scenario = _scenario(environment)
        self.needed: set[str] = set()

    def run(self, *arguments: str, code: int | None = 0) -> Done:
        self._lane.aws.clear()
        ended = self._lane.run(arguments, self._scenario)
        assert code is None or ended.code == code, ended.err
        self.needed |= self._lane.aws.permissions(stacks=STACK_PREFIX) - _NEEDS_NONE
        return Done(ended.code, ended.out, ended.err)

    def killed(self, *arguments: str, before: str) -> None:
        """Ends as by kill -9 before the first call of an operation."""
        self._lane.aws.clear()
        fault = ClientFault(do="kill-before", action=before)
        ended = self._lane.run(arguments, self._scenario, faults=[fault])
        assert ended.killed, ended.err
        self.needed |= self._lane.aws.permissions(stacks=STACK_PREFIX) - _NEEDS_NONE

    def dss(self, *arguments: str | Path, cwd: Path, env: Mapping[str, str], deadline_s: float) -> Done:
        """In the place of ``test.support.command.dss``."""
        del cwd, env, deadline_s
        more = ("--ssh-cidr", "127.0.0.1/32") if arguments[0] in ("create-vm", "setup-ec2") else ()
        return self.run(*map(str, arguments), *more, code=None)


def needed_by_release(lane: Lane) -> set[str]:
    """The release job: killed twice, with an image and exports that have to be tried again, and at last to its end."""
    with running_github() as github:
        recorder = Recorder(lane, github.environment())
        build = (*BUILD, "--export-patience", "0.01")
        lane.planted(_scenario())
        # The next build is on another machine: it has neither the private key, nor the address.
        recorder.killed(*build, before="CreateImage")
        shutil.rmtree(lane.folder / "data", ignore_errors=True)
        build = (*build[:4], "127.0.0.2/32", *build[5:])
        lane.aws.change(failing_images=1)
        recorder.run(*build, code=1)
        lane.aws.change(hanging_exports=1, failing_exports=1)
        recorder.killed(*build, before="CompleteMultipartUpload")
        recorder.run(*build)
        release = ("--release-id", str(github.add_release(tag=ID).id), "--repository", REPOSITORY)
        recorder.run("update-release", *release)
        recorder.run("publish-release", *release, "--no-docker", "--yes")
        return recorder.needed


def needed_by_tests(lane: Lane, folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The tests of test/aws, with the stand-in for the account."""
    recorder = Recorder(lane)
    monkeypatch.setattr(test_ec2, "dss", recorder.dss)
    # The machine is faked, and so is what its verification sees.
    seen = {
        "checks": [{"name": name, "passed": True} for name in test_ec2.CONTAINERS_CAN_NOT],
        "left_out": ["hygiene of what the boot has written over"],
    }
    monkeypatch.setattr(test_ec2, "read_object", lambda _uri: json.dumps(seen).encode())
    tests: Sequence[tuple[Any, tuple[str, ...]]] = [
        (test_ec2.test_dry_run, ("debian-13",)),
        (test_ec2.test_a_machine, ()),
        (test_ec2.test_from_the_stack_to_an_image, ()),
    ]
    for test, arguments in tests:
        lane.planted(_scenario())
        account = test_ec2.Account(folder)
        test(account, *arguments)
        assert account.run("cleanup-aws-assets", "--yes").code == 0
    return recorder.needed
