from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache.packages import PackageCache
from exasol_like_dss.lib.errors import DssError, ProgramFailed
from exasol_like_dss.lib.images.maintainer_scripts import FOLDER
from exasol_like_dss.lib.images.packages_ahead import PackagesAhead, write_stored


def package(folder: Path, name: str, *, compression: str = "xz", content: bytes = os.urandom(100_000)) -> Path:
    """A real package, by dpkg-deb."""
    tree = folder / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: x\n"
    )
    (tree / "data").write_bytes(content)
    target = folder / f"{name}_1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", tree, target],
                   check=True, capture_output=True)  # fmt: skip
    shutil.rmtree(tree)
    return target


def shown(path: Path) -> list[bytes]:
    words = ("--info", "--contents", "--fsys-tarfile")
    seen = [subprocess.run(["dpkg-deb", word, path], check=True, capture_output=True).stdout for word in words]
    return [seen[0].split(b"Package:")[1], *seen[1:]]


@pytest.mark.parametrize("compression", ["xz", "gzip", "zstd"])
def test_a_stored_package_has_the_same_content(tmp_path: Path, compression: str) -> None:
    compressed = package(tmp_path, "some", compression=compression, content=bytes(200_000))
    stored = tmp_path / "stored.deb"
    assert write_stored(compressed, stored, programs=Programs())
    assert shown(stored) == shown(compressed)
    assert b"data.tar        " in stored.read_bytes()
    assert stored.stat().st_size > 200_000 > compressed.stat().st_size


def test_what_is_not_compressed_stays(tmp_path: Path) -> None:
    assert not write_stored(package(tmp_path, "some", compression="none"), tmp_path / "x", programs=Programs())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"x" + data, "not a Debian"),
        (lambda data: data[:100], "no data"),
        (lambda data: data[:-5000], "read"),
    ],
    ids=["not one", "short", "cut"],
)
def test_a_damaged_package_is_an_error(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    damaged = tmp_path / "damaged.deb"
    damaged.write_bytes(damage(package(tmp_path, "some").read_bytes()))
    with pytest.raises(DssError, match=message.replace("not a Debian", "not a Debian")):
        write_stored(damaged, tmp_path / "x", programs=Programs())


class FakeApt(Programs):
    """Its apt-get is given packages instead of fetching them."""

    def __init__(self, archives: Path, given: Sequence[Path], *, fails: bool = False) -> None:
        super().__init__()
        self._archives, self._given, self._fails = archives, given, fails
        self.asked: list[str] = []

    def run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **rest: Any) -> str:
        if argv[0] != "apt-get":
            return super().run(argv, env=env, **rest)
        self.asked = [*argv, Path((env or {})["APT_CONFIG"]).read_text()]
        for path in self._given:
            shutil.copy(path, self._archives)
        if self._fails:
            raise ProgramFailed(argv, 100, "no network", what="", hint="")
        return ""


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.01)


def begun(
    tmp_path: Path,
    programs: FakeApt,
    afterwards: Callable[[Callable[[], bool]], None],
    cache: PackageCache | None = None,
) -> PackagesAhead:
    ahead = PackagesAhead(tmp_path / "root", tmp_path / "ahead", ["big", "small"], afterwards=afterwards,
                          cache=cache, programs=programs, cancelled=lambda: False)  # fmt: skip
    with ahead:
        setup, waiting = (word.partition("=")[2] for word in ahead.options()[:2])
        ahead.heard("I: extracting archives...")
        assert not programs.asked, "mmdebstrap has not said where its settings are"
        (tmp_path / "settings").write_text("settings")
        subprocess.run(
            ["sh", "-c", setup, "sh", tmp_path / "root"],
            env={"MMDEBSTRAP_APT_CONFIG": str(tmp_path / "settings"), "PATH": os.defpath},
            check=True,
        )
        ahead.heard("I: extracting archives...")
        subprocess.run(["sh", "-c", waiting], check=True)
        assert programs.asked[-3:] == ["big", "small", "settings"]
        (tmp_path / f"root{FOLDER}/handed-over").touch()
        until(lambda: not ahead.busy)
    return ahead


def test_packages_are_fetched_and_stored(tmp_path: Path) -> None:
    archives = tmp_path / "root/var/cache/apt/archives"
    for folder in (archives, tmp_path / f"root{FOLDER}"):
        folder.mkdir(parents=True)
    given = [package(tmp_path, "big"), package(tmp_path, "small", content=b"little")]
    shutil.copy(package(tmp_path, "essential"), archives)
    sizes: dict[str, int] = {}

    def look(_: object) -> None:
        sizes.update({path.name: path.stat().st_size for path in archives.iterdir()})

    begun(tmp_path, FakeApt(archives, given), look)
    before = {path.name: path.stat().st_size for path in tmp_path.glob("*.deb")}
    assert sizes["big_1_all.deb"] > before["big_1_all.deb"]
    assert sizes["small_1_all.deb"] == before["small_1_all.deb"]
    assert sizes["essential_1_all.deb"] > before["essential_1_all.deb"]
    assert not list(archives.iterdir()), "packages in the image"


def test_what_is_unpacked_already_stays_as_it_is(tmp_path: Path) -> None:
    archives, info = tmp_path / "root/var/cache/apt/archives", tmp_path / "root/var/lib/dpkg/info"
    for folder in (archives, info, tmp_path / f"root{FOLDER}"):
        folder.mkdir(parents=True)
    (info / "one.list").touch()
    (info / "two:amd64.list").touch()
    sizes: dict[str, int] = {}

    def look(_: object) -> None:
        sizes.update({path.name: path.stat().st_size for path in archives.iterdir()})

    given = [package(tmp_path, name) for name in ("one", "two", "twofold")]
    begun(tmp_path, FakeApt(archives, given), look)
    assert [sizes[path.name] > path.stat().st_size for path in given] == [False, False, True]


def test_without_a_network_mmdebstrap_is_left_alone(tmp_path: Path) -> None:
    archives = tmp_path / "root/var/cache/apt/archives"
    for folder in (archives, tmp_path / f"root{FOLDER}"):
        folder.mkdir(parents=True)
    begun(tmp_path, FakeApt(archives, [], fails=True), lambda _: None)
    assert not (tmp_path / "ahead/fetching").exists()


def test_the_next_build_gets_what_was_used(tmp_path: Path) -> None:
    """Not what was fetched and never unpacked, nor a version that another one has replaced."""
    cache = PackageCache(tmp_path / "cache", ["some archive"])
    given = [package(tmp_path, name) for name in ("big", "other", "unused")]
    essential = package(tmp_path, "essential")

    def build(number: int, fetched: Sequence[Path], *, has: Sequence[Path] = ()) -> list[str]:
        root = tmp_path / str(number) / "root"
        archives, info = root / "var/cache/apt/archives", root / "var/lib/dpkg/info"
        for folder in (archives, info, Path(f"{root}{FOLDER}")):
            folder.mkdir(parents=True)
        for path in has:
            shutil.copy(path, archives)
        (info / "essential.list").touch()
        (info / "big:all.list").touch()
        (info / "other.list").touch()
        begun(root.parent, FakeApt(archives, fetched), lambda _: None, cache)
        for name in ("first", "second"):
            (root.parent / name).mkdir()
        cache.give(root.parent / "first", essential=True)
        cache.give(root.parent / "second", essential=False)
        return sorted(str(path.relative_to(root.parent)) for path in root.parent.glob("[fs]*/*.deb"))

    assert build(1, given, has=[essential]) == [
        "first/essential_1_all.deb", "second/big_1_all.deb", "second/other_1_all.deb"
    ]  # fmt: skip
    newer = given[1].with_name("other_2_all.deb")
    shutil.copy(given[1], newer)
    assert "second/other_2_all.deb" in build(2, [newer])
    index = json.loads(next((tmp_path / "cache").glob("*/index.json")).read_text())
    assert index["other_1_all.deb"]["used"] < index["other_2_all.deb"]["used"] == index["big_1_all.deb"]["used"]
