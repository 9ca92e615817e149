"""``start-release-build`` and ``start-test-release``."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pexpect
import pytest

from test.integration.codebuild.conftest import RELEASE, Jobs
from test.support.aws import ClientFault, Fault
from test.support.command import DSS, started
from test.support.github import READ_TOKEN, REPOSITORY, TOKEN
from test.support.planted_assets import Commands

_OVERRIDES = "environmentVariablesOverride"


def started_with(jobs: Jobs) -> list[dict[str, Any]]:
    return [call.parameters for call in jobs.aws.calls if call.name == "codebuild:StartBuild" and call.effect]


def test_a_release_is_built_and_followed(jobs: Jobs) -> None:
    release = jobs.github.add_release(tag="v1.2.3")
    done = jobs.start(release.id, "--output", "json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert (result["status"], result["asset_id"], result["release_id"]) == ("SUCCEEDED", "1.2.3", release.id)
    assert result["build_id"] == jobs.builds()[0]["id"]
    assert result["link"].startswith("https://eu-central-1.console.aws.amazon.com/codesuite/codebuild/123456789012/")
    assert result["link"] in done.err
    assert "Phase BUILD SUCCEEDED" in done.err
    assert "Entering phase POST_BUILD" in done.err
    assert "Entering phase FINALIZING" in result["last_lines"][-2]
    (given,) = started_with(jobs)
    assert (given["projectName"], given["sourceVersion"]) == (RELEASE, "main")
    assert {one["name"]: one["value"] for one in given[_OVERRIDES]} == {
        "ASSET_ID": "1.2.3", "RELEASE_ID": str(release.id), "RELEASE_KIND": "release",
    }  # fmt: skip
    assert TOKEN not in str([call.parameters for call in jobs.aws.calls]) + done.out + done.err
    assert jobs.github.writes() == []


def test_each_line_of_the_log_is_shown_once(jobs: Jobs) -> None:
    jobs.aws.change(build_phase_s=0.1)
    done = jobs.start(jobs.github.add_release().id)
    assert done.code == 0, done.err
    lines = [line for line in done.err.splitlines() if "[Container]" in line]
    assert len(lines) == len(set(lines)) == 16


def test_without_waiting(jobs: Jobs) -> None:
    jobs.aws.change(held=["builds"])
    done = jobs.start(jobs.github.add_release().id, "--no-wait", "--no-publish", "--output", "json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["status"] == "IN_PROGRESS"
    assert result["link"]
    assert {"name": "RELEASE_KIND", "value": "staged", "type": "PLAINTEXT"} in started_with(jobs)[0][_OVERRIDES]
    assert "codebuild:BatchGetBuilds" not in jobs.aws.actions()


def test_a_build_that_fails(jobs: Jobs) -> None:
    jobs.aws.change(failing_builds=["BUILD"])
    release = jobs.github.add_release()
    done = jobs.start(release.id, "--output", "json")
    assert done.code == 1
    assert (json.loads(done.out)["status"], json.loads(done.out)["phase"]) == ("FAILED", "BUILD")
    assert "in the phase BUILD: COMMAND_EXECUTION_ERROR Error while executing command" in done.err
    assert "Hint: Its log: https://" in done.err
    again = jobs.start(release.id)
    assert again.code == 0, again.err
    assert len(jobs.builds()) == 2


def test_a_secret_that_is_gone_is_named(jobs: Jobs) -> None:
    jobs.aws.client("secretsmanager").delete_secret(SecretId="dss/release", ForceDeleteWithoutRecovery=True)
    done = jobs.start(jobs.github.add_release().id)
    assert done.code == 1
    assert "in the phase DOWNLOAD_SOURCE: Secrets Manager Error Message" in done.err


def test_a_lost_response_starts_no_second_build(jobs: Jobs) -> None:
    jobs.aws.inject(Fault(action="StartBuild", effect="drop", moment="after"))
    done = jobs.start(jobs.github.add_release().id)
    assert done.code == 0, done.err
    assert jobs.aws.actions().count("codebuild:StartBuild") == 2
    assert len(jobs.builds()) == 1


def test_a_killed_command_is_followed_by_the_next(jobs: Jobs) -> None:
    jobs.aws.change(held=["builds"])
    release = jobs.github.add_release()
    fault = ClientFault(do="kill-after", action="StartBuild")
    killed = Commands(jobs.aws, jobs.folder, {**jobs.more, **jobs.aws.environment(client_faults=[fault])})
    assert killed.run_alone("start-release-build", *jobs.start_arguments(release.id)).code == -signal.SIGKILL
    elsewhere = jobs.start(release.id, branch="other")
    assert elsewhere.code == 2
    jobs.github.branches.append("other")
    elsewhere = jobs.start(release.id, branch="other")
    assert elsewhere.code == 2
    assert "A build of 1.2.3 runs already, for the branch main" in elsewhere.err
    jobs.aws.change(held=[])
    done = jobs.start(release.id)
    assert done.code == 0, done.err
    assert "runs already: it is followed" in done.err
    assert len(jobs.builds()) == 1


def test_when_the_deadline_passes_the_build_goes_on(jobs: Jobs) -> None:
    jobs.aws.change(held=["builds"])
    done = jobs.start(jobs.github.add_release().id, "--deadline", "0.01")
    assert done.code == 1
    assert "Last seen: SUBMITTED" in done.err
    assert "It goes on: https://" in done.err
    assert jobs.builds()[0]["buildStatus"] == "IN_PROGRESS"


@pytest.mark.parametrize("code", ["throttled", "InternalFailure"])
def test_a_look_that_fails_is_repeated(jobs: Jobs, code: str) -> None:
    jobs.aws.inject(Fault(action="BatchGetBuilds", code=code, times=5, status=500 if code != "throttled" else 400))
    done = jobs.start(jobs.github.add_release().id)
    assert done.code == 0, done.err


def test_without_the_permission_for_the_log_the_build_is_followed(jobs: Jobs) -> None:
    jobs.aws.change(denied=["logs:GetLogEvents"])
    done = jobs.start(jobs.github.add_release().id)
    assert done.code == 0, done.err
    assert done.err.count("logs:GetLogEvents") == 1
    assert "[Container]" not in done.err


def test_sigterm_stops_the_build(jobs: Jobs) -> None:
    jobs.aws.change(held=["builds"])
    arguments = ["start-release-build", *jobs.start_arguments(jobs.github.add_release().id)]
    with started(arguments, cwd=jobs.folder, env=jobs.environment) as running:
        running.wait_for("Phase SUBMITTED")
        running.signal(signal.SIGTERM)
        assert running.end() == 130
    assert "The build is STOPPED" in running.text
    assert jobs.builds()[0]["buildStatus"] == "STOPPED"


@pytest.mark.parametrize(("answer", "status"), [("n", "IN_PROGRESS"), ("", "STOPPED")])
def test_ctrl_c_at_a_terminal_asks(jobs: Jobs, answer: str, status: str) -> None:
    jobs.aws.change(held=["builds"])
    arguments = [*DSS[1:], "start-release-build", *jobs.start_arguments(jobs.github.add_release().id)]
    environment = {**os.environ, **jobs.environment, "TERM": "dumb"}
    terminal = pexpect.spawn(DSS[0], arguments, cwd=str(jobs.folder), env=environment, encoding="utf-8", timeout=60)
    try:
        terminal.expect("Phase SUBMITTED")
        terminal.sendintr()
        terminal.expect("Stop the build .*too")
        terminal.sendline(answer)
        terminal.expect("The build goes on" if answer else "The build is STOPPED")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close()
    assert terminal.exitstatus == 130
    assert jobs.builds()[0]["buildStatus"] == status


# --- bad input ---


def _other_host(jobs: Jobs, release_id: int) -> list[str]:
    del jobs
    return [
        "--upload-url",
        f"https://uploads.github.com/repos/{REPOSITORY}/releases/{release_id}/assets{{?name,label}}",
    ]


def _other_repository(jobs: Jobs, release_id: int) -> list[str]:
    return ["--upload-url", jobs.upload_url(release_id).replace(REPOSITORY, "octo/other")]


def _no_url(jobs: Jobs, release_id: int) -> list[str]:
    del jobs, release_id
    return ["--upload-url", "ftp://x"]


def _unknown(jobs: Jobs, release_id: int) -> list[str]:
    return ["--upload-url", jobs.upload_url(release_id).replace(f"/{release_id}/", "/4711/")]


def _no_branch(jobs: Jobs, release_id: int) -> list[str]:
    del jobs, release_id
    return ["--branch", "nowhere"]


def _no_token(jobs: Jobs, release_id: int) -> list[str]:
    del release_id
    jobs.more["GITHUB_TOKEN"] = ""
    return []


def _wrong_token(jobs: Jobs, release_id: int) -> list[str]:
    del release_id
    jobs.more["GITHUB_TOKEN"] = "github_pat_wrong"
    return []


def _no_job(jobs: Jobs, release_id: int) -> list[str]:
    del jobs, release_id
    return ["--region", "us-west-2"]


def _no_version(jobs: Jobs, release_id: int) -> list[str]:
    jobs.github.releases[release_id].tag = "a-tag"
    return []


def _published(jobs: Jobs, release_id: int) -> list[str]:
    jobs.github.releases[release_id].draft = False
    return []


def _of_another_repository(jobs: Jobs, release_id: int) -> list[str]:
    return [*_other_repository(jobs, release_id), "--repository", "octo/other"]


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (_other_host, "of another host"),
        (_other_repository, "of the repository octo/other"),
        (_no_url, "no upload URL"),
        (_unknown, "The release 4711 is not there"),
        (_no_branch, "There is no branch 'nowhere'"),
        (_no_token, "GITHUB_TOKEN is not set"),
        (_wrong_token, "does not accept the token"),
        (_no_job, "dss setup-release-codebuild"),
        (_no_version, "is no version"),
        (_published, "is published already"),
        (_of_another_repository, "The release job in eu-central-1 builds octo/sandbox"),
    ],
)
def test_bad_input(jobs: Jobs, prepare: Callable[[Jobs, int], list[str]], words: str) -> None:
    release = jobs.github.add_release()
    # The last of two options of a name wins.
    done = jobs.start(release.id, *prepare(jobs, release.id))
    assert done.code == 2, done.err
    assert words in done.err
    assert "Hint: " in done.err
    assert started_with(jobs) == []
    assert jobs.github.writes() == []


# --- test releases ---


def test_a_test_release_has_a_draft_that_is_found_again(jobs: Jobs) -> None:
    jobs.aws.change(failing_builds=["BUILD"])
    first = jobs.test_release("1.3.0-test.1", "--output", "json")
    assert first.code == 1
    (draft,) = jobs.github.releases.values()
    assert (draft.tag, draft.title, draft.draft, draft.prerelease) == ("1.3.0-test.1", "1.3.0-test.1", True, True)
    assert json.loads(first.out)["release_id"] == draft.id
    again = jobs.run(
        "start-test-release-build", "--release-title", "1.3.0-test.1", "--branch", "main", "--repository", REPOSITORY
    )
    assert again.code == 0, again.err
    assert list(jobs.github.releases) == [draft.id]
    assert {one["name"]: one["value"] for one in started_with(jobs)[1][_OVERRIDES]} == {
        "ASSET_ID": "1.3.0-test.1", "RELEASE_ID": str(draft.id), "RELEASE_KIND": "test",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("title", "branch", "words"),
    [
        ("no version", "main", "is no version"),
        ("1.2", "main", "is no version"),
        ("1.2.3+build", "main", "build metadata"),
        ("1.2.3-x", "nowhere", "There is no branch 'nowhere'"),
        ("2.0.0", "main", "There is a published release 2.0.0"),
        ("2.1.0", "main", "There is a draft 2.1.0, of the branch older"),
    ],
)
def test_a_test_release_with_bad_input(jobs: Jobs, title: str, branch: str, words: str) -> None:
    jobs.github.add_release(tag="2.0.0", draft=False)
    jobs.github.add_release(tag="2.1.0").target = "older"
    done = jobs.test_release(title, branch=branch)
    assert done.code == 2, done.err
    assert words in done.err
    assert "Hint: " in done.err
    assert started_with(jobs) == []
    assert jobs.github.writes() == []


def test_a_token_that_may_only_read(jobs: Jobs) -> None:
    jobs.more["GITHUB_TOKEN"] = READ_TOKEN
    done = jobs.test_release("1.2.3-x")
    assert done.code in (1, 2)
    assert "contents=write" in done.err
    assert started_with(jobs) == []
