"""Instances, key pairs, security groups: against "Error codes for the Amazon EC2 API" and the API reference."""

from __future__ import annotations

import time
from typing import Any

import pytest

from test.integration.aws_standin.conftest import (
    TAGS,
    instance_of,
    refused,
    run_instance,
    specification,
    ubuntu,
    until,
)
from test.support.aws import Aws, Image, Machine, Started, running_aws


def _parameters(aws: Aws, **more: Any) -> dict[str, Any]:
    return {"ImageId": ubuntu(aws), "InstanceType": "t3.medium", "MinCount": 1, "MaxCount": 1, **more}


def test_pending_then_running_with_an_address_then_shutting_down_then_terminated(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    aws.change(held=["instances"])
    made = ec2.run_instances(**_parameters(aws, TagSpecifications=specification("instance", "volume")))["Instances"][0]
    assert made["State"]["Name"] == "pending"
    assert "PublicIpAddress" not in made
    aws.change(held=[])
    instance_id = made["InstanceId"]
    until(lambda: instance_of(aws, instance_id)["State"]["Name"] == "running")
    running = instance_of(aws, instance_id)
    assert running["PublicIpAddress"] == running["PublicDnsName"] == "127.77.0.2"
    assert running["Tags"] == TAGS
    volume = ec2.describe_volumes(Filters=[{"Name": "tag:dss-asset-id", "Values": ["1.0.0"]}])["Volumes"][0]
    assert volume["Size"] == 8
    aws.change(held=["instances"])
    gone = ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"][0]
    assert (gone["PreviousState"]["Name"], gone["CurrentState"]["Name"]) == ("running", "shutting-down")
    assert instance_of(aws, instance_id)["State"]["Name"] == "shutting-down"
    aws.change(held=[])
    until(lambda: instance_of(aws, instance_id)["State"]["Name"] == "terminated")
    assert "PublicIpAddress" not in instance_of(aws, instance_id)
    assert ec2.describe_volumes()["Volumes"] == []
    again = ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"][0]
    assert again["CurrentState"]["Name"] == "terminated"


def test_a_client_token_makes_one_instance(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    parameters = _parameters(aws, ClientToken="a-token")
    first, second = (ec2.run_instances(**parameters)["Instances"][0]["InstanceId"] for _ in range(2))
    assert first == second
    with refused("IdempotentParameterMismatch"):
        ec2.run_instances(**{**parameters, "InstanceType": "t3.large"})


def test_what_is_new_may_not_be_there_at_first(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    aws.change(unseen_looks=2)
    made = ec2.run_instances(**_parameters(aws))["Instances"][0]
    for _ in range(2):
        with refused("InvalidInstanceID.NotFound"):
            ec2.describe_instances(InstanceIds=[made["InstanceId"]])
    until(lambda: instance_of(aws, made["InstanceId"])["State"]["Name"] == "running")
    image_id = ec2.create_image(InstanceId=made["InstanceId"], Name="sandbox")["ImageId"]
    for _ in range(2):
        with refused("InvalidAMIID.NotFound"):
            ec2.describe_images(ImageIds=[image_id])
    assert ec2.describe_images(ImageIds=[image_id])["Images"]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"ImageId": "ami-1"}, "InvalidAMIID.Malformed", "ami-1"),
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound", "does not exist"),
        ({"InstanceType": "t3.tiny"}, "InvalidParameterValue", "InstanceType"),
        ({"InstanceType": "t4g.medium"}, "InvalidParameterValue", "architecture"),
        ({"InstanceType": "m5.24xlarge"}, "VcpuLimitExceeded", "vCPU limit of 32"),
        ({"KeyName": "none"}, "InvalidKeyPair.NotFound", "'none'"),
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound", "subnet"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound", "sg-"),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 4}}]},
            "InvalidBlockDeviceMapping",
            "expect size >= 8GB",
        ),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 99999}}]},
            "InvalidParameterValue",
            "too large",
        ),
        ({"TagSpecifications": [{"ResourceType": "image", "Tags": TAGS}]}, "InvalidParameterValue", "image"),
        (
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": ""}]}]},
            "InvalidParameterValue",
            "reserved",
        ),
        ({"DryRun": True}, "DryRunOperation", "would have succeeded"),
    ],
)
def test_what_is_refused_before_anything_starts(aws: Aws, changes: dict[str, Any], code: str, words: str) -> None:
    with refused(code, words):
        aws.client("ec2").run_instances(**{**_parameters(aws), **changes})
    assert aws.client("ec2").describe_instances()["Reservations"] == []


def test_sold_out(aws: Aws) -> None:
    aws.change(sold_out=["t3.*"])
    with refused("InsufficientInstanceCapacity", "sufficient t3.medium capacity"):
        aws.client("ec2").run_instances(**_parameters(aws))
    run_instance(aws, InstanceType="m5.large")


def test_a_larger_root_volume_and_imds_version_2(aws: Aws) -> None:
    instance_id = run_instance(
        aws,
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 100, "VolumeType": "gp3"}}],
        MetadataOptions={"HttpTokens": "required"},
    )
    assert instance_of(aws, instance_id)["MetadataOptions"]["HttpTokens"] == "required"
    volumes = aws.client("ec2").describe_volumes()["Volumes"]
    assert [(each["Size"], each["VolumeType"], each["State"]) for each in volumes] == [(100, "gp3", "in-use")]


def test_the_console_shows_the_host_keys_as_cloud_init_prints_them(aws: Aws) -> None:
    aws.change(held=["consoles"])
    instance_id = run_instance(aws)
    ec2 = aws.client("ec2")
    assert "Output" not in ec2.get_console_output(InstanceId=instance_id)
    aws.change(held=[])
    text = until(lambda: ec2.get_console_output(InstanceId=instance_id).get("Output"))
    begin, end = "-----BEGIN SSH HOST KEY KEYS-----\n", "-----END SSH HOST KEY KEYS-----\n"
    keys = text.split(begin)[1].split(end)[0].splitlines()
    assert [line.split()[0] for line in keys] == ["ssh-ed25519"]
    aws.console(instance_id, "Kernel panic\n")
    assert ec2.get_console_output(InstanceId=instance_id)["Output"].endswith("Kernel panic\n")
    with refused("InvalidInstanceID.NotFound"):
        ec2.get_console_output(InstanceId="i-0123456789abcdef0")
    with refused("InvalidInstanceID.Malformed"):
        ec2.get_console_output(InstanceId="i-1")


def test_a_security_group_can_be_removed_once_its_instances_have_ended(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    with refused("InvalidGroup.Duplicate"):
        ec2.create_security_group(GroupName="g", Description="d")
    instance_id = run_instance(aws, SecurityGroupIds=[group])
    with refused("DependencyViolation", group):
        ec2.delete_security_group(GroupId=group)
    aws.change(held=["instances"])
    ec2.terminate_instances(InstanceIds=[instance_id])
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    aws.change(held=[])
    until(lambda: instance_of(aws, instance_id)["State"]["Name"] == "terminated")
    ec2.delete_security_group(GroupId=group)
    with refused("InvalidGroup.NotFound"):
        ec2.delete_security_group(GroupId=group)


def test_key_pairs_by_name_and_id(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    made = ec2.create_key_pair(KeyName="mine", KeyType="ed25519", TagSpecifications=specification("key-pair"))
    assert made["KeyMaterial"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    found = ec2.describe_key_pairs(KeyPairIds=[made["KeyPairId"]], IncludePublicKey=True)["KeyPairs"]
    assert [(each["KeyName"], each["Tags"], each["PublicKey"].split()[0]) for each in found] == [
        ("mine", TAGS, "ssh-ed25519")
    ]
    with refused("InvalidKeyPair.NotFound"):
        ec2.describe_key_pairs(KeyNames=["other"])
    assert ec2.delete_key_pair(KeyPairId=made["KeyPairId"])["Return"]
    assert ec2.delete_key_pair(KeyName="mine")["Return"]
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_the_tests_machine_stands_behind_the_instance() -> None:
    started: list[Started] = []
    ended: list[str] = []

    def on_instance(each: Started) -> Machine:
        started.append(each)
        return Machine("127.0.0.9", ("ssh-ed25519 AAAA",), "booting\n")

    with running_aws(on_instance=on_instance, on_termination=ended.append) as aws:
        ec2 = aws.client("ec2")
        public = ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
        instance_id = run_instance(
            aws, KeyName="mine", UserData="#!/bin/sh\nexit", TagSpecifications=specification("instance")
        )
        assert instance_of(aws, instance_id)["PublicIpAddress"] == "127.0.0.9"
        (found,) = started
        assert (found.instance_id, found.key_name, found.user_data) == (instance_id, "mine", "#!/bin/sh\nexit")
        assert found.tags == {"dss-asset-id": "1.0.0"}
        assert found.public_key.startswith("ssh-ed25519 ")
        assert public["KeyMaterial"]
        text = until(lambda: ec2.get_console_output(InstanceId=instance_id).get("Output"))
        assert "booting\n-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA root@" in text
        ec2.terminate_instances(InstanceIds=[instance_id])
        until(lambda: ended == [instance_id])


def test_a_machine_that_fails_fails_the_test() -> None:
    def on_instance(_: Started) -> Machine:
        raise OSError("no container")

    with pytest.raises(AssertionError, match="no container"), running_aws(on_instance=on_instance) as aws:
        aws.client("ec2").run_instances(**_parameters(aws))
        time.sleep(0.5)


def test_tags_only_for_what_is_there(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    image_id = aws.plant(Image(name="planted"))
    ec2.create_tags(Resources=[image_id], Tags=TAGS)
    assert ec2.describe_tags(Filters=[{"Name": "key", "Values": ["dss-asset-id"]}])["Tags"][0]["ResourceId"] == image_id
    for resource_id, code in (
        ("ami-0123456789abcdef0", "InvalidAMIID.NotFound"),
        ("snap-0123456789abcdef0", "InvalidSnapshot.NotFound"),
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("vol-0123456789abcdef0", "InvalidVolume.NotFound"),
    ):
        with refused(code):
            ec2.create_tags(Resources=[resource_id], Tags=TAGS)
