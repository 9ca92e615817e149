"""Developer commands: parts of the pipeline, for finding problems and for trying things."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.aws_options import aws_options, open_session
from exasol_like_dss.cli.output import check_writable, output_option, print_report, report_option
from exasol_like_dss.cli.passwords import default_password_option, known_password_option, read_default_password

if TYPE_CHECKING:
    from exasol_like_dss.lib.pipeline.access import Access
    from exasol_like_dss.lib.pipeline.hosts import RemoteHost

acceleration_option = click.option(
    "--acceleration",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="How the processor is made. auto: KVM where a guest really runs under it, otherwise TCG.",
)
image_argument = click.argument("image", type=click.Path(path_type=Path))


@command("verify-vm", kind="develop")
@click.argument("image", metavar="IMAGE|s3://BUCKET/KEY")
@click.option("--firmware", type=click.Choice(["bios", "uefi", "both"]), default="both", show_default=True)
@report_option
@click.option("--at-rest", is_flag=True, help="Does not boot it: judges only what it holds, within a minute.")
@known_password_option
@click.option("--memory", metavar="MiB", type=click.IntRange(512), default=2048, show_default=True,
              help="Of each of the two virtual machines.")  # fmt: skip
@acceleration_option
@aws_options
@output_option
def verify_vm(
    app: App,
    image: str,
    firmware: str,
    at_rest: bool,
    format_report: Path | None,
    default_password: str | None,
    memory: int,
    acceleration: str,
    aws_profile: str | None,
    region: str | None,
    output: str,
) -> None:
    """Boots IMAGE twice on throw-away overlays, and checks it as a user would.

    One in S3 is fetched for the time of the command. Exit code 0 only if all checks hold.
    """
    from contextlib import nullcontext

    from exasol_like_dss.lib.errors import ExitCode
    from exasol_like_dss.lib.verification.fetch import fetched_image
    from exasol_like_dss.lib.verification.guest import Firmware
    from exasol_like_dss.lib.verification.verify import verify_image, write_report

    password = "" if at_rest else read_default_password(default_password, may_generate=False).value
    check_writable("report", format_report)
    firmwares = [] if at_rest else list(Firmware) if firmware == "both" else [Firmware(firmware)]
    with (
        fetched_image(
            image, s3=open_session(aws_profile, region)[0].s3_builds(), progress=app.progress,
            cancellation=app.cancellation,
        )
        if image.startswith("s3://")
        else nullcontext(Path(image)) as file
    ):  # fmt: skip
        report = verify_image(
            image=file,
            firmwares=firmwares,
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
    print_report(report, output=output)
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


def host_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say how a running host is reached."""
    for option in (
        click.option(
            "--ca-bundle",
            type=click.Path(path_type=Path),
            help="CA certificates (PEM) for https from the host, for the time of the command.",
        ),
        click.option("--ssh-user", default="ubuntu", show_default=True, help="Needs sudo without a password."),
        click.option("--ssh-port", type=click.IntRange(1, 65535), default=22, show_default=True),
        click.option("--ssh-private-key", type=click.Path(path_type=Path), required=True),
        click.option("--host-name", required=True, help="Name or address of the host."),
    ):
        function = option(function)
    return function


def _host(options: Mapping[str, Any]) -> RemoteHost:
    from exasol_like_dss.lib.pipeline.hosts import RemoteHost

    return RemoteHost(
        host_name=options["host_name"],
        port=options["ssh_port"],
        user=options["ssh_user"],
        private_key=options["ssh_private_key"].absolute(),
        ca_bundle=options["ca_bundle"].absolute() if options["ca_bundle"] else None,
    )


def _access(app: App) -> Access:
    from exasol_like_dss.access.ansible import Ansible
    from exasol_like_dss.access.web import Web
    from exasol_like_dss.lib.pipeline.access import Access
    from exasol_like_dss.lib.resources import tree

    return Access(programs=app.programs, ansible=Ansible(tree=tree("ansible")), web=Web())


@command("install-dependencies", kind="develop")
@host_options
@click.option("--edition", default="sandbox", show_default=True, help="What goes in: a playbook of the Ansible tree.")
@click.option("--without", metavar="ROLE", multiple=True, help="Leaves a role out; can be given several times.")
@click.option("--extra-vars", metavar="KEY=VALUE|JSON|@FILE", multiple=True, help="Variables of the roles.")
def install_dependencies(
    app: App, *, edition: str, without: tuple[str, ...], extra_vars: tuple[str, ...], **host: Any
) -> None:
    """Installs what a sandbox has on a running host, over ssh."""
    from exasol_like_dss.lib.pipeline import hosts
    from exasol_like_dss.lib.provisioning.editions import read_extra_vars

    result = hosts.install_dependencies(
        _host(host),
        edition=edition,
        without=without,
        extra_vars=read_extra_vars(extra_vars),
        access=_access(app),
        progress=app.progress,
        cancellation=app.cancellation,
    )
    app.progress.close()
    click.echo(
        f"{host['host_name']} has what the edition {edition} installs ({result.changed} tasks changed something)."
    )


@command("reset-password", kind="develop")
@host_options
@default_password_option
def reset_password(app: App, *, default_password: str | None, **host: Any) -> None:
    """Sets the default password of a running host, to be changed at the next login.

    Turns ssh logins with a password on, and removes the ssh keys of every user: also the one that this command uses.
    """
    from exasol_like_dss.lib.pipeline import hosts

    password = read_default_password(default_password)
    hosts.reset_password(
        _host(host),
        default_password=password.value,
        access=_access(app),
        progress=app.progress,
        cancellation=app.cancellation,
    )
    app.progress.close()
    click.echo(f"The next login at {host['host_name']} takes the default password, and asks for a new one.")
    if password.generated:
        click.echo(f"The default password (shown only now): {password.value}")


COMMANDS: list[click.Command] = [verify_vm, run_vm, install_dependencies, reset_password]
