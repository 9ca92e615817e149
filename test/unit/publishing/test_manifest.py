"""The manifest survives a round trip, and what is none is refused."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.publishing.manifest import Artifact, Manifest, Verification, read_manifest, write_manifest

MANIFEST = Manifest(
    asset_id="1.2.3",
    tool_version="0.1.0",
    edition="sandbox",
    base="debian-13",
    created=datetime(2026, 11, 22, 12, 0, 30, tzinfo=timezone(timedelta(hours=1))),
    verification=Verification.PASSED,
    artifacts=(
        Artifact("exasol-like-dss-1.2.3.vmdk", "VMDK", 600 << 20, "a" * 64, 100 << 30),
        Artifact("SHA256SUMS", "text", 99, "b" * 64),
    ),
    inputs={"without": ["docker"], "extra_vars": {"jupyter_port": 8888}},
    versions={"qemu": "7.2"},
    seconds_per_step={"bootstrap": 40.5, "provision / jupyter": 60.0},
)


def test_round_trip(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path / "manifest.json")
    assert read_manifest(tmp_path / "manifest.json") == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


@settings(deadline=None)  # files on a busy machine
@given(
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
    seconds=st.dictionaries(st.text(), st.floats(min_value=0, allow_infinity=False), max_size=3),
    created=st.datetimes(timezones=st.just(UTC)),
    verification=st.sampled_from(Verification),
)
def test_round_trip_of_anything(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    seconds: dict[str, float],
    created: datetime,
    verification: Verification,
) -> None:
    path = tmp_path_factory.getbasetemp() / "manifest.json"
    manifest = dataclasses.replace(
        MANIFEST,
        artifacts=tuple(Artifact(name, "RAW", 1, "c" * 64) for name in names),
        seconds_per_step={key: value for key, value in seconds.items() if key.isprintable()},
        created=created,
        verification=verification,
    )
    write_manifest(manifest, path)
    assert read_manifest(path) == manifest


def test_the_head_says_what_the_file_is(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path / "m")
    content = json.loads((tmp_path / "m").read_text())
    assert list(content)[:2] == ["schema_version", "product"]
    assert content["created"] == "2026-11-22T12:00:30+01:00"
    assert content["verification"] == "passed"


def changed(**changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "product": "exasol-like-dss",
        "asset_id": "1",
        "tool_version": "1",
        "edition": "sandbox",
        "base": "debian-13",
        "created": "2026-11-22T12:00:30+00:00",
        "verification": "skipped",
        "artifacts": [],
        "inputs": {},
        "versions": {},
        "seconds_per_step": {},
    } | changes


def test_unknown_keys_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "m").write_text(json.dumps(changed(later="new")))
    assert read_manifest(tmp_path / "m").asset_id == "1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\x00\x01",
        json.dumps(changed(product="another")),
        json.dumps(changed(schema_version=2)),
        json.dumps(changed(asset_id=7)),
        json.dumps(changed(created="yesterday")),
        json.dumps(changed(created="2026-11-22T12:00:30")),
        json.dumps(changed(verification="perhaps")),
        json.dumps(changed(artifacts=[{"name": "x"}])),
        json.dumps(changed(artifacts=["x"])),
        json.dumps(changed(seconds_per_step={"x": "long"})),
        json.dumps({key: value for key, value in changed().items() if key != "base"}),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "m").write_text(text)
    with pytest.raises(InputError):
        read_manifest(tmp_path / "m")


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_manifest(tmp_path / "m")


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        dataclasses.replace(MANIFEST, created=datetime(2026, 1, 1))
