"""One stand-in for AWS, emptied for each test, and a GitHub for each. ``dss`` runs here, and hardly waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.access import github as access_github
from exasol_like_dss.lib.releases import builds
from exasol_like_dss.lib.stacks import following, permanent
from exasol_like_dss.lib.stacks.codebuild import BucketPlace, JobChoice, ReleaseChoice, wanted_release
from exasol_like_dss.lib.stacks.permanent import PermanentStack
from test.integration.aws_ec2.conftest import BUCKET, ROLE, bucket_stack
from test.support.aws import Aws, running_aws
from test.support.aws_models import share_models
from test.support.command import Done
from test.support.github import REPOSITORY, GitHubStandIn, running_github
from test.support.planted_assets import Commands

CI, RELEASE = "DATA-SCIENCE-SANDBOX-CI-TEST-CODEBUILD", "DATA-SCIENCE-SANDBOX-RELEASE-CODEBUILD"
SECRET = {"GITHUB_TOKEN": "ghs_of_the_job_4711", "DSS_DEFAULT_PASSWORD": "first-Login-4711"}


def deploy(aws: Aws, wanted: PermanentStack) -> None:
    """Without the commands."""
    client = aws.client("cloudformation")
    client.create_stack(
        StackName=wanted.name,
        TemplateBody=wanted.template,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in wanted.parameters.items()],
        Capabilities=list(wanted.capabilities),
    )
    client.get_waiter("stack_create_complete").wait(StackName=wanted.name, WaiterConfig={"Delay": 0.05})


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(builds, "_STOP_INTERVAL_S", 0.02)
    monkeypatch.setattr(following, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(permanent, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(access_github, "_BACKOFF_S", 0.01)
    share_models(monkeypatch)


@pytest.fixture(scope="package")
def stand_in() -> Iterator[Aws]:
    with running_aws(stack_step_s=0.0) as aws:
        yield aws


@pytest.fixture
def github() -> Iterator[GitHubStandIn]:
    with running_github() as found:
        yield found


@dataclass
class Jobs(Commands):
    """``dss`` with both stand-ins."""

    github: GitHubStandIn = field(kw_only=True)

    def setup(self, job: str, *arguments: str) -> Done:
        return self.run(f"setup-{job}-codebuild", "--repository", REPOSITORY, "--yes", *arguments)

    def upload_url(self, release_id: int) -> str:
        return str(self.github.shown(self.github.releases[release_id])["upload_url"])

    def start(self, release_id: int, *arguments: str, branch: str = "main") -> Done:
        return self.run("start-release-build", *self.start_arguments(release_id, *arguments, branch=branch))

    def start_arguments(self, release_id: int, *arguments: str, branch: str = "main") -> list[str]:
        url = self.upload_url(release_id)
        return ["--upload-url", url, "--branch", branch, "--repository", REPOSITORY, *arguments]

    def test_release(self, title: str, *arguments: str, branch: str = "main") -> Done:
        named = ("--release-title", title, "--branch", branch, "--repository", REPOSITORY)
        return self.run("start-test-release", *named, *arguments)

    def project(self, name: str) -> dict[str, Any]:
        (found,) = self.aws.client("codebuild").batch_get_projects(names=[name])["projects"]
        return dict(found)

    def builds(self) -> list[dict[str, Any]]:
        """The oldest first."""
        client = self.aws.client("codebuild")
        ids = client.list_builds_for_project(projectName=RELEASE, sortOrder="ASCENDING")["ids"]
        return list(client.batch_get_builds(ids=ids)["builds"]) if ids else []


@pytest.fixture
def bare(stand_in: Aws, github: GitHubStandIn, tmp_path: Path) -> Jobs:
    """The bucket's stack and the secret of the job."""
    stand_in.reset()
    bucket_stack(stand_in)
    stand_in.client("secretsmanager").create_secret(Name="dss/release", SecretString=json.dumps(SECRET))
    stand_in.clear()
    return Jobs(stand_in, tmp_path, github.environment(), github=github)


@pytest.fixture
def jobs(bare: Jobs) -> Jobs:
    """The release job besides. Not by its command, which is tried elsewhere: that takes longer."""
    wanted = wanted_release(JobChoice(repository=REPOSITORY), BucketPlace(BUCKET, ROLE), ReleaseChoice())
    deploy(bare.aws, wanted)
    return bare
