"""CodeBuild's projects as resources of stacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from test.support.aws.server.cloudformation.kinds import Context, Kind, Made, resource_type, tag_list
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT

#: Properties whose name in the API differs by more than its first letter.
_NAMES = {"BuildSpec": "buildspec"}


def _as_api(value: Any) -> Any:
    """Names with a small letter first, as CodeBuild's API has them; numbers and truths as such."""
    if isinstance(value, dict):
        return {_NAMES.get(name, name[:1].lower() + name[1:]): _as_api(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_api(each) for each in value]
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


@resource_type("AWS::CodeBuild::Project")
class Project(Kind):
    service = "codebuild"
    properties = frozenset(
        {
            "Artifacts",
            "AutoRetryLimit",
            "BadgeEnabled",
            "Cache",
            "ConcurrentBuildLimit",
            "Description",
            "EncryptionKey",
            "Environment",
            "LogsConfig",
            "Name",
            "QueuedTimeoutInMinutes",
            "ResourceAccessRole",
            "ServiceRole",
            "Source",
            "SourceVersion",
            "Tags",
            "TimeoutInMinutes",
            "Triggers",
            "Visibility",
            "VpcConfig",
        }
    )
    required = frozenset({"Artifacts", "Environment", "ServiceRole", "Source"})

    def create(self, context: Context, properties: dict[str, Any]) -> Made:
        name = properties.get("Name") or context.name(most=150)
        project = context.call("codebuild", "CreateProject", **self._parameters(context, name, properties))["project"]
        made = context.half_made = Made(name, {"Arn": project["arn"], "_hook": False})
        return self._hook(context, made, properties.get("Triggers") or {})

    def update(self, context: Context, made: Made, properties: dict[str, Any]) -> Made | None:
        name = made.physical_id
        if properties.get("Name", name) != name:
            return None
        context.call("codebuild", "UpdateProject", **self._parameters(context, name, properties))
        return self._hook(context, made, properties.get("Triggers") or {})

    @staticmethod
    def _parameters(context: Context, name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        given = {key: value for key, value in properties.items() if key not in ("Triggers", "Tags", "Visibility")}
        parameters: dict[str, Any] = _as_api(given)
        for key in ("timeoutInMinutes", "queuedTimeoutInMinutes", "concurrentBuildLimit"):
            if key in parameters:
                parameters[key] = int(parameters[key])
        tags = [{"key": each["Key"], "value": each["Value"]} for each in tag_list(context.all_tags(properties))]
        return {**parameters, "name": name, "tags": tags or None}

    @staticmethod
    def _hook(context: Context, made: Made, triggers: Mapping[str, Any]) -> Made:
        there, wanted = made.attributes["_hook"], str(triggers.get("Webhook", "")).lower() == "true"
        if wanted:
            groups = _as_api(triggers.get("FilterGroups", []))
            kind = triggers.get("BuildType")
            action = "UpdateWebhook" if there else "CreateWebhook"
            context.call("codebuild", action, projectName=made.physical_id, filterGroups=groups, buildType=kind)
        elif there:
            context.call("codebuild", "DeleteWebhook", projectName=made.physical_id)
        arn = f"arn:aws:codebuild:{context.region}:{ACCOUNT}:project/{made.physical_id}"
        return Made(made.physical_id, {"Arn": arn, "_hook": wanted})

    def retag(self, context: Context, made: Made, tags: dict[str, str]) -> None:
        shown = [{"key": key, "value": value} for key, value in tags.items()]
        context.call("codebuild", "UpdateProject", name=made.physical_id, tags=shown)

    def delete(self, context: Context, made: Made) -> None:
        if made.attributes.get("_hook"):
            try:
                context.call("codebuild", "DeleteWebhook", projectName=made.physical_id)
            except ApiError as error:
                if error.code != "ResourceNotFoundException":
                    raise
        context.call("codebuild", "DeleteProject", name=made.physical_id)
