"""The AMI that a build starts from: the newest of a distribution, or the user's choice; and whether it will do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.errors import InputError

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_build import SourceImage
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.progress import Progress

_CANONICAL, _DEBIAN = "099720109477", "136693071363"


@dataclass(frozen=True)
class Publisher:
    """Where a distribution's AMIs are. parameter: of SSM, with the newest id. name: with ``*``. user: who logs in."""

    owner: str
    parameter: str
    name: str
    user: str


def _debian(version: str) -> Publisher:
    return Publisher(
        _DEBIAN, f"/aws/service/debian/release/{version}/latest/amd64", f"debian-{version}-amd64-2*", "admin"
    )


# wiki.debian.org/Cloud/AmazonEC2Image; documentation.ubuntu.com/aws, "Find Ubuntu images on AWS".
PUBLISHERS = {
    "ubuntu-24.04": Publisher(
        _CANONICAL,
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        "ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-amd64-server-2*",
        "ubuntu",
    ),
    "debian-13": _debian("13"),
    "debian-12": _debian("12"),
}
#: How images come out of an AMI.
VM_EXPORT, DIRECT = "vm-export", "direct"
#: Boots with BIOS and with UEFI (EC2 API Reference, Image, BootMode).
_HYBRID = "uefi-preferred"
#: VM Import/Export User Guide, "Considerations for image export".
EXPORTED_GIB = 1024
DEFAULT_BASE = "ubuntu-24.04"


def login_user(image: SourceImage, *, base: str) -> str:
    """Whose ssh key cloud-init installs. Of an AMI of an unknown owner: as the base's AMIs have it."""
    return next((one.user for one in PUBLISHERS.values() if one.owner == image.owner), PUBLISHERS[base].user)


def find_source_ami(aws: AwsSession, *, base: str, chosen: str | None) -> SourceImage:
    """chosen: an id. Raises ``InputError`` when there is none, ``AwsError``."""
    builds, publisher = aws.ec2_builds(), PUBLISHERS[base]
    if chosen:
        return _by_id(builds.source_image, chosen, region=aws.region)
    newest = None
    try:
        newest = aws.parameters().value(publisher.parameter)
    except AwsError as error:
        if not error.code.startswith("AccessDenied"):
            raise
    if newest:
        return _by_id(builds.source_image, newest, region=aws.region)
    found = max(
        builds.source_images(owner=publisher.owner, name=publisher.name), key=lambda one: one.created, default=None
    )
    if found is None:
        raise InputError(
            f"There is no AMI of {base} in {aws.region}.", hint="Choose one with --ec2-source-ami, or another --region."
        )
    return found


def _by_id(look: Callable[[str], SourceImage], image_id: str, *, region: str) -> SourceImage:
    try:
        return look(image_id)
    except (AwsError, IndexError) as error:
        if isinstance(error, IndexError) or error.not_found or error.code == "InvalidAMIID.Malformed":
            raise InputError(
                f"There is no AMI {image_id} in {region}.",
                hint="AMIs belong to one region. Without --ec2-source-ami the newest of the --base is taken.",
            ) from error
        raise


def export_method(image: SourceImage, *, wanted: str | None) -> str:
    """How images come out of what is made of it. wanted: ``None`` for AWS's own export, but of hybrid boot."""
    return wanted or (DIRECT if image.boot_mode == _HYBRID else VM_EXPORT)


def chosen_method(image: SourceImage, *, wanted: str | None, progress: Progress) -> str:
    """The same, and says so where it is not what the user would expect."""
    method = export_method(image, wanted=wanted)
    if wanted is None and method == DIRECT:
        progress.note(
            f"The AMI {image.id} boots with both BIOS and UEFI, which AWS does not export: images are read from a "
            "snapshot (--export-method direct)."
        )
    return method


def export_hindrance(image: SourceImage, *, method: str) -> str:
    """Why what is made of it can't be exported, as the end of a sentence; empty when it can.

    Source: VM Import/Export User Guide, "Considerations for image export". What it says of hybrid boot (GRUB for both
    BIOS and UEFI) is about the disk; that the disk is so, the boot mode tells (EC2 User Guide, "Set the boot mode of an
    Amazon EC2 AMI": the system must be able to boot both ways).
    """
    if image.product_codes:
        return "it is from the AWS Marketplace, which AWS does not export"
    if method == DIRECT:
        return ""
    if image.encrypted:
        return "its snapshot is encrypted, which AWS does not export"
    if image.boot_mode == _HYBRID:
        return "it boots with both BIOS and UEFI, which AWS does not export"
    return ""


def check_source_ami(image: SourceImage, *, volume_gib: int, exported: bool, method: str | None = None) -> None:
    """Whether a machine can be started from it and, if wanted, whether what is made of it can be exported.

    method: see ``export_method``.

    Raises ``InputError``.
    """

    def refuse(reason: str, hint: str) -> InputError:
        return InputError(f"The AMI {image.id} ({image.name}) can't be used: {reason}.", hint=hint)

    if image.state != "available":
        raise refuse(f"it is {image.state}", "Choose another --ec2-source-ami.")
    if image.architecture != "x86_64":
        raise refuse(f"it is for {image.architecture}", "Sandboxes are for x86_64.")
    if volume_gib < image.size_gib:
        raise InputError(
            f"A volume of {volume_gib} GiB is too small: the AMI {image.id} needs {image.size_gib} GiB.",
            hint=f"Give at least --volume-size {image.size_gib}G.",
        )
    method = export_method(image, wanted=method)
    if exported and method == VM_EXPORT and volume_gib > EXPORTED_GIB:
        raise InputError(
            f"A volume of {volume_gib} GiB can't be exported: AWS takes up to {EXPORTED_GIB} GiB.",
            hint=f"Give --volume-size {EXPORTED_GIB}G or less, or --export-method direct. --no-vm exports nothing.",
        )
    hindrance = export_hindrance(image, method=method) if exported else ""
    if hindrance:
        others = "create-vm --no-vm makes an AMI of it, and create-vm --builder local makes images without AWS."
        direct = "" if image.product_codes else "--export-method direct reads the images from its snapshot; "
        raise refuse(hindrance, direct + others)
