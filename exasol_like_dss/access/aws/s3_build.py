"""S3, as a build uses it: small objects whole, large ones by ranges, copies that stay inside S3.

Every method raises ``AwsError`` and its kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError, aws_errors
from exasol_like_dss.access.aws.patience import Patience

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class ObjectFacts:
    """metadata: ours; S3 makes its names lower case."""

    size_bytes: int
    metadata: Mapping[str, str]


class S3Builds:
    def __init__(self, client: S3Client, region: str, patience: Patience | None = None) -> None:
        self._client = client
        self._patience = patience or Patience()
        self.region = region

    def bucket_region(self, bucket: str) -> str:
        with self._errors():
            # Buckets in us-east-1 have no location constraint (GetBucketLocation, Amazon S3 API Reference).
            place: str | None = self._client.get_bucket_location(Bucket=bucket)["LocationConstraint"]
        return "eu-west-1" if place == "EU" else place or "us-east-1"

    def facts(self, bucket: str, key: str) -> ObjectFacts | None:
        """``None`` when there is no such object."""
        try:
            with self._errors():
                found = self._client.head_object(Bucket=bucket, Key=key)
        except AwsError as error:
            if error.not_found:
                return None
            raise
        return ObjectFacts(found["ContentLength"], found.get("Metadata", {}))

    def read(self, bucket: str, key: str, *, start: int, length: int) -> bytes:
        """Exactly these bytes. length: at least 1."""
        with self._errors():
            answer = self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{start + length - 1}")
            return self._patience.run(answer["Body"].read, what=f"s3://{bucket}/{key}")

    def write(
        self, bucket: str, key: str, data: bytes, *, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """A small object, all or nothing."""
        with self._errors():
            self._client.put_object(
                Bucket=bucket, Key=key, Body=data, ContentType=content_type, Metadata=dict(metadata or {})
            )

    def delete(self, bucket: str, key: str) -> None:
        """No error when it is gone."""
        with self._errors():
            self._client.delete_object(Bucket=bucket, Key=key)

    def begin_upload(self, bucket: str, key: str, *, metadata: Mapping[str, str]) -> str:
        """The id of a multipart upload."""
        with self._errors():
            return self._client.create_multipart_upload(Bucket=bucket, Key=key, Metadata=dict(metadata))["UploadId"]

    def upload_part(self, bucket: str, key: str, *, upload_id: str, number: int, data: bytes) -> str:
        """The part's tag. All but the last have at least 5 MiB."""
        with self._errors():
            return self._client.upload_part(
                Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data
            )["ETag"]  # fmt: skip

    def copy_part(
        self, bucket: str, key: str, *, upload_id: str, number: int, source: str, start: int, length: int
    ) -> str:
        """Inside S3, from the object ``source`` of the same bucket. At most 5 GiB. The part's tag."""
        with self._errors():
            answer = self._client.upload_part_copy(
                Bucket=bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                CopySource={"Bucket": bucket, "Key": source},
                CopySourceRange=f"bytes={start}-{start + length - 1}",
            )
        return answer["CopyPartResult"].get("ETag", "")

    def complete_upload(self, bucket: str, key: str, *, upload_id: str, tags: Sequence[str]) -> None:
        """tags: of the parts 1, 2, …"""
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)]
        with self._errors():
            self._client.complete_multipart_upload(
                Bucket=bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
            )

    def abort(self, bucket: str, key: str, *, upload_id: str) -> None:
        """Gives an upload up."""
        with self._errors():
            self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)

    def _errors(self) -> AbstractContextManager[None]:
        return aws_errors("s3", region=self.region)
