"""When a build finds what an earlier one left, and when it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exasol_like_dss.access.ansible import Ansible
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.access.web import Fetched, Web
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.cache.finished import remember_place
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.bases import BASES
from exasol_like_dss.lib.images.formats import VmImageFormat
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.pipeline.create_vm import create_vm_local
from exasol_like_dss.lib.pipeline.local_plan import LocalBuild, LocalPlan, plan_local
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.manifest import Artifact, Manifest, Verification, write_manifest
from test.support.notes import Notes

PASSWORD, OTHER = "first-Login-4711", "other-Login"


class Archive(Web):
    """A mirror whose Release files can be changed."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = 1
        self.asked: list[str] = []

    def fetch(self, url: str, *, headers: Mapping[str, str]) -> Fetched | None:
        self.asked.append(url)
        validator = f"{url} {self.revision}"
        if headers.get("If-None-Match") == validator:
            return Fetched(304, b"")
        return Fetched(200, validator.encode(), etag=validator)


class NoPrograms(Programs):
    """Finds all programs, and starts none."""

    def find(self, name: str) -> str:
        assert "/" not in name
        return __file__

    def start(self, *_: object, **__: object) -> None:  # type: ignore[override]
        raise AssertionError("a program is started")


class Desk:
    """Plans builds, and pretends to have made them."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self.web = Archive()
        self.access = Access(programs=NoPrograms(), ansible=Ansible(tree=tree), web=self.web)
        self.notes: list[str] = []
        self.build = LocalBuild(
            asset_id=AssetId("1.0"), base=replace(BASES["debian-13"], keyring=Path(__file__)), edition="sandbox",
            formats=(VmImageFormat.VMDK,), output_directory=folder / "out", disk_bytes=4 << 30,
            default_password=PASSWORD, without=("script_languages",), mirror="http://mirror.test/debian",
            work_directory=folder / "work", cache_directory=folder / "cache",
        )  # fmt: skip

    def plan(self, build: LocalBuild) -> LocalPlan:
        progress = Notes()
        planned = plan_local(build, access=self.access, progress=progress)
        self.notes = progress.notes
        return planned

    def make(self, build: LocalBuild, verification: Verification = Verification.PASSED) -> None:
        planned = self.plan(build)
        assert planned.store
        assert planned.image
        build.output_directory.mkdir(exist_ok=True)
        (build.output_directory / "image.vmdk").write_bytes(b"image")
        manifest = Manifest(
            asset_id=build.asset_id.value, tool_version="1", edition="sandbox", base="debian-13",
            created=datetime.now(UTC), verification=verification,
            artifacts=(Artifact("image.vmdk", "VMDK", 5, "0" * 64),), inputs={}, versions={}, seconds_per_step={},
        )  # fmt: skip
        write_manifest(manifest, build.output_directory / "manifest.json")
        remember_place(planned.store, planned.image, build.output_directory, manifest)

    def finds(self, build: LocalBuild) -> bool:
        return self.plan(build).finished is not None


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("exasol_like_dss.lib.preflight.check_root_rights", lambda: None)
    monkeypatch.setattr("exasol_like_dss.lib.preflight.check_space", lambda _: None)
    monkeypatch.setattr("exasol_like_dss.lib.preflight.available_memory", lambda: 64 << 30)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return Desk(tmp_path, Path(__file__).resolve().parents[3] / "ansible")


def test_the_same_again_is_found_and_starts_no_program(desk: Desk) -> None:
    desk.make(desk.build)
    desk.web.asked.clear()
    created = create_vm_local(desk.build, access=desk.access, progress=Progress(), cancellation=Cancellation())
    assert created.found
    assert created.path("VMDK").read_bytes() == b"image"
    assert sorted(desk.web.asked) == [
        f"http://mirror.test/debian/dists/{suite}/InRelease"
        for suite in ("trixie-security", "trixie-updates", "trixie")
    ]


CHANGES: dict[str, Callable[[LocalBuild], LocalBuild]] = {
    "password": lambda build: replace(build, default_password=OTHER),
    "a generated password": lambda build: replace(build, password_generated=True),
    "asset-id": lambda build: replace(build, asset_id=AssetId("1.1")),
    "base": lambda build: replace(build, base=replace(BASES["debian-12"], keyring=Path(__file__))),
    "formats": lambda build: replace(build, formats=(VmImageFormat.VMDK, VmImageFormat.VHD)),
    "disk": lambda build: replace(build, disk_bytes=8 << 30),
    "roles": lambda build: replace(build, without=("script_languages", "docker")),
    "variables": lambda build: replace(build, extra_vars={"jupyter_port": 9999}),
    "mirror": lambda build: replace(build, mirror="http://other.test/debian"),
    "root file system": lambda build: replace(build, keep_rootfs=True),
    "verification again": lambda build: replace(build, verify_again=True),
    "no cache": lambda build: replace(build, cache_directory=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_makes_another_image_is_not_found(change: str, desk: Desk, tmp_path: Path) -> None:
    desk.make(desk.build)
    assert desk.finds(desk.build)
    assert not desk.finds(replace(CHANGES[change](desk.build), output_directory=tmp_path / "other"))


def test_a_changed_archive_role_tool_or_time_makes_another_image(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = replace(desk.build, output_directory=tmp_path / "other")
    desk.make(desk.build)
    assert desk.finds(elsewhere)
    desk.web.revision = 2
    assert not desk.finds(elsewhere)
    desk.web.revision = 1
    assert desk.finds(elsewhere)
    with monkeypatch.context() as patched:
        patched.setattr("exasol_like_dss.lib.pipeline.layers.identity.role_files", lambda *_: "changed")
        assert not desk.finds(elsewhere)
    with monkeypatch.context() as patched:
        patched.setattr("exasol_like_dss.lib.pipeline.local_plan.image_tools", lambda *_, **__: "changed")
        assert not desk.finds(elsewhere)
    with monkeypatch.context() as patched:
        patched.setenv("SOURCE_DATE_EPOCH", "1790000000")
        assert not desk.finds(elsewhere)
    assert desk.finds(elsewhere)


def test_one_with_a_generated_password_is_the_same_where_it_is_and_only_there(desk: Desk, tmp_path: Path) -> None:
    generated = replace(desk.build, password_generated=True)
    desk.make(generated)
    again = replace(generated, default_password=OTHER)
    assert desk.finds(again)
    progress = Notes()
    created = create_vm_local(again, access=desk.access, progress=progress, cancellation=Cancellation())
    assert created.found
    assert progress.notes == [
        "Nothing has changed: the image is there already.",
        "Its password was shown when it was built; --force builds it with another one.",
    ]
    assert not desk.finds(replace(again, output_directory=tmp_path / "other"))
    assert "generated anew" in desk.notes[0]
    assert not desk.finds(replace(again, force=True))
    assert "generated anew" in desk.notes[0]
    with pytest.raises(InputError, match="already holds asset-id"):
        desk.plan(replace(again, verify_again=True))


def test_nothing_of_a_password_is_kept(desk: Desk, tmp_path: Path) -> None:
    desk.make(replace(desk.build, default_password=PASSWORD))
    desk.make(replace(desk.build, default_password=PASSWORD, password_generated=True, force=True))
    kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(kept) >= 4
    assert not any(PASSWORD.encode() in content for content in kept)


def test_a_chosen_password_replaces_what_is_there_only_when_it_is_the_same_image(desk: Desk) -> None:
    desk.make(desk.build, Verification.SKIPPED)
    assert not desk.finds(desk.build), "it is to be verified"
    with pytest.raises(InputError, match="already holds asset-id"):
        desk.plan(replace(desk.build, default_password=OTHER))
