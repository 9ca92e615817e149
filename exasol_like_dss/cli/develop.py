"""Developer commands: parts of the pipeline, for finding problems and for trying things."""

from __future__ import annotations

import os
from pathlib import Path

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.output import output_option, print_json, print_table
from exasol_like_dss.cli.passwords import default_password_option, read_default_password

acceleration_option = click.option(
    "--acceleration",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="How the processor is made. auto: KVM where a guest really runs under it, otherwise TCG.",
)
image_argument = click.argument("image", type=click.Path(path_type=Path))


@command("verify-vm", kind="develop")
@image_argument
@click.option("--firmware", type=click.Choice(["bios", "uefi", "both"]), default="both", show_default=True)
@click.option(
    "--format-report", metavar="FILE", type=click.Path(path_type=Path), help="Where the report goes, as JSON."
)
@default_password_option
@click.option("--memory", metavar="MiB", type=click.IntRange(512), default=2048, show_default=True,
              help="Of each of the two virtual machines.")  # fmt: skip
@acceleration_option
@output_option
def verify_vm(
    app: App,
    image: Path,
    firmware: str,
    format_report: Path | None,
    default_password: str | None,
    memory: int,
    acceleration: str,
    output: str,
) -> None:
    """Boots IMAGE twice on throw-away overlays, and checks it as a user would.

    Exit code 0 only if all checks hold.
    """
    from exasol_like_dss.lib.errors import ExitCode, InputError
    from exasol_like_dss.lib.verification.guest import Firmware
    from exasol_like_dss.lib.verification.verify import verify_image, write_report

    password = read_default_password(default_password, may_generate=False).value
    if format_report and not os.access(format_report.absolute().parent, os.W_OK):
        raise InputError(
            f"The report can't be written to {format_report}.", hint="Is its directory there and writable?"
        )
    report = verify_image(
        image=image,
        firmwares=list(Firmware) if firmware == "both" else [Firmware(firmware)],
        default_password=password,
        memory_mib=memory,
        acceleration=acceleration,
        programs=app.programs,
        progress=app.progress,
        cancellation=app.cancellation,
    )
    app.progress.close()
    if format_report:
        write_report(report, format_report)
    if output == "json":
        print_json(report.to_json())
    else:
        rows = [[result.name, "ok" if result.passed else "FAILED", result.boot, result.seen]
                for result in report.results]  # fmt: skip
        print_table(["check", "result", "boot", "seen"], rows)
        for text in report.left_out:
            click.echo(f"Left out: {text}")
        click.echo(f"{len(report.results)} checks, {len(report.failed)} failed, {report.seconds['total']:.0f} s")
    if not report.passed:
        raise click.exceptions.Exit(ExitCode.FAILED)


@command("run-vm", kind="develop")
@image_argument
@click.option("--ssh-port", type=int, default=2222, show_default=True, help="On 127.0.0.1.")
@click.option("--jupyter-port", type=int, default=8888, show_default=True, help="On 127.0.0.1.")
@click.option("--memory", metavar="MiB", type=click.IntRange(512), default=4096, show_default=True)
@click.option("--cpus", type=click.IntRange(1, 64), default=None, help="[default: all of this machine, at most 4]")
@click.option("--disk", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="Keeps what is done in the virtual machine; made when it is missing. It needs IMAGE as it is. "
                   "[default: everything is thrown away at the end]")  # fmt: skip
@click.option("--firmware", type=click.Choice(["bios", "uefi"]), default="bios", show_default=True)
@acceleration_option
def run_vm(
    app: App,
    image: Path,
    ssh_port: int,
    jupyter_port: int,
    memory: int,
    cpus: int | None,
    disk: Path | None,
    firmware: str,
    acceleration: str,
) -> None:
    """Starts IMAGE for use, and says how to log in. Ctrl-C shuts it down."""
    from exasol_like_dss.lib.verification.guest import Firmware
    from exasol_like_dss.lib.verification.run import RunningVm
    from exasol_like_dss.lib.verification.run import run_vm as run

    def on_ready(vm: RunningVm) -> None:
        jupyter = vm.jupyter_url or f"http://127.0.0.1:{vm.jupyter_port}/lab, with the password that was set"
        lines = [
            f"The virtual machine runs ({vm.acceleration}).",
            f"Log in:      ssh -p {vm.ssh_port} {vm.login_user}@127.0.0.1",
            "             with the default password; the first login asks for a new one, and then ends",
            f"JupyterLab:  {jupyter}",
            f"Console:     {vm.console}",
            f"Disk:        {disk or 'thrown away at the end; --disk FILE keeps it'}",
            "Ctrl-C shuts it down.",
        ]
        click.echo("\n".join(lines))

    clean = run(
        image=image,
        ssh_port=ssh_port,
        jupyter_port=jupyter_port,
        memory_mib=memory,
        cpus=cpus or min(4, len(os.sched_getaffinity(0))),
        disk=disk,
        firmware=Firmware(firmware),
        acceleration=acceleration,
        on_ready=on_ready,
        programs=app.programs,
        progress=app.progress,
        cancellation=app.cancellation,
    )
    app.progress.note("The virtual machine is off." if clean else "The virtual machine did not go off in time: killed.")


COMMANDS: list[click.Command] = [verify_vm, run_vm]
