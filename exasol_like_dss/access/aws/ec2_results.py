"""What EC2 tells about its things, as plain data. Sizes of volumes are GiB, as AWS counts them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        ExportImageTaskTypeDef,
        ImageTypeDef,
        InstanceTypeDef,
        KeyPairInfoTypeDef,
        SecurityGroupTypeDef,
        SnapshotTypeDef,
        TagTypeDef,
        VolumeTypeDef,
    )


@dataclass(frozen=True)
class Instance:
    """state: ``pending``, ``running``, ``stopping``, ``stopped``, ``shutting-down``, ``terminated``."""

    id: str
    state: str
    type: str
    launched: datetime
    image_id: str
    key_name: str
    volume_ids: tuple[str, ...]
    public_address: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Volume:
    """state: ``creating``, ``available``, ``in-use``, ``deleting``, ``deleted``, ``error``. type: ``gp3`` …"""

    id: str
    state: str
    type: str
    size_gib: int
    created: datetime
    instance_ids: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class KeyPair:
    id: str
    name: str
    created: datetime | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class SecurityGroup:
    """AWS doesn't tell when it was created."""

    id: str
    name: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Image:
    """An AMI. state: ``pending``, ``available``, ``failed`` … size_gib: of all its disks."""

    id: str
    name: str
    state: str
    created: datetime | None
    public: bool
    size_gib: int
    snapshot_ids: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Snapshot:
    """state: ``pending``, ``completed``, ``error`` … full_bytes: of all blocks ever written; ``None``: not known."""

    id: str
    state: str
    progress: str
    description: str
    started: datetime
    volume_id: str
    volume_gib: int
    full_bytes: int | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class ExportTask:
    """state: ``active``, ``deleting``, ``deleted``, ``completed``. bucket, prefix: where the image goes."""

    id: str
    state: str
    message: str
    progress: str
    image_id: str
    bucket: str
    prefix: str
    tags: Mapping[str, str]


def tags_of(found: Iterable[TagTypeDef]) -> dict[str, str]:
    return {tag.get("Key", ""): tag.get("Value", "") for tag in found}


def instance_of(found: InstanceTypeDef) -> Instance:
    return Instance(
        id=found["InstanceId"],
        state=found["State"]["Name"],
        type=found["InstanceType"],
        launched=found["LaunchTime"],
        image_id=found.get("ImageId", ""),
        key_name=found.get("KeyName", ""),
        volume_ids=tuple(
            one["Ebs"]["VolumeId"] for one in found.get("BlockDeviceMappings", []) if "VolumeId" in one.get("Ebs", {})
        ),
        public_address=found.get("PublicIpAddress", ""),
        tags=tags_of(found.get("Tags", [])),
    )


def volume_of(found: VolumeTypeDef) -> Volume:
    return Volume(
        id=found["VolumeId"],
        state=found["State"],
        type=found.get("VolumeType", ""),
        size_gib=found["Size"],
        created=found["CreateTime"],
        instance_ids=tuple(one.get("InstanceId", "") for one in found.get("Attachments", [])),
        tags=tags_of(found.get("Tags", [])),
    )


def key_pair_of(found: KeyPairInfoTypeDef) -> KeyPair:
    return KeyPair(
        id=found["KeyPairId"],
        name=found["KeyName"],
        created=found.get("CreateTime"),
        tags=tags_of(found.get("Tags", [])),
    )


def security_group_of(found: SecurityGroupTypeDef) -> SecurityGroup:
    return SecurityGroup(id=found["GroupId"], name=found["GroupName"], tags=tags_of(found.get("Tags", [])))


def image_of(found: ImageTypeDef) -> Image:
    disks = [one["Ebs"] for one in found.get("BlockDeviceMappings", []) if "Ebs" in one]
    created = found.get("CreationDate", "")
    return Image(
        id=found["ImageId"],
        name=found.get("Name", ""),
        state=found["State"],
        # The one time that EC2 gives as text: 2022-08-11T08:41:05.000Z
        created=datetime.fromisoformat(created).astimezone(UTC) if created else None,
        public=found.get("Public", False),
        size_gib=sum(disk.get("VolumeSize", 0) for disk in disks),
        snapshot_ids=tuple(disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")),
        tags=tags_of(found.get("Tags", [])),
    )


def snapshot_of(found: SnapshotTypeDef) -> Snapshot:
    return Snapshot(
        id=found["SnapshotId"],
        state=found["State"],
        progress=found.get("Progress", ""),
        description=found.get("Description", ""),
        started=found["StartTime"],
        volume_id=found.get("VolumeId", ""),
        volume_gib=found["VolumeSize"],
        full_bytes=found.get("FullSnapshotSizeInBytes"),
        tags=tags_of(found.get("Tags", [])),
    )


def export_task_of(found: ExportImageTaskTypeDef) -> ExportTask:
    place = found.get("S3ExportLocation", {})
    return ExportTask(
        id=found["ExportImageTaskId"],
        state=found.get("Status", ""),
        message=found.get("StatusMessage", ""),
        progress=found.get("Progress", ""),
        image_id=found.get("ImageId", ""),
        bucket=place.get("S3Bucket", ""),
        prefix=place.get("S3Prefix", ""),
        tags=tags_of(found.get("Tags", [])),
    )
