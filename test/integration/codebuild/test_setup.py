"""``setup-ci-codebuild`` and ``setup-release-codebuild``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from test.integration.codebuild.conftest import CI, RELEASE, SECRET, Jobs
from test.support.github import REPOSITORY

CONNECTION = "arn:aws:codeconnections:eu-central-1:123456789012:connection/1b2c-3d4e"
DOCKER = ("--docker-repository", "registry.example.org/octo/sandbox", "--registry-user", "octo")


def policy_of(jobs: Jobs, stack: str) -> list[dict[str, Any]]:
    iam = jobs.aws.client("iam")
    role = jobs.project(stack)["serviceRole"].rsplit("/", 1)[-1]
    found = iam.get_role_policy(RoleName=role, PolicyName="job")["PolicyDocument"]
    return list(found["Statement"])


def variables_of(jobs: Jobs) -> dict[str, tuple[str, str]]:
    found = jobs.project(RELEASE)["environment"]["environmentVariables"]
    return {one["name"]: (one.get("type", "PLAINTEXT"), one["value"]) for one in found}


@pytest.mark.parametrize(
    ("job", "stack", "spec"), [("ci", CI, "buildspec.yml"), ("release", RELEASE, "buildspec_release.yml")]
)
def test_a_job_is_deployed_again_without_a_change_and_removed(bare: Jobs, job: str, stack: str, spec: str) -> None:
    first = bare.setup(job, "--output", "json")
    assert first.code == 0, first.err
    assert json.loads(first.out)["outputs"]["ProjectName"] == stack
    project = bare.project(stack)
    assert project["source"]["location"] == f"https://github.com/{REPOSITORY}.git"
    assert project["source"]["buildspec"] == spec
    assert ("webhook" in project) == (job == "ci")
    assert project["timeoutInMinutes"] == {"ci": 240, "release": 480}[job]
    assert not project["environment"]["privilegedMode"]
    group = project["logsConfig"]["cloudWatchLogs"]["groupName"]
    (kept,) = bare.aws.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert kept["retentionInDays"] == {"ci": 30, "release": 180}[job]

    again = bare.setup(job, "--output", "json")
    assert (again.code, json.loads(again.out)["action"]) == (0, "none"), again.err
    cloudformation = bare.aws.client("cloudformation")
    cloudformation.update_termination_protection(StackName=stack, EnableTerminationProtection=False)
    cloudformation.delete_stack(StackName=stack)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 0.1})
    assert bare.aws.client("codebuild").batch_get_projects(names=[stack])["projects"] == []


def test_the_webhook_is_for_branches_with_the_words_in_the_message(bare: Jobs) -> None:
    assert bare.setup("ci", "--main-branch", "release.x").code == 0
    (filters,) = bare.project(CI)["webhook"]["filterGroups"]
    assert [(one["type"], one["pattern"], one.get("excludeMatchedPattern", False)) for one in filters] == [
        ("EVENT", "PUSH", False),
        ("COMMIT_MESSAGE", r"\[CodeBuild\]", False),
        ("HEAD_REF", "^refs/heads/", False),
        ("HEAD_REF", r"^refs/heads/release\.x$", True),
    ]


def test_secrets_come_from_secrets_manager(bare: Jobs) -> None:
    done = bare.setup("release", *DOCKER, "--signed")
    assert done.code == 0, done.err
    variables = variables_of(bare)
    secret = {"GITHUB_TOKEN", "DSS_DEFAULT_PASSWORD", "DOCKER_REGISTRY_PASSWORD", "DSS_SIGN_KEY"}
    assert {name for name, (kind, _) in variables.items() if kind == "SECRETS_MANAGER"} == secret
    assert all(variables[name][1] == f"dss/release:{name}" for name in secret)
    assert bare.project(RELEASE)["environment"]["privilegedMode"]
    (readable,) = [one["Resource"] for one in policy_of(bare, RELEASE) if one["Sid"] == "OwnSecret"]
    assert readable == "arn:aws:secretsmanager:eu-central-1:123456789012:secret:dss/release-??????"
    seen = done.out + done.err + json.dumps([call.parameters for call in bare.aws.calls])
    assert not any(value in seen for value in SECRET.values())
    assert "secretsmanager:GetSecretValue" not in bare.aws.actions()

    # What is given the next time is what is wanted from then on.
    assert bare.setup("release").code == 0
    assert set(variables_of(bare)) == {"GITHUB_REPOSITORY", "GITHUB_TOKEN", "DSS_DEFAULT_PASSWORD"}
    assert not bare.project(RELEASE)["environment"]["privilegedMode"]


def test_a_connection_needs_no_credentials_of_the_account(bare: Jobs) -> None:
    bare.aws.change(github_connected=False)
    done = bare.setup("ci", "--connection", CONNECTION)
    assert done.code == 0, done.err
    assert bare.project(CI)["source"]["auth"] == {"type": "CODECONNECTIONS", "resource": CONNECTION}
    assert [one["Resource"] for one in policy_of(bare, CI) if one["Sid"] == "OwnConnection"] == [CONNECTION]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--repository", "x"], "is no repository on GitHub"),
        (["--connection", "arn:aws:x"], "is no connection"),
        (["--build-image", "a b"], "is no image"),
        (["--secret", "a b"], "is no name of a secret"),
        (["--docker-repository", "UPPER", "--registry-user", "x"], "is no valid name"),
        (["--docker-repository", "octo/x"], "Who logs in"),
        (["--registry-user", "octo"], "--registry-user is for"),
        (["--secret", "another"], "There is no secret another"),
    ],
)
def test_bad_input(bare: Jobs, arguments: list[str], words: str) -> None:
    done = bare.setup("release", *arguments)
    assert done.code == 2
    assert words in done.err
    assert "Hint: " in done.err
    assert "CreateChangeSet" not in str(bare.aws.actions())


@pytest.mark.parametrize("job", ["ci", "release"])
def test_what_is_missing_is_named_with_the_way_to_it(bare: Jobs, job: str) -> None:
    bare.aws.change(github_connected=False)
    done = bare.setup(job)
    assert done.code == 2
    assert "not connected to GitHub" in done.err
    assert "--connection" in done.err
    bare.aws.client("cloudformation").delete_stack(StackName="DATA-SCIENCE-SANDBOX-VM-Bucket")
    waiter = bare.aws.client("cloudformation").get_waiter("stack_delete_complete")
    waiter.wait(StackName="DATA-SCIENCE-SANDBOX-VM-Bucket", WaiterConfig={"Delay": 0.1})
    done = bare.setup(job)
    assert done.code == 2
    assert "dss setup-vm-bucket" in done.err
    assert "CreateChangeSet" not in str(bare.aws.actions())
