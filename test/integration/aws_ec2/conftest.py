"""A stand-in for AWS with real machines behind its instances, and one without."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from exasol_like_dss.lib.assets.names import BUCKET_STACK, OUTPUT_BUCKET, OUTPUT_EXPORT_ROLE
from test.support.aws import Aws, machines, running_aws
from test.support.command import Done, Running, dss, started
from test.support.docker_engine import Engine

ID = "7.0.0"
BUCKET = "dss-vm-images"
ROLE = "dss-vmimport"
PASSWORD = "first-Login-4711"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "vmie.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}},
        }
    ],
}


@pytest.fixture(scope="session")
def base_tar(request: pytest.FixtureRequest) -> Path:
    """DSS_TEST_BASE_TAR: one that was made before, for development."""
    known = os.environ.get("DSS_TEST_BASE_TAR")
    found: Path = Path(known) if known else request.getfixturevalue("debian_12_tar")
    return found


@pytest.fixture(scope="session")
def real(docker_engine: Engine, base_tar: Path) -> Iterator[tuple[Aws, machines.Machines]]:
    """With a container behind each instance."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(machines, "_PREFIX", "dss-ec2"))
        made = stack.enter_context(machines.real_machines(docker_engine, base_tar))
        aws = stack.enter_context(running_aws(**made.callbacks()))
        yield aws, made


@pytest.fixture(scope="session")
def empty() -> Iterator[Aws]:
    """Nobody listens behind its instances."""
    with running_aws() as aws:
        yield aws


@dataclass
class Commands:
    """``dss`` in a folder of its own, with the stand-in's environment."""

    aws: Aws
    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.aws.environment(),
            "AWS_MAX_ATTEMPTS": "3",
            "XDG_DATA_HOME": str(self.folder / "data"),
            "TMPDIR": str(self.folder),
            "DSS_DEFAULT_PASSWORD": PASSWORD,
            "COLUMNS": "300",
            **self.more,
        }

    def run(self, *arguments: str | Path, **more: str) -> Done:
        """more: of the environment."""
        return dss(*arguments, cwd=self.folder, env={**self.environment, **more}, deadline_s=900)

    def started(self, *arguments: str | Path) -> Any:
        return started(arguments, cwd=self.folder, env=self.environment)

    def left(self, asset_id: str = ID) -> list[str]:
        """What is there with the asset-id: kinds. Export tasks that have ended are no asset."""
        import json

        done = self.run("show-aws-assets", "--asset-id", asset_id, "--output", "json")
        assert done.code == 0, done.err
        return [
            asset["kind"]
            for asset in json.loads(done.out)["assets"]
            if asset["kind"] != "export-task" or asset["state"].startswith(("active", "deleting"))
        ]


@pytest.fixture
def commands(empty: Aws, tmp_path: Path) -> Commands:
    empty.reset()
    return Commands(empty, tmp_path)


@pytest.fixture
def on_machines(real: tuple[Aws, machines.Machines], tmp_path: Path) -> Iterator[Commands]:
    aws, made = real
    aws.reset()
    yield Commands(aws, tmp_path)
    for name in made.engine.docker("ps", "--all", "--format", "{{.Names}}").split():
        if name.startswith("dss-ec2-i-"):
            made.engine.docker("rm", "--force", "--volumes", name, check=False)


def bucket_stack(aws: Aws, *, region: str = "eu-central-1", role: bool = True) -> None:
    """The permanent stack with the bucket and the role."""
    import json

    template: dict[str, Any] = {
        "Resources": {
            "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": BUCKET}},
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {"RoleName": ROLE, "AssumeRolePolicyDocument": _TRUST},
            },
        },
        "Outputs": {OUTPUT_BUCKET: {"Value": {"Ref": "Bucket"}}, OUTPUT_EXPORT_ROLE: {"Value": {"Ref": "Role"}}},
    }
    if not role:
        template["Outputs"].pop(OUTPUT_EXPORT_ROLE)
    client = aws.client("cloudformation", region=region)
    client.create_stack(
        StackName=BUCKET_STACK, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    client.get_waiter("stack_create_complete").wait(StackName=BUCKET_STACK, WaiterConfig={"Delay": 0.1})


def interrupt(running: Running, number: signal.Signals = signal.SIGINT) -> int:
    running.signal(number)
    return running.end(deadline_s=120)
