"""CloudFormation: stacks and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError, aws_errors

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, StackTypeDef


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
    """One line of a stack's history. reason: why the status is so; often empty."""

    logical_id: str
    type: str
    status: str
    reason: str


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
