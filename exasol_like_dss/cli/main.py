"""``dss``: its help at once, anything else by the commands of ``cli.group``."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> None:
    """The console script. Ends the process with the exit codes of ``lib.errors.ExitCode``."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given in (["--help"], ["-h"]):
        from exasol_like_dss.cli.help import help_text

        try:
            sys.stdout.write(help_text())
            sys.stdout.flush()
        except BrokenPipeError:  # `dss --help | head`
            sys.stderr.close()
            sys.exit(1)
        sys.exit(0)
    from exasol_like_dss.cli.group import run

    run(given)
