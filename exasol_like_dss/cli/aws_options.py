"""The options that all commands for AWS share, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from datetime import timedelta

    from exasol_like_dss.access.aws.session import AwsSession, Identity
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.assets.tags import AssetTags

Decorated = Callable[..., None]

profile_option = click.option(
    "--aws-profile", metavar="NAME", help="The profile in the AWS configuration. [default: as for the AWS CLI]"
)


def aws_options(function: Decorated) -> Decorated:
    """``--aws-profile`` and one ``--region``. The function gets ``aws_profile`` and ``region``."""
    region = click.option("--region", metavar="NAME", help="The AWS region. [default: as for the AWS CLI]")
    return profile_option(region(function))


def aws_options_of_regions(function: Decorated) -> Decorated:
    """``--aws-profile`` and several regions. The function gets ``aws_profile``, ``region`` and ``all_regions``."""
    options = (
        click.option("--all-regions", is_flag=True, help="All regions that are enabled in the account."),
        click.option(
            "--region",
            metavar="NAME",
            multiple=True,
            help="An AWS region; can be given several times. [default: as for the AWS CLI]",
        ),
        profile_option,
    )
    for option in options:
        function = option(function)
    return function


def tag_options(function: Decorated) -> Decorated:
    """What everything that a command makes is tagged with. The function gets ``owner``, ``tag`` and ``expires``."""
    options = (
        click.option(
            "--expires",
            metavar="DURATION",
            default="7d",
            show_default=True,
            help="When what is made counts as left over, for example 12h, 7d or 2w. Nothing removes it by itself.",
        ),
        click.option("--tag", metavar="KEY=VALUE", multiple=True, help="A tag more; can be given several times."),
        click.option("--owner", metavar="NAME", help="The tag dss-owner. [default: the name in the AWS credentials]"),
    )
    for option in options:
        function = option(function)
    return function


def open_session(profile: str | None, region: str | None) -> tuple[AwsSession, Identity]:
    """A session whose credentials AWS accepts, before anything else is done. Raises ``DssError``."""
    from exasol_like_dss.access.aws.patience import Patience
    from exasol_like_dss.access.aws.session import AwsSession

    cancellation = click.get_current_context().meta.get("dss.cancellation")
    patience = Patience(lambda: cancellation is not None and cancellation.cancelled)
    session = AwsSession(profile=profile, region=region, patience=patience)
    return session, session.identity()


def open_regions(profile: str | None, *, regions: Sequence[str], all_regions: bool) -> tuple[AwsSession, Sequence[str]]:
    """The session, and the regions to look at. Raises ``DssError``."""
    from exasol_like_dss.lib.errors import InputError

    if regions and all_regions:
        raise InputError("--region and --all-regions exclude each other.", hint="Give one of them.")
    session, _ = open_session(profile, regions[0] if regions else "us-east-1" if all_regions else None)
    if all_regions:
        return session, session.ec2().regions()
    return session, tuple(dict.fromkeys(regions)) or (session.region,)


def read_asset_tags(
    asset_id: AssetId, *, owner: str | None, tag: Sequence[str], lifetime: timedelta, identity: Identity
) -> AssetTags:
    """What ``tag_options`` say. Raises ``InputError``."""
    from exasol_like_dss.lib.assets.tags import AssetTags, expiry_date, read_tags

    return AssetTags(
        asset_id=asset_id, owner=owner or identity.name, expires=expiry_date(lifetime), extra=read_tags(tag)
    )
