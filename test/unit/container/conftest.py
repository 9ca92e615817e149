"""The start program of a container: its modules are found by name there, as in the image."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from exasol_like_dss.lib.resources import tree

_NAMES = ("settings", "identity", "notebooks", "docker_socket", "secret", "server")


@pytest.fixture(scope="session")
def program() -> Iterator[dict[str, ModuleType]]:
    folder = str(tree("ansible") / "roles/container/files/dss_container")
    sys.path.insert(0, folder)
    try:
        yield {name: importlib.import_module(name) for name in _NAMES}
    finally:
        sys.path.remove(folder)
        for name in _NAMES:
            sys.modules.pop(name, None)
