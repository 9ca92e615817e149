"""The AMI of a build: found by its name, or made of the instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.tags import ASSET_ID
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.waiting import wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_results import Image
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

#: What was installed: see ``lib.provisioning.fingerprint``. On the instance, and on the AMI that is made of it.
PROVISIONED = "dss-provisioned"
#: When the AMI passed its verification.
VERIFIED = "dss-verified"
_IMAGE_S = 5400.0
_INTERVAL_S = 3.0
FAILED_STATES = ("failed", "error", "invalid", "deregistered")


def find_ami(aws: AwsSession, name: str, *, asset_id: str) -> Image | None:
    """Ours of this name, in whatever state. Raises ``InputError`` when the name is somebody else's."""
    found = aws.ec2_builds().own_image(name)
    if found and found.tags.get(ASSET_ID) != asset_id:
        raise InputError(
            f"The AMI {found.id} has the name {name}, and does not belong to the asset-id {asset_id}.",
            hint="Choose another --asset-id.",
        )
    return found


def check_content(image: Image, fingerprint: str) -> None:
    """Whether an AMI that is there holds what is wanted. Raises ``InputError``."""
    if image.tags.get(PROVISIONED) != fingerprint:
        raise InputError(
            f"The AMI {image.id} has this asset-id, and was made of other roles, variables, or another password.",
            hint="Give --fresh to remove all of this asset-id and build it anew, or choose another --asset-id.",
        )


def ensure_ami(
    aws: AwsSession,
    *,
    name: str,
    instance_id: str,
    description: str,
    tags: Mapping[str, str],
    progress: Progress,
    cancellation: Cancellation,
) -> Image:
    """The finished AMI. tags: with the asset-id; the snapshot gets them too.

    A lost response is no harm: a name that is taken by an AMI with our tag is ours. Raises ``InputError`` when it is
    somebody else's, ``DssError`` when AWS fails to make it, ``AwsError``, ``DeadlinePassed``.
    """
    builds, asset_id = aws.ec2_builds(), tags[ASSET_ID]
    found = find_ami(aws, name, asset_id=asset_id)
    if found and found.state in FAILED_STATES:
        progress.note(f"The AMI {found.id} has failed before: it is made anew.")
        remove_ami(aws, found)
        found = None
    if found is None:
        try:
            image_id = builds.create_image(instance_id, name=name, description=description, tags=tags)
        except AwsError as error:
            found = find_ami(aws, name, asset_id=asset_id) if error.code == "InvalidAMIName.Duplicate" else None
            if found is None:
                raise
            image_id = found.id
    else:
        image_id = found.id
    return wait_for_ami(aws, image_id, progress=progress, cancellation=cancellation)


def wait_for_ami(aws: AwsSession, image_id: str, *, progress: Progress, cancellation: Cancellation) -> Image:
    """The AMI when it is available. Raises as ``ensure_ami``."""
    seen = ""

    def available() -> Image | None:
        nonlocal seen
        cancellation.check()
        try:
            image = aws.ec2_builds().image(image_id)
        except AwsError as error:
            if error.not_found:  # AWS's answers lag behind (EC2 API Reference, "Eventual consistency")
                return None
            raise
        if image.state in FAILED_STATES:
            raise DssError(f"AWS failed to make the AMI {image_id}.", hint="Run the same command again.")
        snapshots = aws.ec2().snapshots({"snapshot-id": image.snapshot_ids}) if image.snapshot_ids else ()
        seen = f"{image.state}, snapshot {', '.join(one.progress for one in snapshots) or 'not begun'}"
        return image if image.state == "available" else None

    return wait_until(
        f"the AMI {image_id}",
        available,
        deadline_s=_IMAGE_S,
        interval_s=_INTERVAL_S,
        progress=progress,
        hint="Run the same command again: it goes on waiting.",
        detail=lambda: seen,
    )


def remove_ami(aws: AwsSession, image: Image) -> None:
    """With its snapshots."""
    aws.ec2().deregister_image(image.id)
    for snapshot in image.snapshot_ids:
        aws.ec2().delete_snapshot(snapshot)
