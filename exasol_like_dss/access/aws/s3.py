"""S3: objects below a prefix, and uploads that never ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
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

    def delete_objects(self, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        """Deletes up to 1000; those that are gone already count as deleted.

        Returns ``{key: "Code: message"}`` of those that stay. Raises ``AwsError``.
        """
        with aws_errors("s3", region=self.region):
            answer = self._client.delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        return {
            error.get("Key", ""): f"{error.get('Code', '')}: {error.get('Message', '')}"
            for error in answer.get("Errors", [])
        }

    def abort_upload(self, bucket: str, *, key: str, upload_id: str) -> None:
        """Raises ``AwsError``."""
        with aws_errors("s3", region=self.region):
            self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
