"""Developer commands: parts of the pipeline, for finding problems and for trying things."""

from __future__ import annotations

import click

COMMANDS: list[click.Command] = []
