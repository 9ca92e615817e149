"""The release job in CodeBuild: started once, followed to its end, stopped when it is to be.

There is no state file. A build that runs for the same release is found again among those of the project, and followed.
"""

from __future__ import annotations

import re
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from exasol_like_dss.access.aws.errors import AwsError, Unreachable
from exasol_like_dss.lib.assets.names import RELEASE_STACK
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.waiting import unbroken, wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import CloudFormation
    from exasol_like_dss.access.aws.codebuild import Build, CodeBuild, Phase
    from exasol_like_dss.access.aws.logs import Logs
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

#: Outputs of the stack of the release job.
OUTPUT_PROJECT = "ProjectName"
OUTPUT_REPOSITORY = "Repository"
#: What buildspec_release.yml reads.
ASSET_ID, RELEASE_ID, RELEASE_KIND = "ASSET_ID", "RELEASE_ID", "RELEASE_KIND"
_INTERVAL_S = 5.0
_STOP_INTERVAL_S = 1.0
_STOP_S = 600.0
#: CodeBuild ends a build at its own time-out. What it does afterwards, and our looking, takes some minutes more.
_AFTER_S = 600.0
#: Shown of the log at each look.
_LINES, _WIDTH, _PAGES = 40, 300, 10
_TAIL = 20
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_GOOD_PHASE = ("", "SUCCEEDED")
Kind = Literal["release", "staged", "test"]


class BuildFailed(DssError):
    """The build ended, and not well."""


@dataclass(frozen=True, kw_only=True)
class WantedBuild:
    """What is to be built. kind: only a ``release`` becomes public. Of a ``test`` no Docker image is pushed."""

    branch: str
    asset_id: AssetId
    release_id: int
    kind: Kind

    @property
    def variables(self) -> dict[str, str]:
        return {ASSET_ID: str(self.asset_id), RELEASE_ID: str(self.release_id), RELEASE_KIND: self.kind}


@dataclass(frozen=True)
class ReleaseProject:
    """repository: ``OWNER/NAME`` that it builds."""

    name: str
    repository: str


def find_project(access: CloudFormation, *, repository: str) -> ReleaseProject:
    """The project of the release stack. Raises ``InputError`` without one, or with one of another repository."""
    stack = access.stack(RELEASE_STACK)
    name = stack.outputs.get(OUTPUT_PROJECT) if stack else None
    if not stack or not name:
        missing = f"has no output {OUTPUT_PROJECT}" if stack else "does not exist"
        raise InputError(
            f"There is no release job: the stack {RELEASE_STACK} {missing} in {access.region}.",
            hint="Make it: dss setup-release-codebuild. Or choose the --region that has it.",
        )
    found = ReleaseProject(name, stack.outputs.get(OUTPUT_REPOSITORY, ""))
    if found.repository.lower() != repository.lower():
        raise InputError(
            f"The release job in {access.region} builds {found.repository}, not {repository}.",
            hint="Give another --repository, or change the job: dss setup-release-codebuild.",
        )
    return found


class ReleaseBuild:
    """One build from its start to its end. build: as it was seen last; ``None`` until there is one."""

    def __init__(
        self,
        codebuild: CodeBuild,
        logs: Logs,
        *,
        project: str,
        wanted: WantedBuild,
        progress: Progress,
        cancellation: Cancellation,
    ) -> None:
        self._codebuild = codebuild
        self._project = project
        self._wanted = wanted
        self._progress = progress
        self._cancellation = cancellation
        self._log = _Log(logs, progress)
        self._phases: dict[str, str] = {}
        self.build: Build | None = None

    def ensure(self) -> bool:
        """Finds the running build of this release, or starts one; whether it was started now.

        A signal waits until the answer is here: else nobody would know which build to stop. Raises ``InputError`` when
        a build of the asset-id runs for another branch or release, ``AwsError``.
        """
        running = self._running()
        if running:
            self.build = running
            self._progress.note(f"The build {running.id} runs already: it is followed.")
            return False

        def start() -> None:
            # The token is for the repetitions of this one call, whose answer may be lost.
            self.build = self._codebuild.start(
                self._project, branch=self._wanted.branch, variables=self._wanted.variables, token=str(uuid.uuid4())
            )

        self._cancellation.check()
        unbroken(start)
        return True

    def follow(self, *, deadline_s: float | None = None) -> Build:
        """Shows phases and new lines of the log until the build has ended.

        deadline_s: as long as CodeBuild itself lets it run, and some minutes. Raises ``DeadlinePassed``, ``AwsError``;
        the build goes on then.
        """
        build = self._known()

        def ended() -> Build | None:
            self._cancellation.check()
            now = self._look()
            self._log.advance(now)
            return now if now.ended else None

        return wait_until(
            f"the build {build.id}",
            ended,
            deadline_s=build.timeout_s + _AFTER_S if deadline_s is None else deadline_s,
            interval_s=_INTERVAL_S,
            progress=self._progress,
            hint=f"It goes on: {self.link}. The same command follows it again.",
            detail=lambda: self._known().phase,
        )

    def stop(self) -> Build:
        """Stops it, and waits until it has ended. Does not look at the cancellation: this is clean-up."""
        build = self._known()
        if not build.ended:
            self._codebuild.stop(build.id)

        def ended() -> Build | None:
            now = self._look()
            return now if now.ended else None

        return wait_until(
            f"the build {build.id} to stop",
            ended,
            deadline_s=_STOP_S,
            interval_s=_STOP_INTERVAL_S,
            progress=self._progress,
            hint=f"Look at it: {self.link}",
            detail=lambda: self._known().phase,
        )

    @property
    def link(self) -> str:
        """The build's page in the AWS console."""
        return console_link(self._known())

    @property
    def last_lines(self) -> list[str]:
        """Of the log, as far as it has been shown."""
        return list(self._log.tail)

    def check(self) -> None:
        """Raises ``BuildFailed`` unless the build has ended well."""
        build = self._known()
        if build.status == "SUCCEEDED":
            return
        failed = failed_phase(build)
        where = f" in the phase {failed.name}" if failed else ""
        why = f": {failed.context}" if failed and failed.context else "."
        raise BuildFailed(
            f"The build {build.id} ended as {build.status}{where}{why}",
            hint=f"Its log: {build.log_link or self.link}  When the reason is gone, run the same command again: "
            "the release goes on where it stopped.",
        )

    def _running(self) -> Build | None:
        ids = self._codebuild.newest_ids(self._project)
        wanted = self._wanted
        for build in self._codebuild.builds(ids):
            if build.ended or build.variables.get(ASSET_ID) != str(wanted.asset_id):
                continue
            same = all(build.variables.get(name) == value for name, value in wanted.variables.items())
            if same and build.branch == wanted.branch:
                return build
            raise InputError(
                f"A build of {wanted.asset_id} runs already, for the branch {build.branch} and the release "
                f"{build.variables.get(RELEASE_ID) or '?'}.",
                hint=f"Wait for it, or stop it: aws codebuild stop-build --id {build.id}",
            )
        return None

    def _known(self) -> Build:
        assert self.build, "there is no build yet"
        return self.build

    def _look(self) -> Build:
        """As it is now; as it was, when AWS can't be asked for the moment."""
        before = self._known()
        try:
            found = self._codebuild.builds([before.id])
        except AwsError as error:
            if not (error.passes or isinstance(error, Unreachable)):
                raise
            self._progress.status(f"{error.message} It is asked again.")
            return before
        # What was started a moment ago may not be known everywhere.
        self.build = found[0] if found else before
        self._tell_phases(self.build)
        return self.build

    def _tell_phases(self, build: Build) -> None:
        for phase in build.phases:
            if phase.name == "COMPLETED" or self._phases.get(phase.name) == phase.status:
                continue
            self._phases[phase.name] = phase.status
            self._progress.note(" ".join(filter(None, ("Phase", phase.name, phase.status or "…", phase.context))))


def failed_phase(build: Build) -> Phase | None:
    return next((phase for phase in build.phases if phase.status not in _GOOD_PHASE), None)


def console_link(build: Build) -> str:
    """arn: ``arn:PARTITION:codebuild:REGION:ACCOUNT:build/PROJECT:UUID``."""
    _, partition, _, region, account, _ = build.arn.split(":", 5)
    host = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}.get(
        partition, "console.aws.amazon.com"
    )
    project = build.id.split(":", 1)[0]
    path = f"codesuite/codebuild/{account}/projects/{project}/build/{quote(build.id, safe='')}/"
    return f"https://{region}.{host}/{path}?region={region}"


class _Log:
    """New lines of a build's log, as notes. tail: the last ones."""

    def __init__(self, logs: Logs, progress: Progress) -> None:
        self._logs = logs
        self._progress = progress
        self._position = ""
        self._off = False
        self.tail: deque[str] = deque(maxlen=_TAIL)

    def advance(self, build: Build) -> None:
        """Shows what has come since the last time, the last lines of it if there are many."""
        if self._off or not build.log_stream:
            return
        lines = [_CONTROL.sub("", line) for line in self._read(build)]
        left_out = len(lines) - _LINES
        if left_out > 0:
            self._progress.note(f"  … {left_out} lines; all are in {build.log_link}")
        for line in lines[-_LINES:]:
            self._progress.note(f"  {line[:_WIDTH]}{'…' if len(line) > _WIDTH else ''}")
        self.tail.extend(lines)

    def _read(self, build: Build) -> list[str]:
        lines: list[str] = []
        try:
            for _ in range(_PAGES):
                page = self._logs.page(build.log_group, build.log_stream, position=self._position)
                lines += page.lines
                # The same position as before: the end (CloudWatch Logs API Reference, GetLogEvents).
                if page.position == self._position or not page.position:
                    break
                self._position = page.position
        except AwsError as error:
            if not (error.not_found or error.passes or isinstance(error, Unreachable)):
                self._off = True
                self._progress.note(f"The log can't be shown: {error.message} It is here: {build.log_link}")
        return [line for line in lines if line.strip()]
