"""AMIs and the snapshots behind them: pending before available, sizes, names, attributes, paging."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from moto.ec2.models.amis import Ami
from moto.ec2.models.elastic_block_store import Snapshot, Volume
from moto.ec2.utils import random_ami_id, random_snapshot_id, random_volume_id

from test.support.aws.server.ec2_common import (
    Newborn,
    backend_of,
    check_tag_types,
    filters_of,
    motos_errors,
    paged,
    tag_set,
    tags_of,
    time_text,
)
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT, Request, World, handles

_ID = re.compile(r"ami-([0-9a-f]{8}|[0-9a-f]{17})")
#: AWS: CreateImage, "Name": 3 to 128 of letters, numbers, ()[] ./-'@_ and space.
_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")
_NEW_VOLUME: Any = Volume  # mypy takes it for abstract
_BOOT_MODES = ("legacy-bios", "uefi", "uefi-preferred")


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What moto's model of an AMI has no place for."""

    size_gib: int
    encrypted: bool = False
    product_code: str = ""
    boot_mode: str = ""
    imds_support: str = ""
    source_instance: str = ""


class OwnSnapshot(Snapshot):
    """A snapshot that takes its time. disk_file: the raw disk that it holds; empty for that of the settings."""

    percent = 100
    disk_file = ""

    @property
    def progress(self) -> str:
        return "100%" if self.status == "completed" else f"{self.percent}%"


class OwnAmi(Ami):
    """An AMI whose snapshot is that of the volume it was made from. moto's makes one of 15 GiB for itself."""

    def __init__(self, backend: Any, ami_id: str, *, snapshot: OwnSnapshot, traits: Traits, **more: Any) -> None:
        self._given = snapshot
        self.traits = traits
        self.state_reason = ""
        # moto's constructor makes a volume and a snapshot; it gets a store that makes none.
        super().__init__(_NoVolumes(backend, snapshot), ami_id, **more)
        self.ec2_backend = backend
        self.ebs_snapshot = snapshot

    def get_filter_value(self, filter_name: str, method_name: str | None = None) -> Any:
        mine = {
            "root-device-type": "ebs",
            "creation-date": time_text(self.creation_date),
            "image-type": "machine",
            "hypervisor": "xen",
            "ena-support": "true",
            "boot-mode": self.traits.boot_mode,
            "block-device-mapping.snapshot-id": self.ebs_snapshot.id,
            "block-device-mapping.volume-size": str(self.traits.size_gib),
            "source-instance-id": self.traits.source_instance,
            "product-code": self.traits.product_code,
            "is-public": str(self.is_public).lower(),
        }
        if filter_name in mine:
            return mine[filter_name]
        return super().get_filter_value(filter_name, method_name)


class _NoVolumes:
    """What ``Ami.__init__`` uses of a store."""

    def __init__(self, backend: Any, snapshot: OwnSnapshot) -> None:
        self.account_id = backend.account_id
        self.create_tags = backend.create_tags
        self._snapshot = snapshot

    def create_volume(self, **_: Any) -> Any:
        return self._snapshot.volume

    def create_snapshot(self, *_: Any, **__: Any) -> OwnSnapshot:
        return self._snapshot

    def delete_volume(self, _: str) -> None:
        pass


def make_image(
    region: str, *, name: str, traits: Traits, volume: Volume | None, tags: Mapping[str, str], **more: Any
) -> OwnAmi:
    """An available AMI with a completed snapshot. volume: that of the instance; None for one made up."""
    backend = backend_of(region)
    ami_id = random_ami_id()
    owner = str(more.get("owner_id") or ACCOUNT)
    if volume is None:
        zone = backend.get_zone_by_name(f"{region}a")
        volume = _NEW_VOLUME(backend, random_volume_id(), traits.size_gib, zone, encrypted=traits.encrypted)
    snapshot = OwnSnapshot(
        backend,
        random_snapshot_id(),
        copy.copy(volume),  # what grows later is not in the snapshot
        f"Created by CreateImage({traits.source_instance}) for {ami_id}",
        encrypted=traits.encrypted or volume.encrypted,
        owner_id=owner,
        from_ami=ami_id,
    )
    more = {"architecture": "x86_64", "virtualization_type": "hvm", "hypervisor": "xen", **more}
    ami = OwnAmi(backend, ami_id, snapshot=snapshot, traits=traits, name=name, root_device_type="ebs", **more)
    ami.image_location = f"{owner}/{name}"
    backend.snapshots[snapshot.id] = snapshot
    backend.amis[ami_id] = ami
    if tags:
        ami.add_tags(dict(tags))
    return ami


def find_image(region: str, image_id: str) -> OwnAmi:
    """Raises AWS's error for an id that is malformed, was never there, or is no longer."""
    backend = backend_of(region)
    if not _ID.fullmatch(image_id):
        raise ApiError("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    ami = backend.amis.get(image_id)
    if ami is None:
        if image_id in backend.deleted_amis:
            raise ApiError("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")
        raise ApiError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    assert isinstance(ami, OwnAmi), ami
    return ami


@handles("ec2", "CreateImage")
def create_image(request: Request) -> Mapping[str, Any]:
    """AWS: CreateImage. It has no client token: a second try meets the name of the first."""
    check_tag_types(request, "image", "snapshot")
    name = str(request.get("Name", ""))
    backend = backend_of(request.region)
    with motos_errors():
        instance = backend.get_instance(str(request.get("InstanceId")))
    check_name(request.region, name)
    if instance.state not in ("running", "stopping", "stopped"):
        words = f"The instance '{instance.id}' is not in a state from which an image can be created."
        raise ApiError("IncorrectState", words)
    root = instance.block_device_mapping.get(str(instance.root_device_name))
    if root is None:
        raise ApiError("InvalidParameterValue", f"No root device of instance {instance.id}")
    if request.get("DryRun"):
        raise ApiError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
    volume = backend.get_volume(root.volume_id)
    source = backend.amis.get(instance.image_id)
    boot_mode = source.traits.boot_mode if isinstance(source, OwnAmi) else ""
    product_code = source.traits.product_code if isinstance(source, OwnAmi) else ""
    ami = make_image(
        request.region,
        name=name,
        traits=Traits(
            size_gib=volume.size,
            encrypted=volume.encrypted,
            boot_mode=boot_mode,
            product_code=product_code,
            source_instance=instance.id,
        ),
        volume=volume,
        tags=tags_of(request, "image"),
        description=request.get("Description"),
        architecture=instance.architecture,
        root_device_name=instance.root_device_name,
    )
    ami.ebs_snapshot.add_tags(tags_of(request, "snapshot"))
    take_time(request.world, ami, region=request.region if request.world.imaging else "")
    request.world.part(Newborn).note(request, ami.id)
    return {"ImageId": ami.id}


def check_name(region: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        words = (
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', "
            "'-', '/' and '_'"
        )
        raise ApiError("InvalidAMIName.Malformed", words)
    for other in backend_of(region).amis.values():
        if other.name == name and other.owner_id == ACCOUNT:
            raise ApiError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {other.id}")


def take_time(world: World, ami: OwnAmi, *, region: str = "") -> None:
    """pending, with a snapshot that grows, then available or failed. region: if the test wants to hear of it."""
    snapshot = ami.ebs_snapshot
    assert isinstance(snapshot, OwnSnapshot)
    ami.state, snapshot.status, snapshot.percent = "pending", "pending", 0
    fails = world.settings.failing_images > 0
    if fails:
        world.settings.failing_images -= 1

    def half() -> None:
        snapshot.percent = 50

    def end() -> None:
        if ami.state != "pending":  # deregistered meanwhile
            return
        if fails:
            ami.state, snapshot.status = "failed", "error"
            ami.state_reason = "Server.InternalError: An internal error has occurred"
        else:
            ami.state, snapshot.status, snapshot.percent = "available", "completed", 100

    def ask() -> None:
        data = {"image_id": ami.id, "instance_id": ami.traits.source_instance, "region": region}
        disk_file = str(world.ask("imaged", data)["disk"])
        with world.lock:
            snapshot.disk_file = disk_file
            end()

    world.after(world.settings.image_pending_s / 2, "images", half)
    world.after(world.settings.image_pending_s, "images", partial(world.aside, ask) if region else end)


@handles("ec2", "RegisterImage")
def register_image(request: Request) -> Mapping[str, Any]:
    """From a snapshot of ours: the way to an AMI with another boot mode."""
    check_tag_types(request, "image", "snapshot")
    name = str(request.get("Name", ""))
    check_name(request.region, name)
    backend = backend_of(request.region)
    device = str(request.get("RootDeviceName", "/dev/sda1"))
    mappings = [each for each in request.get("BlockDeviceMappings", []) if each.get("DeviceName") == device]
    mapping: dict[str, Any] = mappings[0] if mappings else {}
    with motos_errors():
        source = backend.get_snapshot(str(mapping.get("Ebs", {}).get("SnapshotId")))
    boot_mode = str(request.get("BootMode", ""))
    if boot_mode and boot_mode not in _BOOT_MODES:
        raise ApiError("InvalidParameterValue", f"Value ({boot_mode}) for parameter BootMode is invalid.")
    if source.status != "completed":
        raise ApiError("IncorrectState", f"The snapshot '{source.id}' is not completed.")
    ami = make_image(
        request.region,
        name=name,
        traits=Traits(
            size_gib=int(mapping["Ebs"].get("VolumeSize") or source.volume.size),
            encrypted=source.encrypted,
            boot_mode=boot_mode,
            imds_support=str(request.get("ImdsSupport", "")),
        ),
        volume=source.volume,
        tags=tags_of(request, "image"),
        description=request.get("Description"),
        architecture=str(request.get("Architecture", "i386")),
        root_device_name=device,
    )
    backend.snapshots.pop(ami.ebs_snapshot.id)
    ami.ebs_snapshot = source
    source.from_ami = ami.id
    return {"ImageId": ami.id}


@handles("ec2", "DescribeImages")
def describe_images(request: Request) -> Mapping[str, Any]:
    ids = [str(each) for each in request.get("ImageIds", [])]
    backend = backend_of(request.region)

    def find() -> list[Ami]:
        for image_id in ids:
            request.world.part(Newborn).look(image_id, "InvalidAMIID.NotFound")
            if image_id not in backend.deleted_amis:
                ami = find_image(request.region, image_id)
                if ami.owner_id != ACCOUNT and not ami.is_public:
                    raise ApiError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
        found = backend.describe_images(
            ami_ids=ids or None,
            owners=list(request.get("Owners", [])) or None,
            exec_users=list(request.get("ExecutableUsers", [])) or None,
            filters=None if ids else filters_of(request) or None,
        )
        return [ami for ami in found if ami.owner_id == ACCOUNT or ami.is_public]

    return paged(request, "Images", find, lambda ami: image_as_api(request.region, ami), ids="ImageIds")


def image_as_api(region: str, ami: OwnAmi) -> dict[str, Any]:
    """An image as DescribeImages shows it."""
    ebs = {
        "SnapshotId": ami.ebs_snapshot.id,
        "VolumeSize": ami.traits.size_gib,
        "VolumeType": "gp3",
        "DeleteOnTermination": True,
        "Encrypted": ami.ebs_snapshot.encrypted,
    }
    shown: dict[str, Any] = {
        "ImageId": ami.id,
        "Name": ami.name,
        "Description": ami.description or None,
        "OwnerId": ami.owner_id,
        "ImageOwnerAlias": ami.owner_alias or None,
        "ImageLocation": ami.image_location,
        "State": ami.state,
        "StateReason": {"Code": "Server.InternalError", "Message": ami.state_reason} if ami.state_reason else None,
        "Public": ami.is_public,
        "CreationDate": time_text(ami.creation_date),
        "Architecture": ami.architecture,
        "ImageType": "machine",
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "RootDeviceName": ami.root_device_name,
        "RootDeviceType": "ebs",
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "EnaSupport": True,
        "SriovNetSupport": "simple",
        "BootMode": ami.traits.boot_mode or None,
        "ImdsSupport": ami.traits.imds_support or None,
        "SourceInstanceId": ami.traits.source_instance or None,
        "BlockDeviceMappings": [{"DeviceName": ami.root_device_name, "Ebs": ebs}],
        "Tags": tag_set(region, ami.id) or None,
    }
    if ami.traits.product_code:
        shown["ProductCodes"] = [{"ProductCodeId": ami.traits.product_code, "ProductCodeType": "marketplace"}]
    return {name: value for name, value in shown.items() if value is not None}


@handles("ec2", "DeregisterImage")
def deregister_image(request: Request) -> Mapping[str, Any]:
    """DeleteAssociatedSnapshots removes the snapshots, too, unless another AMI is made of them."""
    ami = find_image(request.region, str(request.get("ImageId")))
    if ami.owner_id != ACCOUNT:
        raise ApiError("AuthFailure", f"Not authorized for image:{ami.id}", 403)
    backend = backend_of(request.region)
    with motos_errors():
        backend.deregister_image(ami.id)
    ami.state = "deregistered"
    result: dict[str, Any] = {"Return": True}
    if request.get("DeleteAssociatedSnapshots"):
        backend.snapshots.pop(ami.ebs_snapshot.id, None)
        backend.tags.pop(ami.ebs_snapshot.id, None)
        result["DeleteSnapshotResults"] = [{"SnapshotId": ami.ebs_snapshot.id, "ReturnCode": "success"}]
    backend.tags.pop(ami.id, None)
    return result


@handles("ec2", "ModifyImageAttribute")
def modify_image_attribute(request: Request) -> Mapping[str, Any]:
    ami = find_image(request.region, str(request.get("ImageId")))
    if ami.owner_id != ACCOUNT:
        raise ApiError("AuthFailure", f"Not authorized for image:{ami.id}", 403)
    added = request.get("LaunchPermission", {}).get("Add", [])
    groups = [each.get("Group") for each in added] + list(request.get("UserGroups", []))
    if request.world.settings.block_public_images and "all" in groups and request.get("OperationType") != "remove":
        words = "You can't publicly share this image because block public access for AMIs is enabled for this account."
        raise ApiError("OperationNotPermitted", words)
    if "all" in groups and ami.ebs_snapshot.encrypted:
        raise ApiError("InvalidParameter", "Images with encrypted snapshots cannot be made public.")
    return request.forward()


@handles("ec2", "DescribeSnapshots")
def describe_snapshots(request: Request) -> Mapping[str, Any]:
    owners = [ACCOUNT if owner == "self" else str(owner) for owner in request.get("OwnerIds", [])]
    ids = [str(each) for each in request.get("SnapshotIds", [])]
    backend = backend_of(request.region)

    def find() -> list[Snapshot]:
        for snapshot_id in ids:
            if snapshot_id not in backend.snapshots:
                raise ApiError("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
        found = backend.describe_snapshots(snapshot_ids=ids or None, filters=filters_of(request) or None)
        return [each for each in found if not owners or each.owner_id in owners]

    return paged(request, "Snapshots", find, lambda each: _snapshot_as_api(request.region, each), ids="SnapshotIds")


def _snapshot_as_api(region: str, snapshot: Snapshot) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume.id,
        "VolumeSize": snapshot.volume.size,
        "State": snapshot.status,
        "Progress": snapshot.progress,
        "StartTime": snapshot.start_time,
        "Description": snapshot.description or "",
        "OwnerId": snapshot.owner_id,
        "Encrypted": snapshot.encrypted,
        "StorageTier": "standard",
    }
    if tags := tag_set(region, snapshot.id):
        shown["Tags"] = tags
    return shown


@handles("ec2", "DeleteSnapshot")
def delete_snapshot(request: Request) -> Mapping[str, Any]:
    """Refused while an AMI is made of it (AWS: "Delete an Amazon EBS snapshot")."""
    backend = backend_of(request.region)
    snapshot_id = str(request.get("SnapshotId"))
    snapshot = backend.snapshots.get(snapshot_id)
    if snapshot is None or snapshot.owner_id != ACCOUNT:
        raise ApiError("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
    for ami in backend.amis.values():
        if ami.ebs_snapshot.id == snapshot_id:
            raise ApiError("InvalidSnapshot.InUse", f"The snapshot {snapshot_id} is currently in use by {ami.id}")
    backend.snapshots.pop(snapshot_id)
    backend.tags.pop(snapshot_id, None)
    return {}
