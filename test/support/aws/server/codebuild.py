"""CodeBuild: projects, and builds that go through their phases by the stand-in's clock (moto's succeed at once).

What a build does is made up: it writes two lines per phase to its log. ``failing_builds`` says which phase fails.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.core.utils import get_service_model

from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT, Request, World, handles

_PHASES = (
    "SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD",
    "UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED",
)  # fmt: skip
#: Values that CloudFormation and CodeBuild check. cfn-lint does not.
_ENUMS = {
    ("environment", "type"): "EnvironmentType",
    ("environment", "computeType"): "ComputeType",
    ("environment", "imagePullCredentialsType"): "ImagePullCredentialsType",
    ("source", "type"): "SourceType",
    ("artifacts", "type"): "ArtifactsType",
}
#: The time that a token is known ("StartBuild", AWS CodeBuild API Reference).
_TOKEN_S = 300.0


@dataclass
class Running:
    """A build, as the API shows it. failing: the phase that fails; "" for none."""

    region: str
    shown: dict[str, Any]
    failing: str


@dataclass
class Projects:
    """By region and name; webhooks, too. builds by id, in the order of their start."""

    projects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    webhooks: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    builds: dict[str, Running] = field(default_factory=dict)
    #: Token -> request without it, build, when.
    tokens: dict[tuple[str, str], tuple[dict[str, Any], Running, float]] = field(default_factory=dict)


def _arn(region: str, kind: str, name: str) -> str:
    return f"arn:aws:codebuild:{region}:{ACCOUNT}:{kind}/{name}"


def _store(request: Request) -> Projects:
    return request.world.part(Projects)


def _check_enum(shape: str, value: Any, where: str) -> None:
    known: Any = get_service_model("codebuild").shape_for(shape)
    allowed = known.enum
    if value not in allowed:
        words = f"Value '{value}' at '{where}' failed to satisfy constraint: Member must satisfy enum value set: "
        raise ApiError("InvalidInputException", f"{words}[{', '.join(allowed)}]")


def _check_project(request: Request) -> None:
    given = request.parameters
    for (part, name), shape in _ENUMS.items():
        if name in given.get(part, {}):
            _check_enum(shape, given[part][name], f"{part}.{name}")
    for variable in given.get("environment", {}).get("environmentVariables", []):
        _check_enum("EnvironmentVariableType", variable.get("type", "PLAINTEXT"), "environmentVariables.type")
    minutes = int(given.get("timeoutInMinutes", 60))
    if not 5 <= minutes <= 2160:
        raise ApiError("InvalidInputException", f"Invalid timeout: {minutes}, it must be between 5 and 2160 minutes")
    if role := given.get("serviceRole"):
        _check_role(request, str(role))


def _check_role(request: Request, arn: str) -> None:
    """CodeBuild tries to take the role on."""
    try:
        request.world.moto("iam", "GetRole", {"RoleName": arn.rsplit("/", 1)[-1]}, request.region)
    except ApiError:
        words = f"CodeBuild is not authorized to perform: sts:AssumeRole on service role. Please verify that: {arn}"
        raise ApiError("InvalidInputException", words) from None


def _project(request: Request, name: str) -> dict[str, Any]:
    try:
        return _store(request).projects[request.region, name]
    except KeyError:
        words = f"Project cannot be found: {_arn(request.region, 'project', name)}"
        raise ApiError("ResourceNotFoundException", words) from None


@handles("codebuild", "CreateProject")
def create_project(request: Request) -> Mapping[str, Any]:
    name = str(request.get("name"))
    if (request.region, name) in _store(request).projects:
        words = f"Project already exists: {_arn(request.region, 'project', name)}"
        raise ApiError("ResourceAlreadyExistsException", words)
    _check_project(request)
    made = {"queuedTimeoutInMinutes": 480, "timeoutInMinutes": 60, **request.parameters}
    made |= {"arn": _arn(request.region, "project", name), "created": datetime.now(UTC)}
    _store(request).projects[request.region, name] = made
    return {"project": made}


@handles("codebuild", "UpdateProject")
def update_project(request: Request) -> Mapping[str, Any]:
    found = _project(request, str(request.get("name")))
    _check_project(request)
    found.update(request.parameters)
    return {"project": found}


@handles("codebuild", "DeleteProject")
def delete_project(request: Request) -> Mapping[str, Any]:
    """No error for one that is not there."""
    key = (request.region, str(request.get("name")))
    _store(request).projects.pop(key, None)
    _store(request).webhooks.pop(key, None)
    return {}


@handles("codebuild", "BatchGetProjects")
def batch_get_projects(request: Request) -> Mapping[str, Any]:
    store = _store(request)
    found = []
    for name in request.get("names", []):
        if known := store.projects.get((request.region, name)):
            hook = store.webhooks.get((request.region, name))
            found.append({**known, **({"webhook": hook} if hook else {})})
    return {"projects": found}


@handles("codebuild", "CreateWebhook", "UpdateWebhook")
def put_webhook(request: Request) -> Mapping[str, Any]:
    """Needs a connection of the account to GitHub, or one of the project's own."""
    name = str(request.get("projectName"))
    project = _project(request, name)
    known = _store(request).webhooks.get((request.region, name))
    if request.action == "CreateWebhook" and known:
        raise ApiError("ResourceAlreadyExistsException", f"Webhook already exists for project {name}")
    if not (request.world.settings.github_connected or project["source"].get("auth")):
        raise ApiError("OAuthProviderException", "Could not find access token for server type github")
    for filters in request.get("filterGroups", []):
        if not any(each["type"] == "EVENT" for each in filters):
            raise ApiError("InvalidInputException", "Filter group must contain at least one EVENT type filter")
        for each in filters:
            _check_enum("WebhookFilterType", each["type"], "filterGroups.type")
    hook = {"filterGroups": request.get("filterGroups", []), "buildType": request.get("buildType", "BUILD")}
    _store(request).webhooks[request.region, name] = hook
    return {"webhook": hook}


@handles("codebuild", "DeleteWebhook")
def delete_webhook(request: Request) -> Mapping[str, Any]:
    if _store(request).webhooks.pop((request.region, str(request.get("projectName"))), None) is None:
        raise ApiError("ResourceNotFoundException", "Webhook not found")
    return {}


@handles("codebuild", "ListSourceCredentials")
def list_source_credentials(request: Request) -> Mapping[str, Any]:
    if not request.world.settings.github_connected:
        return {"sourceCredentialsInfos": []}
    arn = _arn(request.region, "token", "github")
    return {"sourceCredentialsInfos": [{"arn": arn, "serverType": "GITHUB", "authType": "PERSONAL_ACCESS_TOKEN"}]}


@handles("codebuild", "StartBuild")
def start_build(request: Request) -> Mapping[str, Any]:
    store = _store(request)
    name = str(request.get("projectName"))
    project = _project(request, name)
    token = request.get("idempotencyToken")
    rest = {key: value for key, value in request.parameters.items() if key != "idempotencyToken"}
    known = store.tokens.get((request.region, str(token)))
    if token and known and time.monotonic() - known[2] < _TOKEN_S:
        if known[0] != rest:
            words = "Request parameters do not match those of an earlier request with this idempotency token"
            raise ApiError("InvalidInputException", words)
        return {"build": known[1].shown}
    variables = {each["name"]: each for each in project["environment"].get("environmentVariables", [])}
    for each in request.get("environmentVariablesOverride", []):
        _check_enum("EnvironmentVariableType", each.get("type", "PLAINTEXT"), "environmentVariablesOverride.type")
        variables[each["name"]] = {"type": "PLAINTEXT", **each}
    running = _new_build(request, name, project, list(variables.values()))
    store.builds[running.shown["id"]] = running
    if token:
        store.tokens[request.region, str(token)] = (rest, running, time.monotonic())
    _enter(request.world, running, 0)
    return {"build": running.shown}


def _new_build(request: Request, name: str, project: Mapping[str, Any], variables: list[dict[str, Any]]) -> Running:
    settings = request.world.settings
    failing = settings.failing_builds.pop(0) if settings.failing_builds else ""
    build_id = f"{name}:{uuid.uuid4()}"
    group = project.get("logsConfig", {}).get("cloudWatchLogs", {}).get("groupName") or f"/aws/codebuild/{name}"
    shown = {
        "id": build_id,
        "arn": _arn(request.region, "build", build_id),
        "buildNumber": len(_store(request).builds) + 1,
        "startTime": datetime.now(UTC),
        "currentPhase": "SUBMITTED",
        "buildStatus": "IN_PROGRESS",
        "buildComplete": False,
        "sourceVersion": request.get("sourceVersion", ""),
        "projectName": name,
        "phases": [],
        "source": project["source"],
        "environment": {**project["environment"], "environmentVariables": variables},
        "serviceRole": project["serviceRole"],
        "logs": {"cloudWatchLogs": {"status": "ENABLED", "groupName": group}},
        "timeoutInMinutes": int(request.get("timeoutInMinutesOverride", project["timeoutInMinutes"])),
        "queuedTimeoutInMinutes": int(project["queuedTimeoutInMinutes"]),
        "initiator": "developer",
    }
    return Running(request.region, shown, failing)


def _enter(world: World, running: Running, number: int) -> None:
    """A phase begins; later it ends, and the next one begins."""
    shown, phase = running.shown, _PHASES[number]
    shown["currentPhase"] = phase
    shown["phases"].append({"phaseType": phase, "startTime": datetime.now(UTC)})
    if phase == "PROVISIONING":
        _open_log(world, running)
    if phase == "COMPLETED":
        shown.update(buildStatus="SUCCEEDED", buildComplete=True, endTime=datetime.now(UTC))
        return
    _log(world, running, f"Entering phase {phase}")

    def leave() -> None:
        if shown["buildComplete"]:
            return
        problem = _problem(world, running, phase)
        _log(world, running, f"Phase complete: {phase} State: {'FAILED' if problem else 'SUCCEEDED'}")
        if problem:
            code, message = problem
            _log(world, running, f"Phase context status code: {code} Message: {message}")
            _leave(running, "FAILED", {"statusCode": code, "message": message})
            _end(running, "FAILED")
            return
        _leave(running, "SUCCEEDED")
        _enter(world, running, number + 1)

    world.after(world.settings.build_phase_s, "builds", leave)


def _leave(running: Running, status: str, context: Mapping[str, str] | None = None) -> None:
    now = datetime.now(UTC)
    contexts = [dict(context or {"statusCode": "", "message": ""})]
    running.shown["phases"][-1].update(phaseStatus=status, endTime=now, durationInSeconds=0, contexts=contexts)


def _end(running: Running, status: str) -> None:
    now = datetime.now(UTC)
    running.shown["phases"].append({"phaseType": "COMPLETED", "startTime": now})
    running.shown.update(buildStatus=status, buildComplete=True, endTime=now, currentPhase="COMPLETED")


def _problem(world: World, running: Running, phase: str) -> tuple[str, str] | None:
    """Why the phase fails: the test wants it, or a secret is not there."""
    if phase == "DOWNLOAD_SOURCE":
        for each in running.shown["environment"]["environmentVariables"]:
            if each.get("type") == "SECRETS_MANAGER":
                try:
                    secret = {"SecretId": str(each["value"]).split(":")[0]}
                    world.moto("secretsmanager", "GetSecretValue", secret, running.region)
                except ApiError as error:
                    return "Secrets Manager Error Message", error.message
    if phase == running.failing:
        command = "dss create-vm --builder ec2"
        return "COMMAND_EXECUTION_ERROR", f"Error while executing command: {command}. Reason: exit status 1"
    return None


def _open_log(world: World, running: Running) -> None:
    """The group is there, or CodeBuild makes it with the role."""
    shown = running.shown
    logs = world.client("logs", running.region)
    group, stream = shown["logs"]["cloudWatchLogs"]["groupName"], shown["id"].rsplit(":", 1)[-1]
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    link = (
        f"https://console.aws.amazon.com/cloudwatch/home?region={running.region}#logEvent:group={group};stream={stream}"
    )
    shown["logs"] |= {"groupName": group, "streamName": stream, "deepLink": link}


def _log(world: World, running: Running, line: str) -> None:
    logs = running.shown["logs"]
    if "streamName" not in logs:
        return
    stamp = datetime.now(UTC).strftime("%Y/%m/%d %H:%M:%S")
    world.client("logs", running.region).put_log_events(
        logGroupName=logs["groupName"],
        logStreamName=logs["streamName"],
        logEvents=[{"timestamp": int(time.time() * 1000), "message": f"[Container] {stamp} {line}\n"}],
    )


@handles("codebuild", "BatchGetBuilds")
def batch_get_builds(request: Request) -> Mapping[str, Any]:
    ids = list(request.get("ids", []))
    if len(ids) > 100:
        raise ApiError("InvalidInputException", "Invalid ids: at most 100 are allowed")
    found = {name: each for name, each in _store(request).builds.items() if each.region == request.region}
    return {
        "builds": [found[each].shown for each in ids if each in found],
        "buildsNotFound": [each for each in ids if each not in found],
    }


@handles("codebuild", "ListBuildsForProject")
def list_builds_for_project(request: Request) -> Mapping[str, Any]:
    name = str(request.get("projectName"))
    _project(request, name)
    ids = [
        build_id
        for build_id, each in _store(request).builds.items()
        if each.region == request.region and each.shown["projectName"] == name
    ]
    return {"ids": ids[:100] if request.get("sortOrder") == "ASCENDING" else ids[::-1][:100]}


@handles("codebuild", "StopBuild")
def stop_build(request: Request) -> Mapping[str, Any]:
    found = _store(request).builds.get(str(request.get("id")))
    if found is None or found.region != request.region:
        raise ApiError("ResourceNotFoundException", f"Build cannot be found: {request.get('id')}")

    def stop() -> None:
        if not found.shown["buildComplete"]:
            _leave(found, "STOPPED")
            _end(found, "STOPPED")

    request.world.after(request.world.settings.build_phase_s, "stops", stop)
    return {"build": found.shown}
