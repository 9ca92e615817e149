"""Following CloudFormation: until a stack is at rest, until it is gone, and which resource it failed at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.waiting import wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import CloudFormation, Stack, StackEvent
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

STACK_S = 1200.0
_INTERVAL_S = 1.0
#: Holds a change set that was never carried out, and nothing else.
REVIEW = "REVIEW_IN_PROGRESS"
_BEGINNINGS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
_LACK = ("InsufficientInstanceCapacity", "sufficient", "capacity")


class StackFailed(DssError):
    """CloudFormation could not make something."""


def under_way(stack: Stack) -> bool:
    return stack.status.endswith("_IN_PROGRESS") and stack.status != REVIEW


def settled(
    access: CloudFormation,
    stack_id: str,
    *,
    progress: Progress,
    cancellation: Cancellation,
    deadline_s: float = STACK_S,
    token: str = "",
) -> Stack | None:
    """Waits until nothing goes on any more. ``None``: it has been deleted.

    token: of the call that began it. What is finished or fails by it gets a line of its own; and as long as there is no
    event of it, it has not begun: the status is still that from before.
    """
    seen = ""
    told: set[str] = set()

    def look() -> tuple[Stack | None] | None:
        nonlocal seen
        cancellation.check()
        stack = access.stack(stack_id)
        if stack is None or not (token or under_way(stack)):
            return (stack,)
        events = list(access.events(stack_id))
        ours = [event for event in events if event.token == token]
        for event in reversed(ours if token else []):
            if event.id not in told and not event.status.endswith("_IN_PROGRESS"):
                progress.note("  ".join(filter(None, (event.status, event.logical_id, event.type, event.reason))))
            told.add(event.id)
        if not under_way(stack) and ours:
            return (stack,)
        seen = f"{events[0].logical_id} {events[0].status}" if events else stack.status
        return None

    (stack,) = wait_until(
        "CloudFormation",
        look,
        deadline_s=deadline_s,
        interval_s=_INTERVAL_S,
        progress=progress,
        hint="Look at the stack's events in the AWS console, and run the same command again.",
        detail=lambda: seen,
    )
    return stack


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


def first_failure(events: Iterable[StackEvent]) -> StackEvent | None:
    """The resource that failed first in the newest operation: the others were cancelled because of it.

    events: the newest first. An operation begins with an event of the stack itself that says so.
    """
    failed = None
    for event in events:
        if event.type == "AWS::CloudFormation::Stack":
            if failed and event.status in _BEGINNINGS:
                break
        elif event.status.endswith("_FAILED") and "cancelled" not in event.reason:
            failed = event
    return failed


def failure(name: str, events: Iterable[StackEvent]) -> StackFailed:
    """Names the first resource that failed."""
    first = first_failure(events)
    if first is None:
        return StackFailed(f"The stack {name} could not be made.", hint="Run the same command again.")
    hint = "Run the same command again when the reason is gone."
    if any(word in first.reason for word in _LACK):
        hint = "Try another --ec2-instance-type, a --subnet-id in another availability zone, or later."
    return StackFailed(f"{first.type} {first.logical_id} of the stack {name} failed: {first.reason}", hint=hint)
