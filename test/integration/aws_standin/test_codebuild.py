"""CodeBuild in the stand-in: what AWS refuses, tokens, and builds that take their time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from test.integration.aws_standin.conftest import refused, until
from test.support.aws import Aws

_ROLE = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {"Statement": []}}}


def project(**changes: Any) -> dict[str, Any]:
    return {
        "Name": "job",
        "ServiceRole": {"Fn::GetAtt": ["Role", "Arn"]},
        "Artifacts": {"Type": "NO_ARTIFACTS"},
        "Environment": {"Type": "LINUX_CONTAINER", "ComputeType": "BUILD_GENERAL1_SMALL", "Image": "an-image"},
        "Source": {"Type": "GITHUB", "Location": "https://git.example.org/octo/sandbox.git"},
        **changes,
    }


def deployed(aws: Aws, **changes: Any) -> str:
    """The reason why the project could not be made; empty when it was."""
    client = aws.client("cloudformation")
    resources = {"Role": _ROLE, "Job": {"Type": "AWS::CodeBuild::Project", "Properties": project(**changes)}}
    client.create_stack(
        StackName="jobs", TemplateBody=json.dumps({"Resources": resources}), Capabilities=["CAPABILITY_IAM"]
    )
    until(lambda: client.describe_stacks(StackName="jobs")["Stacks"][0]["StackStatus"].endswith("_COMPLETE"))
    events = client.describe_stack_events(StackName="jobs")["StackEvents"]
    failed = [one for one in events if one["ResourceStatus"] == "CREATE_FAILED" and one["LogicalResourceId"] == "Job"]
    return str(failed[0]["ResourceStatusReason"]) if failed else ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Environment": {"Type": "LINUX", "ComputeType": "BUILD_GENERAL1_SMALL", "Image": "x"}}, "environment.type"),
        ({"Environment": {"Type": "LINUX_CONTAINER", "ComputeType": "SMALL", "Image": "x"}}, "environment.computeType"),
        ({"Source": {"Type": "GIT"}}, "source.type"),
        ({"Artifacts": {"Type": "NONE"}}, "artifacts.type"),
        ({"TimeoutInMinutes": 3000}, "between 5 and 2160"),
        ({"ServiceRole": "arn:aws:iam::123456789012:role/nobody"}, "not authorized to perform: sts:AssumeRole"),
        ({"Triggers": {"Webhook": True, "FilterGroups": [[{"Type": "BRANCH", "Pattern": "x"}]]}}, "EVENT type filter"),
        (
            {"Triggers": {"Webhook": True, "FilterGroups": [[
                {"Type": "EVENT", "Pattern": "PUSH"}, {"Type": "BRANCH", "Pattern": "x"},
            ]]}},
            "filterGroups.type",
        ),
        ({"Wrong": 1}, "extraneous key"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_project_is_refused(aws: Aws, changes: dict[str, Any], words: str) -> None:
    assert words in deployed(aws, **changes)
    assert aws.client("codebuild").batch_get_projects(names=["job"])["projects"] == []


def test_a_webhook_needs_a_connection_to_github(aws: Aws) -> None:
    aws.change(github_connected=False)
    hook = {"Webhook": True, "FilterGroups": [[{"Type": "EVENT", "Pattern": "PUSH"}]]}
    assert "Could not find access token for server type github" in deployed(aws, Triggers=hook)


def test_a_token_stands_for_one_build(aws: Aws) -> None:
    assert deployed(aws) == ""
    client = aws.client("codebuild")
    first = client.start_build(projectName="job", idempotencyToken="one")["build"]["id"]
    assert client.start_build(projectName="job", idempotencyToken="one")["build"]["id"] == first
    assert client.start_build(projectName="job", idempotencyToken="two")["build"]["id"] != first
    with refused("InvalidInputException"):
        client.start_build(projectName="job", idempotencyToken="one", sourceVersion="other")


def test_what_is_not_there(aws: Aws) -> None:
    client = aws.client("codebuild")
    with refused("ResourceNotFoundException", "Project cannot be found: arn:aws:codebuild"):
        client.start_build(projectName="job")
    with refused("ResourceNotFoundException"):
        client.stop_build(id="job:1")
    assert client.batch_get_builds(ids=["job:1"])["buildsNotFound"] == ["job:1"]


def test_a_build_stops_where_it_is(aws: Aws) -> None:
    assert deployed(aws) == ""
    aws.change(held=["builds"])
    client = aws.client("codebuild")
    build = client.start_build(projectName="job")["build"]["id"]
    client.stop_build(id=build)
    until(lambda: client.batch_get_builds(ids=[build])["builds"][0]["buildComplete"])
    now = client.batch_get_builds(ids=[build])["builds"][0]
    assert now["buildStatus"] == "STOPPED"
    assert [one["phaseType"] for one in now["phases"]] == ["SUBMITTED", "COMPLETED"]
