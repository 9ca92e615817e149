"""``import-ami``, and ``--publish-ami`` of a local build: an image of this machine as an AMI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exasol_like_dss import __version__
from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.aws_options import aws_options, open_session, read_asset_tags, tag_options
from exasol_like_dss.cli.output import human_bytes, output_option, print_json, print_table

if TYPE_CHECKING:
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.assets.tags import AssetTags
    from exasol_like_dss.lib.pipeline.import_ami import ImportedAmi, ImportWorld

DEFAULT_WORK_DIRECTORY = Path("/var/tmp")
#: The first one: UEFI where the instance type has it, else BIOS. Our images boot with both.
BOOT_MODES = ("uefi-preferred", "uefi", "legacy-bios")


def boot_mode_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--boot-mode",
        type=click.Choice(BOOT_MODES),
        default=BOOT_MODES[0],
        show_default=True,
        help="What instances of an imported AMI boot with.",
    )(function)


@command("import-ami", kind="develop")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--asset-id", metavar="ID", help="[default: that of the build, else the version of dss]")
@boot_mode_option
@click.option(
    "--work-directory",
    type=click.Path(path_type=Path),
    default=DEFAULT_WORK_DIRECTORY,
    show_default=True,
    help="Where an image that is neither raw nor a fixed VHD is unpacked meanwhile.",
)
@tag_options
@aws_options
@output_option
def import_ami(
    app: App,
    *,
    image: Path,
    asset_id: str | None,
    boot_mode: str,
    work_directory: Path,
    output: str,
    **options: Any,
) -> None:
    """Makes an AMI of an image on this machine, without an instance.

    IMAGE: a raw image, QCOW2, VHD, VMDK, OVA, or the folder that create-vm left.
    """
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.images.raw_source import choose_image
    from exasol_like_dss.lib.pipeline.import_ami import ImportOrder
    from exasol_like_dss.lib.pipeline.import_ami import import_ami as run

    with app.progress.step("check the input"):
        chosen = choose_image(image, programs=app.programs)
        known = chosen.manifest.asset_id if chosen.manifest else __version__
        wanted = AssetId(asset_id or known)
        world, tags = open_import(app, options, wanted)
    order = ImportOrder(chosen=chosen, tags=tags, boot_mode=boot_mode, work_directory=work_directory.absolute())
    imported = run(order, world=world)
    app.progress.close()
    if output == "json":
        print_json({"asset_id": str(wanted), **as_json(imported), "seconds_per_step": app.progress.seconds()})
        return
    print_imported(imported, asset_id=wanted)
    click.echo(world.prices.statement([imported.region]))


def open_import(app: App, options: Mapping[str, Any], asset_id: AssetId) -> tuple[ImportWorld, AssetTags]:
    """The outside, with credentials that AWS accepts; and the tags of all that is made. Raises ``DssError``."""
    from exasol_like_dss.lib.assets.cost import load_prices
    from exasol_like_dss.lib.assets.duration import parse_duration
    from exasol_like_dss.lib.assets.names import AssetNames
    from exasol_like_dss.lib.pipeline.import_ami import ImportWorld

    AssetNames.of(asset_id)
    lifetime = parse_duration(options["expires"])
    prices = load_prices()
    session, identity = open_session(options["aws_profile"], options["region"])
    tags = read_asset_tags(
        asset_id, owner=options["owner"], tag=options["tag"], lifetime=lifetime, identity=identity
    )  # fmt: skip
    world = ImportWorld(
        aws=session, programs=app.programs, prices=prices, progress=app.progress, cancellation=app.cancellation
    )
    return world, tags


def publish_options(function: Callable[..., None]) -> Callable[..., None]:
    """What ``create-vm --builder local`` has for an AMI."""
    option = click.option(
        "--publish-ami", is_flag=True, help="Makes an AMI of the image, too, once it has passed its verification."
    )
    return option(boot_mode_option(function))


@dataclass(frozen=True)
class Publishing:
    """``--publish-ami``: what has been checked before the build, and what follows it."""

    world: ImportWorld
    tags: AssetTags
    boot_mode: str

    @classmethod
    def begin(
        cls, app: App, options: Mapping[str, Any], asset_id: AssetId, boot_mode: str, *, verify: bool
    ) -> Publishing:
        """Raises ``DssError``: credentials that are no good are told before the build."""
        from exasol_like_dss.lib.errors import InputError

        if not verify:
            raise InputError("--publish-ami and --no-verify exclude each other.", hint="Use dss import-ami afterwards.")
        world, tags = open_import(app, options, asset_id)
        return cls(world, tags, boot_mode)

    def publish(self, directory: Path) -> ImportedAmi:
        """directory: of the finished build. Raises ``DssError``, ``Interrupted``."""
        from exasol_like_dss.lib.pipeline.import_ami import import_build

        return import_build(
            directory,
            tags=self.tags,
            boot_mode=self.boot_mode,
            work_directory=DEFAULT_WORK_DIRECTORY,
            world=self.world,
        )


def as_json(imported: ImportedAmi) -> dict[str, Any]:
    return {
        "region": imported.region,
        "image_id": imported.image.id,
        "image_name": imported.image.name,
        "snapshot_id": imported.snapshot_id,
        "blocks": imported.blocks,
        "blocks_written": imported.written,
        "requests": imported.requests,
        "costs": [{"what": line.what, "usd": line.usd, "per": line.per} for line in imported.costs],
    }


def print_imported(imported: ImportedAmi, *, asset_id: AssetId) -> None:
    from exasol_like_dss.access.aws.ebs import BLOCK_BYTES

    click.echo(f"AMI:           {imported.image.id} ({imported.image.name}) in {imported.region}")
    click.echo(f"Snapshot:      {imported.snapshot_id}, {human_bytes(imported.blocks * BLOCK_BYTES)} of data")
    click.echo()
    rows = [[line.what, "unknown" if line.usd is None else f"{line.usd:.4f} USD", line.per] for line in imported.costs]
    print_table(["cost", "about", "per"], rows)
    click.echo()
    click.echo(f"For everybody:  dss make-ami-public --asset-id {asset_id}")
    click.echo(f"To remove it:   dss cleanup-aws-assets --asset-id {asset_id}")


COMMANDS: list[click.Command] = [import_ami]
