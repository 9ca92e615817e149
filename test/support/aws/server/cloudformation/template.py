"""Templates: read, checked, and their intrinsic functions resolved (AWS: CloudFormation template reference)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from test.support.aws.server.protocol import ApiError

PSEUDO = (
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::NotificationARNs",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
)
_SECTIONS = {
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
}
_RESOURCE_KEYS = {
    "Condition",
    "CreationPolicy",
    "DeletionPolicy",
    "DependsOn",
    "Metadata",
    "Properties",
    "Type",
    "UpdatePolicy",
    "UpdateReplacePolicy",
}
_NO_VALUE = object()
_IN_SUB = re.compile(r"\$\{([^!}][^}]*)\}")
MAX_BYTES = 51200


class TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms; dates stay text."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


TemplateLoader.add_multi_constructor("!", _short_form)
TemplateLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message)


@dataclass(frozen=True)
class Template:
    """A template that is well-formed. body: as it was sent."""

    body: str
    description: str
    parameters: dict[str, dict[str, Any]]
    mappings: dict[str, Any]
    conditions: dict[str, Any]
    resources: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]


def read_template(body: str, known_types: Mapping[str, Any]) -> Template:
    """Raises what AWS answers to a template that it can't take."""
    if len(body.encode()) > MAX_BYTES:
        words = (
            f"at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to {MAX_BYTES}"
        )
        raise invalid(f"1 validation error detected: Value {words}")
    try:
        data = yaml.load(body, Loader=TemplateLoader)  # noqa: S506 - made from SafeLoader
    except yaml.YAMLError as error:
        raise invalid(f"Template format error: YAML not well-formed. {getattr(error, 'problem_mark', '')}") from None
    if not isinstance(data, dict):
        raise invalid("Template format error: unsupported structure.")
    if unknown := sorted(set(data) - _SECTIONS):
        raise invalid(f"Invalid template property or properties {unknown}")
    resources = data.get("Resources") or {}
    if not resources:
        raise invalid("Template format error: At least one Resources member must be defined.")
    for name, resource in resources.items():
        if not re.fullmatch(r"[A-Za-z0-9]{1,255}", name):
            raise invalid(f"Template format error: Resource name {name} is non alphanumeric.")
        if "Type" not in resource:
            raise invalid(
                f"Template format error: [/Resources/{name}] Every Resources object must contain a Type member."
            )
        if unknown := sorted(set(resource) - _RESOURCE_KEYS):
            raise invalid(f"Invalid template resource property '{unknown[0]}'")
    types = {resource["Type"] for resource in resources.values()}
    if unknown := sorted(types - set(known_types)):
        raise invalid(f"Template format error: Unrecognized resource types: [{', '.join(unknown)}]")
    template = Template(
        body,
        str(data.get("Description") or ""),
        data.get("Parameters") or {},
        data.get("Mappings") or {},
        data.get("Conditions") or {},
        resources,
        data.get("Outputs") or {},
    )
    _check_references(template)
    creation_order(template, set(resources))
    return template


def _check_references(template: Template) -> None:
    known = {*template.parameters, *template.resources, *PSEUDO}
    for block, values in (("Resources", template.resources), ("Outputs", template.outputs)):
        missing = sorted({name for name in references(values) if name not in known})
        if missing:
            words = f"Unresolved resource dependencies [{', '.join(missing)}] in the {block} block of the template"
            raise invalid(f"Template format error: {words}")


def references(value: Any) -> Iterator[str]:
    """The names that Ref, Fn::GetAtt and Fn::Sub use."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if name == "Ref" and isinstance(inner, str):
            yield inner
        elif name == "Fn::GetAtt":
            yield (inner.split(".", 1) if isinstance(inner, str) else inner)[0]
        elif name == "Fn::Sub":
            text, own = (inner, {}) if isinstance(inner, str) else (inner[0], inner[1])
            yield from (each.split(".")[0] for each in _IN_SUB.findall(text) if each not in own)
            yield from references(list(own.values()))
        else:
            yield from references(inner)


def creation_order(template: Template, wanted: set[str]) -> list[str]:
    """So that each resource comes after those that it refers to. Raises on circles."""
    depends: dict[str, set[str]] = {}
    for name in template.resources:
        if name not in wanted:
            continue
        resource = template.resources[name]
        after = resource.get("DependsOn") or []
        names = {*references(resource.get("Properties") or {}), *([after] if isinstance(after, str) else after)}
        depends[name] = names & wanted - {name}
    order: list[str] = []
    while depends:
        free = [name for name, needed in depends.items() if needed <= set(order)]
        if not free:
            raise invalid(f"Circular dependency between resources: [{', '.join(sorted(depends))}]")
        for name in free:
            order.append(name)
            del depends[name]
    return order


def parameter_values(
    template: Template, given: list[dict[str, Any]], before: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Values of all parameters, checked against their declarations."""
    values: dict[str, str] = {}
    for each in given:
        name = each["ParameterKey"]
        if each.get("UsePreviousValue"):
            values[name] = (before or {})[name]
        else:
            values[name] = str(each.get("ParameterValue", ""))
    if unknown := [name for name in values if name not in template.parameters]:
        raise invalid(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    missing = []
    for name, declared in template.parameters.items():
        if name not in values:
            if "Default" in declared:
                values[name] = str(declared["Default"])
            else:
                missing.append(name)
    if missing:
        raise invalid(f"Parameters: [{', '.join(missing)}] must have values")
    for name, declared in template.parameters.items():
        _check_value(name, declared, values[name])
    return values


def _check_value(name: str, declared: Mapping[str, Any], value: str) -> None:
    words = declared.get("ConstraintDescription")
    refusal = f"Parameter {name} failed to satisfy constraint: {words}" if words else ""
    allowed = declared.get("AllowedValues")
    if allowed is not None and value not in [str(each) for each in allowed]:
        raise invalid(refusal or f"Parameter '{name}' must be one of AllowedValues")
    pattern = declared.get("AllowedPattern")
    if pattern is not None and not re.fullmatch(str(pattern), value):
        raise invalid(refusal or f"Parameter '{name}' must match pattern {pattern}")
    if len(value) < int(declared.get("MinLength", 0)):
        raise invalid(refusal or f"Parameter '{name}' must contain at least {declared['MinLength']} characters")
    if "MaxLength" in declared and len(value) > int(declared["MaxLength"]):
        raise invalid(refusal or f"Parameter '{name}' must contain at most {declared['MaxLength']} characters")
    if declared.get("Type") == "Number":
        try:
            number = float(value)
        except ValueError:
            raise invalid(f"Parameter '{name}' must be a number.") from None
        if number < float(declared.get("MinValue", number)) or number > float(declared.get("MaxValue", number)):
            raise invalid(refusal or f"Parameter '{name}' must be within its MinValue and MaxValue")


@dataclass
class Scope:
    """What intrinsic functions refer to. physical: ids by logical name; attributes: by logical name and attribute."""

    template: Template
    parameters: dict[str, Any]
    pseudo: dict[str, Any]
    physical: dict[str, str] = field(default_factory=dict)
    attributes: dict[tuple[str, str], Any] = field(default_factory=dict)

    def condition(self, name: str) -> bool:
        if name not in self.template.conditions:
            raise invalid(f"Template format error: Unresolved condition dependency {name}")
        return bool(self.value(self.template.conditions[name]))

    def value(self, given: Any) -> Any:
        """With all functions resolved; what is AWS::NoValue falls away."""
        found = self._value(given)
        return None if found is _NO_VALUE else found

    def _value(self, given: Any) -> Any:
        if isinstance(given, list):
            return [each for each in map(self._value, given) if each is not _NO_VALUE]
        if not isinstance(given, dict):
            return given
        if len(given) == 1:
            name, inner = next(iter(given.items()))
            if name in _FUNCTIONS:
                return _FUNCTIONS[name](self, inner)
            if str(name).startswith("Fn::"):
                raise invalid(f"Template error: the stand-in lacks {name}")
        resolved = {name: self._value(inner) for name, inner in given.items()}
        return {name: inner for name, inner in resolved.items() if inner is not _NO_VALUE}

    def ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        for known in (self.pseudo, self.parameters, self.physical):
            if name in known:
                return known[name]
        raise invalid(f"Template error: unresolved reference {name}")

    def get_att(self, target: Any) -> Any:
        logical, attribute = target.split(".", 1) if isinstance(target, str) else (target[0], self.value(target[1]))
        if (logical, attribute) not in self.attributes:
            kind = self.template.resources[logical]["Type"]
            raise invalid(f"Template error: resource {logical} of type {kind} does not support attribute {attribute}")
        return self.attributes[logical, attribute]

    def sub(self, given: Any) -> str:
        text, own = (given, {}) if isinstance(given, str) else (given[0], self.value(given[1]))

        def replace(found: re.Match[str]) -> str:
            name = found[1].strip()
            if name in own:
                return str(own[name])
            return str(self.get_att(name) if "." in name else self.ref(name))

        return _IN_SUB.sub(replace, text).replace("${!", "${")


def _if(scope: Scope, given: list[Any]) -> Any:
    return scope._value(given[1] if scope.condition(given[0]) else given[2])


def _find_in_map(scope: Scope, given: list[Any]) -> Any:
    mapping, first, second = (scope.value(each) for each in given)
    try:
        return scope.template.mappings[mapping][first][second]
    except KeyError:
        raise invalid(f"Template error: Unable to get mapping for {mapping}::{first}::{second}") from None


def _equals(scope: Scope, given: list[Any]) -> bool:
    first, second = (json.dumps(scope.value(each), default=str) for each in given)
    return first.strip('"') == second.strip('"')


_FUNCTIONS: dict[str, Any] = {
    "Ref": lambda scope, given: scope.ref(given),
    "Condition": lambda scope, given: scope.condition(given),
    "Fn::GetAtt": lambda scope, given: scope.get_att(given),
    "Fn::Sub": lambda scope, given: scope.sub(given),
    "Fn::Join": lambda scope, given: given[0].join(str(each) for each in scope.value(given[1])),
    "Fn::Split": lambda scope, given: scope.value(given[1]).split(given[0]),
    "Fn::Select": lambda scope, given: scope.value(given[1])[int(scope.value(given[0]))],
    "Fn::If": _if,
    "Fn::Equals": _equals,
    "Fn::Not": lambda scope, given: not scope.value(given[0]),
    "Fn::And": lambda scope, given: all(scope.value(each) for each in given),
    "Fn::Or": lambda scope, given: any(scope.value(each) for each in given),
    "Fn::FindInMap": _find_in_map,
    "Fn::Base64": lambda scope, given: base64.b64encode(str(scope.value(given)).encode()).decode(),
    "Fn::GetAZs": lambda scope, _: [f"{scope.pseudo['AWS::Region']}{zone}" for zone in "abc"],
}
