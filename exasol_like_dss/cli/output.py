"""Results on standard output: a table for people, or JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exasol_like_dss.lib.errors import InputError

if TYPE_CHECKING:
    from exasol_like_dss.lib.verification.report import VerificationReport

output_option = click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How the result is printed on standard output.",
)

report_option = click.option(
    "--format-report", metavar="FILE", type=click.Path(path_type=Path), help="Where the report goes, as JSON."
)


def check_can_ask(*, yes: bool, dry_run: bool) -> None:
    """Raises ``InputError`` when a command has to ask, and there is nobody to answer."""
    if not (yes or dry_run or sys.stdin.isatty()):
        raise InputError("There is no terminal to ask on.", hint="Look with --dry-run, then give --yes.")


def check_writable(what: str, file: Path | None) -> None:
    """Raises ``InputError`` when a file that is asked for can't be made; before the work, not after it."""
    if file and not os.access(file.absolute().parent, os.W_OK):
        raise InputError(f"The {what} can't be written to {file}.", hint="Is its directory there and writable?")


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


def print_report(report: VerificationReport, *, output: str) -> None:
    """A verification. output: ``table`` or ``json``."""
    if output == "json":
        print_json(report.to_json())
        return
    rows = [[result.name, "ok" if result.passed else "FAILED", result.boot, result.seen] for result in report.results]
    print_table(["check", "result", "container" if report.firmwares is None else "boot", "seen"], rows)
    for text in report.left_out:
        click.echo(f"Left out: {text}")
    click.echo(f"{len(report.results)} checks, {len(report.failed)} failed, {report.seconds['total']:.0f} s")


def human_bytes(count: int) -> str:
    """``612.3 MiB``: binary units, one digit."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
