from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache.packages import PackageCache
from exasol_like_dss.lib.errors import Interrupted, ProgramFailed
from exasol_like_dss.lib.images.packages_ahead import PackagesAhead


class FakeApt(Programs):
    """Its apt-get finds packages in a folder."""

    def __init__(self, archives: Path, fetched: Sequence[str], *, error: BaseException | None) -> None:
        super().__init__()
        self._archives, self._fetched, self._error = archives, fetched, error
        self.asked: list[str] = []

    def run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **_: Any) -> str:
        self.asked = [*argv, Path((env or {})["APT_CONFIG"]).read_text()]
        for name in self._fetched:
            (self._archives / name).write_text(f"content of {name}")
        if self._error:
            raise self._error
        return ""


def build(
    folder: Path,
    *,
    essential: Sequence[str] = (),
    fetched: Sequence[str] = (),
    installed: Sequence[tuple[str, str, str]] = (),
    error: BaseException | None = None,
    broken: bool = False,
    cache: PackageCache | None = None,
    afterwards: Callable[[Callable[[], bool]], None] = lambda _: None,
) -> tuple[list[str], FakeApt]:
    """What mmdebstrap does, as far as it matters; returns what was there before it fetched anything."""
    root, settings = folder / "root", folder / "settings"
    archives, status = root / "var/cache/apt/archives", root / "var/lib/dpkg/status"
    lists = root / "var/lib/apt/lists"
    status.parent.mkdir(parents=True)
    settings.write_text("settings")
    programs = FakeApt(archives, fetched, error=error)
    ahead = PackagesAhead(root, folder / "ahead", ["big", "small"], afterwards=afterwards, cache=cache,
                          programs=programs, cancelled=lambda: False)  # fmt: skip
    with ahead:
        ahead.heard("I: extracting archives...")
        assert not programs.asked, "mmdebstrap has not said where its settings are"
        hooks = [word.partition("=")[::2] for word in ahead.options()]
        for _, hook in hooks[:3]:
            subprocess.run(["sh", "-c", hook, "sh", root], check=True,
                           env={"MMDEBSTRAP_APT_CONFIG": str(settings), "PATH": os.defpath})  # fmt: skip
        had = sorted(path.name for path in [*archives.iterdir(), *lists.iterdir()])
        (lists / "lock").touch()
        (lists / "partial").mkdir(exist_ok=True)
        (lists / f"list-of-{folder.name}").touch()
        (lists / f"list-of-{int(folder.name) - 1}" if cache else lists / "none").unlink(missing_ok=True)
        for name in essential:
            (archives / name).write_text(f"content of {name}")
        ahead.heard("I: running apt-get update...")
        assert not programs.asked
        ahead.heard("I: extracting archives...")
        subprocess.run(["sh", "-c", hooks[4][1]], check=True)
        assert programs.asked[-3:] == ["big", "small", "settings"]
        status.write_text(
            "\n\n".join(
                "Package: {}\nStatus: install ok installed\nArchitecture: {}\nVersion: {}\nDepends: x".format(*each)
                for each in installed
            )
        )
        shutil.rmtree(archives)
        assert not broken
    assert not (folder / "ahead").exists()
    return had, programs


def test_packages_are_fetched_meanwhile(tmp_path: Path) -> None:
    ended: list[bool] = []
    build(tmp_path, fetched=["big_1_all.deb"], afterwards=lambda has_ended: ended.append(has_ended()))
    assert len(ended) == 1


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "error",
    [ProgramFailed(["apt-get"], 100, "no network", what="", hint=""), Interrupted(), OSError("no room")],
    ids=["no network", "Ctrl-C", "no room"],
)
def test_what_goes_wrong_is_left_to_mmdebstrap(tmp_path: Path, error: BaseException) -> None:
    ended: list[bool] = []
    build(tmp_path, error=error, afterwards=lambda has_ended: ended.append(has_ended()))
    assert not ended


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_ctrl_c_while_modules_are_indexed_is_told_once(tmp_path: Path) -> None:
    def afterwards(_: object) -> None:
        raise Interrupted

    build(tmp_path, afterwards=afterwards)


def test_the_next_build_gets_what_was_used(tmp_path: Path) -> None:
    """Not what was fetched and never unpacked, nor a version that another one has replaced."""
    cache = PackageCache(tmp_path / "cache", ["some archive"])
    first = ["big_1%3a2~3_amd64.deb", "other_1_all.deb", "unused_1_all.deb"]
    one = [("essential", "all", "1"), ("big", "amd64", "1:2~3"), ("other", "all", "1")]
    had, _ = build(tmp_path / "1", essential=["essential_1_all.deb"], fetched=first, installed=one, cache=cache)
    assert had == []
    two = [*one[:2], ("other", "all", "2")]
    had, _ = build(tmp_path / "2", fetched=["other_2_all.deb"], installed=two, cache=cache)
    assert had == ["big_1%3a2~3_amd64.deb", "essential_1_all.deb", "list-of-1", "other_1_all.deb"]
    had, _ = build(tmp_path / "3", installed=two, cache=cache)
    assert had == [
        "big_1%3a2~3_amd64.deb", "essential_1_all.deb", "list-of-2", "other_1_all.deb", "other_2_all.deb"
    ]  # fmt: skip
    index = json.loads(next((tmp_path / "cache").glob("packages/*/index.json")).read_text())
    used = {name: kept["used"] for name, kept in index.items()}
    assert used.pop("other_1_all.deb") < min(used.values()) == max(used.values())


def test_a_build_that_fails_keeps_nothing(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "cache", ["some archive"])
    with pytest.raises(AssertionError):
        build(tmp_path / "1", fetched=["big_1_all.deb"], installed=[("big", "all", "1")], cache=cache, broken=True)
    assert build(tmp_path / "2", cache=cache)[0] == []
