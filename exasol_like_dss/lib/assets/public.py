"""Making the AMI of a build public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.tags import ASSET_ID
from exasol_like_dss.lib.errors import DssError, InputError

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2 import Ec2
    from exasol_like_dss.access.aws.ec2_results import Image


def make_public(ec2: Ec2, asset_id: AssetId) -> tuple[Image, bool]:
    """The AMI, and whether it was not public before.

    Raises ``InputError`` when there is not exactly one that is ready, ``AwsError``.
    """
    images = [
        image for image in ec2.images({f"tag:{ASSET_ID}": [str(asset_id)]}) if image.tags[ASSET_ID] == asset_id.value
    ]
    if not images:
        raise InputError(
            f"There is no AMI with the asset-id {asset_id} in {ec2.region}.",
            hint="See what there is with: dss show-aws-assets --asset-type ami --all-regions",
        )
    if len(images) > 1:
        ids = ", ".join(image.id for image in images)
        raise InputError(f"There is more than one AMI with the asset-id {asset_id}: {ids}.", hint="Remove the others.")
    (image,) = images
    if image.state != "available":
        raise DssError(f"The AMI {image.id} is {image.state}.", hint="Wait until it is available, or build it anew.")
    if image.public:
        return image, False
    make_image_public(ec2, image)
    return image, True


def make_image_public(ec2: Ec2, image: Image) -> None:
    """Raises ``DssError`` when the account does not allow it, ``AwsError``."""
    try:
        ec2.make_image_public(image.id)
    except AwsError as error:
        if error.code == "OperationNotPermitted":
            raise DssError(
                f"The account does not allow public AMIs in {ec2.region}.",
                hint="An administrator can allow them: aws ec2 disable-image-block-public-access",
            ) from error
        raise
