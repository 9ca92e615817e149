"""CloudWatch Logs: log groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient


@dataclass(frozen=True)
class LogGroup:
    """arn: without the ``:*`` at its end, as the calls about tags want it."""

    name: str
    arn: str
    created: datetime
    stored_bytes: int


class Logs:
    def __init__(self, client: CloudWatchLogsClient, region: str) -> None:
        self._client = client
        self.region = region

    def groups(self, prefix: str) -> Iterator[LogGroup]:
        """Raises ``AwsError``."""
        with aws_errors("logs", region=self.region):
            for page in self._client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix):
                for found in page["logGroups"]:
                    yield LogGroup(
                        name=found.get("logGroupName", ""),
                        arn=found.get("arn", "").removesuffix(":*"),
                        created=datetime.fromtimestamp(found.get("creationTime", 0) / 1000, UTC),
                        stored_bytes=found.get("storedBytes", 0),
                    )

    def tags(self, arn: str) -> dict[str, str]:
        """Raises ``AwsError``."""
        with aws_errors("logs", region=self.region):
            return dict(self._client.list_tags_for_resource(resourceArn=arn)["tags"])

    def delete_group(self, name: str) -> None:
        """Raises ``AwsError``."""
        with aws_errors("logs", region=self.region):
            self._client.delete_log_group(logGroupName=name)
