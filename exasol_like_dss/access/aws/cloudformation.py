"""CloudFormation: stacks and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError, aws_errors

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


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


@dataclass(frozen=True)
class StackResource:
    """One row of a stack. id: the physical one, empty as long as there is none. type: ``AWS::EC2::Instance``."""

    logical_id: str
    id: str
    type: str
    status: str
    updated: datetime | None


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
    )
