"""Finds or makes a stack that lives as long as a build. Those that stay are ``permanent``'s."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.tags import ASSET_ID
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.stacks.following import failure, remove_stack, settled, under_way

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import CloudFormation, Stack
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

_GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")


@dataclass(frozen=True, kw_only=True)
class WantedStack:
    """template: its text. changeable: parameters that are changed in place, where a stack that is there differs.

    unimportant: parameters that may differ. All others make it another stack: the one that is there is replaced.
    """

    name: str
    template: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    changeable: Set[str] = field(default_factory=frozenset)
    unimportant: Set[str] = field(default_factory=frozenset)

    def differences(self, stack: Stack) -> list[str]:
        """Names of the parameters that make a stack that is there unusable."""
        compared = set(self.parameters) - self.changeable - self.unimportant
        return sorted(name for name in compared if stack.parameters.get(name, "") != self.parameters[name])


def ensure_stack(
    access: CloudFormation, wanted: WantedStack, *, progress: Progress, cancellation: Cancellation
) -> tuple[Stack, bool]:
    """The finished stack, and whether it was made now.

    One that is under way is waited for; one that has failed, or was made for something else, is removed first.
    Raises ``InputError`` when a stack of this name belongs to something else, ``StackFailed`` with the resource and its
    reason, ``AwsError``, ``DeadlinePassed``.
    """
    found = access.stack(wanted.name)
    if found:
        _check_ours(found, wanted)
        if under_way(found) and not found.status.startswith("DELETE"):
            found = settled(access, found.id, progress=progress, cancellation=cancellation)
    if found and found.status in _GOOD:
        differences = wanted.differences(found)
        if not differences:
            _change(access, found, wanted, progress=progress, cancellation=cancellation)
            return found, False
        progress.note(f"The stack {wanted.name} was made with another {', '.join(differences)}: it is made anew.")
    if found:
        remove_stack(access, found.id, progress=progress)
    stack_id = _create(access, wanted)
    made = settled(access, stack_id, progress=progress, cancellation=cancellation)
    if made is None or made.status not in _GOOD:
        raise failure(wanted.name, access.events(stack_id))
    return made, True


def _check_ours(found: Stack, wanted: WantedStack) -> None:
    if found.tags.get(ASSET_ID) != wanted.tags[ASSET_ID]:
        raise InputError(
            f"There is a stack {wanted.name} that does not belong to the asset-id {wanted.tags[ASSET_ID]}.",
            hint="Choose another --asset-id.",
        )


def _create(access: CloudFormation, wanted: WantedStack) -> str:
    try:
        return access.create_stack(
            wanted.name,
            template=wanted.template,
            parameters=wanted.parameters,
            tags=wanted.tags,
            # For the repetitions of this one call. A stack of the same name may have been made and removed before.
            token=f"dss-{uuid.uuid4()}",
        )
    except AwsError as error:
        found = access.stack(wanted.name) if error.code == "AlreadyExistsException" else None
        if found is None:
            raise
        _check_ours(found, wanted)
        return found.id


def _change(
    access: CloudFormation, found: Stack, wanted: WantedStack, *, progress: Progress, cancellation: Cancellation
) -> None:
    changed = {
        name: wanted.parameters[name]
        for name in wanted.changeable
        if found.parameters.get(name, "") != wanted.parameters[name]
    }
    if not changed:
        return
    progress.note(f"The stack {found.name} gets another {', '.join(sorted(changed))}.")
    access.update_parameters(found.id, changed, kept=sorted(set(found.parameters) - set(changed)))
    stack = settled(access, found.id, progress=progress, cancellation=cancellation)
    if stack is None or stack.status != "UPDATE_COMPLETE":
        raise failure(wanted.name, access.events(found.id))
