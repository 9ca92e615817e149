"""One collector per kind of asset: what AWS tells, as ``Asset``. AWS filters by tag where it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from exasol_like_dss.lib.assets import names, tags
from exasol_like_dss.lib.assets.asset_id import AssetPattern
from exasol_like_dss.lib.assets.record import Asset, AssetKind
from exasol_like_dss.lib.errors import DssError

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import Stack
    from exasol_like_dss.access.aws.ec2_results import ExportTask, Instance, Snapshot, Volume
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.assets.cost import RegionPrices

_GIB = 1 << 30


class BucketMissing(DssError):
    """There is no bucket for images in a region; nothing of ours can be in it."""


@dataclass(eq=False)
class Scope:
    """Where to look, and for what. live_stacks: the names of all stacks of the region, once they have been listed."""

    aws: AwsSession
    region: str
    pattern: AssetPattern
    prices: RegionPrices
    live_stacks: set[str] | None = field(default=None)

    @property
    def filters(self) -> dict[str, list[str]]:
        """For EC2, whose filters know the wildcards of ``AssetPattern``."""
        if self.pattern.text == "*":
            return {"tag-key": [tags.ASSET_ID]}
        return {f"tag:{tags.ASSET_ID}": [self.pattern.text]}

    def has(self, found: Mapping[str, str]) -> bool:
        """Whether these tags carry an asset-id that is meant."""
        return tags.ASSET_ID in found and self.pattern.matches(found[tags.ASSET_ID])

    @cached_property
    def bucket(self) -> str:
        """The bucket for images. Raises ``BucketMissing``, ``AwsError``."""
        stack = self.aws.cloudformation(self.region).stack(names.BUCKET_STACK)
        bucket = stack.outputs.get(names.OUTPUT_BUCKET) if stack else None
        if not bucket:
            missing = "has no bucket yet" if stack else "does not exist"
            raise BucketMissing(f"the stack {names.BUCKET_STACK} {missing} in {self.region}")
        return bucket

    @property
    def s3_prefix(self) -> str:
        """What the keys of all objects begin with. The slash keeps ``5.0.0`` apart from ``5.0.0-rc1``."""
        return names.S3_PREFIX + self.pattern.fixed_start + ("/" if self.pattern.is_exact else "")

    def asset_id_of_key(self, key: str) -> str | None:
        """Of an object's key; ``None`` when it is not meant."""
        asset_id, slash, _ = key.removeprefix(names.S3_PREFIX).partition("/")
        return asset_id if slash and self.pattern.matches(asset_id) else None


def _tagged(found: Mapping[str, str]) -> dict[str, Any]:
    """The fields of ``Asset`` that come from tags."""
    return {
        "asset_id": found.get(tags.ASSET_ID, ""),
        "owner": found.get(tags.OWNER, ""),
        "expires": tags.read_expiry(found),
        "stack": found.get(tags.STACK_NAME, ""),
    }


def stacks(scope: Scope) -> Iterator[Asset]:
    live = set()
    for stack in scope.aws.cloudformation(scope.region).stacks():
        live.add(stack.name)
        if scope.has(stack.tags):
            yield _stack(scope, stack)
    scope.live_stacks = live


def _stack(scope: Scope, stack: Stack) -> Asset:
    fields = {**_tagged(stack.tags), "stack": stack.name}
    return Asset(
        kind=AssetKind.STACK,
        region=scope.region,
        id=stack.id,
        name=stack.name,
        state=stack.status,
        created=stack.created,
        **fields,
    )


def stack_resources(scope: Scope) -> Iterator[Asset]:
    access = scope.aws.cloudformation(scope.region)
    for stack in access.stacks():
        if not scope.has(stack.tags):
            continue
        fields = {**_tagged(stack.tags), "stack": stack.name}
        for found in access.resources(stack.id):
            yield Asset(
                kind=AssetKind.STACK_RESOURCE,
                region=scope.region,
                id=found.id or found.logical_id,
                name=f"{found.logical_id} ({found.type})",
                state=found.status,
                created=found.updated,
                **fields,
            )


def instances(scope: Scope) -> Iterator[Asset]:
    for found in scope.aws.ec2(scope.region).instances(scope.filters):
        if found.state != "terminated" and scope.has(found.tags):
            yield instance(scope, found)


def instance(scope: Scope, found: Instance) -> Asset:
    runs = found.state in ("pending", "running")
    return Asset(
        kind=AssetKind.INSTANCE,
        region=scope.region,
        id=found.id,
        name=found.tags.get("Name", "") or found.type,
        state=found.state,
        created=found.launched,
        usd_per_month=scope.prices.instance_month(found.type) if runs else 0.0,
        references=(*found.volume_ids, found.image_id, found.key_name),
        **_tagged(found.tags),
    )


def volumes(scope: Scope) -> Iterator[Asset]:
    for found in scope.aws.ec2(scope.region).volumes(scope.filters):
        if scope.has(found.tags):
            yield volume(scope, found)


def volume(scope: Scope, found: Volume) -> Asset:
    return Asset(
        kind=AssetKind.VOLUME,
        region=scope.region,
        id=found.id,
        name=found.tags.get("Name", "") or found.type,
        state=found.state,
        created=found.created,
        size_bytes=found.size_gib * _GIB,
        usd_per_month=scope.prices.volume_month(found.size_gib, kind=found.type),
        references=found.instance_ids,
        tagged=tags.ASSET_ID in found.tags,
        **_tagged(found.tags),
    )


def key_pairs(scope: Scope) -> Iterator[Asset]:
    for found in scope.aws.ec2(scope.region).key_pairs(scope.filters):
        if scope.has(found.tags):
            yield Asset(
                kind=AssetKind.KEY_PAIR,
                region=scope.region,
                id=found.id,
                name=found.name,
                state="",
                created=found.created,
                **_tagged(found.tags),
            )


def security_groups(scope: Scope) -> Iterator[Asset]:
    for found in scope.aws.ec2(scope.region).security_groups(scope.filters):
        if scope.has(found.tags):
            yield Asset(
                kind=AssetKind.SECURITY_GROUP,
                region=scope.region,
                id=found.id,
                name=found.name,
                state="",
                **_tagged(found.tags),
            )


def amis(scope: Scope) -> Iterator[Asset]:
    for found in scope.aws.ec2(scope.region).images(scope.filters):
        if scope.has(found.tags):
            yield Asset(
                kind=AssetKind.AMI,
                region=scope.region,
                id=found.id,
                name=found.name,
                state=f"{found.state}, public" if found.public else found.state,
                created=found.created,
                size_bytes=found.size_gib * _GIB,
                references=found.snapshot_ids,
                **_tagged(found.tags),
            )


def snapshots(scope: Scope) -> Iterator[Asset]:
    for found in scope.aws.ec2(scope.region).snapshots(scope.filters):
        if scope.has(found.tags):
            yield snapshot(scope, found)


def snapshot(scope: Scope, found: Snapshot) -> Asset:
    # Only written blocks cost. Where AWS doesn't tell how many these are, the volume's size is the upper bound.
    size = found.full_bytes if found.full_bytes is not None else found.volume_gib * _GIB
    return Asset(
        kind=AssetKind.SNAPSHOT,
        region=scope.region,
        id=found.id,
        name=found.tags.get("Name", "") or found.description,
        state=found.state,
        created=found.started,
        size_bytes=size,
        usd_per_month=scope.prices.snapshot_month(size),
        tagged=tags.ASSET_ID in found.tags,
        **_tagged(found.tags),
    )


def export_tasks(scope: Scope) -> Iterator[Asset]:
    for found in scope.aws.ec2(scope.region).export_tasks():
        if scope.has(found.tags):
            yield _export_task(scope, found)


def _export_task(scope: Scope, found: ExportTask) -> Asset:
    progress = f"{found.state} {found.progress}%" if found.state == "active" and found.progress else found.state
    return Asset(
        kind=AssetKind.EXPORT_TASK,
        region=scope.region,
        id=found.id,
        name=f"s3://{found.bucket}/{found.prefix}",
        state=f"{progress}: {found.message}" if found.message else progress,
        references=(found.image_id,),
        **_tagged(found.tags),
    )


def s3_objects(scope: Scope) -> Iterator[Asset]:
    """With old versions and delete markers, where the bucket has versions: they stay when the object is deleted."""
    for found in scope.aws.s3(scope.region).versions(scope.bucket, scope.s3_prefix):
        asset_id = scope.asset_id_of_key(found.key)
        if asset_id is None:
            continue
        uri, state = f"s3://{scope.bucket}/{found.key}", found.storage_class.lower()
        if not found.current:
            uri += f"?versionId={found.version}"
            state = "delete marker" if found.marker else f"old version, {state}"
        yield Asset(
            kind=AssetKind.S3_OBJECT,
            region=scope.region,
            id=uri,
            name=found.key.rpartition("/")[2],
            state=state,
            asset_id=asset_id,
            created=found.modified,
            size_bytes=found.size_bytes,
            usd_per_month=scope.prices.s3_month(found.size_bytes),
            version=found.version,
        )


def multipart_uploads(scope: Scope) -> Iterator[Asset]:
    access = scope.aws.s3(scope.region)
    for found in access.uploads(scope.bucket, scope.s3_prefix):
        asset_id = scope.asset_id_of_key(found.key)
        if asset_id is not None:
            size = access.uploaded_bytes(scope.bucket, key=found.key, upload_id=found.upload_id)
            yield Asset(
                kind=AssetKind.MULTIPART_UPLOAD,
                region=scope.region,
                id=found.upload_id,
                name=f"s3://{scope.bucket}/{found.key}",
                state="unfinished",
                asset_id=asset_id,
                created=found.initiated,
                size_bytes=size,
                usd_per_month=scope.prices.s3_month(size),
            )


def log_groups(scope: Scope) -> Iterator[Asset]:
    access = scope.aws.logs(scope.region)
    for found in access.groups(names.LOG_GROUP_PREFIX + scope.pattern.fixed_start):
        tagged = access.tags(found.arn)
        if scope.has(tagged):
            yield Asset(
                kind=AssetKind.LOG_GROUP,
                region=scope.region,
                id=found.name,
                name="",
                state="",
                created=found.created,
                size_bytes=found.stored_bytes,
                usd_per_month=scope.prices.logs_month(found.stored_bytes),
                **_tagged(tagged),
            )


COLLECTORS: Mapping[AssetKind, Callable[[Scope], Iterator[Asset]]] = {
    AssetKind.STACK: stacks,
    AssetKind.STACK_RESOURCE: stack_resources,
    AssetKind.INSTANCE: instances,
    AssetKind.VOLUME: volumes,
    AssetKind.KEY_PAIR: key_pairs,
    AssetKind.SECURITY_GROUP: security_groups,
    AssetKind.AMI: amis,
    AssetKind.SNAPSHOT: snapshots,
    AssetKind.EXPORT_TASK: export_tasks,
    AssetKind.S3_OBJECT: s3_objects,
    AssetKind.MULTIPART_UPLOAD: multipart_uploads,
    AssetKind.LOG_GROUP: log_groups,
}
