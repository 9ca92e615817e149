"""One stand-in per module, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader

from exasol_like_dss.lib.assets import cleanup
from test.support.aws import Aws, running_aws
from test.support.planted_assets import Commands, Planted, plant, plant_role_and_bucket


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Aws]:
    with running_aws() as aws:
        yield aws


@pytest.fixture
def aws(stand_in: Aws) -> Aws:
    stand_in.reset()
    return stand_in


@pytest.fixture
def commands(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(cleanup, "_INTERVAL_S", 0.1)
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda _loader, path: _model(path))
    return Commands(aws, tmp_path)


@cache
def _model(path: str) -> Any:
    """botocore's models, of which every command makes its own otherwise: half a second."""
    return _read_model(JSONFileLoader(), path)


_read_model = JSONFileLoader.load_file


@pytest.fixture
def planted(aws: Aws) -> Planted:
    """One of each kind."""
    plant_role_and_bucket(aws)
    found = plant(aws)
    aws.clear()
    return found
