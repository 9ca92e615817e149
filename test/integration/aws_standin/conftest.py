"""One stand-in for all tests of it, emptied before each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from test.support.aws import REGION, Aws, running_aws

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
TAGS = [{"Key": "dss-asset-id", "Value": "1.0.0"}]


@pytest.fixture(scope="session")
def running() -> Iterator[Aws]:
    with running_aws() as aws:
        yield aws


@pytest.fixture
def aws(running: Aws) -> Aws:
    running.reset()
    return running


@contextmanager
def refused(code: str, *words: str) -> Iterator[None]:
    """The block ends with AWS's error of this code, whose message has these words."""
    with pytest.raises(ClientError) as caught:
        yield
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    for each in words:
        assert each in error["Message"], error


def until(condition: Callable[[], Any], *, deadline_s: float = 10) -> Any:
    """The first true value."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)
    return found


def ubuntu(aws: Aws) -> str:
    return str(aws.client("ssm").get_parameter(Name=UBUNTU)["Parameter"]["Value"])


def specification(*kinds: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": TAGS} for kind in kinds]


def run_instance(aws: Aws, **more: Any) -> str:
    """A running instance."""
    ec2 = aws.client("ec2")
    parameters = {"ImageId": ubuntu(aws), "InstanceType": "t3.medium", "MinCount": 1, "MaxCount": 1, **more}
    instance_id = str(ec2.run_instances(**parameters)["Instances"][0]["InstanceId"])
    until(lambda: instance_of(aws, instance_id)["State"]["Name"] == "running")
    return instance_id


def instance_of(aws: Aws, instance_id: str) -> dict[str, Any]:
    found = aws.client("ec2").describe_instances(InstanceIds=[instance_id])
    return dict(found["Reservations"][0]["Instances"][0])


def image_of(aws: Aws, image_id: str) -> dict[str, Any]:
    return dict(aws.client("ec2").describe_images(ImageIds=[image_id])["Images"][0])


def make_image(aws: Aws, name: str = "sandbox", **more: Any) -> str:
    """An available image of a new instance."""
    ec2 = aws.client("ec2")
    image_id = str(ec2.create_image(InstanceId=run_instance(aws), Name=name, **more)["ImageId"])
    until(lambda: image_of(aws, image_id)["State"] == "available")
    return image_id


def make_bucket(aws: Aws, name: str = "a-bucket", region: str = REGION) -> str:
    where = {"LocationConstraint": region}
    aws.client("s3", region=region).create_bucket(Bucket=name, CreateBucketConfiguration=where)
    return name


def trust(external_id: str = "vmimport") -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "vmie.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:Externalid": external_id}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def make_role(aws: Aws, name: str = "vmimport") -> None:
    aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust())
