"""The roles of the jobs in CodeBuild allow what the jobs call, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.lib.stacks.codebuild import BucketPlace, JobChoice, ReleaseChoice, wanted_ci, wanted_release
from test.integration.aws_sweep.pipelines import needed_by_release, needed_by_tests
from test.integration.codebuild.conftest import deploy
from test.support.aws import Aws, running_aws
from test.support.sweep import Lane

ROOT = Path(__file__).parents[3]
CONNECTION = "arn:aws:codeconnections:eu-central-1:123456789012:connection/1b2c"
JOBS = ("ci", "release")
#: What AWS asks for besides the operations' own permissions: a role that is handed to a service ("Granting a user
#: permissions to pass a role", IAM User Guide); what CodeBuild itself does with the role ("Allow CodeBuild to interact
#: with other AWS services", "Access your source provider", CodeBuild User Guide).
_BY_CODEBUILD = {
    "codeconnections:GetConnection",
    "codeconnections:GetConnectionToken",
    "iam:PassRole",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
}
_IMPLIED = {
    # test/aws/test_policy.py, with boto3 itself; versions of objects that go ("DeleteObjects", S3 API Reference).
    "ci": {*_BY_CODEBUILD, "access-analyzer:ValidatePolicy", "s3:DeleteObjectVersion"},
    # For source AMIs that boot with both BIOS and UEFI; aws_ebs/test_direct.py shows the calls.
    "release": {
        *_BY_CODEBUILD,
        "secretsmanager:GetSecretValue",
        "ebs:GetSnapshotBlock",
        "ebs:ListSnapshotBlocks",
    },
}
#: What can't be narrowed (Service Authorization Reference).
_ONLY_FOR_ALL = re.compile(
    r"ec2:Describe\w+|cloudformation:DescribeStacks|logs:DescribeLogGroups|servicequotas:GetServiceQuota"
    r"|access-analyzer:ValidatePolicy"
)


@pytest.fixture(scope="module")
def needed(two_lanes: list[Lane], tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Both jobs at the same time."""
    folder = tmp_path_factory.mktemp("aws-tests")
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as other:
        release = other.submit(needed_by_release, two_lanes[1])
        found = {"ci": needed_by_tests(two_lanes[0], folder, patch)}
        return {**found, "release": release.result()}


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with running_aws(stack_step_s=0.0) as made:
        yield made


@pytest.fixture(scope="module")
def policies(aws: Aws) -> dict[str, list[dict[str, Any]]]:
    """As CloudFormation makes them of the templates, with everything that is optional."""
    client, iam = aws.client("cloudformation"), aws.client("iam")
    choice = JobChoice(repository="octo/sandbox", connection=CONNECTION)
    place = BucketPlace("the-bucket", "the-role")
    everything = ReleaseChoice(docker_repository="octo/sandbox", registry_user="octo", signed=True)
    found = {}
    for job, wanted in (
        ("ci", wanted_ci(choice, place, main_branch="main")),
        ("release", wanted_release(choice, place, everything)),
    ):
        deploy(aws, wanted)
        rows = client.describe_stack_resources(StackName=wanted.name)["StackResources"]
        role = next(row["PhysicalResourceId"] for row in rows if row["ResourceType"] == "AWS::IAM::Role")
        document = iam.get_role_policy(RoleName=role, PolicyName="job")["PolicyDocument"]
        # "IAM and AWS STS quotas": of all inline policies of a role together, without white space.
        assert len(re.sub(r"\s", "", json.dumps(document))) < 10_240
        found[job] = document["Statement"]
    return found


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("job", JOBS)
def test_what_the_job_calls_is_what_its_role_allows(
    job: str, needed: dict[str, set[str]], policies: dict[str, list[dict[str, Any]]]
) -> None:
    allowed = {action for one in policies[job] for action in _list(one["Action"])}
    wanted = needed[job] | _IMPLIED[job]
    assert sorted(wanted - allowed) == [], "missing in the policy"
    assert sorted(allowed - wanted) == [], "the policy allows more than is needed"


@pytest.mark.parametrize("job", JOBS)
def test_each_statement_is_narrow(job: str, policies: dict[str, list[dict[str, Any]]]) -> None:
    for statement in policies[job]:
        actions, resources = _list(statement["Action"]), _list(statement["Resource"])
        assert not any("*" in action for action in actions)
        if resources == ["*"]:
            assert all(_ONLY_FOR_ALL.fullmatch(action) for action in actions), statement
        assert not any(re.search(r"[:/]\*$", resource.split(":", 5)[-1][:2]) for resource in resources), statement
        if statement["Sid"] == "LetExportsUseTheRole":
            assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "vmie.amazonaws.com"}}


def test_the_tests_job_can_t_touch_a_release(policies: dict[str, list[dict[str, Any]]]) -> None:
    """Everything that it may change has an asset-id of a test, by tag or by name."""
    using = {"MakeGroupsInAnyNetwork", "StartMachinesFromAnyImage"}
    harmless = re.compile(r"\w[\w-]*:(Get|Describe|List|Validate)\w+|logs:\w+|iam:PassRole|s3:ListBucket\w*")
    for statement in policies["ci"]:
        if statement["Sid"] in using or all(harmless.fullmatch(action) for action in _list(statement["Action"])):
            continue
        text = json.dumps([statement["Resource"], statement.get("Condition", {})])
        assert "test-*" in text or "ec2:CreateAction" in text, statement


def test_all_tests_of_test_aws_are_known_to_the_role() -> None:
    """Another one has to be run in ``pipelines.needed_by_tests``, or its permissions added above."""
    known = {"test_ec2.py", "test_kill.py", "test_policy.py"}
    assert {path.name for path in (ROOT / "test/aws").glob("test_*.py")} == known
