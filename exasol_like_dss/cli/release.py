"""Release commands: what the release job runs."""

from __future__ import annotations

import click

COMMANDS: list[click.Command] = []
