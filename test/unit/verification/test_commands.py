"""``verify-vm`` and ``run-vm`` as a caller sees them: wrong input, exit codes, tables and JSON."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.cli.main import main
from exasol_like_dss.lib.verification.report import CheckResult, VerificationReport

PASSWORD = "first-Login-1"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return int(ended.value.code), out, " ".join(err.split())


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DSS_DEFAULT_PASSWORD", PASSWORD)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))


def image(folder: Path) -> Path:
    """An empty disk with a partition in its MBR: an image to the reader, without anything in it."""
    file = folder / "disk.raw"
    start = bytes(446) + bytes((0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)) + bytes(48) + b"\x55\xaa"
    file.write_bytes(start + bytes(1 << 20))
    return file


@pytest.mark.parametrize("command", ["verify-vm", "run-vm"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "There is no file"), (b"", "is empty"), (b"text\n" * 999, "is no disk image"), (b"KDMV" * 999, "")],
)
def test_what_is_no_image_is_refused_before_anything_begins(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, content: bytes | None, sentence: str
) -> None:
    file = tmp_path / "image.vmdk"
    if content is not None:
        file.write_bytes(content)
    code, out, err = run(capsys, command, file)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert sentence in err
    assert not (tmp_path / "scratch").exists()


def test_an_image_without_a_root_file_system_is_wrong_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "verify-vm", image(tmp_path), "--at-rest")
    assert code == 2
    assert "no GPT partition with an ext4" in err
    assert not list((tmp_path / "scratch" / "exasol-like-dss").iterdir()), "nothing is left"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--firmware", "coreboot"], "is not one of 'bios', 'uefi', 'both'"),
        (["--memory", "64"], "64 is not in the range"),
        (["--acceleration", "xen"], "is not one of 'auto', 'kvm', 'tcg'"),
        (["--default-password", PASSWORD], "takes the place where the password is"),
        (["--format-report", "/nowhere/report.json"], "The report can't be written to /nowhere/report.json"),
        (["--memory", "99999999"], "Too little memory"),
    ],
)
def test_wrong_options_of_verify_vm(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    code, out, err = run(capsys, "verify-vm", image(tmp_path), *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert PASSWORD not in err


def test_the_default_password_is_needed_to_log_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DSS_DEFAULT_PASSWORD")
    code, _, err = run(capsys, "verify-vm", image(tmp_path))
    assert code == 2
    assert "default password is needed" in err


def test_ports_that_are_taken_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run(capsys, "run-vm", image(tmp_path), "--ssh-port", str(port))
        assert code == 2
        assert f"Port {port} of 127.0.0.1 can't be used" in err
        assert "--ssh-port" in err
    assert run(capsys, "run-vm", image(tmp_path), "--jupyter-port", "70000")[0] == 2
    code, _, err = run(capsys, "run-vm", image(tmp_path), "--ssh-port", str(port), "--jupyter-port", str(port))
    assert code == 2
    assert "different ports" in err


def test_a_disk_of_another_image_is_not_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.qcow2").write_bytes(b"precious")
    code, _, err = run(capsys, "run-vm", image(tmp_path), "--disk", tmp_path / "mine.qcow2", "--ssh-port", "22022",
                       "--jupyter-port", "22088")  # fmt: skip
    assert code == 2
    assert "is no disk that was made for disk.raw" in err
    assert (tmp_path / "mine.qcow2").read_bytes() == b"precious"


@pytest.mark.parametrize("passed", [True, False])
def test_the_exit_code_tells_and_the_report_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: bool
) -> None:
    asked: dict[str, Any] = {}

    def verify(**arguments: Any) -> VerificationReport:
        asked.update(arguments)
        results = (CheckResult("boots", True, "fine", "bios"), CheckResult("logs", passed, "seen", "at rest"))
        return VerificationReport(
            "i", "a", "tcg", ("bios",), results, ("docker: role docker is left out",), {"total": 2}
        )

    monkeypatch.setattr("exasol_like_dss.lib.verification.verify.verify_image", verify)
    file = tmp_path / "report.json"
    code, out, _ = run(capsys, "verify-vm", "i", "--firmware", "bios", "--format-report", file)
    assert code == (0 if passed else 1)
    assert asked["default_password"] == PASSWORD
    assert [str(firmware) for firmware in asked["firmwares"]] == ["bios"]
    assert json.loads(file.read_text())["passed"] is passed
    lines = out.splitlines()
    assert lines[3].split() == ["logs", "ok" if passed else "FAILED", "at", "rest", "seen"]
    assert lines[-2:] == ["Left out: docker: role docker is left out",
                          f"2 checks, {0 if passed else 1} failed, 2 s"]  # fmt: skip
    code, out, _ = run(capsys, "verify-vm", "i", "--output", "json")
    assert json.loads(out)["checks"][1]["name"] == "logs"
    assert len(asked["firmwares"]) == 2
    run(capsys, "verify-vm", "i", "--at-rest")
    assert list(asked["firmwares"]) == []
