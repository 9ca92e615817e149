"""Images become AMIs, and AMIs images, through the EBS direct API; what comes out is what went in."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from exasol_like_dss.lib.images import snapshot_writing
from test.support.aws import EXPIRED, Fault, Image
from test.support.command import Done
from test.support.planted_assets import BUCKET, ID, Commands
from test.support.small_disk import small_disk

STEM = f"exasol-like-dss-{ID}"
#: The blocks of ``small_disk``: the first, three of random data, the last.
BLOCKS = 5


def imported(commands: Commands, image: Path, *more: str) -> dict[str, Any]:
    done = commands.run("import-ami", image, "--asset-id", ID, "--output", "json", *more)
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def exported(commands: Commands, ami: str, *formats: str) -> Done:
    options = [word for name in formats for word in ("--vm-image-format", name)]
    return commands.run("export-vm", "--ami-id", ami, "--export-method", "direct", *options)


def effects(commands: Commands, name: str) -> int:
    return sum(call.effect for call in commands.aws.calls if call.name == name)


def compare(source: Path, driver: str, made: Path) -> None:
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", driver, str(source), str(made)], check=True)


def fetched(commands: Commands, name: str) -> Path:
    target = commands.folder / name
    key = f"data_science_sandbox/{ID}/{name}"
    commands.aws.client("s3").download_file(BUCKET, key, str(target))
    return target


def test_what_comes_out_is_what_went_in(commands: Commands) -> None:
    """Tokens expire on the way, lists have pages, and a block is damaged."""
    disk = small_disk(commands.folder, blocks=tuple(range(1, 120, 2)))
    commands.aws.change(ebs_page=20, ebs_token_reads=150, ebs_damaged_blocks=1)
    made = imported(commands, disk)
    assert made["blocks"] == made["blocks_written"] == 62
    (image,) = commands.aws.client("ec2").describe_images(Owners=["self"])["Images"]
    assert (image["Name"], image["BootMode"], image["ImdsSupport"], image["EnaSupport"], image["Architecture"]) == (
        STEM, "uefi-preferred", "v2.0", True, "x86_64"
    )  # fmt: skip
    tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
    assert (tags["dss-asset-id"], len(tags["dss-content"])) == (ID, 32)
    (snapshot,) = commands.aws.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}["dss-asset-id"] == ID

    done = exported(commands, made["image_id"], "VMDK", "OVA")
    assert done.code == 0, done.err
    assert effects(commands, "ec2:ExportImage") == 0
    vmdk, ova = fetched(commands, f"{STEM}.vmdk"), fetched(commands, f"{STEM}.ova")
    compare(disk, "vmdk", vmdk)
    subprocess.run(["qemu-img", "check", "-q", "-f", "vmdk", str(vmdk)], check=True)
    subprocess.run(["tar", "-xf", str(ova)], cwd=commands.folder, check=True)
    compare(disk, "vmdk", vmdk)  # now that of the OVA
    manifest = json.loads(fetched(commands, "manifest.json").read_text())
    assert manifest["inputs"]["export_method"] == "direct"
    assert [row["format"] for row in manifest["artifacts"]] == ["VMDK", "OVA"]
    fetched(commands, "SHA256SUMS")
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=commands.folder, check=True)
    keys = [one["Key"] for one in commands.aws.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert sorted(key.rpartition("/")[2] for key in keys) == sorted(
        ["SHA256SUMS", f"{STEM}.ova", f"{STEM}.vmdk", "manifest.json"]
    )


def test_running_it_again_changes_nothing(commands: Commands) -> None:
    disk = small_disk(commands.folder)
    first = imported(commands, disk)
    second = imported(commands, disk)
    assert (second["image_id"], second["blocks_written"]) == (first["image_id"], 0)
    assert exported(commands, first["image_id"], "VMDK").code == 0
    commands.aws.clear()
    again = exported(commands, first["image_id"], "VMDK")
    assert again.code == 0
    assert "All images are there" in again.err
    assert effects(commands, "ebs:GetSnapshotBlock") == 0


def test_another_content_under_the_same_asset_id(commands: Commands) -> None:
    imported(commands, small_disk(commands.folder))
    other = small_disk(commands.folder, name="other.raw", blocks=(7,))
    done = commands.run("import-ami", other, "--asset-id", ID)
    assert done.code == 2
    assert "has this asset-id, and another content" in done.err


def test_an_import_goes_on_with_what_is_written(commands: Commands) -> None:
    disk = small_disk(commands.folder, blocks=tuple(range(100)))
    commands.aws.inject(Fault(action="PutSnapshotBlock", nth=60, times=10**6, code=EXPIRED))
    with mock.patch.object(snapshot_writing, "_NOTED_BLOCKS", 10), mock.patch("exasol_like_dss.lib.pace._MOST", 4):
        done = commands.run("import-ami", disk, "--asset-id", ID)
        assert done.code == 2
        assert "have expired" in done.err
        commands.aws.inject()
        (left,) = commands.show("--asset-id", ID)["assets"]
        assert (left["kind"], left["state"], left["marks"]) == ("snapshot", "pending", ["without an AMI"])
        commands.aws.clear()
        made = imported(commands, disk)
    # What was confirmed behind the last note is written once more.
    assert 101 - 59 <= made["blocks_written"] < 101
    assert effects(commands, "ebs:PutSnapshotBlock") == made["blocks_written"]
    assert effects(commands, "ebs:StartSnapshot") == 0
    assert exported(commands, made["image_id"], "VMDK").code == 0
    compare(disk, "vmdk", fetched(commands, f"{STEM}.vmdk"))


def test_a_wrong_note_is_found_out_by_the_checksum(commands: Commands) -> None:
    disk = small_disk(commands.folder)
    commands.aws.inject(Fault(action="PutSnapshotBlock", nth=1, times=10**6, code=EXPIRED))
    assert commands.run("import-ami", disk, "--asset-id", ID).code == 2
    commands.aws.inject()
    ec2 = commands.aws.client("ec2")
    (snapshot,) = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    ec2.create_tags(Resources=[snapshot["SnapshotId"]], Tags=[{"Key": "dss-written", "Value": "3"}])
    made = imported(commands, disk)
    assert made["snapshot_id"] == snapshot["SnapshotId"]
    assert made["blocks_written"] == BLOCKS - 3 + BLOCKS


def test_import_after_a_clean_up(commands: Commands) -> None:
    """AWS remembers the token of a snapshot that is gone."""
    disk = small_disk(commands.folder)
    first = imported(commands, disk)
    assert commands.cleanup().code == 0
    second = imported(commands, disk)
    assert second["snapshot_id"] != first["snapshot_id"]
    assert second["blocks_written"] == BLOCKS


def test_a_snapshot_that_is_not_known_everywhere_yet(commands: Commands) -> None:
    commands.aws.change(ebs_unseen_puts=4)
    assert imported(commands, small_disk(commands.folder))["blocks_written"] == BLOCKS


@pytest.mark.parametrize("limit", [{"ebs_at_once": 3}, {"ebs_per_second": 120.0, "ebs_retry_after_s": 0.05}])
def test_limits_of_the_account_are_obeyed(commands: Commands, limit: dict[str, float]) -> None:
    disk = small_disk(commands.folder, blocks=tuple(range(120)))
    commands.aws.change(**limit, ebs_slow_every=10, ebs_slow_s=0.02)
    made = imported(commands, disk)
    assert made["blocks_written"] == 121
    answers = Counter(call.code for call in commands.aws.calls if call.name == "ebs:PutSnapshotBlock")
    assert answers[""] == 121, "botocore repeats nothing, and what is throttled goes again"
    # With all that may go at once, and no obedience, nearly every second one would be refused.
    assert answers["RequestThrottledException"] <= 45, answers


@pytest.mark.parametrize("kind", ["qcow2", "vpc", "vmdk"])
def test_images_of_other_formats(commands: Commands, kind: str) -> None:
    disk = small_disk(commands.folder)
    other = commands.folder / f"disk.{kind}"
    options = {"vpc": ["-o", "subformat=fixed,force_size=on"], "vmdk": ["-o", "subformat=streamOptimized"]}.get(
        kind, []
    )
    subprocess.run(["qemu-img", "convert", "-O", kind, *options, str(disk), str(other)], check=True)
    made = imported(commands, other, "--boot-mode", "legacy-bios", "--work-directory", str(commands.folder / "work"))
    assert made["blocks"] == BLOCKS
    again = imported(commands, disk)
    assert again["image_id"] == made["image_id"], "the same content"
    assert not list((commands.folder / "work").glob("*"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.raw", None, "There is no file"),
        ("empty.raw", b"", "is empty"),
        ("text.raw", b"nothing of the kind" * 1000, "is no disk image"),
    ],
)
def test_what_is_no_image(commands: Commands, name: str, content: bytes | None, says: str) -> None:
    path = commands.folder / name
    if content is not None:
        path.write_bytes(content)
    done = commands.run("import-ami", path)
    assert done.code == 2
    assert says in done.err
    assert commands.aws.calls == []


def test_a_hybrid_ami_is_exported_directly(commands: Commands) -> None:
    ami = commands.aws.plant(Image(name=STEM, size_gib=1, boot_mode="uefi-preferred", tags={"dss-asset-id": ID}))
    refused = commands.run("export-vm", "--ami-id", ami, "--export-method", "vm-export")
    assert refused.code == 2
    assert "boots with both BIOS and UEFI" in refused.err and "--export-method direct" in refused.err
    done = commands.run("export-vm", "--ami-id", ami, "--vm-image-format", "VMDK")
    assert done.code == 0, done.err
    assert "read from a snapshot (--export-method direct)" in done.err
    subprocess.run(["qemu-img", "check", "-q", "-f", "vmdk", str(fetched(commands, f"{STEM}.vmdk"))], check=True)
