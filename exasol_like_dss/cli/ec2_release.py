"""``create-vm --builder ec2`` and ``export-vm``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.aws_options import aws_options, tag_options
from exasol_like_dss.cli.ec2_options import EC2_BASES, fresh_option, keep_option, open_world, read_machine
from exasol_like_dss.cli.output import human_bytes, output_option, print_json, print_table
from exasol_like_dss.cli.passwords import read_default_password
from exasol_like_dss.lib.errors import InputError

if TYPE_CHECKING:
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.pipeline.ec2 import CreatedInEc2, Ec2BuildPlan
    from exasol_like_dss.lib.pipeline.ec2_plan import Ec2World

#: Options of ``create-vm`` that belong to one builder.
_LOCAL_ONLY = (
    "publish_ami",
    "boot_mode",
    "output_directory",
    "disk_size",
    "mirror",
    "force",
    "work_directory",
    "on_disk",
    "sign_key",
)
_EC2_ONLY = (
    "no_vm", "make_ami_public", "dry_run", "fresh", "keep", "export_patience", "ec2_instance_type", "ec2_source_ami",
    "volume_size", "subnet_id", "ec2_key_file", "ec2_key_name", "ssh_cidr", "aws_profile", "region", "owner", "tag",
    "expires", "export_method",
)  # fmt: skip
#: Of these, what an AMI of a local build takes, too.
_WITH_AMI = ("aws_profile", "region", "owner", "tag", "expires")
patience_option = click.option(
    "--export-patience",
    metavar="MINUTES",
    type=click.FloatRange(min=0.01),
    default=60.0,
    show_default=True,
    help="An export that makes no progress for so long is cancelled, and tried once more.",
)


method_option = click.option(
    "--export-method",
    type=click.Choice(["vm-export", "direct"]),
    help="vm-export (the default): AWS writes the images. direct: they are read from the AMI's snapshot, through this "
    "machine; also the default for an AMI that boots with both BIOS and UEFI, which AWS does not export.",
)


def build_options(function: Callable[..., None]) -> Callable[..., None]:
    """What ``create-vm`` has for ``--builder ec2`` alone, beside the machine."""
    options = (
        click.option("--no-vm", is_flag=True, help="Makes the AMI only, and exports no image."),
        click.option("--make-ami-public", is_flag=True, help="Lets everybody start instances from the AMI."),
        click.option("--dry-run", is_flag=True, help="Checks all, and shows what would be done and what it costs."),
        fresh_option,
        keep_option,
        patience_option,
        method_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def check_builder(builder: str, *, publishes: bool = False) -> None:
    """Raises ``InputError`` for an option that was given, and belongs to the other builder. publishes: as an AMI."""
    context = click.get_current_context()
    for name in _LOCAL_ONLY if builder == "ec2" else _EC2_ONLY:
        if builder == "local" and publishes and name in _WITH_AMI:
            continue
        if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None):
            option = "--" + name.replace("_", "-")
            other = "local" if builder == "ec2" else "ec2"
            hint = f"Add --builder {other}, or leave it out."
            if name == "disk_size":
                hint = "Give --volume-size."
            if name == "sign_key":
                hint = "What is in S3 gets signed by: dss update-release --sign-key"
            raise InputError(f"{option} is for --builder {other}.", hint=hint)


def create_vm_in_ec2(
    app: App,
    *,
    asset_id: AssetId,
    base: str,
    edition: str,
    formats: tuple[str, ...],
    default_password: str | None,
    without: tuple[str, ...],
    extra_vars: tuple[str, ...],
    ca_bundle: Path | None,
    no_verify: bool,
    output: str,
    **options: Any,
) -> None:
    """Parses, calls, prints."""
    context = click.get_current_context()
    if context.get_parameter_source("base") == ParameterSource.DEFAULT:
        base = EC2_BASES[0]  # what AWS has most of
    # Generated, it would be another one when the same command goes on after an interruption.
    password = read_default_password(default_password, may_generate=False)
    choice = read_machine(options, base=base, ca_bundle=ca_bundle)

    from exasol_like_dss.lib.pipeline.ec2 import Ec2Build, create_vm_ec2, plan_create_vm
    from exasol_like_dss.lib.pipeline.ec2_clean import check_nothing_left
    from exasol_like_dss.lib.pipeline.ec2_export import check_formats
    from exasol_like_dss.lib.provisioning.editions import read_extra_vars

    variables = read_extra_vars(extra_vars)
    wanted = () if options["no_vm"] else check_formats(formats)
    world, tags = open_world(app, options, asset_id, ca_bundle=ca_bundle)
    build = Ec2Build(
        machine=choice,
        tags=tags,
        edition=edition,
        formats=wanted,
        default_password=password.value,
        without=without,
        extra_vars=variables,
        verify=not no_verify,
        public=options["make_ami_public"],
        keep=options["keep"],
        fresh=options["fresh"],
        patience_s=options["export_patience"] * 60,
        export_method=options["export_method"],
    )
    with app.progress.step("check the input"):
        plan = plan_create_vm(build, world=world)
    if options["dry_run"]:
        app.progress.close()
        _print_plan(plan, world, output=output)
        return
    created = create_vm_ec2(plan, world=world)
    app.progress.close()
    _print_created(created, asset_id=asset_id, seconds=world.progress.seconds(), output=output)
    check_nothing_left(asset_id, world=world)


def _print_plan(plan: Ec2BuildPlan, world: Ec2World, *, output: str) -> None:
    build, machine = plan.build, plan.machine
    steps = {
        "region": world.aws.region,
        "stack": machine.names.stack,
        "machine": f"{build.machine.instance_type}, {build.machine.volume_gib} GiB, ssh from {machine.ssh_cidr}",
        "from": f"{machine.source.id} ({machine.source.name})",
        "roles": ", ".join(plan.roles),
        "AMI": machine.names.image + (", public" if build.public else ""),
        "verification": "an instance of the AMI" if build.verify else "none",
        "images": f"{', '.join(build.formats)} in s3://{plan.place.bucket}/{machine.names.export_prefix}"
        if plan.place
        else "none",
    }
    totals = {per: sum(line.usd or 0.0 for line in plan.costs if line.per == per) for per in ("build", "month")}
    if output == "json":
        costs = [{"what": line.what, "usd": line.usd, "per": line.per} for line in plan.costs]
        print_json(
            {"plan": steps, "costs": costs, "usd_per": totals, "note": world.prices.statement([world.aws.region])}
        )
        return
    print_table(["", ""], [[name, text] for name, text in steps.items()])
    click.echo()
    rows = [[line.what, "unknown" if line.usd is None else f"{line.usd:.2f} USD", line.per] for line in plan.costs]
    rows += [["together", f"{usd:.2f} USD", per] for per, usd in totals.items()]
    print_table(["cost", "about", "per"], rows)
    click.echo(world.prices.statement([world.aws.region]))
    click.echo("Nothing was made: --dry-run.")


def _print_created(created: CreatedInEc2, *, asset_id: AssetId, seconds: dict[str, float], output: str) -> None:
    if output == "json":
        print_json(
            {
                "asset_id": str(asset_id),
                "region": created.region,
                "image_id": created.image.id,
                "image_name": created.image.name,
                "public": created.public,
                "uri": created.uri,
                "artifacts": [vars(artifact) for artifact in created.artifacts],
                "verification": created.verification.value,
                "seconds_per_step": seconds,
            }
        )
        return
    click.echo(f"AMI:           {created.image.id} ({created.image.name}) in {created.region}")
    click.echo(f"Public:        {'yes' if created.public else 'no'}")
    click.echo(f"Verification:  {created.verification.value}")
    if created.uri:
        click.echo(f"Images:        {created.uri}")
    if created.artifacts:
        click.echo()
        print_table(
            ["format", "size", "SHA-256", "object"],
            [
                [one.format, human_bytes(one.size_bytes), one.sha256, created.uri + one.name]
                for one in created.artifacts
            ],
        )
    click.echo()
    print_table(["step", "seconds"], [[name, f"{took:.1f}"] for name, took in seconds.items() if " / " not in name])
    click.echo()
    click.echo(f"All of it, and its cost:  dss show-aws-assets --asset-id {asset_id}")
    click.echo(f"To remove it:             dss cleanup-aws-assets --asset-id {asset_id}")


@command("export-vm", kind="develop")
@click.option("--stack-name", metavar="NAME", help="The stack of a running machine: an AMI is made of it first.")
@click.option("--ami-id", metavar="AMI", help="An AMI of dss.")
@click.option("--asset-id", metavar="ID", help="[default: that of the stack or AMI]")
@click.option(
    "--vm-image-format",
    "formats",
    type=click.Choice(["VMDK", "VHD", "RAW", "OVA"], case_sensitive=False),
    multiple=True,
    default=["VMDK", "VHD", "OVA"],
    show_default=True,
    help="An image format; can be given several times.",
)
@patience_option
@method_option
@tag_options
@aws_options
@output_option
def export_vm(
    app: App,
    *,
    stack_name: str | None,
    ami_id: str | None,
    asset_id: str | None,
    formats: tuple[str, ...],
    export_patience: float,
    export_method: str | None,
    output: str,
    **options: Any,
) -> None:
    """Exports an AMI, or a machine in EC2, as images in S3."""
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.pipeline.ec2 import export_machine
    from exasol_like_dss.lib.pipeline.ec2_clean import check_nothing_left
    from exasol_like_dss.lib.pipeline.ec2_source import find_source

    if (stack_name is None) == (ami_id is None):
        raise InputError("Either --stack-name or --ami-id is needed.", hint="Find them with: dss show-aws-assets")
    wanted_id = AssetId(asset_id) if asset_id else None
    world, placeholder = open_world(app, options, wanted_id or AssetId("unknown"))
    with app.progress.step("check the input"):
        source = find_source(
            world,
            stack_name=stack_name,
            ami_id=ami_id,
            asset_id=wanted_id,
            tags=placeholder,
            formats=formats,
            method=export_method,
        )
    created = export_machine(source, patience_s=export_patience * 60, world=world)
    app.progress.close()
    _print_created(created, asset_id=source.tags.asset_id, seconds=world.progress.seconds(), output=output)
    check_nothing_left(source.tags.asset_id, world=world)
