"""What a finished build leaves in AWS, without building: AMI, images, descriptions; the folder of a Docker build."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exasol_like_dss.lib.assets.names import BUCKET_STACK, OUTPUT_BUCKET, OUTPUT_DOMAIN, OUTPUT_SIGNING_KEY
from exasol_like_dss.lib.images.ami import PROVISIONED, VERIFIED
from exasol_like_dss.lib.publishing.checksums import write_sha256sums
from exasol_like_dss.lib.publishing.manifest import Artifact, ContainerImage, Manifest, Verification, write_manifest
from test.support.aws import REGION, Aws, Image

BUCKET, DOMAIN, KEY_ID = "dss-vm-images", "d111111abcdef8.cloudfront.net", "K2JCJMDEHXQW5F"
DIGEST = "sha256:" + "ab" * 32
DOCKER_REPOSITORY = "registry.example.org/exasol/data-science-sandbox"


def bucket_stack(aws: Aws, *, outputs: dict[str, str] | None = None) -> None:
    """The permanent stack, as far as a release looks at it."""
    known = {OUTPUT_DOMAIN: DOMAIN, OUTPUT_SIGNING_KEY: KEY_ID} if outputs is None else outputs
    template: dict[str, Any] = {
        "Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": BUCKET}}},
        "Outputs": {
            OUTPUT_BUCKET: {"Value": {"Ref": "Bucket"}},
            **{name: {"Value": text} for name, text in known.items()},
        },
    }
    client = aws.client("cloudformation")
    client.create_stack(StackName=BUCKET_STACK, TemplateBody=json.dumps(template))
    client.get_waiter("stack_create_complete").wait(StackName=BUCKET_STACK, WaiterConfig={"Delay": 0.1})


@dataclass(frozen=True)
class PlantedBuild:
    """A build in the stand-in. image_id: of its AMI."""

    aws: Aws
    asset_id: str
    image_id: str

    def key(self, name: str) -> str:
        return f"data_science_sandbox/{self.asset_id}/{name}"

    def read(self, name: str) -> bytes:
        data: bytes = self.aws.client("s3").get_object(Bucket=BUCKET, Key=self.key(name))["Body"].read()
        return data

    def names(self) -> list[str]:
        rows = self.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=self.key("")).get("Contents", [])
        return sorted(row["Key"].rpartition("/")[2] for row in rows)

    def put(self, name: str, data: bytes, **metadata: str) -> None:
        self.aws.client("s3").put_object(
            Bucket=BUCKET, Key=self.key(name), Body=data, Metadata={k.replace("_", "-"): v for k, v in metadata.items()}
        )

    def delete(self, name: str) -> None:
        self.aws.client("s3").delete_object(Bucket=BUCKET, Key=self.key(name))

    def untag(self, tag: str) -> None:
        self.aws.client("ec2").delete_tags(Resources=[self.image_id], Tags=[{"Key": tag}])

    @property
    def public(self) -> bool:
        (row,) = self.aws.client("ec2").describe_images(ImageIds=[self.image_id])["Images"]
        return bool(row["Public"])


def report(*, passed: bool = True) -> bytes:
    checks = [{"name": "login", "passed": True, "seen": "ok", "boot": "1"}]
    checks += [] if passed else [{"name": "network", "passed": False, "seen": "none", "boot": "1"}]
    return json.dumps({"image": "x", "passed": passed, "checks": checks}).encode()


def _manifest(asset_id: str, **more: Any) -> Manifest:
    basic = Manifest(
        asset_id=asset_id, tool_version="0.1.0", edition="sandbox", base="ubuntu-24.04",
        created=datetime(2026, 1, 1, tzinfo=UTC), verification=Verification.PASSED, artifacts=(), inputs={},
        versions={}, seconds_per_step={},
    )  # fmt: skip
    return replace(basic, **more)


def plant_build(
    aws: Aws, asset_id: str, *, verification: Verification = Verification.PASSED, passed: bool = True
) -> PlantedBuild:
    """AMI and objects, as ``create-vm --builder ec2`` leaves them."""
    image_id = aws.plant(
        Image(
            name=f"exasol-like-dss-{asset_id}", public=False,
            tags={"dss-asset-id": asset_id, VERIFIED: "2026-01-01T00:00:00+00:00", PROVISIONED: "v1"},
        )
    )  # fmt: skip
    build = PlantedBuild(aws, asset_id, image_id)
    artifacts = []
    for image_format in ("VMDK", "OVA"):
        name, data = f"exasol-like-dss-{asset_id}.{image_format.lower()}", f"{image_format} of {asset_id}".encode() * 99
        build.put(name, data, dss_image_id=image_id)
        artifacts.append(Artifact(name, image_format, len(data), hashlib.sha256(data).hexdigest(), 8 << 30))
    manifest = _manifest(
        asset_id, verification=verification, artifacts=tuple(artifacts),
        inputs={"builder": "ec2", "region": REGION, "image_id": image_id},
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        place = Path(folder)
        write_manifest(manifest, place / "manifest.json")
        (place / "sbom.cdx.json").write_text('{"bomFormat": "CycloneDX"}')
        (place / "verification.json").write_bytes(report(passed=passed))
        small = [place / name for name in ("sbom.cdx.json", "verification.json", "manifest.json")]
        write_sha256sums([*artifacts, *small], place / "SHA256SUMS")
        for file in (*small, place / "SHA256SUMS"):
            build.put(file.name, file.read_bytes())
    return build


def docker_folder(
    folder: Path,
    asset_id: str,
    *,
    digest: str | None = DIGEST,
    repository: str = DOCKER_REPOSITORY,
    verification: Verification = Verification.PASSED,
) -> Path:
    """What ``create-docker-image`` leaves."""
    folder.mkdir(exist_ok=True)
    image = ContainerImage((f"{repository}:{asset_id}",), "sha256:" + "cd" * 32, digest, 1 << 30, ())
    manifest = _manifest(asset_id, edition="docker", container_image=image, verification=verification)
    write_manifest(manifest, folder / "manifest.json")
    (folder / "sbom.cdx.json").write_text('{"bomFormat": "CycloneDX", "of": "docker"}')
    (folder / "verification.json").write_bytes(report())
    return folder
