"""Stacks: made, changed and removed step by step, with an event for each, and rolled back when a step fails.

AWS: CloudFormation user guide, "Understand CloudFormation stack creation events", "Stack failure options".
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from moto.core.utils import utcnow

from test.support.aws.server.cloudformation.kinds import KINDS, Context, Made, NotStabilized, check_properties
from test.support.aws.server.cloudformation.template import Scope, Template, creation_order
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT, World

#: One of its work's steps: nothing to tell, the next comes after a while.
Steps = Iterator[None]
#: A stack without resources, whose change set waits for its execution.
REVIEW = "REVIEW_IN_PROGRESS"


@dataclass
class Resource:
    """One of a stack's. properties: resolved, as it was made with."""

    logical_id: str
    type: str
    status: str = ""
    reason: str = ""
    made: Made | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    changed: datetime = field(default_factory=utcnow)


@dataclass(frozen=True)
class Event:
    event_id: str
    time: datetime
    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str
    token: str


@dataclass
class Stack:
    """on_failure: ROLLBACK, DELETE, DO_NOTHING. before: template, parameters and tags before the last update.

    run: counts operations; an older one stops when it is overtaken.
    """

    stack_id: str
    name: str
    region: str
    template: Template
    parameters: dict[str, str]
    tags: dict[str, str]
    capabilities: list[str]
    on_failure: str
    protected: bool
    token: str
    created: datetime = field(default_factory=utcnow)
    updated: datetime | None = None
    deleted: datetime | None = None
    status: str = ""
    reason: str = ""
    resources: dict[str, Resource] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    outputs: list[dict[str, str]] = field(default_factory=list)
    run: int = 0
    before: tuple[Template, dict[str, str], dict[str, str]] | None = None

    @property
    def in_progress(self) -> bool:
        return self.status.endswith("_IN_PROGRESS")


@dataclass
class Stacks:
    by_id: dict[str, Stack] = field(default_factory=dict)

    def living(self, region: str) -> list[Stack]:
        return [each for each in self.by_id.values() if each.region == region and each.status != "DELETE_COMPLETE"]


def new_stack_id(region: str, name: str) -> str:
    return f"arn:aws:cloudformation:{region}:{ACCOUNT}:stack/{name}/{uuid.uuid4()}"


class Work:
    """An operation on a stack, under way."""

    def __init__(self, world: World, stack: Stack, token: str) -> None:
        self.world = world
        self.stack = stack
        self.token = token
        stack.run += 1
        self._run = stack.run

    @classmethod
    def none(cls, world: World, stack: Stack) -> Work:
        """For a look at a stack; what is under way goes on."""
        work = cls(world, stack, "")
        stack.run -= 1
        return work

    def start(self, steps: Steps) -> None:
        """Goes through the steps with a pause before each, until another operation takes over."""

        def step() -> None:
            if self.stack.run != self._run:
                return
            if next(steps, self) is None:
                self.world.after(self.world.settings.stack_step_s, "stacks", step)

        self.world.after(self.world.settings.stack_step_s, "stacks", step)

    def tell(self, status: str, reason: str = "") -> None:
        """An event of the stack itself."""
        stack = self.stack
        stack.status, stack.reason = status, reason
        self._event(stack.name, stack.stack_id, "AWS::CloudFormation::Stack", status, reason)

    def tell_of(self, resource: Resource, status: str, reason: str = "") -> None:
        resource.status, resource.reason, resource.changed = status, reason, utcnow()
        physical = resource.made.physical_id if resource.made else ""
        self._event(resource.logical_id, physical, resource.type, status, reason)

    def _event(self, logical: str, physical: str, kind: str, status: str, reason: str) -> None:
        event = Event(str(uuid.uuid4()), utcnow(), logical, physical, kind, status, reason, self.token)
        self.stack.events.insert(0, event)

    # What scopes and contexts are made of.

    def scope(self, template: Template, parameters: dict[str, str]) -> Scope:
        stack = self.stack
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::NotificationARNs": [],
            "AWS::Partition": "aws",
            "AWS::Region": stack.region,
            "AWS::StackId": stack.stack_id,
            "AWS::StackName": stack.name,
            "AWS::URLSuffix": "amazonaws.com",
        }
        scope = Scope(template, self._values(template, parameters), pseudo)
        for resource in stack.resources.values():
            self._publish(scope, resource)
        return scope

    def _values(self, template: Template, parameters: dict[str, str]) -> dict[str, Any]:
        """Lists are split; names of SSM parameters become their values."""
        values: dict[str, Any] = {}
        for name, value in parameters.items():
            kind = str(template.parameters[name].get("Type", "String"))
            if kind.startswith("AWS::SSM::Parameter::Value"):
                found = self.world.perform("ssm", "GetParameter", {"Name": value}, self.stack.region)
                values[name] = found["Parameter"]["Value"]
            elif kind.startswith("List<") or kind == "CommaDelimitedList":
                values[name] = [each.strip() for each in value.split(",")]
            else:
                values[name] = value
        return values

    @staticmethod
    def _publish(scope: Scope, resource: Resource) -> None:
        if resource.made:
            scope.physical[resource.logical_id] = resource.made.physical_id
            for name, value in resource.made.attributes.items():
                scope.attributes[resource.logical_id, name] = value

    def context(self, resource: Resource) -> Context:
        stack = self.stack
        system = {
            "aws:cloudformation:stack-id": stack.stack_id,
            "aws:cloudformation:stack-name": stack.name,
            "aws:cloudformation:logical-id": resource.logical_id,
        }
        return Context(self.world, stack.region, stack.name, resource.logical_id, stack.tags, system)

    # Steps on one resource. They raise Failed.

    def make(self, resource: Resource, scope: Scope) -> Steps:
        """From nothing to CREATE_COMPLETE."""
        kind = KINDS[resource.type]
        self.tell_of(resource, "CREATE_IN_PROGRESS")
        yield
        context = self.context(resource)
        with _failures(self, resource, "CREATE_FAILED", context):
            given = scope.value(scope.template.resources[resource.logical_id].get("Properties") or {})
            check_properties(resource.logical_id, kind, given)
            if why := self.world.settings.failing_resources.get(resource.type):
                raise NotStabilized(why)
            resource.properties = given
            resource.made = kind.create(context, given)
        self.tell_of(resource, "CREATE_IN_PROGRESS", "Resource creation Initiated")
        yield
        while True:
            with _failures(self, resource, "CREATE_FAILED"):
                assert resource.made
                settled = kind.settled(self.context(resource), resource.made)
            if settled is not None:
                break
            yield
        resource.made = settled
        self.tell_of(resource, "CREATE_COMPLETE")
        self._publish(scope, resource)

    def remove(self, resource: Resource) -> Steps:
        """From what there is to DELETE_COMPLETE."""
        if resource.made is None:
            return
        kind = KINDS[resource.type]
        self.tell_of(resource, "DELETE_IN_PROGRESS")
        yield
        with _failures(self, resource, "DELETE_FAILED"):
            if why := self.world.settings.undeletable_resources.get(resource.type):
                raise NotStabilized(why)
            kind.delete(self.context(resource), resource.made)
        while not kind.gone(self.context(resource), resource.made):
            yield
        self.tell_of(resource, "DELETE_COMPLETE")
        resource.made = None

    def change(self, resource: Resource, scope: Scope, *, keep: bool = False) -> Steps:
        """To the template's properties: in place, or by another in its stead.

        keep: the old one stays; else it goes at once.
        """
        kind = KINDS[resource.type]
        given = scope.value(scope.template.resources[resource.logical_id].get("Properties") or {})
        assert resource.made
        self.tell_of(resource, "UPDATE_IN_PROGRESS")
        yield
        with _failures(self, resource, "UPDATE_FAILED"):
            check_properties(resource.logical_id, kind, given)
            if why := self.world.settings.failing_resources.get(resource.type):
                raise NotStabilized(why)
            made = _in_place(self.context(resource), resource, given)
            if made is None:
                words = "Requested update requires the creation of a new physical resource; hence creating one."
                self.tell_of(resource, "UPDATE_IN_PROGRESS", words)
                if not keep:
                    kind.delete(self.context(resource), resource.made)
        if made is None:
            while not (keep or kind.gone(self.context(resource), resource.made)):
                yield
            with _failures(self, resource, "UPDATE_FAILED"):
                made = kind.create(self.context(resource), given)
            while (settled := kind.settled(self.context(resource), made)) is None:
                yield
            made = settled
        resource.made, resource.properties = made, given
        self.tell_of(resource, "UPDATE_COMPLETE")
        self._publish(scope, resource)


def _in_place(context: Context, resource: Resource, given: dict[str, Any]) -> Made | None:
    """The resource as it is now, None if it can't be changed into that."""
    kind, made = KINDS[resource.type], resource.made
    assert made
    if _untagged(given) == _untagged(resource.properties):
        kind.retag(context, made, context.all_tags(given))
        return made
    return kind.update(context, made, given)


def _untagged(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if name != "Tags"}


class Failed(Exception):
    """A resource; its event has been told."""

    def __init__(self, logical_id: str) -> None:
        super().__init__(logical_id)
        self.logical_id = logical_id


class _failures:
    """What goes wrong inside is told as an event of the resource."""

    def __init__(self, work: Work, resource: Resource, status: str, context: Context | None = None) -> None:
        self._tell: Callable[[str], None] = lambda why: work.tell_of(resource, status, why)
        self._resource = resource
        self._context = context

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and self._context and self._context.half_made:
            self._resource.made = self._context.half_made
        if isinstance(error, ApiError):
            service = KINDS[self._resource.type].service
            self._tell(
                f"{error.message} (Service: {service}; Status Code: {error.status}; Error Code: {error.code}; "
                f"Request ID: {uuid.uuid4()}; Proxy: null)"
            )
        elif isinstance(error, NotStabilized):
            self._tell(str(error))
        elif error is not None:
            return
        if error is not None:
            raise Failed(self._resource.logical_id) from None


def creating(work: Work) -> Steps:
    stack = work.stack
    work.tell("CREATE_IN_PROGRESS", "User Initiated")
    yield
    try:
        try:
            scope = work.scope(stack.template, stack.parameters)
            wanted = wanted_resources(scope)
        except ApiError as error:
            work.tell("CREATE_IN_PROGRESS", error.message)
            raise Failed("") from None
        for logical_id in creation_order(stack.template, wanted):
            resource = Resource(logical_id, stack.template.resources[logical_id]["Type"])
            stack.resources[logical_id] = resource
            yield from work.make(resource, scope)
    except Failed as failed:
        yield from _after_failure(work, failed)
        return
    stack.outputs = outputs_of(scope)
    work.tell("CREATE_COMPLETE")


def wanted_resources(scope: Scope) -> set[str]:
    resources = scope.template.resources
    return {name for name, each in resources.items() if "Condition" not in each or scope.condition(each["Condition"])}


def outputs_of(scope: Scope) -> list[dict[str, str]]:
    outputs = []
    for name, each in scope.template.outputs.items():
        if "Condition" in each and not scope.condition(each["Condition"]):
            continue
        output = {"OutputKey": name, "OutputValue": str(scope.value(each["Value"]))}
        if each.get("Description"):
            output["Description"] = str(each["Description"])
        outputs.append(output)
    return outputs


def _after_failure(work: Work, failed: Failed) -> Steps:
    stack = work.stack
    why = f"The following resource(s) failed to create: [{failed.logical_id}]. "
    if stack.on_failure == "DO_NOTHING":
        work.tell("CREATE_FAILED", why)
        return
    word = "DELETE" if stack.on_failure == "DELETE" else "ROLLBACK"
    work.tell(f"{word}_IN_PROGRESS", f"{why}{'Delete' if word == 'DELETE' else 'Rollback'} requested by user.")
    yield
    yield from _remove_all(work, word, retained=set(), on_create=True)


def deleting(work: Work, retained: set[str]) -> Steps:
    work.tell("DELETE_IN_PROGRESS", "User Initiated")
    yield
    yield from _remove_all(work, "DELETE", retained=retained, on_create=False)


def _remove_all(work: Work, word: str, *, retained: set[str], on_create: bool) -> Steps:
    """In the reverse of the order in which they were made; one that fails doesn't stop those not in its way."""
    stack = work.stack
    failed = []
    for resource in reversed(list(stack.resources.values())):
        policy = stack.template.resources.get(resource.logical_id, {}).get("DeletionPolicy", "Delete")
        keep = policy == "Retain" or (policy == "RetainExceptOnCreate" and not on_create)
        if resource.made is not None and (keep or resource.logical_id in retained):
            work.tell_of(resource, "DELETE_SKIPPED")
            continue
        try:
            yield from work.remove(resource)
        except Failed as error:
            failed.append(error.logical_id)
    if failed:
        work.tell(f"{word}_FAILED", f"The following resource(s) failed to delete: [{', '.join(failed)}]. ")
        return
    if word == "DELETE":
        stack.deleted = utcnow()
    work.tell(f"{word}_COMPLETE")
