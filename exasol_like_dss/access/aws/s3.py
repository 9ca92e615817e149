"""S3: objects below a prefix, and uploads that never ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from sys import intern
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DELETED_AT_ONCE = 1000  # DeleteObjects, Amazon S3 API Reference


@dataclass(frozen=True)
class S3Object:
    key: str
    size_bytes: int
    modified: datetime
    storage_class: str


@dataclass(frozen=True)
class S3Version:
    """An object, or what is left of one in a bucket with versions: older content, or a marker that it was deleted.

    version: ``null`` in a bucket without versions. current: what a reader gets; a marker never is.
    """

    key: str
    version: str
    current: bool
    marker: bool
    size_bytes: int
    modified: datetime
    storage_class: str


@dataclass(frozen=True)
class MultipartUpload:
    key: str
    upload_id: str
    initiated: datetime


class S3:
    def __init__(self, client: S3Client, region: str) -> None:
        self._client = client
        self.region = region

    def objects(self, bucket: str, prefix: str) -> Iterator[S3Object]:
        """By key. Raises ``AwsError``."""
        with aws_errors("s3", region=self.region):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Contents", []):
                    yield S3Object(
                        key=found["Key"],
                        size_bytes=found["Size"],
                        modified=found["LastModified"],
                        storage_class=found.get("StorageClass", "STANDARD"),
                    )

    def versions(self, bucket: str, prefix: str) -> Iterator[S3Version]:
        """All that costs money or hides something, by key. Raises ``AwsError``."""
        with aws_errors("s3", region=self.region):
            for page in self._client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Versions", []):
                    yield S3Version(
                        key=found["Key"],
                        version=intern(found["VersionId"]),
                        current=found["IsLatest"],
                        marker=False,
                        size_bytes=found["Size"],
                        modified=found["LastModified"],
                        storage_class=found.get("StorageClass", "STANDARD"),
                    )
                for deleted in page.get("DeleteMarkers", []):
                    yield S3Version(
                        key=deleted["Key"],
                        version=intern(deleted["VersionId"]),
                        current=False,
                        marker=True,
                        size_bytes=0,
                        modified=deleted["LastModified"],
                        storage_class="",
                    )

    def uploads(self, bucket: str, prefix: str) -> Iterator[MultipartUpload]:
        """Multipart uploads that are neither completed nor aborted. Raises ``AwsError``."""
        with aws_errors("s3", region=self.region):
            for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Uploads", []):
                    yield MultipartUpload(
                        key=found["Key"], upload_id=found["UploadId"], initiated=found["Initiated"]
                    )  # fmt: skip

    def uploaded_bytes(self, bucket: str, *, key: str, upload_id: str) -> int:
        """What an unfinished upload holds (and costs) so far. Raises ``AwsError``."""
        with aws_errors("s3", region=self.region):
            pages = self._client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload_id)
            return sum(part.get("Size", 0) for page in pages for part in page.get("Parts", []))

    def delete_versions(self, bucket: str, versions: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Deletes up to 1000 for good, given by key and version; those that are gone already count as deleted.

        Returns ``{(key, version): "Code: message"}`` of those that stay. Raises ``AwsError``.
        """
        with aws_errors("s3", region=self.region):
            answer = self._client.delete_objects(
                Bucket=bucket,
                Delete={"Objects": [{"Key": key, "VersionId": version} for key, version in versions], "Quiet": True},
            )
        return {
            (error.get("Key", ""), error.get("VersionId", "")): f"{error.get('Code', '')}: {error.get('Message', '')}"
            for error in answer.get("Errors", [])
        }

    def abort_upload(self, bucket: str, *, key: str, upload_id: str) -> None:
        """Raises ``AwsError``."""
        with aws_errors("s3", region=self.region):
            self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
