"""What a release consists of: read from S3, EC2 and what the Docker build left; and whether all of it is there.

The manifest says what there should be. Only names from it are looked up, below the prefix of this asset-id: objects of
another one are never touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.lib.assets.names import AssetNames
from exasol_like_dss.lib.assets.tags import ASSET_ID
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.ami import VERIFIED
from exasol_like_dss.lib.images.references import parse_reference
from exasol_like_dss.lib.publishing.checksums import parse_sha256sums
from exasol_like_dss.lib.publishing.manifest import ContainerImage, Manifest, Verification, parse_manifest
from exasol_like_dss.lib.publishing.s3_objects import read_range
from exasol_like_dss.lib.publishing.s3_release import IMAGE_ID, MANIFEST, REPORT, SBOM, SUMS
from exasol_like_dss.lib.publishing.signing import SIGNATURE

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_results import Image
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.releases.place import DownloadPlace

#: Put before the names of what ``create-docker-image`` left, where they would meet those of the virtual machine.
DOCKER = "docker-"
DOCKER_FILES = (MANIFEST, SBOM, REPORT)
#: Metadata of the signature: what it signs, and with which key.
SIGNED_SUMS, SIGNED_BY = "dss-sums-sha256", "dss-signed-by"
#: No description is as long as that.
_LONGEST = 256 << 20


@dataclass(frozen=True)
class RegionImage:
    """An AMI of the build, and where it is."""

    region: str
    image: Image


@dataclass(frozen=True)
class ReleaseContent:
    """files: the small ones by name, as they are uploaded to the release. docker: ``None`` without a Docker image.

    sums_in_s3: ``SHA256SUMS`` as it is in S3 now; files has it as it has to be. signed_by: fingerprint; empty without a
    signature that fits.
    """

    asset_id: AssetId
    place: DownloadPlace
    prefix: str
    manifest: Manifest
    images: tuple[RegionImage, ...]
    docker: ContainerImage | None
    files: Mapping[str, bytes]
    sums_in_s3: bytes
    signed_by: str

    @property
    def sums(self) -> bytes:
        return self.files[SUMS]


def gather(
    asset_id: AssetId,
    place: DownloadPlace,
    *,
    regions: Sequence[str],
    docker_directory: Path | None,
    aws: AwsSession,
) -> ReleaseContent:
    """Reads and checks; changes nothing. regions: to look for AMIs in, besides that of the build.

    docker_directory: what ``create-docker-image`` left; ``None``: what an earlier run has put into S3, if any.
    Raises ``InputError`` that names what is missing, does not fit, or was not verified; ``AwsError``.
    """
    prefix = AssetNames.of(asset_id).export_prefix
    again = f"dss create-vm --builder ec2 --asset-id {asset_id}"
    files: dict[str, bytes] = {}
    for name in (MANIFEST, SBOM, REPORT, SUMS):
        data = _read(aws, place.bucket, prefix + name)
        if data is None:
            raise InputError(
                f"There is no finished build {asset_id}: s3://{place.bucket}/{prefix}{name} is missing.",
                hint=f"Finish it: {again}",
            )
        files[name] = data
    manifest = _manifest(files[MANIFEST], asset_id, what=f"s3://{place.bucket}/{prefix}{MANIFEST}")
    _check_verified(manifest.verification, files[REPORT], what=f"The build {asset_id}", again=f"{again} --fresh")
    sums_in_s3 = files[SUMS]
    sums = parse_sha256sums(sums_in_s3.decode("utf-8", "replace"), f"s3://{place.bucket}/{prefix}{SUMS}")
    _check_objects(manifest, sums, place, prefix, aws=aws, again=again)
    for name in (MANIFEST, SBOM, REPORT):
        if sums.get(name) != hashlib.sha256(files[name]).hexdigest():
            raise InputError(
                f"{name} of {asset_id} is not the one that {SUMS} lists.", hint=f"Write both anew: {again}"
            )
    container, described = _docker(asset_id, place, prefix, docker_directory, aws=aws)
    files |= described
    sums = {name: digest for name, digest in sums.items() if not name.startswith(DOCKER)}
    sums |= {name: hashlib.sha256(data).hexdigest() for name, data in described.items()}
    files[SUMS] = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
    signature, signed_by = _signature(place, prefix, files[SUMS], aws=aws)
    if signature:
        files[SIGNATURE] = signature
    return ReleaseContent(
        asset_id=asset_id,
        place=place,
        prefix=prefix,
        manifest=manifest,
        images=_images(asset_id, manifest, regions, aws=aws, again=again),
        docker=container,
        files=files,
        sums_in_s3=sums_in_s3,
        signed_by=signed_by,
    )


def _read(aws: AwsSession, bucket: str, key: str) -> bytes | None:
    s3 = aws.s3_builds()
    found = s3.facts(bucket, key)
    if found is None or not 0 < found.size_bytes < _LONGEST:
        return None
    return read_range(s3, bucket=bucket, key=key, start=0, length=found.size_bytes)


def _manifest(data: bytes, asset_id: AssetId, *, what: str) -> Manifest:
    try:
        content = json.loads(data)
    except ValueError as error:
        raise InputError(f"{what} can't be read as a manifest: {error}.", hint="Write it anew.") from None
    manifest = parse_manifest(content, what)
    if manifest.asset_id != asset_id.value:
        raise InputError(f"{what} is of {manifest.asset_id}, not of {asset_id}.", hint="Give that --asset-id.")
    return manifest


def _check_verified(verification: Verification, report: bytes | None, *, what: str, again: str) -> None:
    """Both have to say so: the manifest, and the report with its checks."""
    if verification is Verification.SKIPPED:
        raise InputError(f"{what} was not verified.", hint=f"Without --no-verify it is: {again}")
    try:
        content = json.loads(report or b"{}")
        passed = bool(content["checks"]) and content["passed"] is True
        failed = [str(check["name"]) for check in content["checks"] if not check["passed"]]
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{what} has no verification report that can be read.", hint=f"Make it anew: {again}"
        ) from None
    if verification is not Verification.PASSED or not passed or failed:
        raise InputError(
            f"{what} did not pass its verification: {', '.join(failed) or 'see the report'}.",
            hint=f"Nothing of it may be published. Build it anew: {again}",
        )


def _check_objects(
    manifest: Manifest, sums: Mapping[str, str], place: DownloadPlace, prefix: str, *, aws: AwsSession, again: str
) -> None:
    """Every image of the manifest is there, whole, of the AMI that was verified, and in the sums."""
    if not manifest.artifacts:
        raise InputError(f"The build {manifest.asset_id} has no image.", hint=f"Make them: {again}")
    for artifact in manifest.artifacts:
        uri = f"s3://{place.bucket}/{prefix}{artifact.name}"
        if "/" in artifact.name:
            raise InputError(f"The manifest of {manifest.asset_id} has a strange name: {artifact.name!r}.")
        found = aws.s3_builds().facts(place.bucket, prefix + artifact.name)
        if found is None:
            raise InputError(f"The image {uri} is missing.", hint=f"Make it: {again}")
        if found.size_bytes != artifact.size_bytes:
            raise InputError(
                f"The image {uri} has {found.size_bytes} bytes; its manifest says {artifact.size_bytes}.",
                hint=f"Remove it, and make it anew: {again}",
            )
        if found.metadata.get(IMAGE_ID) != manifest.inputs.get("image_id"):
            raise InputError(
                f"The image {uri} is not of the AMI {manifest.inputs.get('image_id')}, which was verified.",
                hint=f"Remove it, and make it anew: {again}",
            )
        if sums.get(artifact.name) != artifact.sha256:
            raise InputError(f"{SUMS} and {MANIFEST} differ about {artifact.name}.", hint=f"Write both anew: {again}")


def _images(
    asset_id: AssetId, manifest: Manifest, regions: Sequence[str], *, aws: AwsSession, again: str
) -> tuple[RegionImage, ...]:
    """By region, that of the build first."""
    home, built = str(manifest.inputs.get("region", "")), manifest.inputs.get("image_id")
    found: list[RegionImage] = []
    for region in dict.fromkeys([home or aws.region, *regions]):
        for image in aws.ec2(region).images({f"tag:{ASSET_ID}": [asset_id.value]}):
            if image.tags.get(ASSET_ID) != asset_id.value:  # EC2's filters know wildcards
                continue
            if image.state != "available":
                raise InputError(
                    f"The AMI {image.id} in {region} is {image.state}.", hint="Wait until it is available."
                )
            if image.id == built and VERIFIED not in image.tags:
                raise InputError(f"The AMI {image.id} was not verified.", hint=f"Without --no-verify it is: {again}")
            found.append(RegionImage(region, image))
    if built not in [one.image.id for one in found]:
        raise InputError(
            f"The AMI {built} of the build {asset_id} is not in {home}.", hint=f"Make a new one: {again} --fresh"
        )
    return tuple(found)


def _docker(
    asset_id: AssetId, place: DownloadPlace, prefix: str, directory: Path | None, *, aws: AwsSession
) -> tuple[ContainerImage | None, dict[str, bytes]]:
    """The image, and its files under their names in S3."""
    described: dict[str, bytes] = {}
    for name in DOCKER_FILES:
        if directory:
            try:
                data: bytes | None = (directory / name).read_bytes()
            except FileNotFoundError:
                data = None
            except OSError as error:
                raise InputError(f"{directory / name} can't be read: {error.strerror}.") from None
        else:
            data = _read(aws, place.bucket, f"{prefix}{DOCKER}{name}")
        if data is not None:
            described[DOCKER + name] = data
    where = str(directory) if directory else f"s3://{place.bucket}/{prefix}"
    if DOCKER + MANIFEST not in described:
        if directory or described:
            raise InputError(
                f"{where} has no {MANIFEST} of a Docker image.", hint="Give the folder that create-docker-image left."
            )
        return None, {}
    manifest = _manifest(described[DOCKER + MANIFEST], asset_id, what=f"{MANIFEST} in {where}")
    again = f"dss create-docker-image --version {asset_id} --publish"
    _check_verified(
        manifest.verification, described.get(DOCKER + REPORT), what=f"The Docker image of {asset_id}", again=again
    )
    image = manifest.container_image
    if image is None or not image.digest:
        raise InputError(f"The Docker image of {asset_id} was not pushed: it has no digest.", hint=f"Push it: {again}")
    if DOCKER + SBOM not in described:
        raise InputError(f"{where} has no bill of materials of the Docker image.", hint=f"Make it anew: {again}")
    docker_repository(image, asset_id)
    return image, described


def docker_repository(image: ContainerImage, asset_id: AssetId) -> str:
    """The name without a tag. Raises ``InputError`` when the image has no tag that is the asset-id."""
    for reference in image.references:
        parsed = parse_reference(reference)
        if parsed.tag.removeprefix("v") == asset_id.value.removeprefix("v"):
            return str(parsed.repository)
    raise InputError(
        f"The Docker image has the tags {', '.join(image.references)}: none is {asset_id}.",
        hint="The version of the image and the asset-id have to be the same.",
    )


def _signature(place: DownloadPlace, prefix: str, sums: bytes, *, aws: AwsSession) -> tuple[bytes | None, str]:
    """The signature in S3, if it is one of just these sums."""
    found = aws.s3_builds().facts(place.bucket, prefix + SIGNATURE)
    if found is None or found.metadata.get(SIGNED_SUMS) != hashlib.sha256(sums).hexdigest():
        return None, ""
    return _read(aws, place.bucket, prefix + SIGNATURE), found.metadata.get(SIGNED_BY, "")
