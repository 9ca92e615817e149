"""The release job: which repository, where its page is, which pushes start the tests, what is shown of a log."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from exasol_like_dss.access.aws.codebuild import Build, Phase
from exasol_like_dss.access.aws.logs import LogPage
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.errors import DeadlinePassed, InputError
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.releases import builds
from exasol_like_dss.lib.releases.builds import BuildFailed, ReleaseBuild, WantedBuild, console_link
from exasol_like_dss.lib.releases.repository import find_repository, read_upload_url
from test.support.notes import Notes

ROOT = Path(__file__).parents[3]
ID = "the-project:1b2c3d4e"
WANTED = WantedBuild(branch="main", asset_id=AssetId("1.2.3"), release_id=17, kind="release")
RUNNING = Build(
    id=ID, arn=f"arn:aws:codebuild:eu-central-1:123456789012:build/{ID}", status="IN_PROGRESS", phase="BUILD",
    phases=(Phase("INSTALL", "SUCCEEDED", ""), Phase("BUILD", "", "")), branch="main", variables=WANTED.variables,
    log_group="group", log_stream="stream", log_link="https://log", started=datetime.now(UTC), timeout_s=60.0,
)  # fmt: skip


class FakeCodeBuild:
    """seen: what each look finds; the last one for ever."""

    def __init__(self, *seen: Build, there: list[Build] | None = None) -> None:
        self.seen = list(seen)
        self.there = there or []
        self.started: list[dict[str, Any]] = []
        self.stopped: list[str] = []

    def newest_ids(self, project: str) -> list[str]:
        assert project == "the-project"
        return [one.id for one in self.there]

    def builds(self, ids: list[str]) -> list[Build]:
        if not ids:
            return []
        if self.started or self.stopped or not self.there:
            return [self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]]
        return [one for one in self.there if one.id in ids]

    def start(self, project: str, **more: Any) -> Build:
        self.started.append({"project": project, **more})
        return self.seen[0]

    def stop(self, build_id: str) -> None:
        self.stopped.append(build_id)


class FakeLogs:
    """Each page once."""

    def __init__(self, *pages: list[str]) -> None:
        self.pages = list(pages)
        self.asked: list[str] = []

    def page(self, group: str, stream: str, *, position: str = "") -> LogPage:
        assert (group, stream) == ("group", "stream")
        self.asked.append(position)
        number = int(position or "0")
        if number < len(self.pages):
            return LogPage(tuple(self.pages[number]), str(number + 1))
        return LogPage((), position)


def run_of(codebuild: FakeCodeBuild, logs: FakeLogs | None = None) -> tuple[ReleaseBuild, Notes]:
    notes = Notes()
    access: Any = codebuild
    log_access: Any = logs or FakeLogs()
    run = ReleaseBuild(
        access, log_access, project="the-project", wanted=WANTED, progress=notes, cancellation=Cancellation()
    )
    return run, notes


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_INTERVAL_S", 0.0)
    monkeypatch.setattr(builds, "_STOP_INTERVAL_S", 0.0)


# --- one build ---


def test_a_build_is_started_with_a_token_of_its_own() -> None:
    codebuild = FakeCodeBuild(RUNNING)
    first, _ = run_of(codebuild)
    second, _ = run_of(codebuild)
    assert first.ensure()
    assert second.ensure()
    tokens = [one["token"] for one in codebuild.started]
    assert len(set(tokens)) == 2
    assert codebuild.started[0]["variables"] == {"ASSET_ID": "1.2.3", "RELEASE_ID": "17", "RELEASE_KIND": "release"}


def test_a_running_build_of_the_same_release_is_taken() -> None:
    others = replace(RUNNING, id="the-project:other", variables={"ASSET_ID": "9.9.9"})
    ended = replace(RUNNING, id="the-project:ended", status="FAILED")
    codebuild = FakeCodeBuild(RUNNING, there=[others, ended, RUNNING])
    run, notes = run_of(codebuild)
    assert not run.ensure()
    assert run.build == RUNNING
    assert codebuild.started == []
    assert f"The build {ID} runs already: it is followed." in notes.notes


@pytest.mark.parametrize("other", [{"branch": "feature"}, {"variables": {**WANTED.variables, "RELEASE_KIND": "test"}}])
def test_a_running_build_of_something_else_is_left_alone(other: dict[str, Any]) -> None:
    codebuild = FakeCodeBuild(RUNNING, there=[replace(RUNNING, **other)])
    run, _ = run_of(codebuild)
    with pytest.raises(InputError, match=r"A build of 1\.2\.3 runs already"):
        run.ensure()
    assert codebuild.started == []


def test_the_log_is_bounded_and_harmless() -> None:
    done = replace(RUNNING, status="SUCCEEDED")
    logs = FakeLogs([f"line {number}" for number in range(100)], ["\x1b[31mred\x1b[0m\x07", "x" * 1000, ""])
    run, notes = run_of(FakeCodeBuild(RUNNING, done), logs)
    run.ensure()
    assert run.follow() == done
    shown = [line for line in notes.notes if line.startswith("  ")]
    assert shown[0] == "  … 62 lines; all are in https://log"
    assert shown[1] == "  line 62"
    assert shown[-2] == "  red"
    assert shown[-1] == "  " + "x" * 300 + "…"
    assert len(run.last_lines) == 20
    assert logs.asked == ["", "1", "2", "2"]


def test_the_reason_of_a_failure_is_that_of_the_phase() -> None:
    phases = (Phase("INSTALL", "SUCCEEDED", ""), Phase("PRE_BUILD", "FAILED", "COMMAND_EXECUTION_ERROR exit status 1"))
    run, _ = run_of(FakeCodeBuild(RUNNING, replace(RUNNING, status="FAILED", phases=phases)))
    run.ensure()
    run.follow()
    with pytest.raises(
        BuildFailed, match="FAILED in the phase PRE_BUILD: COMMAND_EXECUTION_ERROR exit status 1"
    ) as why:
        run.check()
    assert "https://log" in why.value.hint


def test_a_build_that_does_not_end_is_left_with_its_link() -> None:
    run, _ = run_of(FakeCodeBuild(RUNNING))
    run.ensure()
    with pytest.raises(DeadlinePassed, match="Last seen: BUILD") as passed:
        run.follow(deadline_s=0.0)
    assert run.link in passed.value.hint


def test_stopping_waits_for_the_end_whatever_was_cancelled() -> None:
    codebuild = FakeCodeBuild(RUNNING, RUNNING, replace(RUNNING, status="STOPPED"))
    run, _ = run_of(codebuild)
    run.ensure()
    run._cancellation.cancel()
    assert run.stop().status == "STOPPED"
    assert codebuild.stopped == [ID]


@pytest.mark.parametrize(
    ("arn", "link"),
    [
        ("arn:aws:codebuild:eu-west-1:1:build/p:u", "https://eu-west-1.console.aws.amazon.com/codesuite/codebuild/1/"),
        (
            "arn:aws-cn:codebuild:cn-north-1:1:build/p:u",
            "https://cn-north-1.console.amazonaws.cn/codesuite/codebuild/1/",
        ),
    ],
)
def test_the_page_of_a_build(arn: str, link: str) -> None:
    region = arn.split(":")[3]
    assert console_link(replace(RUNNING, id="p:u", arn=arn)) == f"{link}projects/p/build/p%3Au/?region={region}"


# --- repository ---


@pytest.mark.parametrize(
    "given", ["octo/sandbox", "https://github.com/octo/sandbox.git", "git@github.com:octo/sandbox.git"]
)
def test_a_repository_by_name_or_address(given: str) -> None:
    assert find_repository(given, programs=Programs()) == "octo/sandbox"


def test_a_release_by_its_upload_url() -> None:
    url = "https://uploads.github.com/repos/Octo/Sandbox/releases/4711/assets{?name,label}"
    assert read_upload_url(url, repository="octo/sandbox") == 4711
    assert read_upload_url(url.removesuffix("{?name,label}"), repository="octo/sandbox") == 4711
    own = "https://git.example.org/api/uploads/repos/octo/sandbox/releases/7/assets{?name,label}"
    assert read_upload_url(own, repository="octo/sandbox", api_url="https://git.example.org/api/v3") == 7


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://uploads.github.com.example.org/repos/octo/sandbox/releases/1/assets", "another host"),
        ("http://uploads.github.com/repos/octo/sandbox/releases/1/assets", "another host"),
        ("https://uploads.github.com@example.org/repos/octo/sandbox/releases/1/assets", "another host"),
        ("https://uploads.github.com/x/repos/octo/sandbox/releases/1/assets", "another host"),
        ("https://uploads.github.com/repos/octo/other/releases/1/assets", "repository octo/other"),
        ("https://uploads.github.com/repos/octo/sandbox/releases/x/assets", "no upload URL"),
        ("https://uploads.github.com/repos/octo/sandbox/releases/1", "no upload URL"),
        ("", "no upload URL"),
    ],
)
def test_other_upload_urls_are_refused(url: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_upload_url(url, repository="octo/sandbox")


# --- which pushes start the tests ---


class _Template(yaml.SafeLoader):
    """Knows CloudFormation's short forms as their plain values."""


_Template.add_multi_constructor(
    "!",
    lambda loader, _, node: (
        loader.construct_scalar(node)
        if isinstance(node, yaml.ScalarNode)
        else loader.construct_sequence(node, deep=True)
    ),
)


@pytest.mark.parametrize(
    ("ref", "message", "built"),
    [
        ("refs/heads/feature/x", "[CodeBuild] try it", True),
        ("refs/heads/feature/x", "first line\n\ntry it [CodeBuild]", True),
        ("refs/heads/feature/x", "try it", False),
        ("refs/heads/feature/x", "CodeBuild", False),
        ("refs/heads/main", "[CodeBuild]", False),
        ("refs/heads/main-2", "[CodeBuild]", True),
        ("refs/heads/not-main", "[CodeBuild]", True),
        ("refs/tags/1.2.3", "[CodeBuild]", False),
    ],
)
def test_which_pushes_start_the_tests(ref: str, message: str, built: bool) -> None:
    text = (ROOT / "cloudformation/ci-codebuild.yaml").read_text()
    project = yaml.load(text, Loader=_Template)["Resources"]["Project"]["Properties"]  # noqa: S506 - a safe loader
    (filters,) = project["Triggers"]["FilterGroups"]
    values = {"EVENT": "PUSH", "COMMIT_MESSAGE": message, "HEAD_REF": ref}
    held = [
        bool(re.search(one["Pattern"].replace("${MainBranch}", "main"), values[one["Type"]]))
        != one.get("ExcludeMatchedPattern", False)
        for one in filters
    ]
    assert all(held) == built
