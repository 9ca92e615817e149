"""AMIs, snapshots, exports: against the EC2 API reference and the VM Import/Export user guide."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from test.integration.aws_standin.conftest import (
    TAGS,
    image_of,
    make_bucket,
    make_image,
    make_role,
    refused,
    run_instance,
    specification,
    trust,
    ubuntu,
    until,
)
from test.support.aws import REGION, Aws, Image, Imaged, running_aws


def test_an_image_is_pending_first_and_has_the_size_of_its_volume(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    aws.change(held=["images"])
    mapping = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30}}]
    instance_id = run_instance(aws, BlockDeviceMappings=mapping)
    made = ec2.create_image(InstanceId=instance_id, Name="a-name", TagSpecifications=specification("image", "snapshot"))
    image = image_of(aws, made["ImageId"])
    assert (image["State"], image["Tags"], image["Public"]) == ("pending", TAGS, False)
    ebs = image["BlockDeviceMappings"][0]["Ebs"]
    assert ebs["VolumeSize"] == 30
    snapshot = ec2.describe_snapshots(SnapshotIds=[ebs["SnapshotId"]])["Snapshots"][0]
    assert (snapshot["State"], snapshot["VolumeSize"], snapshot["Tags"]) == ("pending", 30, TAGS)
    with refused("InvalidAMIID.Unavailable"):
        ec2.run_instances(ImageId=made["ImageId"], MinCount=1, MaxCount=1, InstanceType="t3.medium")
    aws.change(held=[])
    until(lambda: image_of(aws, made["ImageId"])["State"] == "available")
    snapshot = ec2.describe_snapshots(SnapshotIds=[ebs["SnapshotId"]])["Snapshots"][0]
    assert (snapshot["State"], snapshot["Progress"]) == ("completed", "100%")
    assert run_instance(aws, ImageId=made["ImageId"])


def test_an_image_that_fails(aws: Aws) -> None:
    aws.change(failing_images=1)
    image_id = aws.client("ec2").create_image(InstanceId=run_instance(aws), Name="a-name")["ImageId"]
    failed = until(lambda: (found := image_of(aws, image_id))["State"] == "failed" and found)
    assert failed["StateReason"]["Code"] == "Server.InternalError"


@pytest.mark.parametrize("name", ["a:b", "a" * 129, "a#b", "ümlaut"])
def test_names_that_aws_refuses(aws: Aws, name: str) -> None:
    with refused("InvalidAMIName.Malformed", "between 3 and 128"):
        aws.client("ec2").create_image(InstanceId=run_instance(aws), Name=name)


def test_a_name_is_free_again_once_its_image_is_gone(aws: Aws) -> None:
    image_id = make_image(aws, "sandbox (1.0.0) /x-y.z @a_b'[c]")
    ec2 = aws.client("ec2")
    instance_id = run_instance(aws)
    with refused("InvalidAMIName.Duplicate", image_id):
        ec2.create_image(InstanceId=instance_id, Name="sandbox (1.0.0) /x-y.z @a_b'[c]")
    ec2.deregister_image(ImageId=image_id)
    ec2.create_image(InstanceId=instance_id, Name="sandbox (1.0.0) /x-y.z @a_b'[c]")


def test_images_of_instances_that_are_not_there_or_have_ended(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    with refused("InvalidInstanceID.NotFound"):
        ec2.create_image(InstanceId="i-0123456789abcdef0", Name="a-name")
    instance_id = run_instance(aws)
    ec2.terminate_instances(InstanceIds=[instance_id])
    with refused("IncorrectState"):
        ec2.create_image(InstanceId=instance_id, Name="a-name")


def test_a_snapshot_stays_until_its_image_is_gone(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    image_id = make_image(aws)
    snapshot_id = image_of(aws, image_id)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    with refused("InvalidSnapshot.InUse", image_id):
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    ec2.deregister_image(ImageId=image_id)
    with refused("InvalidAMIID.Unavailable"):
        ec2.deregister_image(ImageId=image_id)
    assert ec2.describe_images(ImageIds=[image_id])["Images"] == []
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    with refused("InvalidSnapshot.NotFound"):
        ec2.delete_snapshot(SnapshotId=snapshot_id)


def test_deregistering_with_the_snapshot(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    result = ec2.deregister_image(ImageId=make_image(aws), DeleteAssociatedSnapshots=True)
    assert result["DeleteSnapshotResults"][0]["ReturnCode"] == "success"
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_ids_that_lead_nowhere(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    with refused("InvalidAMIID.NotFound"):
        ec2.describe_images(ImageIds=["ami-0123456789abcdef0"])
    with refused("InvalidAMIID.Malformed"):
        ec2.describe_images(ImageIds=["ami-x"])
    with refused("InvalidSnapshot.NotFound"):
        ec2.describe_snapshots(SnapshotIds=["snap-0123456789abcdef0"])
    secret = aws.plant(Image(name="not for us", owner="111122223333", public=False))
    with refused("InvalidAMIID.NotFound"):
        ec2.describe_images(ImageIds=[secret])


def test_making_public(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    image_id = make_image(aws)
    aws.change(block_public_images=True)
    with refused("OperationNotPermitted", "block public access"):
        ec2.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"Group": "all"}]})
    aws.change(block_public_images=False)
    ec2.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [{"Group": "all"}]})
    assert image_of(aws, image_id)["Public"]
    shown = ec2.describe_image_attribute(ImageId=image_id, Attribute="launchPermission")
    assert shown["LaunchPermissions"] == [{"Group": "all"}]
    ec2.modify_image_attribute(ImageId=image_id, LaunchPermission={"Remove": [{"Group": "all"}]})
    assert not image_of(aws, image_id)["Public"]
    with refused("AuthFailure"):
        ec2.modify_image_attribute(ImageId=ubuntu(aws), LaunchPermission={"Add": [{"Group": "all"}]})


def test_thousands_of_images_come_in_pages(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    aws.plant_many(1200, tags={"dss-asset-id": "many"})
    aws.plant(Image(name="other", tags={"dss-asset-id": "many-rc1"}))
    wanted = {"Filters": [{"Name": "tag:dss-asset-id", "Values": ["many"]}]}
    pages = list(ec2.get_paginator("describe_images").paginate(Owners=["self"], MaxResults=500, **wanted))
    assert [len(page["Images"]) for page in pages] == [500, 500, 200]
    assert len({image["ImageId"] for page in pages for image in page["Images"]}) == 1200
    snapshots = list(ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], MaxResults=1000))
    assert [len(page["Snapshots"]) for page in snapshots] == [1000, 201]
    make_bucket(aws)
    aws.plant_many(1001, tags={}, bucket="a-bucket", prefix="many/")
    listed = list(aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket="a-bucket", Prefix="many/"))
    assert [len(page["Contents"]) for page in listed] == [1000, 1]
    with refused("InvalidParameterCombination"):
        ec2.describe_images(ImageIds=[ubuntu(aws)], MaxResults=10)


def test_registering_a_snapshot_with_another_boot_mode(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    ebs = image_of(aws, make_image(aws))["BlockDeviceMappings"][0]["Ebs"]
    image_id = ec2.register_image(
        Name="bios only",
        Architecture="x86_64",
        RootDeviceName="/dev/sda1",
        BootMode="legacy-bios",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": ebs["SnapshotId"]}}],
        TagSpecifications=specification("image"),
    )["ImageId"]
    image = image_of(aws, image_id)
    assert (image["State"], image["BootMode"], image["Tags"]) == ("available", "legacy-bios", TAGS)
    assert image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] == ebs["SnapshotId"]


def test_copies_into_another_region(aws: Aws) -> None:
    ec2 = aws.client("ec2", region="us-east-1")
    copied = ec2.copy_image(SourceRegion=REGION, SourceImageId=make_image(aws), Name="copied")["ImageId"]
    shown = until(
        lambda: [each for each in ec2.describe_images(ImageIds=[copied])["Images"] if each["State"] != "pending"]
    )
    assert shown[0]["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 8


# Exports


def _export(aws: Aws, image_id: str, disk_format: str = "RAW", **more: Any) -> dict[str, Any]:
    location = {"S3Bucket": "a-bucket", "S3Prefix": "exports/"}
    parameters = {"ImageId": image_id, "DiskImageFormat": disk_format, "S3ExportLocation": location, **more}
    return dict(aws.client("ec2").export_image(**parameters))


def _task(aws: Aws, task_id: str) -> dict[str, Any]:
    return dict(aws.client("ec2").describe_export_image_tasks(ExportImageTaskIds=[task_id])["ExportImageTasks"][0])


def _ended(aws: Aws, task_id: str) -> dict[str, Any]:
    return dict(until(lambda: (found := _task(aws, task_id))["Status"] in ("completed", "deleted") and found))


@pytest.fixture
def prepared(aws: Aws) -> Aws:
    make_bucket(aws)
    make_role(aws)
    return aws


@pytest.mark.parametrize(("disk_format", "qemus"), [("VMDK", "vmdk"), ("VHD", "vpc"), ("RAW", "raw")])
def test_an_export_leaves_the_bytes_of_the_disk(prepared: Aws, tmp_path: Path, disk_format: str, qemus: str) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(range(256)) * 4096 * 3)
    prepared.change(disk_file=str(disk))
    more = {"TagSpecifications": specification("export-image-task"), "Description": "for the test"}
    task = _export(prepared, make_image(prepared), disk_format, **more)
    assert (task["Status"], task["Progress"], task["Tags"]) == ("active", "0", TAGS)
    ended = _ended(prepared, task["ExportImageTaskId"])
    assert ended["Status"] == "completed"
    assert "Progress" not in ended
    key = f"exports/{task['ExportImageTaskId']}.{disk_format.lower()}"
    exported = tmp_path / "exported"
    exported.write_bytes(prepared.client("s3").get_object(Bucket="a-bucket", Key=key)["Body"].read())
    raw = tmp_path / "raw"
    subprocess.run(["qemu-img", "convert", "-f", qemus, "-O", "raw", str(exported), str(raw)], check=True)
    size = disk.stat().st_size
    assert raw.read_bytes()[:size] == disk.read_bytes()
    if disk_format == "VMDK":
        assert b'createType="streamOptimized"' in exported.read_bytes()[:2048]


def test_progress_grows_and_has_a_message(prepared: Aws) -> None:
    prepared.change(export_s=1.0)
    task_id = _export(prepared, make_image(prepared))["ExportImageTaskId"]
    seen = []

    def ended() -> bool:
        task = _task(prepared, task_id)
        if task["Status"] == "active":
            seen.append((int(task["Progress"]), task["StatusMessage"]))
        return str(task["Status"]) == "completed"

    until(ended)
    assert seen == sorted(seen, key=lambda each: each[0])
    assert {message for _, message in seen} >= {"updating", "converting"}


def test_a_client_token_makes_one_export(prepared: Aws) -> None:
    image_id = make_image(prepared)
    first, second = (_export(prepared, image_id, ClientToken="t")["ExportImageTaskId"] for _ in range(2))
    assert first == second
    with refused("IdempotentParameterMismatch"):
        _export(prepared, image_id, "VMDK", ClientToken="t")


def test_what_can_not_be_exported(prepared: Aws) -> None:
    with refused("NotExportable", "marketplace"):
        _export(prepared, prepared.plant(Image(name="a product", product_code="abc")))
    with refused("NotExportable", "encrypted"):
        _export(prepared, prepared.plant(Image(name="a secret", encrypted=True)))
    with refused("NotExportable", "shared from another"):
        _export(prepared, prepared.plant(Image(name="another's", owner="111122223333")))
    with refused("InvalidAMIID.NotFound"):
        _export(prepared, "ami-0123456789abcdef0")
    with refused("InvalidParameterValue", "DiskImageFormat"):
        _export(prepared, make_image(prepared), "OVA")
    hybrid = prepared.plant(Image(name="hybrid", boot_mode="uefi-preferred"))
    ended = _ended(prepared, _export(prepared, hybrid)["ExportImageTaskId"])
    assert ended["Status"] == "deleted"
    assert "both BIOS and UEFI" in ended["StatusMessage"]


def test_an_export_needs_role_and_bucket(aws: Aws) -> None:
    image_id = make_image(aws)
    with refused("InvalidParameter", "bucket"):
        _export(aws, image_id)
    make_bucket(aws)
    with refused("InvalidParameter", "service role vmimport"):
        _export(aws, image_id)
    aws.client("iam").create_role(RoleName="mine", AssumeRolePolicyDocument=trust("other"))
    with refused("InvalidParameter", "service role mine"):
        _export(aws, image_id, RoleName="mine")
    make_role(aws)
    make_bucket(aws, "far-away", "eu-west-1")
    with refused("InvalidParameter", "far-away"):
        _export(aws, image_id, S3ExportLocation={"S3Bucket": "far-away"})
    assert _export(aws, image_id)["RoleName"] == "vmimport"


def test_an_export_that_fails_and_one_that_hangs_and_is_cancelled(prepared: Aws) -> None:
    prepared.change(failing_exports=1, hanging_exports=1)
    images = [prepared.plant(Image(name=f"image {number}")) for number in range(3)]
    failing, hanging, good = (_export(prepared, each)["ExportImageTaskId"] for each in images)
    failed = _ended(prepared, failing)
    assert (failed["Status"], "InternalError" in failed["StatusMessage"]) == ("deleted", True)
    assert _ended(prepared, good)["Status"] == "completed"
    assert until(lambda: _task(prepared, hanging).get("Progress") == "85")
    ec2 = prepared.client("ec2")
    prepared.change(held=["exports"])
    ec2.cancel_export_task(ExportTaskId=hanging)
    assert _task(prepared, hanging)["Status"] == "deleting"
    prepared.change(held=[])
    assert _ended(prepared, hanging)["Status"] == "deleted"
    with refused("IncorrectState"):
        ec2.cancel_export_task(ExportTaskId=good)
    with refused("InvalidExportTaskID.NotFound"):
        ec2.cancel_export_task(ExportTaskId="export-ami-0123456789abcdef0")
    objects = prepared.client("s3").list_objects_v2(Bucket="a-bucket")["Contents"]
    assert [each["Key"] for each in objects] == [f"exports/{good}.raw"]


def test_as_many_at_a_time_as_the_account_may(prepared: Aws) -> None:
    prepared.change(export_limit=2, held=["exports"])
    for number in range(2):
        _export(prepared, prepared.plant(Image(name=f"image {number}")))
    with refused("ResourceLimitExceeded"):
        _export(prepared, prepared.plant(Image(name="one too many")))


def test_an_image_is_exported_once_at_a_time(prepared: Aws) -> None:
    prepared.change(held=["exports"])
    image_id = make_image(prepared)
    first = _export(prepared, image_id, "VMDK")["ExportImageTaskId"]
    with refused("InvalidParameter", "in progress"):
        _export(prepared, image_id, "VHD")
    prepared.change(held=[])
    assert _ended(prepared, first)["Status"] == "completed"
    assert _export(prepared, image_id, "VHD")["Status"] == "active"


def test_export_tasks_are_found_by_tag(prepared: Aws) -> None:
    image_id = make_image(prepared)
    tagged = _export(prepared, image_id, TagSpecifications=specification("export-image-task"))["ExportImageTaskId"]
    _export(prepared, prepared.plant(Image(name="another")))
    wanted = [{"Name": "tag:dss-asset-id", "Values": ["1.0.0"]}]
    ec2 = prepared.client("ec2")
    found = ec2.describe_export_image_tasks(Filters=wanted)["ExportImageTasks"]
    assert [each["ExportImageTaskId"] for each in found] == [tagged]
    pages = list(ec2.get_paginator("describe_export_image_tasks").paginate(MaxResults=1))
    assert [len(page["ExportImageTasks"]) for page in pages] == [1, 1]


def test_the_tests_disk_is_what_an_image_of_its_machine_exports(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"the machine's own".ljust(1 << 20, b"\0"))
    heard: list[Imaged] = []

    def on_image(each: Imaged) -> Path:
        heard.append(each)
        return disk

    with running_aws(on_image=on_image) as aws:
        make_bucket(aws)
        make_role(aws)
        image_id = make_image(aws)
        assert [each.image_id for each in heard] == [image_id]
        task_id = _export(aws, image_id)["ExportImageTaskId"]
        assert _ended(aws, task_id)["Status"] == "completed"
        body = aws.client("s3").get_object(Bucket="a-bucket", Key=f"exports/{task_id}.raw")["Body"].read()
        assert body == disk.read_bytes()
