"""CloudFormation's operations on stacks (AWS: CloudFormation API reference). No nested stacks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from test.support.aws.server.cloudformation import kinds_more
from test.support.aws.server.cloudformation.kinds import KINDS
from test.support.aws.server.cloudformation.stacks import (
    REVIEW,
    Event,
    Resource,
    Stack,
    Stacks,
    Work,
    creating,
    deleting,
    new_stack_id,
)
from test.support.aws.server.cloudformation.template import Template, invalid, parameter_values, read_template
from test.support.aws.server.cloudformation.updates import going_back, updating
from test.support.aws.server.ec2_common import paged
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import Request, handles

assert kinds_more  # it registers its types
_PAGE = 100


def template_of(request: Request) -> Template:
    if request.get("TemplateURL"):
        raise invalid("the stand-in takes TemplateBody only")
    if not request.get("TemplateBody"):
        raise invalid("Either Template URL or Template Body must be specified.")
    return read_template(str(request.get("TemplateBody")), KINDS)


def _needed_capabilities(template: Template) -> list[str]:
    found = set()
    for resource in template.resources.values():
        if resource["Type"].startswith("AWS::IAM::"):
            named = KINDS[resource["Type"]].name_property
            has_name = bool(named) and named in (resource.get("Properties") or {})
            found.add("CAPABILITY_NAMED_IAM" if has_name else "CAPABILITY_IAM")
    return ["CAPABILITY_NAMED_IAM"] if "CAPABILITY_NAMED_IAM" in found else sorted(found)


def check_capabilities(request: Request, template: Template) -> list[str]:
    given = [str(each) for each in request.get("Capabilities", [])]
    for needed in _needed_capabilities(template):
        if needed not in given and not (needed == "CAPABILITY_IAM" and "CAPABILITY_NAMED_IAM" in given):
            raise ApiError("InsufficientCapabilitiesException", f"Requires capabilities : [{needed}]")
    return given


def tags_of(request: Request) -> dict[str, str]:
    tags = {each["Key"]: each.get("Value", "") for each in request.get("Tags", [])}
    for key in tags:
        if key.startswith("aws:"):
            raise invalid(f"Tag keys may not start with aws: - {key}")
    if len(tags) > 50:
        raise invalid("1 validation error detected: Value at 'tags' failed: Member must have length less than 50")
    return tags


def find_stack(request: Request, name: str, *, deleted: bool = True, words: str = "") -> Stack:
    """By name the living one; by id also one that was deleted."""
    stacks = request.world.part(Stacks)
    for stack in stacks.living(request.region):
        if name in (stack.name, stack.stack_id):
            return stack
    if deleted and name in stacks.by_id:
        return stacks.by_id[name]
    raise invalid(words or f"Stack with id {name} does not exist")


@handles("cloudformation", "CreateStack")
def create_stack(request: Request) -> Mapping[str, Any]:
    """With the token of the request that made it the stack that is there is answered."""
    name = str(request.get("StackName", ""))
    if not re.fullmatch(r"[a-zA-Z][-a-zA-Z0-9]{0,127}", name):
        words = f"Value '{name}' at 'stackName' failed to satisfy constraint: Member must satisfy regular expression "
        raise invalid(f"1 validation error detected: {words}pattern: [a-zA-Z][-a-zA-Z0-9]*")
    template = template_of(request)
    parameters = parameter_values(template, request.get("Parameters", []))
    capabilities = check_capabilities(request, template)
    tags = tags_of(request)
    if request.get("OnFailure") and request.get("DisableRollback") is not None:
        raise invalid("You can specify either DisableRollback or OnFailure, but not both.")
    stacks = request.world.part(Stacks)
    token = str(request.get("ClientRequestToken") or "")
    for other in stacks.living(request.region):
        if other.name == name:
            if token and other.token == token:
                return {"StackId": other.stack_id}
            raise ApiError("AlreadyExistsException", f"Stack [{name}] already exists")
        if token and other.token == token:
            raise ApiError("TokenAlreadyExistsException", f"The token {token} was used for another stack")
    stack = Stack(
        stack_id=new_stack_id(request.region, name),
        name=name,
        region=request.region,
        template=template,
        parameters=parameters,
        tags=tags,
        capabilities=capabilities,
        on_failure=str(request.get("OnFailure") or ("DO_NOTHING" if request.get("DisableRollback") else "ROLLBACK")),
        protected=bool(request.get("EnableTerminationProtection")),
        token=token,
        status="CREATE_IN_PROGRESS",
    )
    stacks.by_id[stack.stack_id] = stack
    work = Work(request.world, stack, token)
    work.start(creating(work))
    return {"StackId": stack.stack_id}


@handles("cloudformation", "UpdateStack")
def update_stack(request: Request) -> Mapping[str, Any]:
    name = str(request.get("StackName", ""))
    stack = find_stack(request, name, deleted=False, words=f"Stack [{name}] does not exist")
    if stack.in_progress or stack.status in ("ROLLBACK_COMPLETE", "CREATE_FAILED", "DELETE_FAILED", "ROLLBACK_FAILED"):
        raise invalid(f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated.")
    template = stack.template if request.get("UsePreviousTemplate") else template_of(request)
    parameters = parameter_values(template, request.get("Parameters", []), stack.parameters)
    check_capabilities(request, template)
    tags = tags_of(request) if request.get("Tags") is not None else stack.tags
    same_template = template.resources == stack.template.resources and template.outputs == stack.template.outputs
    if same_template and parameters == stack.parameters and tags == stack.tags:
        raise invalid("No updates are to be performed.")
    work = Work(request.world, stack, str(request.get("ClientRequestToken") or ""))
    stack.status = "UPDATE_IN_PROGRESS"
    work.start(updating(work, template, parameters, tags))
    return {"StackId": stack.stack_id}


@handles("cloudformation", "DeleteStack")
def delete_stack(request: Request) -> Mapping[str, Any]:
    """One that is not there is no error. Breaks off a creation that is under way."""
    try:
        stack = find_stack(request, str(request.get("StackName", "")), deleted=False)
    except ApiError:
        return {}
    if stack.protected:
        words = f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
        raise invalid(words)
    retained = {str(each) for each in request.get("RetainResources", [])}
    if retained and stack.status != "DELETE_FAILED":
        raise invalid("Invalid operation on stack: resources can only be retained when the stack is in DELETE_FAILED")
    if stack.status == "DELETE_IN_PROGRESS":
        return {}
    work = Work(request.world, stack, str(request.get("ClientRequestToken") or ""))
    stack.status = "DELETE_IN_PROGRESS"
    work.start(deleting(work, retained))
    return {}


@handles("cloudformation", "ContinueUpdateRollback")
def continue_update_rollback(request: Request) -> Mapping[str, Any]:
    stack = find_stack(request, str(request.get("StackName", "")), deleted=False)
    if stack.status != "UPDATE_ROLLBACK_FAILED":
        raise invalid(f"Stack:{stack.stack_id} is in {stack.status} state and can not continue rollback.")
    work = Work(request.world, stack, str(request.get("ClientRequestToken") or ""))
    stack.status = "UPDATE_ROLLBACK_IN_PROGRESS"
    work.start(going_back(work))
    return {}


@handles("cloudformation", "UpdateTerminationProtection")
def update_termination_protection(request: Request) -> Mapping[str, Any]:
    stack = find_stack(request, str(request.get("StackName", "")), deleted=False)
    stack.protected = bool(request.get("EnableTerminationProtection"))
    return {"StackId": stack.stack_id}


@handles("cloudformation", "DescribeStacks")
def describe_stacks(request: Request) -> Mapping[str, Any]:
    if request.get("StackName"):
        return {"Stacks": [_stack_as_api(find_stack(request, str(request.get("StackName"))))]}
    stacks = request.world.part(Stacks).living(request.region)
    return by_hundred(request, "Stacks", stacks, _stack_as_api)


def by_hundred(request: Request, name: str, found: list[Any], convert: Any) -> dict[str, Any]:
    request = Request(
        request.world, request.service, request.action, request.region, {**request.parameters, "MaxResults": _PAGE}
    )
    return paged(request, name, lambda: found, convert)


def _stack_as_api(stack: Stack) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "StackId": stack.stack_id,
        "StackName": stack.name,
        "Description": None if stack.status == REVIEW else stack.template.description or None,
        "Parameters": [
            {
                "ParameterKey": key,
                "ParameterValue": "****" if stack.template.parameters[key].get("NoEcho") else value,
            }
            for key, value in stack.parameters.items()
        ],
        "CreationTime": stack.created,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
        "StackStatus": stack.status,
        "StackStatusReason": stack.reason or None,
        "DisableRollback": stack.on_failure == "DO_NOTHING",
        "Capabilities": stack.capabilities,
        "Outputs": stack.outputs,
        "Tags": [{"Key": key, "Value": value} for key, value in stack.tags.items()],
        "EnableTerminationProtection": stack.protected,
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    }
    return {name: value for name, value in shown.items() if value is not None}


@handles("cloudformation", "ListStacks")
def list_stacks(request: Request) -> Mapping[str, Any]:
    """Deleted ones, too."""
    statuses = request.get("StackStatusFilter", [])
    stacks = [each for each in request.world.part(Stacks).by_id.values() if each.region == request.region]
    found = [each for each in reversed(stacks) if not statuses or each.status in statuses]
    fields = ("StackId", "StackName", "CreationTime", "LastUpdatedTime", "DeletionTime", "StackStatus")

    def convert(stack: Stack) -> dict[str, Any]:
        return {name: value for name, value in _stack_as_api(stack).items() if name in fields}

    return by_hundred(request, "StackSummaries", found, convert)


@handles("cloudformation", "DescribeStackEvents")
def describe_stack_events(request: Request) -> Mapping[str, Any]:
    """The newest first."""
    name = str(request.get("StackName", ""))
    stack = find_stack(request, name, words=f"Stack [{name}] does not exist")

    def convert(event: Event) -> dict[str, Any]:
        shown = {
            "StackId": stack.stack_id,
            "StackName": stack.name,
            "EventId": event.event_id,
            "LogicalResourceId": event.logical_id,
            "PhysicalResourceId": event.physical_id,
            "ResourceType": event.type,
            "Timestamp": event.time,
            "ResourceStatus": event.status,
            "ResourceStatusReason": event.reason or None,
            "ClientRequestToken": event.token or None,
        }
        return {key: value for key, value in shown.items() if value is not None}

    return by_hundred(request, "StackEvents", list(stack.events), convert)


def _resource_as_api(stack: Stack, resource: Resource, time_name: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "StackId": stack.stack_id,
        "StackName": stack.name,
        "LogicalResourceId": resource.logical_id,
        "PhysicalResourceId": resource.made.physical_id if resource.made else None,
        "ResourceType": resource.type,
        time_name: resource.changed,
        "ResourceStatus": resource.status,
        "ResourceStatusReason": resource.reason or None,
        "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
    }
    return {name: value for name, value in shown.items() if value is not None}


@handles("cloudformation", "DescribeStackResources")
def describe_stack_resources(request: Request) -> Mapping[str, Any]:
    if request.get("PhysicalResourceId"):
        wanted = request.get("PhysicalResourceId")
        for stack in request.world.part(Stacks).living(request.region):
            if any(each.made and each.made.physical_id == wanted for each in stack.resources.values()):
                break
        else:
            raise invalid(f"Stack for {wanted} does not exist")
    else:
        stack = find_stack(request, str(request.get("StackName", "")))
    logical = request.get("LogicalResourceId")
    found = [each for each in stack.resources.values() if not logical or each.logical_id == logical]
    return {"StackResources": [_resource_as_api(stack, each, "Timestamp") for each in found]}


@handles("cloudformation", "DescribeStackResource")
def describe_stack_resource(request: Request) -> Mapping[str, Any]:
    stack = find_stack(request, str(request.get("StackName", "")))
    logical = str(request.get("LogicalResourceId"))
    if logical not in stack.resources:
        raise invalid(f"Resource {logical} does not exist for stack {stack.name}")
    shown = _resource_as_api(stack, stack.resources[logical], "LastUpdatedTimestamp")
    return {"StackResourceDetail": shown}


@handles("cloudformation", "ListStackResources")
def list_stack_resources(request: Request) -> Mapping[str, Any]:
    stack = find_stack(request, str(request.get("StackName", "")))

    def convert(resource: Resource) -> dict[str, Any]:
        return _resource_as_api(stack, resource, "LastUpdatedTimestamp")

    return by_hundred(request, "StackResourceSummaries", list(stack.resources.values()), convert)


@handles("cloudformation", "GetTemplate")
def get_template(request: Request) -> Mapping[str, Any]:
    stack = find_stack(request, str(request.get("StackName", "")))
    return {"TemplateBody": stack.template.body, "StagesAvailable": ["Original", "Processed"]}


@handles("cloudformation", "ValidateTemplate", "GetTemplateSummary")
def validate_template(request: Request) -> Mapping[str, Any]:
    if request.get("StackName"):
        template = find_stack(request, str(request.get("StackName"))).template
    else:
        template = template_of(request)
    declared = [
        {
            "ParameterKey": name,
            "DefaultValue": str(each["Default"]) if "Default" in each else None,
            "NoEcho": bool(each.get("NoEcho")),
            "Description": each.get("Description"),
        }
        for name, each in template.parameters.items()
    ]
    return {
        "Description": template.description,
        "Parameters": [{key: value for key, value in each.items() if value is not None} for each in declared],
        "Capabilities": _needed_capabilities(template),
        "ResourceTypes": sorted({each["Type"] for each in template.resources.values()}),
    }
