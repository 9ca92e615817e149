"""``verify-docker-image`` as a caller sees it: what is missing, exit codes, table and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.access.docker import Docker, EngineMissing
from exasol_like_dss.lib.verification.report import CheckResult, VerificationReport
from test.unit.verification.test_commands import run

VERIFY = "exasol_like_dss.lib.verification.container.verify"


def test_without_an_engine_it_is_one_sentence_and_a_hint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_docker: Docker) -> str:
        raise EngineMissing("The Docker engine can't be reached.", hint="Start it.")

    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.setattr(Docker, "check", check)
    monkeypatch.setattr(f"{VERIFY}.find_browser", lambda _programs: None)
    code, out, err = run(capsys, "verify-docker-image", "some:image")
    assert (code, out) == (2, "")
    assert err == "Error: The Docker engine can't be reached. Hint: Start it."


def test_an_engine_on_another_machine_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2376")
    monkeypatch.setattr(f"{VERIFY}.find_browser", lambda _programs: None)
    code, _, err = run(capsys, "verify-docker-image", "some:image")
    assert code == 2
    assert "is on another machine" in err


def test_without_a_browser_its_package_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("exasol_like_dss.access.programs._SBIN", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run(capsys, "verify-docker-image", "some:image")
    assert code == 2
    assert "The program 'chromium' is not installed. Hint: Install it: apt-get install chromium" in err


@pytest.mark.parametrize("option", ["--format-report", "--screenshot"])
def test_files_are_checked_before_the_work(capsys: pytest.CaptureFixture[str], option: str) -> None:
    code, _, err = run(capsys, "verify-docker-image", "some:image", option, "/nowhere/file")
    assert code == 2
    assert "can't be written to /nowhere/file" in err


@pytest.mark.parametrize("passed", [True, False])
def test_the_exit_code_tells_and_the_report_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: bool
) -> None:
    asked: dict[str, Any] = {}

    def verify(reference: str, **arguments: Any) -> VerificationReport:
        asked.update(arguments, reference=reference)
        results = (CheckResult("port", True, "8888", "at rest"), CheckResult("page", passed, "seen", "usual"))
        return VerificationReport("some:image", "a", None, None, results, seconds={"total": 40.2})

    monkeypatch.setattr(f"{VERIFY}.verify_docker_image", verify)
    file = tmp_path / "report.json"
    code, out, _ = run(capsys, "verify-docker-image", "some:image", "--format-report", file)
    assert code == (0 if passed else 1)
    assert (asked["reference"], asked["screenshot"]) == ("some:image", None)
    report = json.loads(file.read_text())
    assert report["passed"] is passed
    assert not {"firmwares", "acceleration"} & set(report)
    lines = out.splitlines()
    assert lines[0].split() == ["check", "result", "container", "seen"]
    assert lines[3].split() == ["page", "ok" if passed else "FAILED", "usual", "seen"]
    assert lines[-1] == f"2 checks, {0 if passed else 1} failed, 40 s"
    _, out, _ = run(capsys, "verify-docker-image", "some:image", "--output", "json")
    assert json.loads(out) == report
