"""The commands of ``dss``: finds the command, runs it, and shows what went wrong to a person."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import click

from exasol_like_dss import __version__
from exasol_like_dss.cli.help import help_text
from exasol_like_dss.lib.errors import DssError, ExitCode, Interrupted
from exasol_like_dss.lib.interrupts import SignalPolicy

#: The modules of ``cli``, and the commands in them.
MODULES = {
    "assets": ("show-aws-assets", "cleanup-aws-assets", "make-ami-public", "refresh-prices"),
    "cache": ("cache", "compare-images"),
    "deploy_bucket": ("setup-vm-bucket-waf", "setup-vm-bucket"),
    "deploy_codebuild": ("setup-ci-codebuild", "setup-release-codebuild"),
    "develop": ("verify-vm", "run-vm", "install-dependencies", "reset-password"),
    "docker": ("create-docker-image", "verify-docker-image"),
    "ec2": ("setup-ec2", "setup-ec2-and-install-dependencies"),
    "images": ("convert-image", "image-size"),
    "import_ami": ("import-ami",),
    "publishing": ("update-release", "publish-release", "verify-download", "download-url"),
    "release": ("create-vm", "export-vm"),
    "release_builds": ("start-release-build", "start-test-release", "start-test-release-build"),
}


class Commands(Mapping[str, click.Command]):
    """All commands by their names. A module is loaded when one of its commands is wanted."""

    def __init__(self) -> None:
        self._modules = {name: module for module, names in MODULES.items() for name in names}
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module = import_module(f"exasol_like_dss.cli.{self._modules[name]}")
            self._loaded |= {str(command.name): command for command in module.COMMANDS}
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


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


dss.commands = Commands()  # type: ignore[assignment]  # nobody adds one


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
