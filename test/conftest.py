"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of all builds of this session. The one of this machine is left alone."""
    folder = tmp_path_factory.mktemp("cache") / "dss"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DSS_CACHE_DIRECTORY", str(folder))
        yield folder
