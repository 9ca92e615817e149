from __future__ import annotations

from pathlib import Path

from exasol_like_dss.lib.pipeline.local import _publish


def test_a_replaced_build_leaves_no_file_of_the_old_one(tmp_path: Path) -> None:
    staged, out = tmp_path / ".exasol-like-dss-1.0.partial", tmp_path / "out"
    staged.mkdir()
    out.mkdir()
    for name in ("exasol-like-dss-1.0.vhd", "exasol-like-dss-1.0.vmdk", "verification.json", "manifest.json"):
        (out / name).write_text("old")
    (out / "notes.txt").write_text("somebody's")
    for name in ("exasol-like-dss-1.0.vmdk", "manifest.json"):
        (staged / name).write_text("new")
    _publish(staged, out)
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "exasol-like-dss-1.0.vmdk": "new",
        "manifest.json": "new",
        "notes.txt": "somebody's",
    }
