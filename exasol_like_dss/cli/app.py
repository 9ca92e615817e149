"""What every command shares: the access objects, the progress display, ``--log-level`` and the way errors are shown."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.cli.display import make_progress
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress

LOG_LEVELS = ("normal", "info", "debug")
#: The names in ``lib.images.bases``, which is not imported for ``--help``.
BASES = ("debian-13", "debian-12", "ubuntu-24.04")

#: ``lib.cache.store.DEFAULT_DIRECTORY``, for the same reason.
DEFAULT_CACHE = "/var/cache/exasol-like-dss"


@dataclass
class App:
    """Made once per command, handed into ``lib``."""

    progress: Progress
    debug: bool = False
    programs: Programs = field(default_factory=Programs)
    cancellation: Cancellation = field(default_factory=Cancellation)


def command(name: str, *, kind: str) -> Callable[[Callable[..., None]], click.Command]:
    """Declares a ``dss`` command whose function gets the ``App`` first. kind: its heading in ``dss --help``."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def wrapper(*args: Any, log_level: str, **options: Any) -> None:
            context = click.get_current_context()
            meta = context.find_root().meta
            meta["dss.debug"] = log_level == "debug"
            level = {"normal": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}[log_level]
            logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
            app = App(
                progress=make_progress(plain=log_level != "normal"),
                debug=log_level == "debug",
                cancellation=meta.get("dss.cancellation") or Cancellation(),
            )
            try:
                function(app, *args, **options)
            finally:
                app.cancellation.cancel()
                app.programs.end_all()
                app.progress.close()

        option = click.option(
            "--log-level",
            type=click.Choice(LOG_LEVELS),
            default="normal",
            show_default=True,
            help="debug shows every program that is run, and tracebacks.",
        )
        made = click.command(name=name, context_settings={"help_option_names": ["-h", "--help"]})(option(wrapper))
        made.kind = kind  # type: ignore[attr-defined]
        return made

    return decorate
