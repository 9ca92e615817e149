"""A stand-in with a bucket for each test, and ``dss`` that talks to it in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from exasol_like_dss.lib.images import ami, snapshot_writing
from test.integration.aws_ec2.conftest import bucket_stack
from test.support.aws import Aws, running_aws
from test.support.planted_assets import Commands


@pytest.fixture(scope="package")
def standin() -> Iterator[Aws]:
    with running_aws(image_pending_s=0.0) as aws:
        yield aws


@pytest.fixture
def commands(standin: Aws, tmp_path: Path) -> Iterator[Commands]:
    standin.reset()
    bucket_stack(standin)
    standin.clear()
    with (
        mock.patch.object(snapshot_writing, "_INTERVAL_S", 0.01),
        mock.patch.object(snapshot_writing, "_APPEARS_S", 0.1),
        mock.patch.object(ami, "_INTERVAL_S", 0.01),
    ):
        yield Commands(standin, tmp_path)
