"""Resource types other than EC2's: buckets, roles, log groups, parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.s3.models import s3_backends

from test.support.aws.server.cloudformation.kinds import Context, Kind, Made, resource_type, tag_list
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT


def _text(policy: Any) -> str:
    return policy if isinstance(policy, str) else json.dumps(policy, default=str)


@resource_type("AWS::S3::Bucket")
class Bucket(Kind):
    service = "s3"
    replaced_by = frozenset({"BucketName"})
    properties = frozenset(
        {
            "AccessControl",
            "BucketEncryption",
            "BucketName",
            "LifecycleConfiguration",
            "OwnershipControls",
            "PublicAccessBlockConfiguration",
            "Tags",
            "VersioningConfiguration",
        }
    )

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        name = properties.get("BucketName") or context.name(most=63).lower()
        where = {"LocationConstraint": context.region} if context.region != "us-east-1" else None
        context.call("s3", "CreateBucket", Bucket=name, CreateBucketConfiguration=where)
        context.half_made = Made(name)
        self._configure(context, name, properties)
        attributes = {
            "Arn": f"arn:aws:s3:::{name}",
            "DomainName": f"{name}.s3.amazonaws.com",
            "RegionalDomainName": f"{name}.s3.{context.region}.amazonaws.com",
        }
        return Made(name, attributes)

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        if properties.get("BucketName", made.physical_id) != made.physical_id:
            return None
        self._configure(context, made.physical_id, properties)
        return made

    @staticmethod
    def _configure(context: Context, name: str, properties: Mapping[str, Any]) -> None:
        _tag_bucket(context, name, context.all_tags(properties))
        for given, action, parameter in (
            ("PublicAccessBlockConfiguration", "PutPublicAccessBlock", "PublicAccessBlockConfiguration"),
            ("VersioningConfiguration", "PutBucketVersioning", "VersioningConfiguration"),
            ("OwnershipControls", "PutBucketOwnershipControls", "OwnershipControls"),
        ):
            if given in properties:
                context.call("s3", action, Bucket=name, **{parameter: properties[given]})
        if "BucketEncryption" in properties:
            rules = [
                {
                    ("ApplyServerSideEncryptionByDefault" if k == "ServerSideEncryptionByDefault" else k): v
                    for k, v in each.items()
                }
                for each in properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            ]
            context.call("s3", "PutBucketEncryption", Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
        if "LifecycleConfiguration" in properties:
            rules = [_lifecycle_rule(each) for each in properties["LifecycleConfiguration"]["Rules"]]
            configuration = {"Rules": rules}
            context.call("s3", "PutBucketLifecycleConfiguration", Bucket=name, LifecycleConfiguration=configuration)

    def retag(self, context: Context, made: Made, tags: dict[str, str]) -> None:
        _tag_bucket(context, made.physical_id, tags)

    def delete(self, context: Context, made: Made) -> None:
        """Not while there is an object in it, or an old version of one."""
        try:
            versions = context.call("s3", "ListObjectVersions", Bucket=made.physical_id, MaxKeys=1)
            if versions.get("Versions") or versions.get("DeleteMarkers"):
                raise ApiError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
            context.call("s3", "DeleteBucket", Bucket=made.physical_id)
        except ApiError as error:
            if error.code != "NoSuchBucket":
                raise


def _tag_bucket(context: Context, name: str, tags: Mapping[str, str]) -> None:
    """In moto's store: system tags can't be set through the API."""
    s3_backends[ACCOUNT]["aws"].put_bucket_tagging(name, {**tags, **context.system_tags})


def _lifecycle_rule(given: Mapping[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {"Status": given["Status"], "Filter": {"Prefix": given.get("Prefix", "")}}
    if "Id" in given:
        rule["ID"] = given["Id"]
    if "ExpirationInDays" in given:
        rule["Expiration"] = {"Days": int(given["ExpirationInDays"])}
    if "AbortIncompleteMultipartUpload" in given:
        days = int(given["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"])
        rule["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": days}
    if "NoncurrentVersionExpiration" in given:
        days = int(given["NoncurrentVersionExpiration"]["NoncurrentDays"])
        rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": days}
    return rule


@resource_type("AWS::S3::BucketPolicy")
class BucketPolicy(Kind):
    service = "s3"
    properties = frozenset({"Bucket", "PolicyDocument"})
    required = properties

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        context.call("s3", "PutBucketPolicy", Bucket=properties["Bucket"], Policy=_text(properties["PolicyDocument"]))
        return Made(properties["Bucket"])

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        return self.create(context, properties) if properties["Bucket"] == made.physical_id else None

    def delete(self, context: Context, made: Made) -> None:
        context.call("s3", "DeleteBucketPolicy", Bucket=made.physical_id)


@resource_type("AWS::IAM::Role")
class Role(Kind):
    service = "iam"
    name_property = "RoleName"
    replaced_by = frozenset({"Path", "RoleName"})
    properties = frozenset(
        {
            "AssumeRolePolicyDocument",
            "Description",
            "ManagedPolicyArns",
            "MaxSessionDuration",
            "Path",
            "PermissionsBoundary",
            "Policies",
            "RoleName",
            "Tags",
        }
    )
    required = frozenset({"AssumeRolePolicyDocument"})

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        name = properties.get("RoleName") or context.name(most=64)
        tags = {**context.all_tags(properties), **context.system_tags}
        duration = properties.get("MaxSessionDuration")
        role = context.call(
            "iam",
            "CreateRole",
            RoleName=name,
            AssumeRolePolicyDocument=_text(properties["AssumeRolePolicyDocument"]),
            Path=properties.get("Path"),
            Description=properties.get("Description"),
            MaxSessionDuration=int(duration) if duration else None,
            PermissionsBoundary=properties.get("PermissionsBoundary"),
            Tags=tag_list(tags),
        )["Role"]
        context.half_made = Made(name)
        self._attach(context, name, properties)
        return Made(name, {"Arn": role["Arn"], "RoleId": role["RoleId"]})

    @staticmethod
    def _attach(context: Context, name: str, properties: Mapping[str, Any]) -> None:
        for policy in properties.get("Policies", []):
            document = _text(policy["PolicyDocument"])
            context.call(
                "iam", "PutRolePolicy", RoleName=name, PolicyName=policy["PolicyName"], PolicyDocument=document
            )
        for arn in properties.get("ManagedPolicyArns", []):
            context.call("iam", "AttachRolePolicy", RoleName=name, PolicyArn=arn)

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        name = made.physical_id
        if properties.get("RoleName", name) != name:
            return None
        document = _text(properties["AssumeRolePolicyDocument"])
        context.call("iam", "UpdateAssumeRolePolicy", RoleName=name, PolicyDocument=document)
        self._detach(context, name)
        self._attach(context, name, properties)
        self.retag(context, made, context.all_tags(properties))
        return made

    def retag(self, context: Context, made: Made, tags: dict[str, str]) -> None:
        context.call("iam", "TagRole", RoleName=made.physical_id, Tags=tag_list(tags))

    @staticmethod
    def _detach(context: Context, name: str) -> None:
        for policy in context.call("iam", "ListRolePolicies", RoleName=name)["PolicyNames"]:
            context.call("iam", "DeleteRolePolicy", RoleName=name, PolicyName=policy)
        for policy in context.call("iam", "ListAttachedRolePolicies", RoleName=name)["AttachedPolicies"]:
            context.call("iam", "DetachRolePolicy", RoleName=name, PolicyArn=policy["PolicyArn"])

    def delete(self, context: Context, made: Made) -> None:
        try:
            self._detach(context, made.physical_id)
            context.call("iam", "DeleteRole", RoleName=made.physical_id)
        except ApiError as error:
            if error.code != "NoSuchEntity":
                raise


@resource_type("AWS::IAM::Policy")
class InlinePolicy(Kind):
    service = "iam"
    properties = frozenset({"PolicyDocument", "PolicyName", "Roles"})
    required = frozenset({"PolicyDocument", "PolicyName"})

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        roles = list(properties.get("Roles", []))
        name = properties["PolicyName"]
        for role in roles:
            document = _text(properties["PolicyDocument"])
            context.call("iam", "PutRolePolicy", RoleName=role, PolicyName=name, PolicyDocument=document)
        return Made(f"{context.stack_name}-{name}", {"_name": name, "_roles": roles})

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        self.delete(context, made)
        return self.create(context, properties)

    def delete(self, context: Context, made: Made) -> None:
        for role in made.attributes["_roles"]:
            try:
                context.call("iam", "DeleteRolePolicy", RoleName=role, PolicyName=made.attributes["_name"])
            except ApiError as error:
                if error.code != "NoSuchEntity":
                    raise


@resource_type("AWS::IAM::InstanceProfile")
class InstanceProfile(Kind):
    service = "iam"
    name_property = "InstanceProfileName"
    properties = frozenset({"InstanceProfileName", "Path", "Roles"})
    required = frozenset({"Roles"})

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        name = properties.get("InstanceProfileName") or context.name(most=128)
        profile = context.call("iam", "CreateInstanceProfile", InstanceProfileName=name)["InstanceProfile"]
        for role in properties["Roles"]:
            context.call("iam", "AddRoleToInstanceProfile", InstanceProfileName=name, RoleName=role)
        return Made(name, {"Arn": profile["Arn"]})

    def delete(self, context: Context, made: Made) -> None:
        name = made.physical_id
        shown = context.call("iam", "GetInstanceProfile", InstanceProfileName=name)["InstanceProfile"]
        for role in shown["Roles"]:
            parameters = {"InstanceProfileName": name, "RoleName": role["RoleName"]}
            context.call("iam", "RemoveRoleFromInstanceProfile", **parameters)
        context.call("iam", "DeleteInstanceProfile", InstanceProfileName=name)


@resource_type("AWS::Logs::LogGroup")
class LogGroup(Kind):
    service = "logs"
    properties = frozenset({"LogGroupName", "RetentionInDays", "Tags"})
    replaced_by = frozenset({"LogGroupName"})

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        name = properties.get("LogGroupName") or context.name()
        context.call("logs", "CreateLogGroup", logGroupName=name, tags=context.all_tags(properties) or None)
        self._keep(context, name, properties)
        return Made(name, {"Arn": f"arn:aws:logs:{context.region}:123456789012:log-group:{name}:*"})

    @staticmethod
    def _keep(context: Context, name: str, properties: Mapping[str, Any]) -> None:
        if days := properties.get("RetentionInDays"):
            context.call("logs", "PutRetentionPolicy", logGroupName=name, retentionInDays=int(days))

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        self._keep(context, made.physical_id, properties)
        return made if properties.get("LogGroupName", made.physical_id) == made.physical_id else None

    def delete(self, context: Context, made: Made) -> None:
        context.call("logs", "DeleteLogGroup", logGroupName=made.physical_id)


@resource_type("AWS::SSM::Parameter")
class Parameter(Kind):
    service = "ssm"
    properties = frozenset({"Description", "Name", "Tags", "Type", "Value"})
    required = frozenset({"Type", "Value"})

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        name = properties.get("Name") or context.name()
        value = {"Name": name, "Type": properties["Type"], "Value": str(properties["Value"])}
        context.call("ssm", "PutParameter", **value, Description=properties.get("Description"))
        return Made(name, {"Type": properties["Type"], "Value": str(properties["Value"])})

    def delete(self, context: Context, made: Made) -> None:
        context.call("ssm", "DeleteParameter", Name=made.physical_id)
