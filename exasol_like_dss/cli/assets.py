"""Developer commands about what is in AWS: what there is, what it costs, and how it goes away."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.aws_options import (
    aws_options,
    aws_options_of_regions,
    open_regions,
    open_session,
    profile_option,
)
from exasol_like_dss.cli.output import check_can_ask, output_option, print_json

if TYPE_CHECKING:
    from exasol_like_dss.lib.assets.cleanup import Removal
    from exasol_like_dss.lib.assets.plan import Plan
    from exasol_like_dss.lib.assets.record import AssetKind, Note

#: The values of ``lib.assets.record.AssetKind``; a test compares them.
KINDS = (
    "stack", "stack-resource", "instance", "volume", "key-pair", "security-group", "ami", "snapshot", "export-task",
    "s3-object", "multipart-upload", "log-group",
)  # fmt: skip
kinds_option = click.option(
    "--asset-type",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="A kind of asset; can be given several times. [default: all]",
)


def _kinds(names: Sequence[str]) -> list[AssetKind]:
    from exasol_like_dss.lib.assets.record import AssetKind

    return [AssetKind(name) for name in names]


def _check_writable(file: Path | None) -> None:
    from exasol_like_dss.lib.errors import InputError

    if file and (not os.access(file.absolute().parent, os.W_OK) or file.is_dir()):
        raise InputError(f"{file} can't be written.", hint="Is its directory there and writable?")


@command("show-aws-assets", kind="develop")
@click.option(
    "--asset-id",
    metavar="PATTERN",
    default="*",
    show_default=True,
    help="Exactly this asset-id; with * and ? (in quotes) those that fit.",
)
@kinds_option
@click.option(
    "--output",
    type=click.Choice(["table", "json", "csv", "markdown"]),
    default="table",
    show_default=True,
    help="How the result is printed.",
)
@click.option(
    "--out-file", metavar="FILE", type=click.Path(path_type=Path), help="Where it goes, instead of the screen."
)
@aws_options_of_regions
def show_aws_assets(
    app: App,
    *,
    asset_id: str,
    kinds: tuple[str, ...],
    output: str,
    out_file: Path | None,
    aws_profile: str | None,
    region: tuple[str, ...],
    all_regions: bool,
) -> None:
    """Lists what dss made in AWS, what it costs a month, and what seems to be left over."""
    from exasol_like_dss.cli.assets_view import listing_text
    from exasol_like_dss.lib.assets.asset_id import AssetPattern
    from exasol_like_dss.lib.assets.cost import load_prices
    from exasol_like_dss.lib.assets.listing import list_assets
    from exasol_like_dss.lib.errors import DssError
    from exasol_like_dss.lib.files import write_text_atomically

    pattern = AssetPattern(asset_id)
    _check_writable(out_file)
    prices = load_prices()
    session, regions = open_regions(aws_profile, regions=region, all_regions=all_regions)
    listing = list_assets(
        session,
        regions=regions,
        pattern=pattern,
        kinds=_kinds(kinds),
        prices=prices,
        progress=app.progress,
        cancellation=app.cancellation,
    )
    app.progress.close()
    text = listing_text(listing, prices=prices, how=output, regions=regions)
    if out_file:
        try:
            write_text_atomically(out_file, text + "\n")
        except OSError as error:
            raise DssError(f"{out_file} can't be written: {error.strerror}.") from error
    else:
        click.echo(text)
    if out_file or output == "csv":
        for note in listing.notes:
            app.progress.note(f"Note: {note.text}")


@command("cleanup-aws-assets", kind="develop")
@click.option(
    "--asset-id",
    metavar="PATTERN",
    required=True,
    help="Exactly this asset-id; with * and ? (in quotes) those that fit.",
)
@kinds_option
@click.option("--older-than", metavar="DURATION", help="Only what was made before that, for example 12h, 7d or 2w.")
@click.option("--dry-run", is_flag=True, help="Only shows what would be removed.")
@click.option("--yes", is_flag=True, help="Doesn't ask. Needed where there is no terminal.")
@click.option(
    "--deadline",
    metavar="SECONDS",
    type=click.IntRange(0),
    default=900,
    show_default=True,
    help="How long what is still in use is tried again.",
)
@output_option
@aws_options_of_regions
def cleanup_aws_assets(
    app: App,
    *,
    asset_id: str,
    kinds: tuple[str, ...],
    older_than: str | None,
    dry_run: bool,
    yes: bool,
    deadline: int,
    output: str,
    aws_profile: str | None,
    region: tuple[str, ...],
    all_regions: bool,
) -> None:
    """Removes what dss made in AWS, after showing it and asking. Exit code 3 when something is left.

    What has no tag with an asset-id, or belongs to a permanent stack, is never touched.
    """
    from datetime import UTC, datetime

    from exasol_like_dss.cli.assets_view import cleanup_record, plan_text, removal_text
    from exasol_like_dss.lib.assets.asset_id import AssetPattern
    from exasol_like_dss.lib.assets.cleanup import Removal, remove_all
    from exasol_like_dss.lib.assets.cost import load_prices
    from exasol_like_dss.lib.assets.duration import parse_duration
    from exasol_like_dss.lib.assets.listing import list_assets
    from exasol_like_dss.lib.assets.plan import make_plan
    from exasol_like_dss.lib.errors import ExitCode

    pattern = AssetPattern(asset_id)
    age = parse_duration(older_than) if older_than else None
    check_can_ask(yes=yes, dry_run=dry_run)
    prices = load_prices()
    session, regions = open_regions(aws_profile, regions=region, all_regions=all_regions)
    wanted = _kinds(kinds)

    unseen: list[Note] = []

    def look() -> Plan:
        listing = list_assets(
            session,
            regions=regions,
            pattern=pattern,
            kinds=(),
            prices=prices,
            progress=app.progress,
            cancellation=app.cancellation,
        )
        unseen[:] = [note for note in listing.notes if note.incomplete and (not wanted or note.kind in wanted)]
        return make_plan(listing, pattern=pattern, kinds=wanted, older_than=age, now=datetime.now(UTC))

    plan = look()
    removal = Removal(plan)
    app.progress.close()
    asks = bool(plan.steps) and not (yes or dry_run)
    if output == "table" or asks:
        click.echo(plan_text(plan, prices=prices, now=datetime.now(UTC)), err=output != "table")
    for note in unseen:
        app.progress.note(f"Note: {note.text}")
    if plan.steps and not dry_run:
        if asks and not click.confirm("Remove all of this?", err=True):
            app.progress.note("Nothing was removed.")
            return
        app.progress.reopen()
        try:
            remove_all(
                removal,
                aws=session,
                plan_again=look,
                deadline_s=deadline,
                progress=app.progress,
                cancellation=app.cancellation,
            )
        except BaseException:
            app.progress.close()
            _tell_what_remains(app, removal, pattern=pattern)
            raise
        app.progress.close()
    left = [] if dry_run else removal.left
    if output == "json":
        print_json(cleanup_record(removal, left=left, unseen=unseen, dry_run=dry_run))
    elif plan.steps and not dry_run:
        click.echo(removal_text(removal, left=left))
    if left or (unseen and not dry_run):
        raise click.exceptions.Exit(ExitCode.LEFT_OVER)


def _tell_what_remains(app: App, removal: Removal, *, pattern: object) -> None:
    """After an interruption, or an error in the middle of it."""
    shown = 10
    left = removal.left
    app.cancellation.stays = bool(left)
    app.progress.note(f"{len(removal.removed)} of {len(removal.plan.steps)} were removed. Still there, or not known:")
    for decision in left[:shown]:
        app.progress.note(f"  {decision.asset}: {decision.reason}")
    if len(left) > shown:
        app.progress.note(f"  and {len(left) - shown} more")
    app.progress.note(f"To go on: dss cleanup-aws-assets --asset-id '{pattern}'")


@command("make-ami-public", kind="develop")
@click.option("--asset-id", metavar="ID", required=True, help="Whose AMI.")
@aws_options
def make_ami_public(app: App, *, asset_id: str, aws_profile: str | None, region: str | None) -> None:
    """Lets everybody start instances from the AMI of a build."""
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.assets.public import make_public

    checked = AssetId(asset_id)
    session, _ = open_session(aws_profile, region)
    with app.progress.step("make the AMI public"):
        image, changed = make_public(session.ec2(), checked)
    app.progress.close()
    click.echo(f"{image.id} ({image.name}) in {session.region} {'is' if changed else 'was already'} public.")


@command("refresh-prices", kind="develop")
@click.option(
    "--out-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where the table goes. [default: where dss looks for it, in the user's data folder]",
)
@profile_option
def refresh_prices(app: App, *, out_file: Path | None, aws_profile: str | None) -> None:
    """Gets today's prices from AWS for the estimates of costs."""
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.assets import cost

    _check_writable(out_file)
    session = AwsSession(profile=aws_profile)
    target = out_file or cost.user_prices_file()
    with app.progress.step("get the prices"):
        prices, missing = cost.refresh_prices(session.pricing(), known=cost.load_own_prices())
    cost.save_prices(prices, target)
    app.progress.close()
    click.echo(f"The prices of {len(prices.regions)} regions as of {prices.as_of} are in {target}.")
    if missing:
        click.echo(f"AWS gave no price for these, which stay as they were: {', '.join(missing)}.")
    click.echo("What dss makes of them are estimates.")


COMMANDS: list[click.Command] = [show_aws_assets, cleanup_aws_assets, make_ami_public, refresh_prices]
