"""The user's notebooks stay as they are, whatever we bring."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    defaults, volume = tmp_path / "defaults", tmp_path / "volume"
    (defaults / "sub").mkdir(parents=True)
    (defaults / "welcome.ipynb").write_text("first")
    (defaults / "sub/more.ipynb").write_text("more")
    return defaults, volume


def _files(volume: Path) -> dict[str, str]:
    return {
        path.relative_to(volume).as_posix(): path.read_text()
        for path in sorted(volume.rglob("*"))
        if path.is_file() and path.name != ".dss-defaults.json"
    }


def test_an_empty_volume_gets_everything(program: dict[str, ModuleType], folders: tuple[Path, Path]) -> None:
    defaults, volume = folders
    program["notebooks"].bring_defaults(defaults, volume, "1.0.0")
    assert _files(volume) == {"welcome.ipynb": "first", "sub/more.ipynb": "more"}


def test_nothing_changes_at_the_next_start(program: dict[str, ModuleType], folders: tuple[Path, Path]) -> None:
    defaults, volume = folders
    for _ in range(2):
        program["notebooks"].bring_defaults(defaults, volume, "1.0.0")
    (volume / "welcome.ipynb").write_text("changed by the user")
    (volume / "sub/more.ipynb").unlink()
    program["notebooks"].bring_defaults(defaults, volume, "1.0.0")
    assert _files(volume) == {"welcome.ipynb": "changed by the user"}, "a removed notebook does not come back"


def test_a_new_version_comes_beside_the_old_one(program: dict[str, ModuleType], folders: tuple[Path, Path]) -> None:
    defaults, volume = folders
    program["notebooks"].bring_defaults(defaults, volume, "1.0.0")
    (volume / "welcome.ipynb").write_text("changed by the user")
    (defaults / "welcome.ipynb").write_text("second")
    for _ in range(2):
        program["notebooks"].bring_defaults(defaults, volume, "2.0.0")
    assert _files(volume) == {
        "welcome.ipynb": "changed by the user",
        "welcome-2.0.0.ipynb": "second",
        "sub/more.ipynb": "more",
    }


def test_a_file_that_is_no_ones_record_is_left_alone(
    program: dict[str, ModuleType], folders: tuple[Path, Path]
) -> None:
    """A volume from before there was a record, or the user's own notebook of the same name."""
    defaults, volume = folders
    volume.mkdir()
    (volume / "welcome.ipynb").write_text("mine")
    (volume / "welcome-2.0.0.ipynb").symlink_to("/nowhere")
    program["notebooks"].bring_defaults(defaults, volume, "2.0.0")
    assert (volume / "welcome.ipynb").read_text() == "mine"
    assert (volume / "welcome-2.0.0.ipynb").readlink() == Path("/nowhere")
    assert (volume / "welcome-2.0.0-2.ipynb").read_text() == "first"


def test_the_same_content_is_not_doubled(program: dict[str, ModuleType], folders: tuple[Path, Path]) -> None:
    defaults, volume = folders
    volume.mkdir()
    (volume / "welcome.ipynb").write_text("first")
    program["notebooks"].bring_defaults(defaults, volume, "1.0.0")
    assert sorted(_files(volume)) == ["sub/more.ipynb", "welcome.ipynb"]


@pytest.mark.parametrize("content", ["", "no JSON", "[1]", '{"welcome.ipynb": 1}'])
def test_a_damaged_record_stops_nothing(
    program: dict[str, ModuleType], folders: tuple[Path, Path], content: str
) -> None:
    defaults, volume = folders
    volume.mkdir()
    (volume / ".dss-defaults.json").write_text(content)
    program["notebooks"].bring_defaults(defaults, volume, "1.0.0")
    assert _files(volume)["welcome.ipynb"] == "first"
    assert set(json.loads((volume / ".dss-defaults.json").read_text())) == {"welcome.ipynb", "sub/more.ipynb"}


def test_a_place_that_is_no_folder_is_told(
    program: dict[str, ModuleType], folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    defaults, volume = folders
    volume.write_text("a file")
    program["notebooks"].bring_defaults(defaults, volume / "x", "1.0.0")
    assert "can't be written" in capsys.readouterr().err
