"""CodeBuild: builds of a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_codebuild import CodeBuildClient
    from mypy_boto3_codebuild.type_defs import BuildTypeDef

_AT_ONCE = 100  # BatchGetBuilds takes, and ListBuildsForProject gives, at most so many


@dataclass(frozen=True)
class Phase:
    """name: as AWS says it, for example ``PRE_BUILD``. status: empty while it runs. context: why it failed."""

    name: str
    status: str
    context: str


@dataclass(frozen=True)
class Build:
    """status: ``IN_PROGRESS``, ``SUCCEEDED``, ``FAILED``, ``FAULT``, ``TIMED_OUT`` or ``STOPPED``.

    variables: the plain ones. log_group, log_stream: empty until there is a log. timeout_s: of running and of waiting
    in the queue together.
    """

    id: str
    arn: str
    status: str
    phase: str
    phases: tuple[Phase, ...]
    branch: str
    variables: Mapping[str, str]
    log_group: str
    log_stream: str
    log_link: str
    started: datetime | None
    timeout_s: float

    @property
    def ended(self) -> bool:
        return self.status != "IN_PROGRESS"


class CodeBuild:
    def __init__(self, client: CodeBuildClient, region: str) -> None:
        self._client = client
        self.region = region

    def start(self, project: str, *, branch: str, variables: Mapping[str, str], token: str) -> Build:
        """Starts a build of a branch. variables: plain text, which everybody who may look at the build can read.

        token: for five minutes AWS answers a call with a known token with the same build (CodeBuild API Reference,
        StartBuild, ``idempotencyToken``). Raises ``AwsError``.
        """
        with aws_errors("codebuild", region=self.region):
            answer = self._client.start_build(
                projectName=project,
                sourceVersion=branch,
                environmentVariablesOverride=[
                    {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()
                ],
                idempotencyToken=token,
            )
        return _build(answer["build"])

    def builds(self, ids: Sequence[str]) -> list[Build]:
        """At most 100; those that are not known are left out. Raises ``AwsError``."""
        if not ids:
            return []
        with aws_errors("codebuild", region=self.region):
            return [_build(one) for one in self._client.batch_get_builds(ids=list(ids))["builds"]]

    def newest_ids(self, project: str) -> list[str]:
        """Of at most 100 builds, the newest first. Raises ``AwsError``."""
        with aws_errors("codebuild", region=self.region):
            answer = self._client.list_builds_for_project(projectName=project, sortOrder="DESCENDING")
        return answer.get("ids", [])[:_AT_ONCE]

    def stop(self, build_id: str) -> None:
        """Begins to stop it. Raises ``AwsError``."""
        with aws_errors("codebuild", region=self.region):
            self._client.stop_build(id=build_id)

    def connected_servers(self) -> set[str]:
        """Kinds of servers for sources that the account is connected to here, as ``GITHUB``. Raises ``AwsError``."""
        with aws_errors("codebuild", region=self.region):
            found = self._client.list_source_credentials()["sourceCredentialsInfos"]
        return {one.get("serverType", "") for one in found}


def _build(found: BuildTypeDef) -> Build:
    logs = found.get("logs", {})
    environment = found.get("environment")
    variables = environment.get("environmentVariables", []) if environment else []
    minutes = found.get("timeoutInMinutes", 0) + found.get("queuedTimeoutInMinutes", 0)
    return Build(
        id=found.get("id", ""),
        arn=found.get("arn", ""),
        status=found.get("buildStatus", "IN_PROGRESS"),
        phase=found.get("currentPhase", ""),
        phases=tuple(
            Phase(
                name=one.get("phaseType", ""),
                status=one.get("phaseStatus", ""),
                context=" ".join(
                    " ".join(filter(None, (why.get("statusCode", ""), why.get("message", "")))).strip()
                    for why in one.get("contexts", [])
                ).strip(),
            )
            for one in found.get("phases", [])
        ),
        branch=found.get("sourceVersion", ""),
        variables={one["name"]: one["value"] for one in variables if one.get("type", "PLAINTEXT") == "PLAINTEXT"},
        log_group=logs.get("groupName", ""),
        log_stream=logs.get("streamName", ""),
        log_link=logs.get("deepLink", ""),
        started=found.get("startTime"),
        timeout_s=minutes * 60.0,
    )
