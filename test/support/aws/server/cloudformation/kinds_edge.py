"""Resource types of CloudFront and AWS WAF. moto calls them complete without a look.

They are kept as they were resolved; ``Aws.edge`` gives them to ``test.support.aws.cdn``, which answers by them.
Checks and codes: AWS WAF and CloudFront API references (CreateIPSet, CreateWebACL, CreatePublicKey …).
"""

# ruff: noqa: ARG002 - methods that are overridden

from __future__ import annotations

import ipaddress
import re
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from test.support.aws.server.cloudformation.kinds import Context, Kind, Made, resource_type
from test.support.aws.server.front import CONTROLS
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT

#: AWS's own cache policies: CachingOptimized, CachingDisabled.
_MANAGED = {"658327ea-f89d-4fab-a63d-7e88639e58f6", "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"}


@dataclass
class Thing:
    """One resource. id: its physical id. name: unique among those of its type."""

    type: str
    id: str
    name: str
    arn: str
    properties: dict[str, Any]
    attributes: dict[str, Any]


@dataclass
class Edge:
    things: dict[str, Thing] = field(default_factory=dict)

    def of(self, kind: str) -> list[Thing]:
        return [each for each in self.things.values() if each.type == kind]


CONTROLS["edge"] = lambda world, _: [asdict(each) for each in world.part(Edge).things.values()]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, str):
        yield value


class _EdgeKind(Kind):
    """What all of them have in common. config: the property with the rest in it."""

    type: ClassVar[str]
    service = "cloudfront"
    config: ClassVar[str] = ""
    conflict: ClassVar[str] = "EntityAlreadyExists"
    in_use: ClassVar[str] = "ResourceInUse"

    def check(self, context: Context, edge: Edge, given: dict[str, Any]) -> None:
        """Raises ``ApiError``."""

    def identity(self, context: Context, name: str) -> tuple[str, str, dict[str, Any]]:
        """Physical id, ARN, attributes."""
        del name
        made = "E" + secrets.token_hex(6).upper()
        return made, f"arn:aws:cloudfront::{ACCOUNT}:{self.type.rsplit(':', 1)[-1].lower()}/{made}", {"Id": made}

    def given(self, properties: dict[str, Any]) -> dict[str, Any]:
        return dict(properties[self.config]) if self.config else dict(properties)

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        edge = context.world.part(Edge)
        given = self.given(properties)
        name = str(given.get("Name") or context.name(most=64))
        if any(each.name == name for each in edge.of(self.type)):
            raise ApiError(self.conflict, f"There is one of the name {name} already.", 409)
        self.check(context, edge, given)
        made, arn, attributes = self.identity(context, name)
        edge.things[made] = Thing(self.type, made, name, arn, given, attributes)
        return Made(made, attributes)

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        edge = context.world.part(Edge)
        given = self.given(properties)
        thing = edge.things[made.physical_id]
        if given.get("Name", thing.name) != thing.name and "Name" in self.replaced_by:
            return None
        self.check(context, edge, given)
        thing.properties = given
        return made

    def retag(self, context: Context, made: Made, tags: dict[str, str]) -> None:
        pass

    def delete(self, context: Context, made: Made) -> None:
        things = context.world.part(Edge).things
        thing = things.get(made.physical_id)
        if thing is None:
            return
        used = {thing.id, thing.arn}
        for other in things.values():
            if other is not thing and used & set(_strings(other.properties)):
                raise ApiError(self.in_use, f"{thing.name} is in use by {other.name}.", 409)
        del things[made.physical_id]


class _Waf(_EdgeKind):
    service = "wafv2"
    conflict = "WAFDuplicateItemException"
    in_use = "WAFAssociatedItemException"
    replaced_by = frozenset({"Name", "Scope"})

    def check(self, context: Context, edge: Edge, given: dict[str, Any]) -> None:
        if given["Scope"] == "CLOUDFRONT" and context.region != "us-east-1":
            raise _waf_refusal("The scope is not valid.", "SCOPE_VALUE", "CLOUDFRONT")

    def identity(self, context: Context, name: str) -> tuple[str, str, dict[str, Any]]:
        made, kind = str(uuid.uuid4()), self.type.rsplit("::", 1)[-1].lower()
        arn = f"arn:aws:wafv2:{context.region}:{ACCOUNT}:global/{kind}/{name}/{made}"
        return f"{name}|{made}|CLOUDFRONT", arn, {"Arn": arn, "Id": made}


def _waf_refusal(why: str, what: str, parameter: str) -> ApiError:
    words = f"Error reason: {why}, field: {what}, parameter: {parameter}"
    return ApiError("WAFInvalidParameterException", words)


@resource_type("AWS::WAFv2::IPSet")
class IPSet(_Waf):
    type = "AWS::WAFv2::IPSet"
    properties = frozenset({"Addresses", "Description", "IPAddressVersion", "Name", "Scope", "Tags"})
    required = frozenset({"Addresses", "IPAddressVersion", "Scope"})

    def check(self, context: Context, edge: Edge, given: dict[str, Any]) -> None:
        super().check(context, edge, given)
        version = {"IPV4": 4, "IPV6": 6}[given["IPAddressVersion"]]
        for address in given["Addresses"]:
            try:
                network = ipaddress.ip_network(address)
            except ValueError:
                network = None
            if network is None or "/" not in address or network.version != version or network.prefixlen == 0:
                raise _waf_refusal("The parameter contains formatting that is not valid.", "IP_ADDRESS", address)


@resource_type("AWS::WAFv2::WebACL")
class WebACL(_Waf):
    type = "AWS::WAFv2::WebACL"
    properties = frozenset(
        {"CaptchaConfig", "DefaultAction", "Description", "Name", "Rules", "Scope", "Tags", "VisibilityConfig"}
    )
    required = frozenset({"DefaultAction", "Scope", "VisibilityConfig"})

    def check(self, context: Context, edge: Edge, given: dict[str, Any]) -> None:
        super().check(context, edge, given)
        rules = given.get("Rules", [])
        priorities = [int(rule["Priority"]) for rule in rules]
        if len(set(priorities)) != len(priorities):
            raise _waf_refusal("Priorities have to be unique.", "RULE", str(priorities))
        sets = {each.arn for each in edge.of("AWS::WAFv2::IPSet")}
        for rule in rules:
            for kind, statement in statements(rule["Statement"]):
                if kind == "IPSetReferenceStatement" and statement["Arn"] not in sets:
                    raise ApiError("WAFNonexistentItemException", "AWS WAF couldn't perform the operation.")
                if kind == "RegexMatchStatement":
                    re.compile(statement["RegexString"])
                if kind == "RateBasedStatement" and not 10 <= int(statement["Limit"]) <= 2_000_000_000:
                    raise _waf_refusal("The limit is out of range.", "RATE_LIMIT", str(statement["Limit"]))


def statements(given: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A statement and those in it, with their kinds."""
    ((kind, inner),) = given.items()
    yield kind, inner
    for each in [*inner.get("Statements", []), *([inner["Statement"]] if "Statement" in inner else [])]:
        yield from statements(each)


@resource_type("AWS::CloudFront::OriginAccessControl")
class OriginAccessControl(_EdgeKind):
    type = "AWS::CloudFront::OriginAccessControl"
    config = "OriginAccessControlConfig"
    conflict = "OriginAccessControlAlreadyExists"
    in_use = "OriginAccessControlInUse"
    properties = required = frozenset({"OriginAccessControlConfig"})


@resource_type("AWS::CloudFront::ResponseHeadersPolicy")
class ResponseHeadersPolicy(_EdgeKind):
    type = "AWS::CloudFront::ResponseHeadersPolicy"
    config = "ResponseHeadersPolicyConfig"
    conflict = "ResponseHeadersPolicyAlreadyExists"
    in_use = "ResponseHeadersPolicyInUse"
    properties = required = frozenset({"ResponseHeadersPolicyConfig"})


@resource_type("AWS::CloudFront::OriginRequestPolicy")
class OriginRequestPolicy(_EdgeKind):
    type = "AWS::CloudFront::OriginRequestPolicy"
    config = "OriginRequestPolicyConfig"
    conflict = "OriginRequestPolicyAlreadyExists"
    in_use = "OriginRequestPolicyInUse"
    properties = required = frozenset({"OriginRequestPolicyConfig"})


@resource_type("AWS::CloudFront::PublicKey")
class PublicKey(_EdgeKind):
    """Only its comment can be changed."""

    type = "AWS::CloudFront::PublicKey"
    config = "PublicKeyConfig"
    conflict = "PublicKeyAlreadyExists"
    in_use = "PublicKeyInUse"
    properties = required = frozenset({"PublicKeyConfig"})

    def check(self, context: Context, edge: Edge, given: dict[str, Any]) -> None:
        try:
            key = load_pem_public_key(given["EncodedKey"].encode())
        except ValueError:
            key = None
        if not (isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048) and not (
            isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
        ):
            raise ApiError("InvalidArgument", "Your request contains empty/invalid/out of limits RSA Encoded Key")

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        before = context.world.part(Edge).things[made.physical_id].properties
        given = self.given(properties)
        if any(given[name] != before[name] for name in ("EncodedKey", "CallerReference", "Name")):
            raise ApiError("CannotChangeImmutablePublicKeyFields", "You can't change the value of a public key.")
        return super().update(context, made, properties)


@resource_type("AWS::CloudFront::KeyGroup")
class KeyGroup(_EdgeKind):
    type = "AWS::CloudFront::KeyGroup"
    config = "KeyGroupConfig"
    conflict = "KeyGroupAlreadyExists"
    properties = required = frozenset({"KeyGroupConfig"})

    def check(self, context: Context, edge: Edge, given: dict[str, Any]) -> None:
        known = {each.id for each in edge.of("AWS::CloudFront::PublicKey")}
        if not given["Items"] or set(given["Items"]) - known:
            raise ApiError("InvalidArgument", "The key group has a key that does not exist, or none.")


@resource_type("AWS::CloudFront::Function")
class Function(_EdgeKind):
    type = "AWS::CloudFront::Function"
    conflict = "FunctionAlreadyExists"
    in_use = "FunctionInUse"
    replaced_by = frozenset({"Name"})
    properties = frozenset({"AutoPublish", "FunctionCode", "FunctionConfig", "Name"})
    required = frozenset({"FunctionCode", "FunctionConfig", "Name"})

    def check(self, context: Context, edge: Edge, given: dict[str, Any]) -> None:
        if not re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", given["Name"]):
            raise ApiError("InvalidArgument", f"The name {given['Name']} is none for a function.")

    def identity(self, context: Context, name: str) -> tuple[str, str, dict[str, Any]]:
        arn = f"arn:aws:cloudfront::{ACCOUNT}:function/{name}"
        return arn, arn, {"FunctionARN": arn, "FunctionMetadata.FunctionARN": arn, "Stage": "LIVE"}


@resource_type("AWS::CloudFront::Distribution")
class Distribution(_EdgeKind):
    type = "AWS::CloudFront::Distribution"
    config = "DistributionConfig"
    properties = frozenset({"DistributionConfig", "Tags"})
    required = frozenset({"DistributionConfig"})

    def check(self, context: Context, edge: Edge, given: dict[str, Any]) -> None:
        known = {each.id for each in edge.things.values()} | {each.arn for each in edge.things.values()} | _MANAGED
        origins = given["Origins"]
        behaviors = [given["DefaultCacheBehavior"], *given.get("CacheBehaviors", [])]
        wanted = [("InvalidWebACLId", given.get("WebACLId"))]
        wanted += [("NoSuchOriginAccessControl", each.get("OriginAccessControlId")) for each in origins]
        for each in behaviors:
            if each["TargetOriginId"] not in {origin["Id"] for origin in origins}:
                raise ApiError("NoSuchOrigin", "One or more of your origins or origin groups do not exist.", 404)
            wanted += [("TrustedKeyGroupDoesNotExist", group) for group in each.get("TrustedKeyGroups", [])]
            wanted += [("NoSuchCachePolicy", each.get("CachePolicyId"))]
            wanted += [("NoSuchOriginRequestPolicy", each.get("OriginRequestPolicyId"))]
            wanted += [("NoSuchResponseHeadersPolicy", each.get("ResponseHeadersPolicyId"))]
            for function in each.get("FunctionAssociations", []):
                wanted.append(("InvalidFunctionAssociation", function["FunctionARN"]))
        for code, name in wanted:
            if name and name not in known:
                raise ApiError(code, f"{name} does not exist.", 404)

    def identity(self, context: Context, name: str) -> tuple[str, str, dict[str, Any]]:
        made = "E" + secrets.token_hex(6).upper()
        attributes = {"Id": made, "DomainName": f"d{made.lower()}.cloudfront.net"}
        return made, f"arn:aws:cloudfront::{ACCOUNT}:distribution/{made}", attributes
