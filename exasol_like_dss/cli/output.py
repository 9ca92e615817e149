"""Results on standard output: a table for people, or JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

output_option = click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How the result is printed on standard output.",
)


def print_json(result: Mapping[str, Any]) -> None:
    click.echo(json_text(result))


def json_text(result: Mapping[str, Any]) -> str:
    return json.dumps(result, indent=2, default=str)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    click.echo(table_text(columns, rows))


def table_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; nothing is cut, so that it can be copied and grepped."""
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    lines = [columns, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as GitHub shows it."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in (columns, *rows)]
    cells.insert(1, ["---"] * len(columns))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """RFC 4180, with plain line ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def human_bytes(count: int) -> str:
    """``612.3 MiB``: binary units, one digit."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
