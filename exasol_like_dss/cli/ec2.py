"""Developer commands around one machine in EC2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exasol_like_dss import __version__
from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.ec2_options import (
    ec2_base_option,
    ec2_options,
    fresh_option,
    keep_option,
    open_world,
    read_machine,
)

if TYPE_CHECKING:
    from exasol_like_dss.lib.pipeline.ec2_machine import InstallWish, ReadyMachine

asset_id_option = click.option(
    "--asset-id", default=__version__, show_default=True, help="The keyword that all that is made carries."
)


def _setup(app: App, *, asset_id: str, install: InstallWish | None, ca_bundle: Path | None, **options: Any) -> None:
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.pipeline.ec2_clean import check_nothing_left
    from exasol_like_dss.lib.pipeline.ec2_machine import setup_ec2
    from exasol_like_dss.lib.pipeline.ec2_plan import plan_machine

    checked = AssetId(asset_id)
    choice = read_machine(options, base=options["base"], ca_bundle=ca_bundle)
    world, tags = open_world(app, options, checked)
    with app.progress.step("check the input"):
        plan = plan_machine(choice, tags, exported=False, machines=1, world=world)

    def on_ready(machine: ReadyMachine) -> None:
        app.progress.close()
        click.echo(_ready_text(machine, asset_id=asset_id))
        app.progress.reopen()

    setup_ec2(plan, install=install, keep=options["keep"], fresh=options["fresh"], on_ready=on_ready, world=world)
    app.progress.close()
    check_nothing_left(checked, world=world)
    click.echo("The machine stays." if options["keep"] else "The machine, its stack and its key pair are gone.")


def _ready_text(machine: ReadyMachine, *, asset_id: str) -> str:
    lines = [
        f"The machine runs: {machine.instance_id}, stack {machine.stack}.",
        f"Log in:      {machine.login.ssh_line()}",
    ]
    if machine.login.host_keys:
        lines.append("             with the host key that is on its console")
    if machine.jupyter_port:
        lines += [
            f"Tunnel:      {machine.login.tunnel_line(machine.jupyter_port)}",
            f"JupyterLab:  {machine.jupyter_url}",
        ]
    lines.append(f"Remove it:   dss cleanup-aws-assets --asset-id {asset_id}" if machine.kept else "Ctrl-C removes it.")
    return "\n".join(lines)


@command("setup-ec2", kind="develop")
@asset_id_option
@ec2_base_option
@fresh_option
@keep_option
@ec2_options
def setup_ec2(app: App, *, asset_id: str, **options: Any) -> None:
    """Starts a machine in EC2, says how to log in, and removes it at Ctrl-C."""
    _setup(app, asset_id=asset_id, install=None, ca_bundle=None, **options)


@command("setup-ec2-and-install-dependencies", kind="develop")
@asset_id_option
@ec2_base_option
@click.option("--edition", default="sandbox", show_default=True, help="What goes in: a playbook of the Ansible tree.")
@click.option("--without", metavar="ROLE", multiple=True, help="Leaves a role out; can be given several times.")
@click.option("--extra-vars", metavar="KEY=VALUE|JSON|@FILE", multiple=True, help="Variables of the roles.")
@click.option(
    "--ca-bundle",
    type=click.Path(path_type=Path),
    help="CA certificates (PEM) for https from the machine, for the time of the command.",
)
@fresh_option
@keep_option
@ec2_options
def setup_ec2_and_install_dependencies(
    app: App,
    *,
    asset_id: str,
    edition: str,
    without: tuple[str, ...],
    extra_vars: tuple[str, ...],
    ca_bundle: Path | None,
    **options: Any,
) -> None:
    """Starts a machine in EC2, installs what a sandbox has, and removes it at Ctrl-C.

    When installing fails, the machine stays for inspection.
    """
    from exasol_like_dss.lib.pipeline.ec2_machine import InstallWish
    from exasol_like_dss.lib.provisioning import editions
    from exasol_like_dss.lib.provisioning.editions import read_extra_vars
    from exasol_like_dss.lib.resources import tree

    wish = InstallWish(edition=edition, without=without, extra_vars=read_extra_vars(extra_vars))
    editions.choose_roles(editions.edition_roles(tree("ansible"), edition), without=without)
    _setup(app, asset_id=asset_id, install=wish, ca_bundle=ca_bundle, **options)


COMMANDS: list[click.Command] = [setup_ec2, setup_ec2_and_install_dependencies]
