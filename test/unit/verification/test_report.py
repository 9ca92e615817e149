"""The report, and two boots compared."""

from __future__ import annotations

import json
from pathlib import Path

from exasol_like_dss.lib.verification.boots import Outcome, compare
from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.report import CheckResult, Checks, VerificationReport
from exasol_like_dss.lib.verification.verify import write_report

IMAGE = ImageFacts("a", "sandbox", frozenset({"jupyter", "password"}), "ubuntu", 8888)


def report(*results: CheckResult) -> VerificationReport:
    return VerificationReport("a.vmdk", "a", "tcg", ("bios", "uefi"), results, ("docker: left out",), {"total": 1.5})


def test_a_report_passes_only_if_all_checks_hold_and_there_are_some() -> None:
    good, bad = CheckResult("x", True, "fine", "bios"), CheckResult("y", False, "broken", "uefi")
    assert report(good).passed
    assert not report(good, bad).passed
    assert report(good, bad).failed == (bad,)
    assert not report().passed


def test_the_file_holds_everything(tmp_path: Path) -> None:
    write_report(report(CheckResult("x", True, "fine", "bios")), tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "image": "a.vmdk",
        "asset_id": "a",
        "passed": True,
        "acceleration": "tcg",
        "firmwares": ["bios", "uefi"],
        "seconds": {"total": 1.5},
        "checks": [{"name": "x", "passed": True, "seen": "fine", "boot": "bios"}],
        "left_out": ["docker: left out"],
    }
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_what_was_seen_is_one_line() -> None:
    checks = Checks("bios")
    checks.add("x", False, "two\n  lines")
    checks.add("y", True, "")
    assert [result.seen for result in checks.results] == ["two lines", "nothing"]


def outcome(*, key: str = "k", machine_id: str = "m", jupyter: str = "t") -> Outcome:
    return Outcome(Checks("uefi"), {"ssh-ed25519": key} if key else {}, machine_id, jupyter)


def failed(first: Outcome, second: Outcome) -> list[str]:
    compare(first, second, IMAGE)
    assert len(second.checks.results) == 3
    return [result.name.removeprefix("two boots have different ") for result in second.checks.results
            if not result.passed]  # fmt: skip


def test_two_boots_that_share_nothing_pass() -> None:
    assert failed(outcome(), outcome(key="other", machine_id="n", jupyter="u")) == []


def test_what_two_boots_share_is_named() -> None:
    assert failed(outcome(), outcome(machine_id="n", jupyter="u")) == ["ssh host keys"]
    assert failed(outcome(), outcome(key="other", jupyter="u")) == ["machine-ids"]
    assert failed(outcome(), outcome(key="other", machine_id="n")) == ["Jupyter tokens"]


def test_what_was_not_seen_is_not_different() -> None:
    everything = ["ssh host keys", "machine-ids", "Jupyter tokens"]
    assert failed(outcome(), outcome(key="", machine_id="", jupyter="")) == everything
    assert failed(outcome(key="", machine_id="", jupyter=""), outcome()) == everything


def test_no_token_and_no_password_is_shown() -> None:
    assert "t0ken" not in repr(outcome(jupyter="t0ken"))
