"""How each kind of asset is removed, and how to see that it is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.access.aws.s3 import DELETED_AT_ONCE
from exasol_like_dss.lib.assets.record import Asset, AssetKind

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.session import AwsSession

_IDS_PER_FILTER = 200


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _export_task(aws: AwsSession, asset: Asset) -> None:
    aws.ec2(asset.region).cancel_export_task(asset.id)


def _upload(aws: AwsSession, asset: Asset) -> None:
    bucket, key = split_uri(asset.name)
    aws.s3(asset.region).abort_upload(bucket, key=key, upload_id=asset.id)


def _stack(aws: AwsSession, asset: Asset) -> None:
    aws.cloudformation(asset.region).delete_stack(asset.id)


def _instance(aws: AwsSession, asset: Asset) -> None:
    aws.ec2(asset.region).terminate_instances([asset.id])


def _ami(aws: AwsSession, asset: Asset) -> None:
    aws.ec2(asset.region).deregister_image(asset.id)


def _snapshot(aws: AwsSession, asset: Asset) -> None:
    aws.ec2(asset.region).delete_snapshot(asset.id)


def _volume(aws: AwsSession, asset: Asset) -> None:
    aws.ec2(asset.region).delete_volume(asset.id)


def _key_pair(aws: AwsSession, asset: Asset) -> None:
    aws.ec2(asset.region).delete_key_pair(asset.id)


def _security_group(aws: AwsSession, asset: Asset) -> None:
    aws.ec2(asset.region).delete_security_group(asset.id)


def _log_group(aws: AwsSession, asset: Asset) -> None:
    aws.logs(asset.region).delete_group(asset.id)


#: AWS only begins to remove these when it is asked to.
SLOW = (AssetKind.EXPORT_TASK, AssetKind.STACK, AssetKind.INSTANCE)
#: The call that removes one, or begins to. Those of a kind that is not here are removed many at once.
REMOVERS: Mapping[AssetKind, Callable[[AwsSession, Asset], None]] = {
    AssetKind.EXPORT_TASK: _export_task,
    AssetKind.MULTIPART_UPLOAD: _upload,
    AssetKind.STACK: _stack,
    AssetKind.INSTANCE: _instance,
    AssetKind.AMI: _ami,
    AssetKind.SNAPSHOT: _snapshot,
    AssetKind.VOLUME: _volume,
    AssetKind.KEY_PAIR: _key_pair,
    AssetKind.SECURITY_GROUP: _security_group,
    AssetKind.LOG_GROUP: _log_group,
}


def in_batches(assets: Sequence[Asset]) -> Iterator[Sequence[Asset]]:
    """S3 objects as ``remove_objects`` takes them."""
    by_place: dict[tuple[str, str], list[Asset]] = {}
    for asset in assets:
        by_place.setdefault((asset.region, split_uri(asset.id)[0]), []).append(asset)
    for found in by_place.values():
        for start in range(0, len(found), DELETED_AT_ONCE):
            yield found[start : start + DELETED_AT_ONCE]


def remove_objects(aws: AwsSession, assets: Sequence[Asset]) -> Iterator[tuple[Asset, AwsError | None]]:
    """Deletes up to 1000 objects of one bucket; each with the reason why it stays. Raises ``AwsError``."""
    bucket = split_uri(assets[0].id)[0]
    named = {_key_and_version(asset): asset for asset in assets}
    failed = aws.s3(assets[0].region).delete_versions(bucket, list(named))
    for name, asset in named.items():
        reason = failed.get(name)
        yield asset, AwsError(reason, code=reason.partition(":")[0]) if reason else None


def _key_and_version(asset: Asset) -> tuple[str, str]:
    return split_uri(asset.id.removesuffix(f"?versionId={asset.version}"))[1], asset.version


def still_there(aws: AwsSession, *, kind: AssetKind, assets: Sequence[Asset]) -> dict[str, str]:
    """Of assets of one region and a kind in ``SLOW``: ``{id: state}`` of those that are not gone yet.

    Raises ``AwsError``.
    """
    region = assets[0].region
    if kind == AssetKind.STACK:
        access = aws.cloudformation(region)
        found = [access.stack(asset.id) for asset in assets]
        return {stack.id: f"{stack.status} {stack.reason}".strip() for stack in found if stack}
    if kind == AssetKind.INSTANCE:
        ids = [asset.id for asset in assets]
        batches = [ids[start : start + _IDS_PER_FILTER] for start in range(0, len(ids), _IDS_PER_FILTER)]
        instances = [one for some in batches for one in aws.ec2(region).instances({"instance-id": some})]
        return {one.id: one.state for one in instances if one.state != "terminated"}
    wanted = {asset.id for asset in assets}
    tasks = [task for task in aws.ec2(region).export_tasks() if task.id in wanted]
    return {task.id: task.state for task in tasks if task.state in ("active", "deleting")}
