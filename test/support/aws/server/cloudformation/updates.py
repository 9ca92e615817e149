"""Updates of stacks: to another template, and back again when that fails."""

from __future__ import annotations

from moto.core.utils import utcnow

from test.support.aws.server.cloudformation.kinds import KINDS
from test.support.aws.server.cloudformation.stacks import Failed, Resource, Steps, Work, outputs_of, wanted_resources
from test.support.aws.server.cloudformation.template import Template, creation_order

_KEPT = ("Retain", "RetainExceptOnCreate")


def updating(work: Work, template: Template, parameters: dict[str, str], tags: dict[str, str]) -> Steps:
    """On failure back to the template, parameters and tags from before."""
    stack = work.stack
    stack.before = (stack.template, stack.parameters, stack.tags)
    stack.updated = utcnow()
    work.tell("UPDATE_IN_PROGRESS", "User Initiated")
    yield
    try:
        yield from _apply(work, template, parameters, tags, retag=tags != stack.before[2])
    except Failed as failed:
        why = f"The following resource(s) failed to update: [{failed.logical_id}]. "
        work.tell("UPDATE_ROLLBACK_IN_PROGRESS", why)
        yield
        yield from going_back(work)
        return
    work.tell("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
    yield
    work.tell("UPDATE_COMPLETE")


def going_back(work: Work) -> Steps:
    """What failed before fails no more, but for what is to fail now."""
    before, settings = work.stack.before, work.world.settings
    assert before
    failing, settings.failing_resources = settings.failing_resources, dict(settings.failing_rollbacks)
    try:
        yield from _apply(work, *before, retag=work.stack.tags != before[2])
    except Failed as failed:
        work.tell("UPDATE_ROLLBACK_FAILED", f"The following resource(s) failed to update: [{failed.logical_id}]. ")
    else:
        work.tell("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
        yield
        work.tell("UPDATE_ROLLBACK_COMPLETE")
    finally:
        settings.failing_resources = failing


def _apply(work: Work, template: Template, parameters: dict[str, str], tags: dict[str, str], *, retag: bool) -> Steps:
    stack = work.stack
    before = stack.template
    stack.template, stack.parameters, stack.tags = template, parameters, tags
    scope = work.scope(template, parameters)
    wanted = wanted_resources(scope)
    for logical_id in creation_order(template, wanted):
        kind = template.resources[logical_id]["Type"]
        resource = stack.resources.get(logical_id)
        if resource is None or resource.made is None:
            stack.resources[logical_id] = Resource(logical_id, kind)
            yield from work.make(stack.resources[logical_id], scope)
            continue
        given = scope.value(template.resources[logical_id].get("Properties") or {})
        if (
            given != resource.properties
            or resource.status == "UPDATE_FAILED"
            or (retag and "Tags" in KINDS[kind].properties)
        ):
            keep = template.resources[logical_id].get("UpdateReplacePolicy") == "Retain"
            yield from work.change(resource, scope, keep=keep)
    for logical_id in [each for each in stack.resources if each not in wanted]:
        declared = {**before.resources, **template.resources}.get(logical_id, {})
        if stack.resources[logical_id].made and declared.get("DeletionPolicy") in _KEPT:
            work.tell_of(stack.resources[logical_id], "DELETE_SKIPPED")
        else:
            yield from work.remove(stack.resources[logical_id])
        del stack.resources[logical_id]
    stack.outputs = outputs_of(scope)
