"""CloudWatch Logs: log groups, and what a stream says."""

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


@dataclass(frozen=True)
class LogPage:
    """Lines, the oldest first. position: where the next page begins; the same as before at the end of what there is."""

    lines: tuple[str, ...]
    position: str


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

    def page(self, group: str, stream: str, *, position: str = "") -> LogPage:
        """A page of a stream from a position, or from the beginning. Raises ``AwsError``."""
        after: dict[str, str] = {"nextToken": position} if position else {}
        with aws_errors("logs", region=self.region):
            answer = self._client.get_log_events(
                logGroupName=group,
                logStreamName=stream,
                startFromHead=True,
                **after,  # type: ignore[arg-type]  # the stubs want each name written out
            )
        lines = tuple(one.get("message", "").rstrip("\r\n") for one in answer["events"])
        return LogPage(lines, answer["nextForwardToken"])
