"""One stand-in per module, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exasol_like_dss.lib.assets import cleanup
from test.support.aws import Aws, running_aws
from test.support.aws_models import share_models
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
    share_models(monkeypatch)
    return Commands(aws, tmp_path)


@pytest.fixture
def planted(aws: Aws) -> Planted:
    """One of each kind."""
    plant_role_and_bucket(aws)
    found = plant(aws)
    aws.clear()
    return found
