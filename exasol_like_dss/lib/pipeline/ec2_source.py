"""What ``export-vm`` exports: found, and checked before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import AssetNames
from exasol_like_dss.lib.assets.tags import ASSET_ID, AssetTags
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.ami import find_ami
from exasol_like_dss.lib.images.source_ami import VM_EXPORT, check_source_ami, chosen_method
from exasol_like_dss.lib.pipeline import ec2_plan
from exasol_like_dss.lib.pipeline.ec2_export import check_formats

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_build import SourceImage
    from exasol_like_dss.access.aws.ec2_results import Image, Instance
    from exasol_like_dss.lib.pipeline.ec2_plan import Ec2World, ExportPlace


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """Either an image, or an instance that one is to be made of."""

    tags: AssetTags
    names: AssetNames
    image: Image | None
    instance: Instance | None
    place: ExportPlace
    formats: tuple[str, ...]
    method: str = VM_EXPORT


def find_source(
    world: Ec2World,
    *,
    stack_name: str | None,
    ami_id: str | None,
    asset_id: AssetId | None,
    tags: AssetTags,
    formats: Sequence[str],
    method: str | None = None,
) -> ExportSource:
    """tags: with any asset-id, if none is given. Raises ``InputError``, ``AwsError``."""
    wanted = check_formats(formats)
    ec2_plan.check_credentials(world, needed=ec2_plan.EXPORT_TIME)
    image: Image | None = None
    instance: Instance | None = None
    if ami_id:
        image = _image(ami_id, world)
        origin = _exportable(ami_id, world, method=method)
        found_tags = image.tags
    else:
        assert stack_name
        instance = _instance(stack_name, world)
        origin = _exportable(instance.image_id, world, method=method)
        found_tags = instance.tags
    found = found_tags.get(ASSET_ID, "")
    if not found and asset_id is None:
        raise InputError(f"{ami_id or stack_name} has no asset-id.", hint="Give one with --asset-id.")
    if asset_id and found and found != asset_id.value:
        raise InputError(f"{ami_id or stack_name} has the asset-id {found}, not {asset_id}.", hint="Leave it out.")
    chosen = method or VM_EXPORT
    if origin:
        chosen = chosen_method(origin, wanted=method, progress=world.progress)
    place = ec2_plan.find_export_place(world, role_needed=chosen == VM_EXPORT)
    own = replace(tags, asset_id=asset_id or AssetId(found))
    names = AssetNames.of(own.asset_id)
    if instance:
        image = find_ami(world.aws, names.image, asset_id=own.asset_id.value)
    return ExportSource(
        tags=own, names=names, image=image, instance=instance, place=place, formats=wanted, method=chosen
    )


def _image(ami_id: str, world: Ec2World) -> Image:
    try:
        return world.aws.ec2_builds().image(ami_id)
    except (AwsError, IndexError) as error:
        if isinstance(error, IndexError) or error.not_found or error.code == "InvalidAMIID.Malformed":
            raise InputError(
                f"There is no AMI {ami_id} in {world.aws.region}.",
                hint="See: dss show-aws-assets --asset-type ami --all-regions",
            ) from error
        raise


def _exportable(ami_id: str, world: Ec2World, *, method: str | None) -> SourceImage | None:
    """The AMI, checked. ``None`` when it is gone: a machine outlives the AMI that it was started from."""
    try:
        found = world.aws.ec2_builds().source_image(ami_id)
    except (AwsError, IndexError) as error:
        if isinstance(error, IndexError) or error.not_found:
            return None
        raise
    check_source_ami(found, volume_gib=found.size_gib, exported=True, method=method)
    return found


def _instance(stack_name: str, world: Ec2World) -> Instance:
    access = world.aws.cloudformation()
    if access.stack(stack_name) is None:
        raise InputError(
            f"There is no stack {stack_name} in {world.aws.region}.",
            hint="See: dss show-aws-assets --asset-type stack --all-regions",
        )
    ids = [one.id for one in access.resources(stack_name) if one.type == "AWS::EC2::Instance" and one.id]
    if len(ids) != 1:
        raise InputError(
            f"The stack {stack_name} has {len(ids)} instances.", hint="Give a stack with exactly one, or --ami-id."
        )
    found = world.aws.ec2_builds().instance(ids[0])
    if found.state not in ("running", "stopped"):
        raise InputError(f"The instance {found.id} is {found.state}.", hint="It has to run, or to be stopped.")
    return found
