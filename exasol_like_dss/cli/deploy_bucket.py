"""Deployment commands for the bucket of the images, and what stands before it."""

from __future__ import annotations

from pathlib import Path

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.aws_options import aws_options, open_session, profile_option
from exasol_like_dss.cli.deploy import Deploying, deploy, deploy_options
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

    deploying.check()
    wanted = wanted_waf(allowed_ip)
    session, _ = open_session(aws_profile, WAF_REGION)
    deploy(app, session.cloudformation(WAF_REGION), wanted, deploying=deploying, output=output)


@command("setup-vm-bucket", kind="deploy")
@click.option(
    "--versioning/--no-versioning",
    default=False,
    show_default=True,
    help="Whether the bucket keeps old versions of objects, for 30 days.",
)
@click.option(
    "--public-key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A public key (PEM) that signed URLs are checked with; can be given twice, the first one is what dss signs "
    "with. [default: of the key in Secrets Manager, which is made if there is none]",
)
@click.option("--domain", metavar="NAME", help="A name of your own for the downloads. [default: what CloudFront gives]")
@click.option("--certificate", metavar="ARN", help="The certificate of that name, in us-east-1.")
@deploy_options
@output_option
@aws_options
def setup_vm_bucket(
    app: App,
    *,
    versioning: bool,
    public_key: tuple[Path, ...],
    domain: str | None,
    certificate: str | None,
    deploying: Deploying,
    output: str,
    aws_profile: str | None,
    region: str | None,
) -> None:
    """Deploys the bucket of the images, its distribution, and the role for exports.

    It needs the stack of setup-vm-bucket-waf.
    """
    from exasol_like_dss.lib.assets.names import BUCKET_STACK
    from exasol_like_dss.lib.errors import InputError
    from exasol_like_dss.lib.stacks.download_keys import SECRET, keys_of_files, own_keys, parameters_of
    from exasol_like_dss.lib.stacks.vm_bucket import OwnDomain, wanted_bucket
    from exasol_like_dss.lib.stacks.vm_bucket_waf import WAF_REGION, find_web_acl

    deploying.check()
    if bool(domain) != bool(certificate):
        raise InputError("--domain and --certificate belong together.", hint="Give both, or none.")
    own = OwnDomain(name=domain, certificate=certificate) if domain and certificate else None
    given = keys_of_files(public_key) if public_key else None
    session, _ = open_session(aws_profile, region)
    with app.progress.step("check the input"):
        web_acl = find_web_acl(session.cloudformation(WAF_REGION))
        keys = given or own_keys(session.secrets())
        found = session.cloudformation().stack(BUCKET_STACK)
        parameters = parameters_of(keys, found.parameters if found else {})
    notes = (f"And the secret {SECRET} in Secrets Manager, with a new private key.",) if keys.private else ()
    deploy(
        app,
        session.cloudformation(),
        wanted_bucket(web_acl=web_acl, versioned=versioning, keys=parameters, domain=own),
        deploying=deploying,
        output=output,
        before=lambda: keys.store(session.secrets()),
        notes=notes,
    )


COMMANDS: list[click.Command] = [setup_vm_bucket_waf, setup_vm_bucket]
