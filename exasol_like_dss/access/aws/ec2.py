"""EC2: instances, volumes, key pairs, security groups, AMIs, snapshots, export tasks.

The lists take ``filters`` as EC2 knows them, for example ``{"tag:dss-asset-id": ["1.2.3"]}``: AWS filters, and sends
only what fits. Every method raises ``AwsError`` and its kinds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.ec2_results import (
    ExportTask,
    Image,
    Instance,
    KeyPair,
    SecurityGroup,
    Snapshot,
    Volume,
    export_task_of,
    image_of,
    instance_of,
    key_pair_of,
    security_group_of,
    snapshot_of,
    volume_of,
)
from exasol_like_dss.access.aws.errors import aws_errors

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, PaginatorConfigTypeDef

Filters = Mapping[str, Sequence[str]]
#: Without a size EC2 collects everything for one answer, and throttles sooner (EC2 Developer Guide, "Pagination").
_PAGES: PaginatorConfigTypeDef = {"PageSize": 500}


class Ec2:
    def __init__(self, client: EC2Client, region: str) -> None:
        self._client = client
        self.region = region

    # --- what is there ---

    def regions(self) -> list[str]:
        """Those that are enabled in this account."""
        with self._errors():
            return sorted(region["RegionName"] for region in self._client.describe_regions()["Regions"])

    def instances(self, filters: Filters) -> Iterator[Instance]:
        """Also those that were terminated within the last hour."""
        with self._errors():
            for page in self._client.get_paginator("describe_instances").paginate(
                Filters=_filters(filters), PaginationConfig=_PAGES
            ):
                for reservation in page["Reservations"]:
                    yield from map(instance_of, reservation["Instances"])

    def volumes(self, filters: Filters) -> Iterator[Volume]:
        with self._errors():
            for page in self._client.get_paginator("describe_volumes").paginate(
                Filters=_filters(filters), PaginationConfig=_PAGES
            ):
                yield from map(volume_of, page["Volumes"])

    def key_pairs(self, filters: Filters) -> Iterator[KeyPair]:
        """AWS sends them all at once."""
        with self._errors():
            yield from map(key_pair_of, self._client.describe_key_pairs(Filters=_filters(filters))["KeyPairs"])

    def security_groups(self, filters: Filters) -> Iterator[SecurityGroup]:
        with self._errors():
            for page in self._client.get_paginator("describe_security_groups").paginate(
                Filters=_filters(filters), PaginationConfig=_PAGES
            ):
                yield from map(security_group_of, page["SecurityGroups"])

    def images(self, filters: Filters) -> Iterator[Image]:
        """AMIs of this account, disabled ones too."""
        with self._errors():
            pages = self._client.get_paginator("describe_images").paginate(
                Owners=["self"], IncludeDisabled=True, Filters=_filters(filters), PaginationConfig=_PAGES
            )
            for page in pages:
                yield from map(image_of, page["Images"])

    def snapshots(self, filters: Filters) -> Iterator[Snapshot]:
        """Of this account."""
        with self._errors():
            pages = self._client.get_paginator("describe_snapshots").paginate(
                OwnerIds=["self"], Filters=_filters(filters), PaginationConfig=_PAGES
            )
            for page in pages:
                yield from map(snapshot_of, page["Snapshots"])

    def export_tasks(self) -> Iterator[ExportTask]:
        """Exports of AMIs. AWS can't filter them by tag, and forgets those that have ended after some days."""
        with self._errors():
            for page in self._client.get_paginator("describe_export_image_tasks").paginate(PaginationConfig=_PAGES):
                yield from map(export_task_of, page["ExportImageTasks"])

    # --- what goes away ---

    def terminate_instances(self, ids: Sequence[str]) -> None:
        with self._errors():
            self._client.terminate_instances(InstanceIds=list(ids))

    def delete_volume(self, volume_id: str) -> None:
        with self._errors():
            self._client.delete_volume(VolumeId=volume_id)

    def delete_key_pair(self, key_pair_id: str) -> None:
        with self._errors():
            self._client.delete_key_pair(KeyPairId=key_pair_id)

    def delete_security_group(self, group_id: str) -> None:
        with self._errors():
            self._client.delete_security_group(GroupId=group_id)

    def deregister_image(self, image_id: str) -> None:
        """Its snapshots stay."""
        with self._errors():
            self._client.deregister_image(ImageId=image_id)

    def delete_snapshot(self, snapshot_id: str) -> None:
        with self._errors():
            self._client.delete_snapshot(SnapshotId=snapshot_id)

    def cancel_export_task(self, task_id: str) -> None:
        with self._errors():
            self._client.cancel_export_task(ExportTaskId=task_id)

    # --- what changes ---

    def make_image_public(self, image_id: str) -> None:
        """Everybody may start instances from it."""
        with self._errors():
            self._client.modify_image_attribute(
                ImageId=image_id, Attribute="launchPermission", OperationType="add", UserGroups=["all"]
            )

    def _errors(self) -> AbstractContextManager[None]:
        return aws_errors("ec2", region=self.region)


def _filters(filters: Filters) -> list[FilterTypeDef]:
    return [{"Name": name, "Values": list(values)} for name, values in filters.items()]
