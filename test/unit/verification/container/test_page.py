"""What a saved notebook says of its run."""

from __future__ import annotations

from typing import Any

from exasol_like_dss.lib.verification.container.page import Cells, saved_cells


def code(source: str, count: int | None, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "execution_count": count, "outputs": list(outputs)}


def test_a_notebook_that_ran() -> None:
    text = {"cell_type": "markdown", "source": "# Title"}
    cells = saved_cells({"cells": [text, code("1", 1, {"output_type": "stream"}), code(" \n", None), code("# no", 2)]})
    assert cells == Cells(2, 2, ())
    assert cells.good
    assert str(cells) == "2 of 2 cells ran"


def test_a_notebook_that_failed() -> None:
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no"}
    cells = saved_cells({"cells": [code("1", 1, error), code("2", None)]})
    assert not cells.good
    assert str(cells) == "1 of 2 cells ran; ValueError: no"


def test_an_empty_notebook_proves_nothing() -> None:
    assert not saved_cells({"cells": []}).good
    assert not saved_cells(None).good
