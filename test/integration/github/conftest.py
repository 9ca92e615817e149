"""A GitHub of its own for each test; the server is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exasol_like_dss.access.github import GitHub
from test.support.github import REPOSITORY, TOKEN, GitHubStandIn, running_github


@pytest.fixture
def github() -> Iterator[GitHubStandIn]:
    with running_github() as found:
        yield found


@pytest.fixture
def access(github: GitHubStandIn) -> Iterator[GitHub]:
    made = GitHub(REPOSITORY, token=TOKEN, api_url=github.environment()["GITHUB_API_URL"])
    yield made
    made.close()
