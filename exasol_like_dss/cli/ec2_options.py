"""The options of all commands that start a machine in EC2, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exasol_like_dss.cli.aws_options import aws_options, open_session, read_asset_tags, tag_options

if TYPE_CHECKING:
    from exasol_like_dss.cli.app import App
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.assets.tags import AssetTags
    from exasol_like_dss.lib.pipeline.ec2_plan import Ec2World, MachineChoice

Decorated = Callable[..., None]
EC2_BASES = ("ubuntu-24.04", "debian-13", "debian-12")

_OWN = (
    click.option("--ec2-instance-type", metavar="TYPE", default="t3.large", show_default=True,
                 help="Of the machine in EC2."),
    click.option("--ec2-source-ami", metavar="AMI",
                 help="The AMI that it starts from. [default: the newest one of the --base]"),
    click.option("--volume-size", metavar="SIZE", default="100G", show_default=True,
                 help="Of its disk, and of the images' disk."),
    click.option("--subnet-id", metavar="ID", help="A subnet with a way here. [default: one of the default VPC]"),
    click.option("--ec2-key-file", metavar="FILE", type=click.Path(path_type=Path),
                 help="A private key of your own; with --ec2-key-name. [default: one is made for the machine]"),
    click.option("--ec2-key-name", metavar="NAME", help="The name of its key pair in EC2."),
    click.option("--ssh-cidr", metavar="CIDR", help="Where ssh to the machine may come from. [default: this machine]"),
)  # fmt: skip


def ec2_options(function: Decorated) -> Decorated:
    """The machine in EC2, the AWS account, and the tags. The function gets them by their names."""
    for option in reversed(_OWN):
        function = option(function)
    return aws_options(tag_options(function))


fresh_option = click.option("--fresh", is_flag=True, help="Removes in AWS what an earlier run made, and begins anew.")
keep_option = click.option("--keep", is_flag=True, help="Keeps the machine in EC2, and says how to remove it.")
ec2_base_option = click.option(
    "--base", type=click.Choice(EC2_BASES), default=EC2_BASES[0], show_default=True, help="The distribution."
)


def read_machine(options: Mapping[str, Any], *, base: str, ca_bundle: Path | None = None) -> MachineChoice:
    """What ``ec2_options`` say of the machine. Raises ``InputError``."""
    from exasol_like_dss.cli.sizes import parse_disk_size
    from exasol_like_dss.lib.pipeline.ec2_plan import MachineChoice

    size = parse_disk_size(options["volume_size"])
    key_file: Path | None = options["ec2_key_file"]
    return MachineChoice(
        base=base,
        instance_type=options["ec2_instance_type"],
        volume_gib=-(-size // (1 << 30)),  # EBS has whole GiB
        source_ami=options["ec2_source_ami"],
        subnet_id=options["subnet_id"],
        key_file=key_file.absolute() if key_file else None,
        key_name=options["ec2_key_name"],
        ssh_cidr=options["ssh_cidr"],
        ca_bundle=ca_bundle.absolute() if ca_bundle else None,
    )


def open_world(
    app: App, options: Mapping[str, Any], asset_id: AssetId, *, ca_bundle: Path | None = None
) -> tuple[Ec2World, AssetTags]:
    """The outside, with credentials that AWS accepts; and the tags of all that is made. Raises ``DssError``."""
    from exasol_like_dss.access.ansible import Ansible
    from exasol_like_dss.access.web import Web
    from exasol_like_dss.lib.assets.cost import load_prices
    from exasol_like_dss.lib.assets.duration import parse_duration
    from exasol_like_dss.lib.assets.names import AssetNames
    from exasol_like_dss.lib.pipeline.access import Access
    from exasol_like_dss.lib.pipeline.ec2_plan import Ec2World
    from exasol_like_dss.lib.resources import tree

    AssetNames.of(asset_id)
    lifetime = parse_duration(options["expires"])
    prices = load_prices()
    session, identity = open_session(options["aws_profile"], options["region"])
    tags = read_asset_tags(
        asset_id, owner=options["owner"], tag=options["tag"], lifetime=lifetime, identity=identity
    )  # fmt: skip
    access = Access(programs=app.programs, ansible=Ansible(tree=tree("ansible")), web=Web(ca_bundle=ca_bundle))
    world = Ec2World(
        aws=session, access=access, prices=prices, progress=app.progress, cancellation=app.cancellation
    )  # fmt: skip
    return world, tags
