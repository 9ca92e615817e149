"""One stand-in for all tests of permanent stacks, emptied for each; ``deployed`` keeps its own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.lib.assets.names import BUCKET_STACK, WAF_STACK
from exasol_like_dss.lib.stacks import following, permanent
from test.support.aws import REGION, Aws, running_aws
from test.support.aws_models import share_models
from test.support.command import Done
from test.support.planted_assets import Commands

WAF_REGION = "us-east-1"


@dataclass
class Deployments(Commands):
    """The commands, and a look at what they made."""

    def waf(self, *arguments: str | Path) -> Done:
        return self.run("setup-vm-bucket-waf", "--yes", *arguments)

    def bucket(self, *arguments: str | Path) -> Done:
        return self.run("setup-vm-bucket", "--yes", *arguments)

    def both(self, *allowed: str) -> None:
        for done in (self.waf(*(word for one in allowed for word in ("--allowed-ip", one))), self.bucket()):
            assert done.code == 0, done.err

    def stack(self, name: str = BUCKET_STACK) -> dict[str, Any]:
        region = WAF_REGION if name == WAF_STACK else REGION
        return dict(self.aws.client("cloudformation", region=region).describe_stacks(StackName=name)["Stacks"][0])

    def stacks(self) -> list[str]:
        """Names of those that are there, empty ones too; once those that are being deleted are gone."""
        while True:
            found = [
                (each["StackName"], each["StackStatus"])
                for region in (WAF_REGION, REGION)
                for each in self.aws.client("cloudformation", region=region).describe_stacks()["Stacks"]
            ]
            if all(status != "DELETE_IN_PROGRESS" for _, status in found):
                return [name for name, _ in found]

    def outputs(self) -> dict[str, str]:
        return {each["OutputKey"]: each["OutputValue"] for each in self.stack()["Outputs"]}

    def change_sets(self) -> list[str]:
        found = self.aws.client("cloudformation").list_change_sets(StackName=BUCKET_STACK)["Summaries"]
        return [each["ChangeSetName"] for each in found]

    def things(self, kind: str) -> list[dict[str, Any]]:
        """Of CloudFront or AWS WAF."""
        return [each for each in self.aws.edge() if each["type"].endswith(kind)]


@pytest.fixture(scope="session")
def standing() -> Iterator[Aws]:
    with running_aws(stack_step_s=0.002) as aws:
        yield aws


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often, and reads botocore's models once."""
    monkeypatch.setattr(following, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(permanent, "_INTERVAL_S", 0.02)
    share_models(monkeypatch)


@pytest.fixture
def dss(standing: Aws, tmp_path: Path) -> Deployments:
    standing.reset()
    return Deployments(standing, tmp_path)


class Terminal(io.StringIO):
    """Standard input on which somebody answers."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr("sys.stdin", Terminal(text))


def result(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.err
    return dict(json.loads(done.out))
