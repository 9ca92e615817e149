"""Change sets (AWS: CloudFormation API reference, CreateChangeSet and its kin).

A change set of the type CREATE makes a stack that is ``REVIEW_IN_PROGRESS``, without tags and parameters. Executing one
ends all others of the stack.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from moto.core.utils import utcnow

from test.support.aws.server.cloudformation.api import by_hundred, check_capabilities, find_stack, tags_of, template_of
from test.support.aws.server.cloudformation.kinds import KINDS
from test.support.aws.server.cloudformation.stacks import (
    REVIEW,
    Resource,
    Stack,
    Stacks,
    Work,
    creating,
    new_stack_id,
    wanted_resources,
)
from test.support.aws.server.cloudformation.template import (
    Scope,
    Template,
    creation_order,
    invalid,
    parameter_values,
    references,
)
from test.support.aws.server.cloudformation.updates import updating
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT, Request, World, handles

_NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."
_UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")


@dataclass
class ChangeSet:
    arn: str
    name: str
    stack_id: str
    kind: str
    template: Template
    parameters: dict[str, str]
    tags: dict[str, str]
    capabilities: list[str]
    created: datetime = field(default_factory=utcnow)
    status: str = "CREATE_IN_PROGRESS"
    reason: str = ""
    execution: str = "UNAVAILABLE"
    changes: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class ChangeSets:
    by_arn: dict[str, ChangeSet] = field(default_factory=dict)

    def of(self, stack_id: str) -> list[ChangeSet]:
        return [each for each in self.by_arn.values() if each.stack_id == stack_id]


def _find(request: Request) -> tuple[Stack, ChangeSet]:
    name = str(request.get("ChangeSetName", ""))
    stack = find_stack(request, str(request.get("StackName", "")), deleted=False)
    for found in request.world.part(ChangeSets).of(stack.stack_id):
        if name in (found.name, found.arn):
            return stack, found
    raise ApiError("ChangeSetNotFound", f"ChangeSet [{name}] does not exist", 404)


@handles("cloudformation", "CreateChangeSet")
def create_change_set(request: Request) -> Mapping[str, Any]:
    stack_name, name = str(request.get("StackName", "")), str(request.get("ChangeSetName", ""))
    if not re.fullmatch(r"[a-zA-Z][-a-zA-Z0-9]{0,127}", name):
        raise invalid(f"1 validation error detected: Value '{name}' at 'changeSetName' failed to satisfy constraint")
    kind = str(request.get("ChangeSetType") or "UPDATE")
    world, stacks = request.world, request.world.part(Stacks)
    stack = next((each for each in stacks.living(request.region) if stack_name in (each.name, each.stack_id)), None)
    if kind == "CREATE":
        if stack is not None and stack.status != REVIEW:
            raise invalid(
                f"Stack [{stack_name}] already exists and cannot be created again with the changeSet [{name}]."
            )
    elif stack is None or stack.status == REVIEW:
        raise invalid(f"Stack [{stack_name}] does not exist")
    elif stack.status not in _UPDATABLE:
        raise invalid(f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated.")
    template = template_of(request)
    parameters = parameter_values(template, request.get("Parameters", []), stack.parameters if stack else {})
    capabilities = check_capabilities(request, template)
    tags = tags_of(request) if request.get("Tags") is not None or stack is None else stack.tags
    if stack is None:
        stack = Stack(
            stack_id=new_stack_id(request.region, stack_name),
            name=stack_name,
            region=request.region,
            template=template,
            parameters={},
            tags={},
            capabilities=[],
            on_failure="ROLLBACK",
            protected=False,
            token="",
        )
        stacks.by_id[stack.stack_id] = stack
        Work(world, stack, "").tell(REVIEW, "User Initiated")
    sets = world.part(ChangeSets)
    if any(each.name == name for each in sets.of(stack.stack_id)):
        raise ApiError("AlreadyExistsException", f"ChangeSet {name} cannot be created due to a mismatch with existing")
    arn = f"arn:aws:cloudformation:{request.region}:{ACCOUNT}:changeSet/{name}/{uuid.uuid4()}"
    made = ChangeSet(arn, name, stack.stack_id, kind, template, parameters, tags, capabilities)
    sets.by_arn[arn] = made
    world.after(world.settings.stack_step_s, "change-sets", lambda: _compare(world, stack, made))
    return {"Id": arn, "StackId": stack.stack_id}


def _compare(world: World, stack: Stack, made: ChangeSet) -> None:
    if made.arn not in world.part(ChangeSets).by_arn:
        return
    scope = Work.none(world, stack).scope(made.template, made.parameters)
    try:
        made.changes = list(_changes(stack, made, scope))
    except ApiError as error:
        made.status, made.reason = "FAILED", error.message
        return
    if made.changes or (made.tags, made.parameters) != (stack.tags, stack.parameters) or _outputs_differ(stack, made):
        made.status, made.execution = "CREATE_COMPLETE", "AVAILABLE"
    else:
        made.status, made.reason = "FAILED", _NO_CHANGES


def _outputs_differ(stack: Stack, made: ChangeSet) -> bool:
    return stack.template.outputs != made.template.outputs


def _changes(stack: Stack, made: ChangeSet, scope: Scope) -> Any:
    wanted = wanted_resources(scope)
    replaced: set[str] = set()
    for logical_id in creation_order(made.template, wanted):
        declared = made.template.resources[logical_id]
        before = stack.resources.get(logical_id)
        if before is None or before.made is None:
            yield _row("Add", logical_id, declared["Type"])
            replaced.add(logical_id)
            continue
        differing = _differing(scope, declared, before, replaced)
        names = [{"Attribute": "Properties", "Name": name} for name in differing]
        if made.tags != stack.tags and "Tags" in KINDS[before.type].properties:
            names.append({"Attribute": "Tags"})
        if not names:
            continue
        anew = sorted(KINDS[before.type].replaced_by & set(differing))
        if anew:
            replaced.add(logical_id)
        yield _row("Modify", logical_id, before.type, before, "True" if anew else "False", names)
    for logical_id, before in stack.resources.items():
        if logical_id not in wanted and before.made is not None:
            yield _row("Remove", logical_id, before.type, before)


def _differing(scope: Scope, declared: Mapping[str, Any], before: Resource, replaced: set[str]) -> list[str]:
    """Names of properties. What refers to something that is yet to be made differs."""
    found = []
    properties = declared.get("Properties") or {}
    for name in sorted({*properties, *before.properties}):
        anew = bool(set(references(properties.get(name))) & replaced)
        if anew or scope.value(properties.get(name)) != before.properties.get(name):
            found.append(name)
    return found


def _row(
    action: str,
    logical_id: str,
    kind: str,
    before: Resource | None = None,
    replacement: str = "",
    targets: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Action": action,
        "LogicalResourceId": logical_id,
        "ResourceType": kind,
        "Scope": sorted({each["Attribute"] for each in targets or []}),
        "Details": [{"Target": each, "Evaluation": "Static", "ChangeSource": "DirectModification"}
                    for each in targets or []],
    }  # fmt: skip
    if before and before.made:
        shown["PhysicalResourceId"] = before.made.physical_id
    if replacement:
        shown["Replacement"] = replacement
    return {"Type": "Resource", "ResourceChange": shown}


@handles("cloudformation", "DescribeChangeSet")
def describe_change_set(request: Request) -> Mapping[str, Any]:
    stack, found = _find(request)
    shown = {
        **_summary(stack, found),
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in found.parameters.items()],
        "Tags": [{"Key": key, "Value": value} for key, value in found.tags.items()],
        "Capabilities": found.capabilities,
    }
    return {**shown, **by_hundred(request, "Changes", found.changes, lambda each: each)}


def _summary(stack: Stack, found: ChangeSet) -> dict[str, Any]:
    shown = {
        "ChangeSetId": found.arn,
        "ChangeSetName": found.name,
        "StackId": stack.stack_id,
        "StackName": stack.name,
        "CreationTime": found.created,
        "Status": found.status,
        "StatusReason": found.reason or None,
        "ExecutionStatus": found.execution,
    }
    return {name: value for name, value in shown.items() if value is not None}


@handles("cloudformation", "ListChangeSets")
def list_change_sets(request: Request) -> Mapping[str, Any]:
    stack = find_stack(request, str(request.get("StackName", "")), deleted=False)
    found = request.world.part(ChangeSets).of(stack.stack_id)
    return by_hundred(request, "Summaries", found, lambda each: _summary(stack, each))


@handles("cloudformation", "DeleteChangeSet")
def delete_change_set(request: Request) -> Mapping[str, Any]:
    """One that is not there is no error, but a stack that is not there is one."""
    try:
        _, found = _find(request)
    except ApiError as error:
        if error.code == "ChangeSetNotFound":
            return {}
        raise
    del request.world.part(ChangeSets).by_arn[found.arn]
    return {}


@handles("cloudformation", "ExecuteChangeSet")
def execute_change_set(request: Request) -> Mapping[str, Any]:
    stack, found = _find(request)
    if found.execution != "AVAILABLE":
        words = f"ChangeSet [{found.arn}] cannot be executed in its current status of [{found.status}]"
        raise ApiError("InvalidChangeSetStatus", words)
    sets = request.world.part(ChangeSets)
    for each in sets.of(stack.stack_id):
        del sets.by_arn[each.arn]
    work = Work(request.world, stack, str(request.get("ClientRequestToken") or ""))
    stack.capabilities = found.capabilities
    if found.kind == "CREATE":
        stack.template, stack.parameters, stack.tags = found.template, found.parameters, found.tags
        stack.status = "CREATE_IN_PROGRESS"
        work.start(creating(work))
    else:
        stack.status = "UPDATE_IN_PROGRESS"
        work.start(updating(work, found.template, found.parameters, found.tags))
    return {}
