"""CloudFormation: against its user guide ("Stack events", "Stack failure options") and API reference."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from test.integration.aws_standin.conftest import TAGS, instance_of, refused, run_instance, trust, ubuntu, until
from test.support.aws import ACCOUNT, Aws

MACHINE = """\
Description: a build machine
Parameters:
  Image: {Type: String}
  Cidr: {Type: String, AllowedPattern: '[0-9./]+', Default: 192.0.2.1/32}
  Mode: {Type: String, Default: plain, AllowedValues: [plain, with-bucket]}
Conditions:
  WithBucket: !Equals [!Ref Mode, with-bucket]
Resources:
  Key:
    Type: AWS::EC2::KeyPair
    Properties: {KeyName: !Sub '${AWS::StackName}-key', KeyType: ed25519}
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: ssh
      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: 22, ToPort: 22, CidrIp: !Ref Cidr}]
  Machine:
    Type: AWS::EC2::Instance
    Properties:
      ImageId: !Ref Image
      InstanceType: t3.medium
      KeyName: !Ref Key
      SecurityGroupIds: [!GetAtt Group.GroupId]
      PropagateTagsToVolumeOnCreation: true
  Bucket:
    Type: AWS::S3::Bucket
    Condition: WithBucket
Outputs:
  Address: {Value: !GetAtt Machine.PublicIp}
  Bucket: {Value: !Ref Bucket, Condition: WithBucket}
"""

BLOCKED = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


def _create(aws: Aws, template: str = MACHINE, *, name: str = "sandbox", **more: Any) -> str:
    parameters = [{"ParameterKey": "Image", "ParameterValue": ubuntu(aws)}] if template == MACHINE else []
    given = {"StackName": name, "TemplateBody": template, "Parameters": parameters, "Tags": TAGS, **more}
    return str(aws.client("cloudformation").create_stack(**given)["StackId"])


def _stack(aws: Aws, stack_id: str) -> dict[str, Any]:
    return dict(aws.client("cloudformation").describe_stacks(StackName=stack_id)["Stacks"][0])


def _ended(aws: Aws, stack_id: str) -> dict[str, Any]:
    return dict(until(lambda: not (found := _stack(aws, stack_id))["StackStatus"].endswith("IN_PROGRESS") and found))


def _events(aws: Aws, stack_id: str) -> list[tuple[str, str]]:
    """The oldest first."""
    found = aws.client("cloudformation").describe_stack_events(StackName=stack_id)["StackEvents"]
    return [(each["LogicalResourceId"], each["ResourceStatus"]) for each in reversed(found)]


def _reason(aws: Aws, stack_id: str, status: str) -> str:
    found = aws.client("cloudformation").describe_stack_events(StackName=stack_id)["StackEvents"]
    return str(next(each["ResourceStatusReason"] for each in found if each["ResourceStatus"] == status))


def _one(kind: str, **properties: Any) -> str:
    return json.dumps({"Resources": {"It": {"Type": kind, "Properties": properties}}})


def test_creation_goes_resource_by_resource_with_events(aws: Aws) -> None:
    aws.change(held=["stacks"])
    stack_id = _create(aws)
    assert _stack(aws, stack_id)["StackStatus"] == "CREATE_IN_PROGRESS"
    aws.change(held=[])
    stack = _ended(aws, stack_id)
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert [each["OutputKey"] for each in stack["Outputs"]] == ["Address"]
    events = _events(aws, stack_id)
    assert events[0] == ("sandbox", "CREATE_IN_PROGRESS")
    assert events[-1] == ("sandbox", "CREATE_COMPLETE")
    for name in ("Key", "Group", "Machine"):
        told = [status for logical, status in events if logical == name]
        assert told == ["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"]
    assert events.index(("Group", "CREATE_COMPLETE")) < events.index(("Machine", "CREATE_IN_PROGRESS"))


def test_the_stacks_tags_are_on_its_resources(aws: Aws) -> None:
    stack_id = _create(aws)
    _ended(aws, stack_id)
    cloudformation, ec2 = aws.client("cloudformation"), aws.client("ec2")
    found = cloudformation.describe_stack_resources(StackName="sandbox")["StackResources"]
    physical = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}
    wanted = [{"Name": "tag:dss-asset-id", "Values": ["1.0.0"]}]
    instance = instance_of(aws, physical["Machine"])
    tags = {each["Key"]: each["Value"] for each in instance["Tags"]}
    assert tags == {
        "dss-asset-id": "1.0.0",
        "aws:cloudformation:stack-id": stack_id,
        "aws:cloudformation:stack-name": "sandbox",
        "aws:cloudformation:logical-id": "Machine",
    }
    assert [each["KeyName"] for each in ec2.describe_key_pairs(Filters=wanted)["KeyPairs"]] == ["sandbox-key"]
    groups = ec2.describe_security_groups(Filters=wanted)["SecurityGroups"]
    assert [each["GroupId"] for each in groups] == [physical["Group"]]
    assert groups[0]["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "192.0.2.1/32"}]
    assert len(ec2.describe_volumes(Filters=wanted)["Volumes"]) == 1


def test_the_private_key_of_a_key_pair_is_an_ssm_parameter(aws: Aws) -> None:
    _ended(aws, _create(aws, _one("AWS::EC2::KeyPair", KeyName="mine", KeyType="ed25519")))
    key_id = aws.client("ec2").describe_key_pairs()["KeyPairs"][0]["KeyPairId"]
    ssm = aws.client("ssm")
    found = ssm.get_parameter(Name=f"/ec2/keypair/{key_id}", WithDecryption=True)["Parameter"]
    assert found["Value"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    aws.client("cloudformation").delete_stack(StackName="sandbox")
    until(lambda: not ssm.describe_parameters()["Parameters"])
    assert aws.client("ec2").describe_key_pairs()["KeyPairs"] == []


def test_volumes_have_no_tags_of_the_stack_unless_asked_for(aws: Aws) -> None:
    template = MACHINE.replace("      PropagateTagsToVolumeOnCreation: true\n", "")
    parameters = [{"ParameterKey": "Image", "ParameterValue": ubuntu(aws)}]
    _ended(aws, _create(aws, template, Parameters=parameters))
    assert "Tags" not in aws.client("ec2").describe_volumes()["Volumes"][0]


def test_a_shortage_of_capacity_is_an_event_and_all_is_rolled_back(aws: Aws) -> None:
    aws.change(sold_out=["t3.*"])
    stack_id = _create(aws)
    stack = _ended(aws, stack_id)
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    reason = _reason(aws, stack_id, "CREATE_FAILED")
    assert "sufficient t3.medium capacity" in reason
    assert "Error Code: InsufficientInstanceCapacity" in reason
    assert "[Machine]" in _reason(aws, stack_id, "ROLLBACK_IN_PROGRESS")
    assert ("Group", "DELETE_COMPLETE") in _events(aws, stack_id)
    ec2 = aws.client("ec2")
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert [each["GroupName"] for each in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]
    with refused("AlreadyExistsException"):
        _create(aws)
    with refused("ValidationError", "ROLLBACK_COMPLETE state and can not be updated"):
        aws.client("cloudformation").update_stack(StackName="sandbox", TemplateBody=MACHINE)


@pytest.mark.parametrize(
    ("more", "status"), [({"OnFailure": "DO_NOTHING"}, "CREATE_FAILED"), ({"OnFailure": "DELETE"}, "DELETE_COMPLETE")]
)
def test_other_ends_of_a_failure(aws: Aws, more: dict[str, Any], status: str) -> None:
    aws.change(sold_out=["*"])
    assert _ended(aws, _create(aws, **more))["StackStatus"] == status
    assert len(aws.client("ec2").describe_key_pairs()["KeyPairs"]) == (status == "CREATE_FAILED")


def test_the_permissions_are_those_of_who_asks(aws: Aws) -> None:
    aws.change(denied=["ec2:RunInstances"])
    stack_id = _create(aws)
    assert _ended(aws, stack_id)["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "not authorized to perform: ec2:RunInstances" in _reason(aws, stack_id, "CREATE_FAILED")


def test_what_is_wrong_with_a_property_is_an_event(aws: Aws) -> None:
    stack_id = _create(aws, _one("AWS::EC2::KeyPair", KeyName="a", Keytype="rsa"))
    assert _ended(aws, stack_id)["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "extraneous key [Keytype]" in _reason(aws, stack_id, "CREATE_FAILED")
    aws.client("cloudformation").delete_stack(StackName="sandbox")
    until(lambda: _stack(aws, stack_id)["StackStatus"] == "DELETE_COMPLETE")
    stack_id = _create(aws, _one("AWS::EC2::KeyPair", KeyType="rsa"))
    assert _ended(aws, stack_id)["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "required key [KeyName]" in _reason(aws, stack_id, "CREATE_FAILED")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("Resources: {}", "At least one Resources member"),
        ("Resources: [", "YAML not well-formed"),
        ("Resource: {}", "Invalid template property or properties ['Resource']"),
        (_one("AWS::EC2::Computer"), "Unrecognized resource types: [AWS::EC2::Computer]"),
        (_one("AWS::S3::Bucket", BucketName={"Ref": "Nothing"}), "Unresolved resource dependencies [Nothing]"),
        (json.dumps({"Resources": {"It": {"Type": "AWS::S3::Bucket", "Propertys": {}}}}), "'Propertys'"),
        (
            yaml.dump(
                {
                    "Resources": {
                        "A": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": {"Ref": "B"}}},
                        "B": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": {"Ref": "A"}}},
                    }
                }
            ),
            "Circular dependency",
        ),
        (_one("AWS::S3::Bucket") + " " * 51200, "51200"),
    ],
)
def test_templates_that_are_refused(aws: Aws, template: str, words: str) -> None:
    for check in (
        lambda: _create(aws, template),
        lambda: aws.client("cloudformation").validate_template(TemplateBody=template),
    ):
        with refused("ValidationError", words):
            check()
    assert aws.client("cloudformation").describe_stacks()["Stacks"] == []


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "Parameters: [Image] must have values"),
        ({"Image": "ami-1", "Other": "1"}, "Parameters: [Other] do not exist in the template"),
        ({"Image": "ami-1", "Mode": "none"}, "'Mode' must be one of AllowedValues"),
        ({"Image": "ami-1", "Cidr": "everybody"}, "'Cidr' must match pattern"),
    ],
)
def test_parameters_that_are_refused(aws: Aws, parameters: dict[str, str], words: str) -> None:
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    with refused("ValidationError", words):
        _create(aws, Parameters=given)


def test_capabilities(aws: Aws) -> None:
    named = _one("AWS::IAM::Role", RoleName="vmimport", AssumeRolePolicyDocument=json.loads(trust()))
    with refused("InsufficientCapabilitiesException", "[CAPABILITY_NAMED_IAM]"):
        _create(aws, named, Capabilities=["CAPABILITY_IAM"])
    unnamed = _one("AWS::IAM::Role", AssumeRolePolicyDocument=json.loads(trust()))
    with refused("InsufficientCapabilitiesException", "[CAPABILITY_IAM]"):
        _create(aws, unnamed)
    stack_id = _create(aws, named, Capabilities=["CAPABILITY_NAMED_IAM"])
    assert _ended(aws, stack_id)["StackStatus"] == "CREATE_COMPLETE"
    tags = aws.client("iam").list_role_tags(RoleName="vmimport")["Tags"]
    assert TAGS[0] in tags


def test_names_and_tokens(aws: Aws) -> None:
    with refused("ValidationError", "stackName"):
        _create(aws, name="1.0.0")
    stack_id = _create(aws, ClientRequestToken="a-token")
    assert _create(aws, ClientRequestToken="a-token") == stack_id
    with refused("AlreadyExistsException", "Stack [sandbox] already exists"):
        _create(aws, ClientRequestToken="another")
    with refused("TokenAlreadyExistsException"):
        _create(aws, name="second", ClientRequestToken="a-token")


def test_an_update_that_changes_nothing_is_refused(aws: Aws) -> None:
    stack_id = _create(aws)
    with refused("ValidationError", "IN_PROGRESS state and can not be updated"):
        aws.client("cloudformation").update_stack(StackName="sandbox", TemplateBody=MACHINE)
    _ended(aws, stack_id)
    parameters = [{"ParameterKey": "Image", "UsePreviousValue": True}]
    same = {"StackName": "sandbox", "TemplateBody": MACHINE, "Parameters": parameters}
    with refused("ValidationError", "No updates are to be performed."):
        aws.client("cloudformation").update_stack(**same)
    with refused("ValidationError", "Stack [other] does not exist"):
        aws.client("cloudformation").update_stack(**{**same, "StackName": "other"})


def test_an_update_touches_what_changes_and_a_full_bucket_stays(aws: Aws) -> None:
    cloudformation, s3 = aws.client("cloudformation"), aws.client("s3")
    stack_id = _create(aws)
    _ended(aws, stack_id)
    parameters = [
        {"ParameterKey": "Image", "UsePreviousValue": True},
        {"ParameterKey": "Mode", "ParameterValue": "with-bucket"},
    ]
    cloudformation.update_stack(StackName="sandbox", UsePreviousTemplate=True, Parameters=parameters)
    stack = _ended(aws, stack_id)
    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    bucket = next(each["OutputValue"] for each in stack["Outputs"] if each["OutputKey"] == "Bucket")
    assert TAGS[0] in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    assert ("Machine", "UPDATE_IN_PROGRESS") not in _events(aws, stack_id)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    cloudformation.delete_stack(StackName="sandbox")
    failed = _ended(aws, stack_id)
    assert failed["StackStatus"] == "DELETE_FAILED"
    assert "[Bucket]" in failed["StackStatusReason"]
    assert "not empty" in _reason(aws, stack_id, "DELETE_FAILED") or "[Bucket]" in _reason(
        aws, stack_id, "DELETE_FAILED"
    )
    assert aws.client("ec2").describe_key_pairs()["KeyPairs"] == []
    cloudformation.delete_stack(StackName="sandbox", RetainResources=["Bucket"])
    until(lambda: _stack(aws, stack_id)["StackStatus"] == "DELETE_COMPLETE")
    s3.head_bucket(Bucket=bucket)


def test_an_update_that_fails_goes_back(aws: Aws) -> None:
    cloudformation = aws.client("cloudformation")
    stack_id = _create(aws, _one("AWS::Logs::LogGroup", LogGroupName="/dss", RetentionInDays=7))
    _ended(aws, stack_id)
    aws.change(failing_resources={"AWS::Logs::LogGroup": "out of paper"})
    changed = _one("AWS::Logs::LogGroup", LogGroupName="/dss", RetentionInDays=30)
    cloudformation.update_stack(StackName="sandbox", TemplateBody=changed)
    assert _ended(aws, stack_id)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert _reason(aws, stack_id, "UPDATE_FAILED") == "out of paper"
    assert aws.client("logs").describe_log_groups()["logGroups"][0]["retentionInDays"] == 7


def test_deletion_waits_for_the_instance_and_is_told_by_id_afterwards(aws: Aws) -> None:
    cloudformation = aws.client("cloudformation")
    stack_id = _create(aws)
    _ended(aws, stack_id)
    cloudformation.delete_stack(StackName="sandbox")
    until(lambda: _stack(aws, stack_id)["StackStatus"] == "DELETE_COMPLETE")
    events = _events(aws, stack_id)
    assert events.index(("Machine", "DELETE_COMPLETE")) < events.index(("Group", "DELETE_IN_PROGRESS"))
    with refused("ValidationError", "Stack with id sandbox does not exist"):
        cloudformation.describe_stacks(StackName="sandbox")
    with refused("ValidationError", "Stack [sandbox] does not exist"):
        cloudformation.describe_stack_events(StackName="sandbox")
    summaries = cloudformation.list_stacks()["StackSummaries"]
    assert [each["StackStatus"] for each in summaries] == ["DELETE_COMPLETE"]
    cloudformation.delete_stack(StackName="sandbox")
    assert _create(aws) != stack_id


def test_a_creation_can_be_broken_off(aws: Aws) -> None:
    aws.change(held=["instances"])
    stack_id = _create(aws)
    until(lambda: ("Machine", "CREATE_IN_PROGRESS") in _events(aws, stack_id))
    aws.client("cloudformation").delete_stack(StackName="sandbox")
    aws.change(held=[])
    until(lambda: _stack(aws, stack_id)["StackStatus"] == "DELETE_COMPLETE")
    assert aws.client("ec2").describe_key_pairs()["KeyPairs"] == []


def test_deletion_fails_while_something_else_uses_the_group(aws: Aws) -> None:
    cloudformation = aws.client("cloudformation")
    stack_id = _create(aws, _one("AWS::EC2::SecurityGroup", GroupDescription="d"))
    _ended(aws, stack_id)
    found = cloudformation.describe_stack_resource(StackName="sandbox", LogicalResourceId="It")["StackResourceDetail"]
    instance_id = run_instance(aws, SecurityGroupIds=[found["PhysicalResourceId"]])
    cloudformation.delete_stack(StackName="sandbox")
    assert _ended(aws, stack_id)["StackStatus"] == "DELETE_FAILED"
    aws.client("ec2").terminate_instances(InstanceIds=[instance_id])
    until(lambda: instance_of(aws, instance_id)["State"]["Name"] == "terminated")
    cloudformation.delete_stack(StackName="sandbox")
    until(lambda: _stack(aws, stack_id)["StackStatus"] == "DELETE_COMPLETE")


def test_termination_protection(aws: Aws) -> None:
    cloudformation = aws.client("cloudformation")
    stack_id = _create(aws, _one("AWS::S3::Bucket"), EnableTerminationProtection=True)
    _ended(aws, stack_id)
    with refused("ValidationError", "TerminationProtection"):
        cloudformation.delete_stack(StackName="sandbox")
    cloudformation.update_termination_protection(StackName="sandbox", EnableTerminationProtection=False)
    cloudformation.delete_stack(StackName="sandbox")
    until(lambda: _stack(aws, stack_id)["StackStatus"] == "DELETE_COMPLETE")


def test_many_stacks_come_in_pages(aws: Aws) -> None:
    cloudformation = aws.client("cloudformation")
    aws.change(held=["stacks"])
    template = _one("AWS::S3::Bucket")
    for number in range(105):
        cloudformation.create_stack(StackName=f"s{number}", TemplateBody=template)
    pages = list(cloudformation.get_paginator("describe_stacks").paginate())
    assert [len(page["Stacks"]) for page in pages] == [100, 5]


def test_a_bucket_stack_as_a_project_has_it(aws: Aws) -> None:
    """With properties that moto drops: versions, public access block, life cycle, encryption, a role's policies."""
    template = {
        "Parameters": {"Name": {"Type": "String"}},
        "Resources": {
            "Bucket": {
                "Type": "AWS::S3::Bucket",
                "DeletionPolicy": "Retain",
                "Properties": {
                    "BucketName": {"Ref": "Name"},
                    "PublicAccessBlockConfiguration": dict.fromkeys(BLOCKED, True),
                    "VersioningConfiguration": {"Status": "Enabled"},
                    "BucketEncryption": {
                        "ServerSideEncryptionConfiguration": [
                            {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                        ]
                    },
                    "LifecycleConfiguration": {
                        "Rules": [
                            {
                                "Id": "uploads",
                                "Status": "Enabled",
                                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                            }
                        ]
                    },
                },
            },
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": "vmimport",
                    "AssumeRolePolicyDocument": json.loads(trust()),
                    "Policies": [
                        {
                            "PolicyName": "export",
                            "PolicyDocument": {
                                "Version": "2012-10-17",
                                "Statement": [
                                    {
                                        "Effect": "Allow",
                                        "Action": "s3:PutObject",
                                        "Resource": {"Fn::Sub": "${Bucket.Arn}/*"},
                                    }
                                ],
                            },
                        }
                    ],
                },
            },
        },
        "Outputs": {"RoleArn": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}}},
    }
    more: dict[str, Any] = {
        "Parameters": [{"ParameterKey": "Name", "ParameterValue": "the-bucket"}],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
    }
    stack_id = _create(aws, json.dumps(template), **more)
    stack = _ended(aws, stack_id)
    assert stack["StackStatus"] == "CREATE_COMPLETE", _events(aws, stack_id)
    assert stack["Outputs"][0]["OutputValue"] == f"arn:aws:iam::{ACCOUNT}:role/vmimport"
    s3 = aws.client("s3")
    assert s3.get_bucket_versioning(Bucket="the-bucket")["Status"] == "Enabled"
    assert s3.get_public_access_block(Bucket="the-bucket")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"]
    assert s3.get_bucket_encryption(Bucket="the-bucket")["ServerSideEncryptionConfiguration"]["Rules"]
    rules = s3.get_bucket_lifecycle_configuration(Bucket="the-bucket")["Rules"]
    assert rules[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    policy = aws.client("iam").get_role_policy(RoleName="vmimport", PolicyName="export")["PolicyDocument"]
    assert policy["Statement"][0]["Resource"] == "arn:aws:s3:::the-bucket/*"
    aws.client("cloudformation").delete_stack(StackName="sandbox")
    until(lambda: _stack(aws, stack_id)["StackStatus"] == "DELETE_COMPLETE")
    assert ("Bucket", "DELETE_SKIPPED") in _events(aws, stack_id)
    s3.head_bucket(Bucket="the-bucket")
    with refused("NoSuchEntity"):
        aws.client("iam").get_role(RoleName="vmimport")
