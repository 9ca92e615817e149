"""Resource types: how each is made, waited for, changed and removed, through the ordinary API of the stand-in."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from test.support.aws.rules import DENIED, permission_for
from test.support.aws.server.ec2_common import backend_of
from test.support.aws.server.front import CONTROLS
from test.support.aws.server.protocol import ApiError, error_of
from test.support.aws.server.world import World, matches


class NotStabilized(Exception):
    """A resource that was made did not become what it should."""


@dataclass
class ForStacks:
    """Names of stacks with what they made use of; their calls are not in the journal."""

    permissions: set[tuple[str, str]] = field(default_factory=set)


CONTROLS["for-stacks"] = lambda world, _: sorted(world.part(ForStacks).permissions)


@dataclass
class Context:
    """For which resource of which stack. tags: those of the stack; system_tags: that CloudFormation adds.

    half_made: what is there to be removed when the rest of ``Kind.create`` fails.
    """

    world: World
    region: str
    stack_name: str
    logical_id: str
    tags: dict[str, str]
    system_tags: dict[str, str]
    half_made: Made | None = None

    def call(self, service: str, action: str, **parameters: Any) -> dict[str, Any]:
        """With the permissions of who asked for the stack, as without a role of the stack's own."""
        permission = permission_for(service, action)
        self.world.part(ForStacks).permissions.add((self.stack_name, permission))
        if matches(self.world.settings.denied, permission):
            raise error_of(DENIED, service, action)
        given = {name: value for name, value in parameters.items() if value is not None}
        return self.world.perform(service, action, given, self.region)

    def name(self, *, most: int = 255) -> str:
        """A name for a resource that was given none."""
        suffix = "-" + secrets.token_hex(6).upper()
        return f"{self.stack_name}-{self.logical_id}"[: most - len(suffix)] + suffix

    def all_tags(self, properties: Mapping[str, Any]) -> dict[str, str]:
        """The resource's own win over the stack's (AWS: "Resource tag")."""
        return {**self.tags, **{each["Key"]: str(each["Value"]) for each in properties.get("Tags", [])}}

    def specification(self, kind: str, properties: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        tags = self.all_tags(properties)
        return [{"ResourceType": kind, "Tags": tag_list(tags)}] if tags else None

    def add_system_tags(self, resource_id: str) -> None:
        backend_of(self.region).create_tags([resource_id], self.system_tags)


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@dataclass(frozen=True)
class Made:
    """A resource that exists. physical_id: what Ref gives."""

    physical_id: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Kind:
    """One resource type. properties: those that are known; required: those that can't be left out."""

    service: ClassVar[str] = "ec2"
    properties: ClassVar[frozenset[str]] = frozenset()
    required: ClassVar[frozenset[str]] = frozenset()
    #: Properties that can't be changed in place.
    replaced_by: ClassVar[frozenset[str]] = frozenset()
    #: The property that names it: a template with it in an IAM type needs CAPABILITY_NAMED_IAM.
    name_property: ClassVar[str] = ""

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        raise NotImplementedError

    def settled(self, context: Context, made: Made) -> Made | None:
        """The resource once it is complete, None before. Raises ``NotStabilized``."""
        del context
        return made

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        """Changes it in place; None if it has to be replaced."""
        del context, made, properties
        return None

    def retag(self, context: Context, made: Made, tags: dict[str, str]) -> None:
        """When nothing but tags has changed. Tags that have gone stay (AWS removes them)."""
        if self.service == "ec2" and tags:
            resource_id = made.attributes.get("KeyPairId", made.physical_id)
            context.call("ec2", "CreateTags", Resources=[resource_id], Tags=tag_list(tags))

    def delete(self, context: Context, made: Made) -> None:
        raise NotImplementedError

    def gone(self, context: Context, made: Made) -> bool:
        del context, made
        return True


KINDS: dict[str, Kind] = {}


def resource_type(name: str) -> Any:
    """Registers a class as what CloudFormation does for a type."""

    def register(kind: type[Kind]) -> type[Kind]:
        KINDS[name] = kind()
        return kind

    return register


def check_properties(logical_id: str, kind: Kind, properties: Mapping[str, Any]) -> None:
    """Raises with the words of CloudFormation's handlers."""
    problem = ""
    if extra := sorted(set(properties) - kind.properties):
        problem = f"#: extraneous key [{extra[0]}] is not permitted"
    elif missing := sorted(kind.required - set(properties)):
        problem = f"#: required key [{missing[0]}] not found"
    if problem:
        words = f"Properties validation failed for resource {logical_id} with message:\n{problem}"
        raise NotStabilized(words)


@resource_type("AWS::EC2::KeyPair")
class KeyPair(Kind):
    """Without PublicKeyMaterial the private key goes to an SSM parameter (AWS::EC2::KeyPair)."""

    properties = frozenset({"KeyFormat", "KeyName", "KeyType", "PublicKeyMaterial", "Tags"})
    required = frozenset({"KeyName"})

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        name = properties["KeyName"]
        tags = context.specification("key-pair", properties)
        material = properties.get("PublicKeyMaterial")
        if material:
            made = context.call(
                "ec2", "ImportKeyPair", KeyName=name, PublicKeyMaterial=material.encode(), TagSpecifications=tags
            )
        else:
            kind = properties.get("KeyType", "rsa")
            made = context.call("ec2", "CreateKeyPair", KeyName=name, KeyType=kind, TagSpecifications=tags)
            parameter = f"/ec2/keypair/{made['KeyPairId']}"
            context.call("ssm", "PutParameter", Name=parameter, Type="SecureString", Value=made["KeyMaterial"])
        context.add_system_tags(made["KeyPairId"])
        return Made(name, {"KeyPairId": made["KeyPairId"], "KeyFingerprint": made["KeyFingerprint"]})

    def delete(self, context: Context, made: Made) -> None:
        context.call("ec2", "DeleteKeyPair", KeyName=made.physical_id)
        try:
            context.call("ssm", "DeleteParameter", Name=f"/ec2/keypair/{made.attributes['KeyPairId']}")
        except ApiError as error:
            if error.code != "ParameterNotFound":
                raise


def _rule(given: Mapping[str, Any]) -> dict[str, Any]:
    """A rule of a template as a permission of the API."""
    rule: dict[str, Any] = {"IpProtocol": str(given.get("IpProtocol", "-1"))}
    for port in ("FromPort", "ToPort"):
        if port in given:
            rule[port] = int(given[port])
    described = {"Description": given["Description"]} if given.get("Description") else {}
    if "CidrIp" in given:
        rule["IpRanges"] = [{"CidrIp": given["CidrIp"], **described}]
    if "CidrIpv6" in given:
        rule["Ipv6Ranges"] = [{"CidrIpv6": given["CidrIpv6"], **described}]
    for name in ("SourceSecurityGroupId", "DestinationSecurityGroupId"):
        if name in given:
            rule["UserIdGroupPairs"] = [{"GroupId": given[name], **described}]
    return rule


@resource_type("AWS::EC2::SecurityGroup")
class SecurityGroup(Kind):
    properties = frozenset(
        {"GroupDescription", "GroupName", "SecurityGroupEgress", "SecurityGroupIngress", "Tags", "VpcId"}
    )
    replaced_by = frozenset({"GroupDescription", "GroupName", "VpcId"})
    required = frozenset({"GroupDescription"})

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        vpc = properties.get("VpcId") or _default_vpc(context)
        group_id = context.call(
            "ec2",
            "CreateSecurityGroup",
            GroupName=properties.get("GroupName") or context.name(),
            Description=properties["GroupDescription"],
            VpcId=vpc,
            TagSpecifications=context.specification("security-group", properties),
        )["GroupId"]
        context.add_system_tags(group_id)
        made = context.half_made = Made(group_id, {"GroupId": group_id, "VpcId": vpc})
        self._allow(context, group_id, "AuthorizeSecurityGroupIngress", properties.get("SecurityGroupIngress"))
        if "SecurityGroupEgress" in properties:
            every = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
            context.call("ec2", "RevokeSecurityGroupEgress", GroupId=group_id, IpPermissions=every)
            self._allow(context, group_id, "AuthorizeSecurityGroupEgress", properties["SecurityGroupEgress"])
        return made

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        shown = context.call("ec2", "DescribeSecurityGroups", GroupIds=[made.physical_id])["SecurityGroups"][0]
        named = properties.get("GroupName", shown["GroupName"])
        if named != shown["GroupName"] or properties["GroupDescription"] != shown["Description"]:
            return None
        if shown["IpPermissions"]:
            parameters = {"GroupId": made.physical_id, "IpPermissions": shown["IpPermissions"]}
            context.call("ec2", "RevokeSecurityGroupIngress", **parameters)
        rules = properties.get("SecurityGroupIngress")
        self._allow(context, made.physical_id, "AuthorizeSecurityGroupIngress", rules)
        self.retag(context, made, context.all_tags(properties))
        return made

    @staticmethod
    def _allow(context: Context, group_id: str, action: str, rules: Any) -> None:
        if rules:
            context.call("ec2", action, GroupId=group_id, IpPermissions=[_rule(each) for each in rules])

    def delete(self, context: Context, made: Made) -> None:
        try:
            context.call("ec2", "DeleteSecurityGroup", GroupId=made.physical_id)
        except ApiError as error:
            if error.code != "InvalidGroup.NotFound":
                raise


def _default_vpc(context: Context) -> str:
    filters = [{"Name": "is-default", "Values": ["true"]}]
    found = context.call("ec2", "DescribeVpcs", Filters=filters)["Vpcs"]
    if not found:
        raise ApiError("VPCIdNotSpecified", "No default VPC for this user")
    return str(found[0]["VpcId"])


@resource_type("AWS::EC2::Instance")
class Instance(Kind):
    """Complete when it is running. Volumes get its tags only with PropagateTagsToVolumeOnCreation."""

    properties = frozenset(
        {
            "AvailabilityZone",
            "BlockDeviceMappings",
            "DisableApiTermination",
            "EbsOptimized",
            "IamInstanceProfile",
            "ImageId",
            "InstanceInitiatedShutdownBehavior",
            "InstanceType",
            "KeyName",
            "LaunchTemplate",
            "MetadataOptions",
            "Monitoring",
            "NetworkInterfaces",
            "PropagateTagsToVolumeOnCreation",
            "SecurityGroupIds",
            "SecurityGroups",
            "SubnetId",
            "Tags",
            "UserData",
        }
    )

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        given = dict(properties)
        specifications = context.specification("instance", given) or []
        if given.pop("PropagateTagsToVolumeOnCreation", False) and specifications:
            specifications.append({**specifications[0], "ResourceType": "volume"})
        given.pop("Tags", None)
        if profile := given.pop("IamInstanceProfile", None):
            given["IamInstanceProfile"] = {"Name": profile}
        if zone := given.pop("AvailabilityZone", None):
            given["Placement"] = {"AvailabilityZone": zone}
        if monitoring := given.pop("Monitoring", None):
            given["Monitoring"] = {"Enabled": monitoring}
        for nic in given.get("NetworkInterfaces", []):
            nic["DeviceIndex"] = int(nic["DeviceIndex"])
            if "GroupSet" in nic:
                nic["Groups"] = nic.pop("GroupSet")
        made = context.call(
            "ec2", "RunInstances", MinCount=1, MaxCount=1, TagSpecifications=specifications or None, **given
        )
        instance_id = made["Instances"][0]["InstanceId"]
        context.add_system_tags(instance_id)
        return Made(instance_id)

    def settled(self, context: Context, made: Made) -> Made | None:
        instance = backend_of(context.region).get_instance(made.physical_id)
        if instance.state == "pending":
            return None
        if instance.state != "running":
            raise NotStabilized(f"Instance {made.physical_id} did not stabilize: it is {instance.state}.")
        return Made(
            made.physical_id,
            {
                "AvailabilityZone": instance.availability_zone,
                "InstanceId": instance.id,
                "PrivateDnsName": instance.private_dns_name,
                "PrivateIp": instance.private_ip,
                "PublicDnsName": instance.public_dns_name or "",
                "PublicIp": instance.public_ip or "",
                "VpcId": instance.vpc_id,
            },
        )

    def delete(self, context: Context, made: Made) -> None:
        try:
            context.call("ec2", "TerminateInstances", InstanceIds=[made.physical_id])
        except ApiError as error:
            if error.code != "InvalidInstanceID.NotFound":
                raise

    def gone(self, context: Context, made: Made) -> bool:
        found = backend_of(context.region).get_instance_by_id(made.physical_id)
        return found is None or found.state == "terminated"


@resource_type("AWS::EC2::LaunchTemplate")
class LaunchTemplate(Kind):
    properties = frozenset({"LaunchTemplateData", "LaunchTemplateName", "TagSpecifications", "VersionDescription"})
    required = frozenset({"LaunchTemplateData"})

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        template = context.call(
            "ec2",
            "CreateLaunchTemplate",
            LaunchTemplateName=properties.get("LaunchTemplateName") or context.name(most=128),
            LaunchTemplateData=properties["LaunchTemplateData"],
            TagSpecifications=context.specification("launch-template", {}),
        )["LaunchTemplate"]
        template_id = template["LaunchTemplateId"]
        context.add_system_tags(template_id)
        versions = {"LatestVersionNumber": "1", "DefaultVersionNumber": "1", "LaunchTemplateId": template_id}
        return Made(template_id, versions)

    def delete(self, context: Context, made: Made) -> None:
        context.call("ec2", "DeleteLaunchTemplate", LaunchTemplateId=made.physical_id)
