"""Two lanes for all sweeps; two, since that is how many cores there are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from test.support.sweep import Lane, lanes


@pytest.fixture(scope="package")
def two_lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Lane]]:
    with lanes(tmp_path_factory.mktemp("sweep"), count=2) as made:
        yield made
