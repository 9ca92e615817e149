"""EC2's smaller gaps: paging, tags on what is not there, copies of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from test.support.aws.server.ec2_common import backend_of, paged, tags_of
from test.support.aws.server.ec2_exports import Exports
from test.support.aws.server.ec2_images import check_name, find_image, make_image, take_time
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import Request, World, handles

#: Operations that moto answers without pages: the member of the result, the parameter with ids.
_UNPAGED = {
    "DescribeVolumes": ("Volumes", "VolumeIds"),
    "DescribeSecurityGroups": ("SecurityGroups", "GroupIds"),
    "DescribeTags": ("Tags", ""),
    "DescribeSubnets": ("Subnets", "SubnetIds"),
    "DescribeVpcs": ("Vpcs", "VpcIds"),
    "DescribeInstanceTypes": ("InstanceTypes", "InstanceTypes"),
}


@handles("ec2", *_UNPAGED)
def describe(request: Request) -> Mapping[str, Any]:
    name, ids = _UNPAGED[request.action]

    def find() -> list[Any]:
        return list(request.forward(MaxResults=None, NextToken=None)[name])

    return paged(request, name, find, dict, ids=ids)


@handles("ec2", "CreateTags")
def create_tags(request: Request) -> Mapping[str, Any]:
    """moto takes tags for anything (AWS: InvalidID and the like)."""
    for tag in request.get("Tags", []):
        if str(tag["Key"]).lower().startswith("aws:"):
            raise ApiError("InvalidParameterValue", f"Tag keys starting with 'aws:' are reserved: {tag['Key']}")
    for resource_id in request.get("Resources", []):
        _check_there(request.world, request.region, str(resource_id))
    return request.forward()


def _check_there(world: World, region: str, resource_id: str) -> None:
    backend = backend_of(region)
    if resource_id.startswith("ami-"):
        find_image(region, resource_id)
    elif resource_id.startswith("snap-") and resource_id not in backend.snapshots:
        raise ApiError("InvalidSnapshot.NotFound", f"The snapshot '{resource_id}' does not exist.")
    elif resource_id.startswith("vol-") and resource_id not in backend.volumes:
        raise ApiError("InvalidVolume.NotFound", f"The volume '{resource_id}' does not exist.")
    elif resource_id.startswith("i-") and backend.get_instance_by_id(resource_id) is None:
        raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{resource_id}' does not exist")
    elif resource_id.startswith("export-ami-") and resource_id not in world.part(Exports).tasks:
        raise ApiError("InvalidExportTaskID.NotFound", f"The export image task ID '{resource_id}' does not exist")


@handles("ec2", "CopyImage")
def copy_image(request: Request) -> Mapping[str, Any]:
    """Into the region that is asked, from SourceRegion. Tags come only with CopyImageTags."""
    source_region = str(request.get("SourceRegion"))
    request.world.touch(source_region)
    source = find_image(source_region, str(request.get("SourceImageId")))
    name = str(request.get("Name", ""))
    check_name(request.region, name)
    tags = tags_of(request, "image")
    if request.get("CopyImageTags"):
        tags = {**backend_of(source_region).tags.get(source.id, {}), **tags}
    ami = make_image(
        request.region,
        name=name,
        traits=source.traits,
        volume=source.ebs_snapshot.volume,
        tags=tags,
        description=request.get("Description"),
        architecture=source.architecture,
        root_device_name=source.root_device_name,
    )
    setattr(ami.ebs_snapshot, "disk_file", getattr(source.ebs_snapshot, "disk_file", ""))  # noqa: B010 - moto's type
    ami.ebs_snapshot.add_tags(tags_of(request, "snapshot"))
    take_time(request.world, ami)
    return {"ImageId": ami.id}
