"""S3 where moto is too kind: copies of more than 5 GB, buckets of other regions and accounts, strangers, dates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from moto.core.utils import utcnow
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket, S3Backend, s3_backends

from test.support.aws.server.front import S3_CHECKS, Environ
from test.support.aws.server.protocol import ApiError, signed_of
from test.support.aws.server.world import ACCOUNT, Request, World, handles

_EVERYWHERE = ("CreateBucket", "GetBucketLocation", "ListBuckets")
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


def _backend() -> S3Backend:
    backend: S3Backend = s3_backends[ACCOUNT]["aws"]
    return backend


def bucket_of(name: str) -> FakeBucket | None:
    return _backend().buckets.get(name)


def _check_owner(world: World, action: str, _region: str, parameters: dict[str, Any], environ: Environ) -> None:
    """Buckets of other accounts, and requests without a signature."""
    name = str(parameters.get("Bucket", ""))
    if name in world.settings.foreign_buckets:
        if action == "CreateBucket":
            raise ApiError("BucketAlreadyExists", "The requested bucket name is not available.", 409)
        raise ApiError("AccessDenied", "Access Denied", 403)
    bucket = bucket_of(name)
    if signed_of(environ).service or bucket is None:
        return
    if action not in ("GetObject", "HeadObject") or not _is_public(bucket, str(parameters.get("Key", ""))):
        raise ApiError("AccessDenied", "Access Denied", 403)


def _is_public(bucket: FakeBucket, key: str) -> bool:
    """By a policy that lets everybody read. Nothing is said of ACLs: new buckets have none."""
    block = bucket.public_access_block
    if bucket.policy is None or (block is not None and str(block.restrict_public_buckets).lower() == "true"):
        return False
    document = json.loads(bucket.policy)
    for statement in document.get("Statement", []):
        everybody = statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        actions = statement.get("Action", [])
        resources = statement.get("Resource", [])
        patterns = [resources] if isinstance(resources, str) else resources
        path = f"arn:aws:s3:::{bucket.name}/{key}"
        allowed = {"s3:GetObject", "s3:*", "*"} & set([actions] if isinstance(actions, str) else actions)
        fits = any(re.fullmatch(re.escape(each).replace(r"\*", ".*"), path) for each in patterns)
        if statement.get("Effect") == "Allow" and everybody and allowed and fits and not statement.get("Condition"):
            return True
    return False


def _check_region(_world: World, action: str, region: str, parameters: dict[str, Any], _environ: Environ) -> None:
    """AWS: "Redirection": the bucket's region is in a header; SDKs ask again there."""
    bucket = bucket_of(str(parameters.get("Bucket", "")))
    if bucket is None or action in _EVERYWHERE or not region:
        return
    home = bucket.region_name
    if home != region:
        words = "The bucket you are attempting to access must be addressed using the specified endpoint."
        raise ApiError("PermanentRedirect", words, 301, {"x-amz-bucket-region": home})


def _check_size(world: World, action: str, _region: str, _parameters: dict[str, Any], environ: Environ) -> None:
    """AWS: CopyObject and UploadPartCopy take 5 GB at a time, PutObject and UploadPart as well."""
    limit = world.settings.copy_limit_bytes
    if action in ("PutObject", "UploadPart") and int(environ.get("CONTENT_LENGTH") or 0) > 5 * 1024**3:
        raise ApiError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    if action not in ("CopyObject", "UploadPartCopy"):
        return
    source = unquote(str(environ.get("HTTP_X_AMZ_COPY_SOURCE", ""))).lstrip("/")
    name, _, key = source.partition("/")
    if bucket_of(name) is None:
        raise ApiError("NoSuchBucket", "The specified bucket does not exist", 404)
    found = _backend().get_object(name, key.split("?")[0])
    if found is None:
        raise ApiError("NoSuchKey", "The specified key does not exist.", 404)
    asked = _RANGE.fullmatch(str(environ.get("HTTP_X_AMZ_COPY_SOURCE_RANGE", "")))
    if asked and int(asked[2]) >= found.size:
        raise ApiError("InvalidArgument", f"Range specified is not valid for source object of size: {found.size}")
    size = int(asked[2]) - int(asked[1]) + 1 if asked else found.size
    if size > limit:
        words = f"The specified copy source is larger than the maximum allowable size for a copy source: {limit}"
        raise ApiError("InvalidRequest", words)


def _check_upload(_world: World, action: str, _region: str, parameters: dict[str, Any], _environ: Environ) -> None:
    """An upload that has been completed or aborted, while a part of it was still on its way."""
    bucket = bucket_of(str(parameters.get("Bucket", "")))
    if action == "UploadPart" and bucket is not None and parameters.get("uploadId") not in bucket.multiparts:
        raise ApiError("NoSuchUpload", "The specified multipart upload does not exist.", 404)


def _permission(self: FakeBucket, action: str, resource: str) -> Any:
    """moto knows no conditions of a bucket's policy. All requests here count as such by TLS 1.3, from nowhere special:
    statements with conditions are about others."""
    if self.policy is None:
        return PermissionResult.NEUTRAL
    document = json.loads(self.policy)
    document["Statement"] = [each for each in document["Statement"] if not each.get("Condition")]
    return IAMPolicy(json.dumps(document)).is_action_permitted(action, resource)


setattr(FakeBucket, "get_permission", _permission)  # noqa: B010 - mypy forbids to assign to a method


S3_CHECKS += [_check_owner, _check_region, _check_size, _check_upload]


@dataclass
class _Begun:
    """When uploads by parts were begun: moto says 2010 of all."""

    times: dict[str, datetime] = field(default_factory=dict)


def _note_uploads(world: World, _action: str, _region: str, parameters: dict[str, Any], _environ: Environ) -> None:
    """Before each request: what is there and not yet known was begun by the one before."""
    bucket = bucket_of(str(parameters.get("Bucket", "")))
    if bucket is None:
        return
    times = world.part(_Begun).times
    for upload_id in bucket.multiparts:
        times.setdefault(upload_id, utcnow())


S3_CHECKS.append(_note_uploads)


@handles("s3", "ListMultipartUploads")
def list_multipart_uploads(request: Request) -> Mapping[str, Any]:
    """By key, then by time, in pages (AWS: ListMultipartUploads)."""
    name = str(request.get("Bucket"))
    bucket = bucket_of(name)
    if bucket is None:
        raise ApiError("NoSuchBucket", "The specified bucket does not exist", 404)
    times = request.world.part(_Begun).times
    prefix = str(request.get("prefix", request.get("Prefix", "")))
    most = min(int(request.get("max-uploads", request.get("MaxUploads", 1000))), 1000)
    marker = (str(request.get("key-marker", "")), str(request.get("upload-id-marker", "")))
    uploads = sorted(bucket.multiparts.items(), key=lambda each: (each[1].key_name, each[0]))
    found = [(key, each) for key, each in uploads if each.key_name.startswith(prefix) and (each.key_name, key) > marker]
    if marker[0] and not marker[1]:
        found = [(key, each) for key, each in found if each.key_name > marker[0]]
    owner = {"ID": "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a", "DisplayName": "owner"}
    shown = [
        {
            "UploadId": upload_id,
            "Key": each.key_name,
            "Initiated": times.get(upload_id, utcnow()),
            "StorageClass": "STANDARD",
            "Owner": owner,
            "Initiator": owner,
        }
        for upload_id, each in found[:most]
    ]
    result: dict[str, Any] = {"Bucket": name, "Prefix": prefix, "MaxUploads": most, "IsTruncated": len(found) > most}
    if shown:
        result["Uploads"] = shown
    if len(found) > most:
        result |= {"NextKeyMarker": shown[-1]["Key"], "NextUploadIdMarker": shown[-1]["UploadId"]}
    return result
