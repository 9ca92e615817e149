"""EC2, as a build uses it: what is looked at before, and the calls that make something.

Every method raises ``AwsError`` and its kinds. ``tags`` are given in the call that creates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exasol_like_dss.access.aws.ec2_results import ExportTask, Image, Instance, export_task_of, image_of, instance_of
from exasol_like_dss.access.aws.errors import aws_errors

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import ImageTypeDef


@dataclass(frozen=True)
class SourceImage:
    """An AMI that others made. boot_mode: empty, ``legacy-bios``, ``uefi`` or ``uefi-preferred``."""

    id: str
    name: str
    owner: str
    state: str
    architecture: str
    created: str
    root_device: str
    size_gib: int
    encrypted: bool
    product_codes: tuple[str, ...]
    boot_mode: str


@dataclass(frozen=True)
class InstanceType:
    """vcpus: what counts against the quota."""

    name: str
    vcpus: int
    architectures: tuple[str, ...]


@dataclass(frozen=True)
class NewKeyPair:
    """material: the private key, in OpenSSH's PEM; AWS shows it this once."""

    id: str
    material: str

    def __repr__(self) -> str:
        return f"NewKeyPair(id={self.id!r})"


class Ec2Builds:
    def __init__(self, client: EC2Client, region: str) -> None:
        self._client = client
        self.region = region

    # --- what is looked at ---

    def source_image(self, image_id: str) -> SourceImage:
        with self._errors():
            found = self._client.describe_images(ImageIds=[image_id])["Images"]
        return _source_image(found[0])

    def source_images(self, *, owner: str, name: str) -> Iterator[SourceImage]:
        """Available ones for x86_64. name: with ``*``."""
        filters: Any = {"name": name, "architecture": "x86_64", "state": "available"}
        with self._errors():
            pages = self._client.get_paginator("describe_images").paginate(
                Owners=[owner], Filters=[{"Name": key, "Values": [value]} for key, value in filters.items()]
            )
            for page in pages:
                yield from map(_source_image, page["Images"])

    def instance_type(self, name: str) -> InstanceType | None:
        """``None`` when this region has no such type."""
        with self._errors():
            filters: Any = [{"Name": "instance-type", "Values": [name]}]
            found = self._client.describe_instance_types(Filters=filters)["InstanceTypes"]
        if not found:
            return None
        return InstanceType(
            name=name,
            vcpus=found[0].get("VCpuInfo", {}).get("DefaultVCpus", 0),
            architectures=tuple(found[0].get("ProcessorInfo", {}).get("SupportedArchitectures", ())),
        )

    def vpc_of_subnet(self, subnet_id: str) -> str:
        with self._errors():
            return self._client.describe_subnets(SubnetIds=[subnet_id])["Subnets"][0]["VpcId"]

    def has_default_vpc(self) -> bool:
        with self._errors():
            filters: Any = [{"Name": "is-default", "Values": ["true"]}]
            return bool(self._client.describe_vpcs(Filters=filters)["Vpcs"])

    def own_image(self, name: str) -> Image | None:
        """The AMI of this account with exactly this name: there is at most one."""
        with self._errors():
            filters: Any = [{"Name": "name", "Values": [name]}]
            found = self._client.describe_images(Owners=["self"], Filters=filters)["Images"]
        return image_of(found[0]) if found else None

    def image(self, image_id: str) -> Image:
        """One of this account."""
        with self._errors():
            return image_of(self._client.describe_images(ImageIds=[image_id])["Images"][0])

    def instance(self, instance_id: str) -> Instance:
        with self._errors():
            found = self._client.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return instance_of(found[0]["Instances"][0])

    def private_address(self, instance_id: str) -> str:
        with self._errors():
            found = self._client.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return found[0]["Instances"][0].get("PrivateIpAddress", "")

    def console_output(self, instance_id: str, *, latest: bool) -> str:
        """What the instance has printed, up to 64 KiB. latest: as of now, which not all types can (code
        ``UnsupportedOperation``); else as of some minutes ago, and empty at first."""
        with self._errors():
            answer = self._client.get_console_output(InstanceId=instance_id, Latest=latest)
        return answer.get("Output", "")  # decoded by botocore

    def export_task(self, task_id: str) -> ExportTask:
        with self._errors():
            found = self._client.describe_export_image_tasks(ExportImageTaskIds=[task_id])["ExportImageTasks"]
        return export_task_of(found[0])

    # --- what is made ---

    def create_key_pair(self, name: str, *, tags: Mapping[str, str]) -> NewKeyPair:
        """Names are unique: code ``InvalidKeyPair.Duplicate`` when it is there."""
        with self._errors():
            made = self._client.create_key_pair(
                KeyName=name, KeyType="ed25519", TagSpecifications=_specifications(tags, "key-pair")
            )
        return NewKeyPair(made["KeyPairId"], made["KeyMaterial"])

    def tag(self, ids: Sequence[str], tags: Mapping[str, str]) -> None:
        with self._errors():
            self._client.create_tags(
                Resources=list(ids), Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
            )

    def create_image(self, instance_id: str, *, name: str, description: str, tags: Mapping[str, str]) -> str:
        """The id of the AMI, which is pending. AWS reboots the instance for it, so that its file system is whole.

        There is no client token: code ``InvalidAMIName.Duplicate`` may mean that the answer to this very call was lost.
        """
        with self._errors():
            made = self._client.create_image(
                InstanceId=instance_id,
                Name=name,
                Description=description,
                TagSpecifications=_specifications(tags, "image", "snapshot"),
            )
        return made["ImageId"]

    def register_image(
        self,
        snapshot_id: str,
        *,
        name: str,
        description: str,
        root_device: str,
        boot_mode: Any,
        tags: Mapping[str, str],
    ) -> str:
        """The id of an AMI of a completed snapshot: x86_64, with ENA, and version 2 of the metadata service only.

        boot_mode: ``legacy-bios``, ``uefi`` or ``uefi-preferred``. Code ``InvalidAMIName.Duplicate``: see
        ``create_image``.
        """
        with self._errors():
            made = self._client.register_image(
                Name=name,
                Description=description,
                Architecture="x86_64",
                VirtualizationType="hvm",
                RootDeviceName=root_device,
                BlockDeviceMappings=[
                    {
                        "DeviceName": root_device,
                        "Ebs": {"SnapshotId": snapshot_id, "VolumeType": "gp3", "DeleteOnTermination": True},
                    }
                ],
                BootMode=boot_mode,
                EnaSupport=True,
                SriovNetSupport="simple",
                ImdsSupport="v2.0",
                TagSpecifications=_specifications(tags, "image"),
            )
        return made["ImageId"]

    def export_image(
        self,
        image_id: str,
        *,
        disk_format: Any,
        role: str,
        bucket: str,
        prefix: str,
        token: str,
        description: str,
        tags: Mapping[str, str],
    ) -> ExportTask:
        """disk_format: ``VMDK``, ``VHD`` or ``RAW``. The object's key will be prefix + task id + "." + extension."""
        with self._errors():
            made: Any = self._client.export_image(
                ImageId=image_id,
                DiskImageFormat=disk_format,
                RoleName=role,
                S3ExportLocation={"S3Bucket": bucket, "S3Prefix": prefix},
                ClientToken=token,
                Description=description,
                TagSpecifications=_specifications(tags, "export-image-task"),
            )
        return export_task_of(made)

    def _errors(self) -> AbstractContextManager[None]:
        return aws_errors("ec2", region=self.region)


def _specifications(tags: Mapping[str, str], *kinds: str) -> Any:
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": kind, "Tags": listed} for kind in kinds]


def _source_image(found: ImageTypeDef) -> SourceImage:
    root = found.get("RootDeviceName", "")
    disks = [one.get("Ebs", {}) for one in found.get("BlockDeviceMappings", []) if one.get("DeviceName") == root]
    return SourceImage(
        id=found["ImageId"],
        name=found.get("Name", ""),
        owner=found.get("OwnerId", ""),
        state=found["State"],
        architecture=found.get("Architecture", ""),
        created=found.get("CreationDate", ""),
        root_device=root,
        size_gib=sum(disk.get("VolumeSize", 0) for disk in disks),
        encrypted=any(disk.get("Encrypted", False) for disk in disks),
        product_codes=tuple(code.get("ProductCodeId", "") for code in found.get("ProductCodes", [])),
        boot_mode=found.get("BootMode", ""),
    )
