"""botocore's models of AWS's services, read once for all commands in this process: seconds' worth of JSON."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader

_read_model = JSONFileLoader.load_file


@cache
def _model(path: str) -> Any:
    return _read_model(JSONFileLoader(), path)


def share_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda _loader, path: _model(path))
