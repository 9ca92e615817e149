"""The cache's folder: whole layers or none, the least recently used go first, several builds at a time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from exasol_like_dss.lib.cache.store import ARCHIVE, Layer, Store
from exasol_like_dss.lib.errors import InputError


def add(store: Store, identity: str, *, size: int = 100, below: Layer | None = None, used: int | None = None) -> Layer:
    with store.writing() as folder:
        (folder / ARCHIVE).write_bytes(bytes(size))
        layer = store.keep(folder, identity=identity, name=f"role {identity}", title="Debian 13", below=below)
    if used is not None:
        os.utime(layer.folder / "layer.json", (used, used))
    return layer


def names(store: Store) -> set[str]:
    return {layer.identity for layer in store.layers()}


def test_a_layer_is_found_as_it_was_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    lower = add(store, "a")
    upper = add(store, "b", below=lower, size=7)
    found = Store(tmp_path / "cache").layer("b")
    assert found == upper
    assert (found.name, found.title, found.below, found.depth, found.stored_bytes) == ("role b", "Debian 13", "a", 1, 7)
    assert store.layer("c") is None
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "cache/secret").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_build_left_is_no_layer_and_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    killed = tmp_path / "layers/.partial-killed"
    killed.mkdir()
    (killed / ARCHIVE).write_bytes(b"half")
    with store.writing() as busy:
        assert store.layers() == []
        store.evict()
        assert busy.exists(), "a running build holds its lock"
    assert not killed.exists()
    assert list((tmp_path / "layers").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "no archive", "no marker", "half a marker"])
def test_a_damaged_layer_is_not_there_and_is_replaced(damage: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = add(store, "a").folder
    match damage:
        case "cut":
            os.truncate(folder / ARCHIVE, 50)
        case "no archive":
            (folder / ARCHIVE).unlink()
        case "no marker":
            (folder / "layer.json").unlink()
        case _:
            (folder / "layer.json").write_text('{"name": "x"')
    assert store.layer("a") is None
    assert store.layers() == []
    assert add(store, "a").stored_bytes == 100


def test_the_least_recently_used_go_first_and_of_a_chain_the_topmost(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=450)
    old = add(store, "old", used=1000)
    add(store, "old-top", below=old, used=1000)
    base = add(store, "base", used=2000)
    role = add(store, "role", below=base, used=2000)
    add(store, "top", below=role, used=2000)
    assert [layer.identity for layer in store.evict()] == ["old-top"]
    assert [layer.identity for layer in Store(tmp_path, limit_bytes=250).evict()] == ["old", "top"]
    assert names(store) == {"base", "role"}
    store.drop(base)
    assert [layer.identity for layer in store.evict()] == ["role"], "nothing to stand on"


def test_a_used_layer_stays(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=150)
    first = add(store, "first", used=1000)
    add(store, "second", used=2000)
    store.touch(first)
    store.evict()
    assert names(store) == {"first"}


def test_what_is_evicted_while_it_is_read_can_be_read_to_its_end(tmp_path: Path) -> None:
    store = Store(tmp_path)
    layer = add(store, "a")
    with (layer.folder / ARCHIVE).open("rb") as archive:
        store.clean()
        assert names(store) == set()
        assert len(archive.read()) == 100


def test_several_builds_keep_the_same_layer_at_the_same_time(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def build(index: int) -> None:
        try:
            store = Store(tmp_path)
            for name in "abcde":
                add(store, name, size=100 + index)
                store.evict()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=build, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names(Store(tmp_path)) == set("abcde")
    assert not list((tmp_path / "layers").glob(".*"))


def test_cleaning_keeps_the_secret_and_what_is_being_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    before = store.identity({"x": 1})
    add(store, "a", size=5000)
    store.remember("images", "i", [1])
    with store.writing() as busy:
        assert store.clean() >= 5000
        assert busy.exists()
    assert store.record("images", "i") is None
    assert Store(tmp_path).identity({"x": 1}) == before


def test_identities_differ_between_caches_and_show_nothing(tmp_path: Path) -> None:
    one, two = Store(tmp_path / "1"), Store(tmp_path / "2")
    assert one.identity({"password": "x", "a": 1}) == one.identity({"a": 1, "password": "x"})
    assert one.identity({"password": "x"}) != one.identity({"password": "y"})
    assert one.identity({"password": "x"}) != two.identity({"password": "x"})


def test_a_cache_that_can_not_be_made_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be used") as caught:
        Store(tmp_path / "file/cache")
    assert "--no-cache" in caught.value.hint
