"""CloudFormation: stacks and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from exasol_like_dss.access.aws.errors import AwsError, aws_errors

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, ResourceChangeTypeDef, StackTypeDef


@dataclass(frozen=True)
class Stack:
    """status: as AWS says it, for example ``CREATE_COMPLETE``. reason: why it is so; often empty."""

    id: str
    name: str
    status: str
    reason: str
    created: datetime
    tags: Mapping[str, str]
    outputs: Mapping[str, str] = field(default_factory=dict)
    protected: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StackResource:
    """One row of a stack. id: the physical one, empty as long as there is none. type: ``AWS::EC2::Instance``."""

    logical_id: str
    id: str
    type: str
    status: str
    updated: datetime | None


@dataclass(frozen=True)
class StackEvent:
    """One line of a stack's history. reason: why the status is so; often empty. token: of the call that began it."""

    logical_id: str
    type: str
    status: str
    reason: str
    id: str = ""
    token: str = ""


@dataclass(frozen=True)
class Change:
    """One row of a change set. action: ``Add``, ``Modify``, ``Remove``. replacement: ``True``, ``False``,
    ``Conditional``, or empty where it has no meaning. id: the physical one, empty as long as there is none.

    reasons: what of the resource changes: names of properties, or ``Tags`` and the like.
    """

    action: str
    logical_id: str
    type: str
    replacement: str
    id: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ChangeSet:
    """status: ``CREATE_COMPLETE`` when it can be executed, ``FAILED`` with a reason."""

    name: str
    status: str
    reason: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class ChangeSetSummary:
    """As a list of them has it."""

    name: str
    status: str


class CloudFormation:
    def __init__(self, client: CloudFormationClient, region: str) -> None:
        self._client = client
        self.region = region

    def stacks(self) -> Iterator[Stack]:
        """All that exist. AWS can't filter them by tag. Raises ``AwsError``."""
        with aws_errors("cloudformation", region=self.region):
            for page in self._client.get_paginator("describe_stacks").paginate():
                yield from map(_stack, page["Stacks"])

    def stack(self, name: str) -> Stack | None:
        """One by its name or id; ``None`` when there is none, or it is deleted. Raises ``AwsError``."""
        try:
            with aws_errors("cloudformation", region=self.region):
                answer = self._client.describe_stacks(StackName=name)
        except AwsError as error:
            if error.not_found:
                return None
            raise
        found = [stack for stack in map(_stack, answer["Stacks"]) if stack.status != "DELETE_COMPLETE"]
        return found[0] if found else None

    def resources(self, stack: str) -> Iterator[StackResource]:
        """Of one stack. Raises ``AwsError``."""
        with aws_errors("cloudformation", region=self.region):
            for page in self._client.get_paginator("list_stack_resources").paginate(StackName=stack):
                for found in page["StackResourceSummaries"]:
                    yield StackResource(
                        logical_id=found["LogicalResourceId"],
                        id=found.get("PhysicalResourceId", ""),
                        type=found["ResourceType"],
                        status=found["ResourceStatus"],
                        updated=found.get("LastUpdatedTimestamp"),
                    )

    def events(self, stack_id: str) -> Iterator[StackEvent]:
        """The newest first. Raises ``AwsError``."""
        with aws_errors("cloudformation", region=self.region):
            for page in self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
                for found in page["StackEvents"]:
                    yield StackEvent(
                        logical_id=found.get("LogicalResourceId", ""),
                        type=found.get("ResourceType", ""),
                        status=found.get("ResourceStatus", ""),
                        reason=found.get("ResourceStatusReason", ""),
                        id=found.get("EventId", ""),
                        token=found.get("ClientRequestToken", ""),
                    )

    def create_stack(
        self,
        name: str,
        *,
        template: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        token: str,
        protected: bool = False,
    ) -> str:
        """Begins to make a stack; its id. One that fails is rolled back, and stays as ``ROLLBACK_COMPLETE``.

        token: makes AWS recognise the repetition of a call whose answer was lost. Raises ``AwsError``; code
        ``AlreadyExistsException`` when there is one of this name.
        """
        with aws_errors("cloudformation", region=self.region):
            return self._client.create_stack(
                StackName=name,
                TemplateBody=template,
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                OnFailure="ROLLBACK",
                EnableTerminationProtection=protected,
                ClientRequestToken=token,
            )["StackId"]

    def update_parameters(self, name: str, changed: Mapping[str, str], *, kept: Sequence[str]) -> None:
        """Begins to change parameters; ``kept`` stay as they are. Raises ``AwsError``."""
        parameters: list[ParameterTypeDef] = [
            {"ParameterKey": key, "ParameterValue": value} for key, value in changed.items()
        ]
        parameters += [{"ParameterKey": key, "UsePreviousValue": True} for key in kept]
        with aws_errors("cloudformation", region=self.region):
            self._client.update_stack(StackName=name, UsePreviousTemplate=True, Parameters=parameters)

    def create_change_set(
        self,
        stack: str,
        name: str,
        *,
        template: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        capabilities: Sequence[str],
        new: bool,
    ) -> None:
        """Begins to compare a template with a stack. new: the stack doesn't exist, or is ``REVIEW_IN_PROGRESS``; it is
        that afterwards. capabilities: for example ``CAPABILITY_IAM``. Raises ``AwsError``; code
        ``AlreadyExistsException`` when there is a change set of this name.
        """
        with aws_errors("cloudformation", region=self.region):
            self._client.create_change_set(
                StackName=stack,
                ChangeSetName=name,
                ChangeSetType="CREATE" if new else "UPDATE",
                TemplateBody=template,
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                Capabilities=cast("Any", list(capabilities)),
            )

    def change_set(self, stack: str, name: str) -> ChangeSet:
        """With all its pages. Raises ``AwsError``."""
        changes: list[Change] = []
        token: dict[str, Any] = {}
        while True:
            with aws_errors("cloudformation", region=self.region):
                answer = self._client.describe_change_set(StackName=stack, ChangeSetName=name, **token)
            changes += [
                _change(each["ResourceChange"]) for each in answer.get("Changes", []) if "ResourceChange" in each
            ]
            if not answer.get("NextToken"):
                break
            token = {"NextToken": answer["NextToken"]}
        return ChangeSet(
            name=name, status=answer["Status"], reason=answer.get("StatusReason", ""), changes=tuple(changes)
        )

    def change_sets(self, stack: str) -> Iterator[ChangeSetSummary]:
        """All of a stack. Raises ``AwsError``."""
        with aws_errors("cloudformation", region=self.region):
            for page in self._client.get_paginator("list_change_sets").paginate(StackName=stack):
                for found in page["Summaries"]:
                    yield ChangeSetSummary(name=found.get("ChangeSetName", ""), status=found.get("Status", ""))

    def execute_change_set(self, stack: str, name: str, *, token: str) -> None:
        """Begins to carry it out; all other change sets of the stack end with that. token: see ``create_stack``.

        A creation that fails is rolled back. Raises ``AwsError``; code ``InvalidChangeSetStatus`` when the stack has
        changed since.
        """
        with aws_errors("cloudformation", region=self.region):
            self._client.execute_change_set(StackName=stack, ChangeSetName=name, ClientRequestToken=token)

    def delete_change_set(self, stack: str, name: str) -> None:
        """No error when there is none, or no such stack. Raises ``AwsError``."""
        try:
            with aws_errors("cloudformation", region=self.region):
                self._client.delete_change_set(StackName=stack, ChangeSetName=name)
        except AwsError as error:
            if not (error.not_found or error.code.startswith("ChangeSetNotFound")):
                raise

    def protect(self, name: str, *, on: bool) -> None:
        """Termination protection: a protected stack can't be deleted. Raises ``AwsError``."""
        with aws_errors("cloudformation", region=self.region):
            self._client.update_termination_protection(StackName=name, EnableTerminationProtection=on)

    def continue_rollback(self, name: str, *, token: str) -> None:
        """Begins to bring a stack that is ``UPDATE_ROLLBACK_FAILED`` back to what it was. Raises ``AwsError``."""
        with aws_errors("cloudformation", region=self.region):
            self._client.continue_update_rollback(StackName=name, ClientRequestToken=token)

    def delete_stack(self, name: str) -> None:
        """Begins to delete it. No error when there is none, or it is being deleted. Raises ``AwsError``."""
        with aws_errors("cloudformation", region=self.region):
            self._client.delete_stack(StackName=name)


def _stack(found: StackTypeDef) -> Stack:
    return Stack(
        id=found.get("StackId", ""),
        name=found["StackName"],
        status=found["StackStatus"],
        reason=found.get("StackStatusReason", ""),
        created=found["CreationTime"],
        tags={tag["Key"]: tag["Value"] for tag in found.get("Tags", [])},
        outputs={one.get("OutputKey", ""): one.get("OutputValue", "") for one in found.get("Outputs", [])},
        protected=found.get("EnableTerminationProtection", False),
        parameters={one.get("ParameterKey", ""): one.get("ParameterValue", "") for one in found.get("Parameters", [])},
    )


def _change(found: ResourceChangeTypeDef) -> Change:
    targets = [detail.get("Target", {}) for detail in found.get("Details", [])]
    names = [target.get("Name") or target.get("Attribute", "") for target in targets]
    return Change(
        action=found.get("Action", ""),
        logical_id=found.get("LogicalResourceId", ""),
        type=found.get("ResourceType", ""),
        replacement=found.get("Replacement", ""),
        id=found.get("PhysicalResourceId", ""),
        reasons=tuple(sorted({str(name) for name in names if name})),
    )
