"""Finished images are found where they were left, as long as nobody touched them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache.finished import find_finished, find_place, remember_place
from exasol_like_dss.lib.cache.store import Store
from exasol_like_dss.lib.publishing.manifest import Artifact, Manifest, Verification, write_manifest


def left(directory: Path, store: Store, verification: Verification = Verification.PASSED) -> Path:
    directory.mkdir()
    (directory / "image.vmdk").write_bytes(b"image")
    manifest = Manifest(
        asset_id="1", tool_version="1", edition="sandbox", base="debian-13", created=datetime.now(UTC),
        verification=verification, artifacts=(Artifact("image.vmdk", "VMDK", 5, "0" * 64),), inputs={}, versions={},
        seconds_per_step={},
    )  # fmt: skip
    write_manifest(manifest, directory / "manifest.json")
    remember_place(store, "identity", directory, manifest)
    return directory


def test_it_is_found_and_can_be_copied(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    directory = left(tmp_path / "one", store)
    place = find_finished(store, "identity", tmp_path / "other", verified=True)
    assert place
    assert place.directory == directory
    assert place.manifest.artifacts[0].name == "image.vmdk"
    (tmp_path / "other").mkdir()
    place.copy_to(tmp_path / "other", programs=Programs())
    copy = tmp_path / "other/image.vmdk"
    assert copy.read_bytes() == b"image"
    assert copy.stat().st_ino != (directory / "image.vmdk").stat().st_ino
    assert find_finished(store, "another", directory, verified=False) is None


def test_the_wanted_directory_comes_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    one, two = left(tmp_path / "one", store), left(tmp_path / "two", store)
    for wanted in (one, two):
        place = find_finished(store, "identity", wanted, verified=True)
        assert place
        assert place.directory == wanted
    (two / "image.vmdk").unlink()
    place = find_finished(store, "identity", two, verified=True)
    assert place
    assert place.directory == one


@pytest.mark.parametrize("change", ["write", "replace", "remove", "manifest"])
def test_a_touched_build_is_not_taken(change: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    directory = left(tmp_path / "one", store)
    image = directory / "image.vmdk"
    match change:
        case "write":
            image.write_bytes(b"other")
        case "replace":
            (tmp_path / "new").write_bytes(b"image")
            (tmp_path / "new").replace(image)
        case "remove":
            image.unlink()
        case _:
            (directory / "manifest.json").write_text("{}")
    assert find_finished(store, "identity", directory, verified=False) is None
    assert find_place(store, "identity", directory) is None


def test_one_that_was_not_verified_does_where_that_is_not_wanted(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    directory = left(tmp_path / "one", store, Verification.SKIPPED)
    assert find_finished(store, "identity", directory, verified=False)
    assert find_finished(store, "identity", directory, verified=True) is None
    assert find_place(store, "identity", directory)
