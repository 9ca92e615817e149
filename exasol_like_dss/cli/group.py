"""The commands of ``dss``: finds the command, runs it, and shows what went wrong to a person."""

from __future__ import annotations

import sys
from typing import Any

import click

from exasol_like_dss import __version__
from exasol_like_dss.cli import (
    assets,
    cache,
    deploy_bucket,
    deploy_codebuild,
    develop,
    docker,
    ec2,
    images,
    import_ami,
    publishing,
    release,
    release_builds,
)
from exasol_like_dss.cli.help import help_text
from exasol_like_dss.lib.errors import DssError, ExitCode, Interrupted
from exasol_like_dss.lib.interrupts import SignalPolicy


class CommandsByKind(click.Group):
    """Lists the commands under the headings of the developer guide."""

    def format_help(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(help_text())


@click.group(cls=CommandsByKind, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dss")
def dss() -> None:
    """Builds data science sandboxes: virtual machine images with Jupyter, Docker and Poetry.

    The usual way:  dss create-vm   (builds and verifies)   then   dss run-vm IMAGE
    """


for _module in (
    release, develop, images, docker, ec2, import_ami, assets, cache, deploy_bucket, deploy_codebuild, publishing,
    release_builds,
):  # fmt: skip
    for _command in _module.COMMANDS:
        dss.add_command(_command)


def run(arguments: list[str]) -> None:
    """Runs a command, and ends the process with the exit codes of ``lib.errors.ExitCode``."""
    policy = SignalPolicy(process_ends=True)
    with policy.installed():
        code = _run(arguments, policy)
    sys.exit(code)


def _run(arguments: list[str], policy: SignalPolicy) -> int:
    meta: dict[str, Any] = {}
    try:
        with dss.make_context("dss", arguments) as context:
            meta = context.meta
            meta["dss.cancellation"] = policy.cancellation
            dss.invoke(context)
        return ExitCode.DONE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.WRONG_INPUT
    except (Interrupted, KeyboardInterrupt, click.Abort):
        name = policy.received[0] if policy.received else "SIGINT"
        outcome = "what is named above stays" if policy.cancellation.stays else "cleaned up"
        click.echo(f"Interrupted ({name}); {outcome}.", err=True)
        return ExitCode.INTERRUPTED
    except DssError as error:
        show_error(error)
        if meta.get("dss.debug"):
            _show_traceback()
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone (`dss … | head`)
        sys.stderr.close()
        return ExitCode.FAILED
    except Exception as error:
        text = f"Error: an internal error: {type(error).__name__}: {error}"
        click.echo(text, err=True)
        click.echo(
            "Hint: this is a defect of dss. Run it again with --log-level debug, and report what it prints.",
            err=True,
        )
        if meta.get("dss.debug"):
            _show_traceback()
        return ExitCode.FAILED


def show_error(error: DssError) -> None:
    """One sentence, and a hint."""
    click.echo(f"Error: {error.message}", err=True)
    if error.hint:
        click.echo(f"Hint: {error.hint}", err=True)


def _show_traceback() -> None:
    import traceback

    traceback.print_exc()
