"""What a build leaves in S3: the images under names of ours, and what describes them. The manifest comes last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.publishing.checksums import write_sha256sums
from exasol_like_dss.lib.publishing.manifest import Artifact, Manifest, parse_manifest, write_manifest
from exasol_like_dss.lib.publishing.s3_objects import assemble, copy_parts, hash_object, read_range

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.s3_build import S3Builds
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

#: Metadata of the images: the AMI that they are of.
IMAGE_ID = "dss-image-id"
SBOM, REPORT, SUMS, MANIFEST = "sbom.cdx.json", "verification.json", "SHA256SUMS", "manifest.json"
#: What AWS itself leaves below the prefix: exports under its own names, and a file by which it tries to write.
FROM_AWS = ("export-ami-", "vmimportexport_write_verification")
_TYPES = {".json": "application/json"}


@dataclass(frozen=True, kw_only=True)
class ReleasePlace:
    """Where all of one build goes. prefix: of the keys, with a slash at its end. stem: of the images' names."""

    bucket: str
    prefix: str
    stem: str
    image_id: str

    def key(self, name: str) -> str:
        return self.prefix + name

    def image_key(self, image_format: str) -> str:
        return f"{self.prefix}{self.stem}.{image_format.lower()}"

    def uri(self, name: str = "") -> str:
        return f"s3://{self.bucket}/{self.prefix}{name}"

    @property
    def metadata(self) -> dict[str, str]:
        return {IMAGE_ID: self.image_id}


def is_there(place: ReleasePlace, key: str, *, s3: S3Builds) -> bool:
    """Whether an object is there, and made of this very AMI."""
    found = s3.facts(place.bucket, key)
    return found is not None and found.metadata.get(IMAGE_ID) == place.image_id


def rename(
    place: ReleasePlace, *, source: str, target: str, s3: S3Builds, progress: Progress, cancellation: Cancellation
) -> None:
    """Gives an exported object its name: a copy inside S3, of any size; then the source goes. Raises ``AwsError``."""
    found = s3.facts(place.bucket, source)
    if found is None:
        raise DssError(f"AWS's export s3://{place.bucket}/{source} is not there.", hint="Run the same command again.")
    parts = copy_parts(source, start=0, end=found.size_bytes)
    assemble(
        s3,
        bucket=place.bucket,
        key=target,
        parts=parts,
        metadata=place.metadata,
        cancellation=cancellation,
        on_parts=lambda done: progress.status(f"{done} of {len(parts)} parts are copied"),
    )
    s3.delete(place.bucket, source)


def described(
    place: ReleasePlace,
    image_format: str,
    *,
    virtual_bytes: int,
    s3: S3Builds,
    progress: Progress,
    cancellation: Cancellation,
) -> Artifact:
    """Size and SHA-256 of an image: it is read once, and not kept."""
    key = place.image_key(image_format)
    found = s3.facts(place.bucket, key)
    if found is None:
        raise DssError(f"s3://{place.bucket}/{key} is gone.", hint="Run the same command again.")
    step = progress.current()
    digest = hash_object(
        s3,
        bucket=place.bucket,
        key=key,
        size_bytes=found.size_bytes,
        cancellation=cancellation,
        on_bytes=lambda done: progress.bytes(step, done, found.size_bytes) if step else None,
    )
    return Artifact(key.rpartition("/")[2], image_format, found.size_bytes, digest, virtual_bytes)


def clear_leftovers(place: ReleasePlace, *, aws: AwsSession) -> None:
    """Unfinished uploads of ours, of a run that was killed. Nobody else is at work here: the build holds its lock."""
    s3 = aws.s3()
    for upload in s3.uploads(place.bucket, place.prefix):
        if upload.key.startswith(place.prefix + place.stem):
            s3.abort_upload(place.bucket, key=upload.key, upload_id=upload.upload_id)


def clear_exports(place: ReleasePlace, *, aws: AwsSession) -> None:
    """What AWS left under its own names, once all exports have got theirs."""
    s3 = aws.s3()
    old = [
        found.key
        for found in s3.objects(place.bucket, place.prefix)
        if found.key.removeprefix(place.prefix).startswith(FROM_AWS)
    ]
    for key in old:
        aws.s3_builds().delete(place.bucket, key)


def put(place: ReleasePlace, file: Path, *, s3: S3Builds) -> None:
    """A small file, under its own name."""
    content_type = _TYPES.get(file.suffix, "text/plain; charset=utf-8")
    s3.write(place.bucket, place.key(file.name), file.read_bytes(), content_type=content_type)


def finished_build(place: ReleasePlace, formats: Sequence[str], *, s3: S3Builds) -> tuple[Artifact, ...]:
    """What the manifest that is there lists, if it is of this AMI, and has all of these formats; else nothing."""
    found = s3.facts(place.bucket, place.key(MANIFEST))
    if found is None or not found.size_bytes:
        return ()
    data = read_range(s3, bucket=place.bucket, key=place.key(MANIFEST), start=0, length=found.size_bytes)
    try:
        manifest = parse_manifest(json.loads(data))
    except (ValueError, KeyError, TypeError, InputError):
        return ()
    if manifest.inputs.get("image_id") != place.image_id:
        return ()
    listed = {artifact.format for artifact in manifest.artifacts}
    there = listed == set(formats) and all(is_there(place, place.image_key(name), s3=s3) for name in formats)
    return manifest.artifacts if there else ()


def publish_descriptions(manifest: Manifest, place: ReleasePlace, *, folder: Path, s3: S3Builds) -> None:
    """Writes the manifest and the sums of all that is there. folder: a private one."""
    write_manifest(manifest, folder / MANIFEST)
    others: list[Artifact | Path] = []
    for name in (SBOM, REPORT):
        found = s3.facts(place.bucket, place.key(name))
        if found and found.size_bytes:
            data = read_range(s3, bucket=place.bucket, key=place.key(name), start=0, length=found.size_bytes)
            others.append(Artifact(name, "", len(data), hashlib.sha256(data).hexdigest()))
    write_sha256sums([*manifest.artifacts, *others, folder / MANIFEST], folder / SUMS)
    put(place, folder / SUMS, s3=s3)
    put(place, folder / MANIFEST, s3=s3)
