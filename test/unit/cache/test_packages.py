from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from exasol_like_dss.lib.cache.packages import PackageCache


def packages(folder: Path, *names: str) -> list[Path]:
    """Each with content of its own."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f"content of {name}")
    return [folder / name for name in names]


def given(cache: PackageCache, folder: Path) -> dict[str, str]:
    folder.mkdir()
    cache.give(folder)
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_packages_come_back(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "cache", ["archive"])
    cache.keep(packages(tmp_path / "came", "a_1_all.deb", "b_1%3a2_amd64.deb"))
    assert given(cache, tmp_path / "a") == {name: f"content of {name}" for name in ("a_1_all.deb", "b_1%3a2_amd64.deb")}
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_archives_are_kept_apart(tmp_path: Path) -> None:
    PackageCache(tmp_path / "cache", ["archive"]).keep(packages(tmp_path / "came", "b_1_all.deb"))
    assert given(PackageCache(tmp_path / "cache", ["another"]), tmp_path / "a") == {}


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_what_is_damaged_is_fetched_and_kept_again(tmp_path: Path, damage: str) -> None:
    cache = PackageCache(tmp_path / "cache", ["archive"])
    came = packages(tmp_path / "came", "a_1_all.deb", "b_1_all.deb")
    cache.keep(came)
    (damaged,) = (tmp_path / "cache").glob("packages/*/b_1_all.deb")
    if damage == "gone":
        damaged.unlink()
    else:
        damaged.write_text(damaged.read_text()[:-1] + ("x" if damage == "changed" else ""))
    assert set(given(cache, tmp_path / "a")) == {"a_1_all.deb"}
    cache.keep(came)
    assert set(given(cache, tmp_path / "b")) == {"a_1_all.deb", "b_1_all.deb"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a_1_all.deb": {"what": 1}}', '{"../../x": 1}'])
def test_without_a_readable_index_there_is_nothing(tmp_path: Path, text: str) -> None:
    cache = PackageCache(tmp_path / "cache", ["archive"])
    cache.keep(packages(tmp_path / "came", "a_1_all.deb"))
    (index,) = (tmp_path / "cache").glob("packages/*/index.json")
    index.write_text(text)
    assert given(cache, tmp_path / "a") == {}
    cache.keep(packages(tmp_path / "came", "b_1_all.deb"))
    assert sorted(path.name for path in index.parent.iterdir()) == ["b_1_all.deb", "index.json"]


def test_what_nobody_needed_for_a_month_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PackageCache(tmp_path / "cache", ["archive"])
    cache.keep(packages(tmp_path / "came", "a_1_all.deb", "b_1_all.deb"))
    now = time.time()
    monkeypatch.setattr("exasol_like_dss.lib.cache.packages.time.time", lambda: now + 20 * 86_400)
    cache.keep(packages(tmp_path / "came", "b_1_all.deb"))
    monkeypatch.setattr("exasol_like_dss.lib.cache.packages.time.time", lambda: now + 40 * 86_400)
    cache.keep(packages(tmp_path / "came", "c_1_all.deb"))
    assert set(given(cache, tmp_path / "a")) == {"b_1_all.deb", "c_1_all.deb"}
    (index,) = (tmp_path / "cache").glob("packages/*/index.json")
    assert set(json.loads(index.read_text())) == {"b_1_all.deb", "c_1_all.deb"}
    assert len(list(index.parent.iterdir())) == 3


def test_an_archive_that_nobody_uses_goes(tmp_path: Path) -> None:
    for name in ("old", "young", "mine"):
        PackageCache(tmp_path / "cache", [name]).keep(packages(tmp_path / "came", "a_1_all.deb"))
        if name == "old":
            (old,) = (tmp_path / "cache/packages").iterdir()
            month_ago = time.time() - 31 * 86_400
            for path in (*old.iterdir(), old):
                os.utime(path, (month_ago, month_ago))
    assert not old.exists()
    assert given(PackageCache(tmp_path / "cache", ["young"]), tmp_path / "a")
    assert given(PackageCache(tmp_path / "cache", ["mine"]), tmp_path / "b")


def test_there_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PackageCache(tmp_path / "cache", ["archive"])
    cache.keep(packages(tmp_path / "came", "a_1_all.deb"))
    monkeypatch.setattr("exasol_like_dss.lib.cache.packages._LIMIT_BYTES", 2 * len("content of a_1_all.deb"))
    cache.keep(packages(tmp_path / "came", "b_1_all.deb"))
    cache.keep(packages(tmp_path / "came", "c_1_all.deb"))
    assert set(given(cache, tmp_path / "a")) == {"b_1_all.deb", "c_1_all.deb"}


def test_a_folder_that_cannot_be_made_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = PackageCache(tmp_path / "cache", ["archive"])
    cache.keep(packages(tmp_path / "came", "a_1_all.deb"))
    assert given(cache, tmp_path / "a") == {}


def test_lists_are_those_of_the_last_build(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "cache", ["archive"])
    for number in ("1", "2"):
        lists = tmp_path / f"lists-{number}"
        (lists / "partial").mkdir(parents=True)
        for name in ("lock", "InRelease", f"Packages-{number}"):
            (lists / name).write_text(number)
        cache.keep_lists(lists)
        cache.keep(packages(tmp_path / "came", "a_1_all.deb"))
    cache.give_lists(tmp_path / "a")
    assert {path.name: path.read_text() for path in (tmp_path / "a").iterdir()} == {"InRelease": "2", "Packages-2": "2"}
    assert set(given(cache, tmp_path / "b")) == {"a_1_all.deb"}
