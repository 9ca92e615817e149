"""What is made once for all processes of one test run: pytest-xdist gives each of its workers a session of its own."""

from __future__ import annotations

import fcntl
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name``, filled by the first process that asks for it. Others wait; after a failure they fail too."""
    common = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    folder, made, failed = (common / f"{name}{end}" for end in ("", ".made", ".failed"))
    with (common / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if failed.exists():
            pytest.fail(f"Another process of this run could not make it:\n{failed.read_text()}", pytrace=False)
        if not made.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException:
                failed.write_text(traceback.format_exc())
                raise
            made.touch()
    return folder
