from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib import preflight
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.errors import InputError, ProgramMissing
from exasol_like_dss.lib.publishing.manifest import Manifest, Verification, write_manifest


def finished_build(directory: Path, asset_id: str) -> None:
    directory.mkdir(exist_ok=True)
    manifest = Manifest(
        asset_id=asset_id,
        tool_version="1",
        edition="sandbox",
        base="debian-13",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        verification=Verification.PASSED,
        artifacts=(),
        inputs={},
        versions={},
        seconds_per_step={},
    )
    write_manifest(manifest, directory / "manifest.json")


def test_a_finished_build_is_not_replaced_without_force(tmp_path: Path) -> None:
    finished_build(tmp_path / "out", "1.0")
    with pytest.raises(InputError, match=r"already holds asset-id 1\.0") as caught:
        preflight.check_output_directory(tmp_path / "out", AssetId("1.0"), force=False)
    assert "--force" in caught.value.hint
    preflight.check_output_directory(tmp_path / "out", AssetId("1.0"), force=True)


@pytest.mark.parametrize("force", [True, False])
def test_another_build_is_never_replaced(tmp_path: Path, force: bool) -> None:
    finished_build(tmp_path / "out", "1.0")
    with pytest.raises(InputError, match=r"another build \(asset-id 1\.0\)"):
        preflight.check_output_directory(tmp_path / "out", AssetId("1.0-rc1"), force=force)


def test_a_foreign_manifest_is_respected(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json that is not of exasol-like-dss"):
        preflight.check_output_directory(tmp_path, AssetId("1"), force=True)


def test_an_output_directory_that_is_a_file_or_below_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="is a file"):
            preflight.check_output_directory(directory, AssetId("1"), force=False)


def test_an_output_directory_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="not writable"):
        preflight.check_output_directory(tmp_path / "new", AssetId("1"), force=False)


def test_space_on_one_file_system_is_added_up(tmp_path: Path) -> None:
    free = 1 << 60
    preflight.check_space([(tmp_path / "a" / "b", 1, "--work-directory")])
    with pytest.raises(InputError, match="GiB free, and the build needs about") as caught:
        preflight.check_space([(tmp_path, free, "--work-directory"), (tmp_path / "x", free, "--output-directory")])
    assert "--work-directory" in caught.value.hint


def test_too_little_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable:    1048576 kB\n")
    available = preflight.available_memory(meminfo=tmp_path / "meminfo")
    preflight.check_memory(1 << 30, available_bytes=available)
    with pytest.raises(InputError, match=r"1\.0 GiB of memory are available, and this needs 3\.0 GiB"):
        preflight.check_memory(3 << 30, available_bytes=available)


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = Programs()
    monkeypatch.setattr(programs, "_path", str(tmp_path))
    with pytest.raises(ProgramMissing, match="'qemu-img' is not installed") as caught:
        preflight.check_programs(["qemu-img"], programs=programs)
    assert caught.value.hint == "Install it: apt-get install qemu-utils"


def test_no_root_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InputError, match="root rights"):
        preflight.check_root_rights()


def test_git_repositories_are_asked_for_the_tag(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(tmp_path)]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    subprocess.run([*git, "tag", "5.0.0"], check=True)

    def check(url: str, tag: str) -> None:
        preflight.check_git_repository(url, tag, role="script_languages", ca_bundle=None, programs=Programs())

    check(str(tmp_path), "5.0.0")
    with pytest.raises(InputError, match=r"has no tag '9'\. \(Step: role script_languages\)"):
        check(str(tmp_path), "9")
    with pytest.raises(InputError, match=r"/nowhere\.git can't be reached: .*Step: role script_languages") as caught:
        check("/nowhere.git", "5.0.0")
    assert "--without script_languages" in caught.value.hint
