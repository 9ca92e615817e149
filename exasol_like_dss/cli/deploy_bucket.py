"""Deployment commands for the bucket of the images, and what stands before it."""

from __future__ import annotations

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.aws_options import open_session, profile_option
from exasol_like_dss.cli.deploy import Deploying, check_terminal, deploy, deploy_options
from exasol_like_dss.cli.output import output_option


@command("setup-vm-bucket-waf", kind="deploy")
@click.option(
    "--allowed-ip",
    metavar="CIDR",
    multiple=True,
    help="An IPv4 or IPv6 address or CIDR that gets no CAPTCHA; can be given several times. [default: none]",
)
@deploy_options
@output_option
@profile_option
def setup_vm_bucket_waf(
    app: App, *, allowed_ip: tuple[str, ...], deploying: Deploying, output: str, aws_profile: str | None
) -> None:
    """Deploys the web ACL for the downloads: a rate limit, and a CAPTCHA.

    It goes to us-east-1, whatever the region of the profile. The addresses that are given are those that are allowed
    from then on.
    """
    from exasol_like_dss.lib.stacks.vm_bucket_waf import WAF_REGION, wanted_waf

    check_terminal(deploying)
    wanted = wanted_waf(allowed_ip)
    session, _ = open_session(aws_profile, WAF_REGION)
    deploy(app, session.cloudformation(WAF_REGION), wanted, deploying=deploying, output=output)


COMMANDS: list[click.Command] = [setup_vm_bucket_waf]
