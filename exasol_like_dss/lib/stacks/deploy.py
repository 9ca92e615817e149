"""Finds or makes a CloudFormation stack, and removes one. What is waited for is shown; what fails is named."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.tags import ASSET_ID
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.waiting import wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import CloudFormation, Stack, StackEvent
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

STACK_S = 1200.0
_INTERVAL_S = 1.0
_GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
_LACK = ("InsufficientInstanceCapacity", "sufficient", "capacity")


class StackFailed(DssError):
    """CloudFormation could not make something."""


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
        if found.status.endswith("_IN_PROGRESS") and not found.status.startswith("DELETE"):
            found = _settled(access, found.id, progress=progress, cancellation=cancellation)
    if found and found.status in _GOOD:
        differences = wanted.differences(found)
        if not differences:
            _change(access, found, wanted, progress=progress, cancellation=cancellation)
            return found, False
        progress.note(f"The stack {wanted.name} was made with another {', '.join(differences)}: it is made anew.")
    if found:
        remove_stack(access, found.id, progress=progress)
    stack_id = _create(access, wanted)
    made = _settled(access, stack_id, progress=progress, cancellation=cancellation)
    if made is None or made.status not in _GOOD:
        raise _failure(wanted.name, access.events(stack_id))
    return made, True


def remove_stack(access: CloudFormation, stack: str, *, progress: Progress, deadline_s: float = STACK_S) -> None:
    """Removes a stack, by name or id, and waits until it is gone. Also one that isn't there.

    Does not look at any cancellation: this is clean-up. Raises ``StackFailed``, ``AwsError``, ``DeadlinePassed``.
    """
    found = access.stack(stack)
    if found is None:
        return
    tried = 0

    def gone() -> bool:
        nonlocal tried
        now = access.stack(found.id)
        if now is None:
            return True
        if not now.status.startswith("DELETE") or now.status == "DELETE_FAILED":
            if tried >= 3:
                raise StackFailed(
                    f"The stack {found.name} can't be removed: {now.reason or now.status}",
                    hint=f"See its events: aws cloudformation describe-stack-events --stack-name {found.name}",
                )
            tried += 1
            access.delete_stack(found.id)
        return False

    wait_until(
        f"the stack {found.name} to be gone",
        gone,
        deadline_s=deadline_s,
        interval_s=_INTERVAL_S,
        progress=progress,
        hint=f"Remove it: aws cloudformation delete-stack --stack-name {found.name}",
    )


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


def _settled(access: CloudFormation, stack_id: str, *, progress: Progress, cancellation: Cancellation) -> Stack | None:
    """Waits until nothing goes on any more. ``None``: it has been deleted."""
    seen = ""

    def settled() -> tuple[Stack | None] | None:
        nonlocal seen
        cancellation.check()
        stack = access.stack(stack_id)
        if stack is None or not stack.status.endswith("_IN_PROGRESS"):
            return (stack,)
        newest = next(iter(access.events(stack_id)), None)
        seen = f"{newest.logical_id} {newest.status}" if newest else stack.status
        return None

    (stack,) = wait_until(
        "CloudFormation",
        settled,
        deadline_s=STACK_S,
        interval_s=_INTERVAL_S,
        progress=progress,
        hint="Look at the stack's events in the AWS console, and run the same command again.",
        detail=lambda: seen,
    )
    return stack


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
    stack = _settled(access, found.id, progress=progress, cancellation=cancellation)
    if stack is None or stack.status != "UPDATE_COMPLETE":
        raise _failure(wanted.name, access.events(found.id))


def _failure(name: str, events: Iterable[StackEvent]) -> StackFailed:
    """Names the first resource that failed: the others were cancelled because of it."""
    failed = [event for event in events if event.status.endswith("_FAILED") and "cancelled" not in event.reason]
    if not failed:
        return StackFailed(f"The stack {name} could not be made.", hint="Run the same command again.")
    first = failed[-1]
    hint = "Run the same command again when the reason is gone."
    if any(word in first.reason for word in _LACK):
        hint = "Try another --ec2-instance-type, a --subnet-id in another availability zone, or later."
    return StackFailed(f"{first.type} {first.logical_id} of the stack {name} failed: {first.reason}", hint=hint)
