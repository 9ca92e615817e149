"""Stacks that stay: compared with what is wanted, shown, and then made or changed by a change set.

    deployment = prepare(access, wanted, …)      # finds the stack, makes a change set; nothing has changed
    deployment.differs, deployment.changes       # whether there is anything to do; what is to be shown
    deployment.execute(…)   or   deployment.discard()

There is no state file. A run that is killed leaves a change set at most, and, when there was no stack, an empty one
that is ``REVIEW_IN_PROGRESS``: the next run takes the first away and uses the second.

What CloudFormation has begun goes on there when dss ends; the same command follows it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.assets.tags import PROJECT
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.stacks.following import (
    REVIEW,
    StackFailed,
    failure,
    first_failure,
    remove_stack,
    settled,
    under_way,
)
from exasol_like_dss.lib.waiting import unbroken, wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import Change, ChangeSet, CloudFormation, Stack
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

#: A distribution takes some minutes; all else less.
DEPLOY_S = 3600.0
_CHANGE_SET_S = 300.0
_INTERVAL_S = 1.0
_CHANGE_SETS = "dss-"
_GOOD = (
    "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE",
)  # fmt: skip
_OVERTAKEN = ("ChangeSetNotFound", "ChangeSetNotFoundException", "InvalidChangeSetStatus")
_STUCK = "UPDATE_ROLLBACK_FAILED"
#: Words of AWS for a change set without changes: of the template, and of everything.
_UNCHANGED = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True, kw_only=True)
class PermanentStack:
    """template: its text. parameters: all that have no default. capabilities: for example ``CAPABILITY_IAM``."""

    name: str
    template: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    capabilities: Sequence[str] = ()

    @property
    def tags(self) -> dict[str, str]:
        """No asset-id: cleanup never touches it. No version: it would change all resources with each release."""
        return {PROJECT: PRODUCT}


@dataclass(frozen=True)
class Broken:
    """A stack that can't be updated. why: for people, with the first resource that failed. stuck: its last update could
    not be rolled back; what it holds still works, and is not removed for that."""

    stack: Stack
    why: str

    @property
    def stuck(self) -> bool:
        return self.stack.status == _STUCK

    @property
    def remedy(self) -> str:
        if self.stuck:
            return f"The rollback of the stack {self.stack.name} is tried once more."
        return f"The stack {self.stack.name} is removed, and made anew."


def find_broken(
    access: CloudFormation, name: str, *, progress: Progress, cancellation: Cancellation, deadline_s: float = DEPLOY_S
) -> Broken | None:
    """Whether a stack has to be repaired first. What goes on with it is waited for.

    Raises ``InputError`` for a stack that is none of dss, ``AwsError``, ``DeadlinePassed``.
    """
    stack = _at_rest(access, name, progress=progress, cancellation=cancellation, deadline_s=deadline_s)
    if stack is None or stack.status in (*_GOOD, REVIEW):
        return None
    first = first_failure(access.events(stack.id))
    reason = f"{first.type} {first.logical_id} failed: {first.reason}" if first else stack.reason
    return Broken(stack, f"The stack {name} is {stack.status}." + (f" {reason}" if reason else ""))


def check_usable(broken: Broken, *, replace_failed: bool) -> None:
    """Raises ``StackFailed`` with what to do, unless it is to be repaired."""
    if not replace_failed:
        raise StackFailed(broken.why, hint=f"Give --replace-failed. {broken.remedy}")


def repair(
    access: CloudFormation,
    broken: Broken,
    *,
    progress: Progress,
    cancellation: Cancellation,
    deadline_s: float = DEPLOY_S,
) -> None:
    """Afterwards the stack is gone, or can be updated. Buckets are kept (their deletion policy).

    Raises ``StackFailed``, ``AwsError``, ``DeadlinePassed``.
    """
    stack = broken.stack
    if not broken.stuck:
        if stack.protected:
            access.protect(stack.id, on=False)
        remove_stack(access, stack.id, progress=progress, deadline_s=deadline_s)
        return
    token = _token()
    access.continue_rollback(stack.id, token=token)
    now = settled(access, stack.id, progress=progress, cancellation=cancellation, deadline_s=deadline_s, token=token)
    if now is None or now.status != "UPDATE_ROLLBACK_COMPLETE":
        raise StackFailed(
            f"The stack {stack.name} can't be brought back to what it was. {broken.why}",
            hint="Repair what is named, or leave it out: aws cloudformation continue-update-rollback "
            f"--stack-name {stack.name} --resources-to-skip LOGICAL-ID",
        )


def _token() -> str:
    """Of one operation: its events carry it."""
    return f"dss-{uuid.uuid4()}"


@dataclass(kw_only=True)
class Deployment:
    """What was compared. new: there was no such stack.

    differs: whether there is anything to do; then there is a change set. changes: of resources; none where only outputs
    or tags differ.

    stack: as it is; ``None`` when there is none.
    """

    access: CloudFormation
    wanted: PermanentStack
    stack: Stack | None
    new: bool
    differs: bool = False
    changes: tuple[Change, ...] = ()
    change_set: str = ""
    made_review: bool = False
    token: str = field(default_factory=_token)

    @property
    def region(self) -> str:
        return self.access.region

    def discard(self) -> None:
        """Takes the change set away, and the empty stack that came with it. Raises ``AwsError``."""
        if self.change_set:
            self.access.delete_change_set(self.wanted.name, self.change_set)
            self.change_set = ""
        if self.made_review:
            found = self.access.stack(self.wanted.name)
            # Somebody else may have begun to deploy it as well.
            if found and found.status == REVIEW and not list(self.access.change_sets(found.id)):
                self.access.delete_stack(found.id)
            self.made_review = False

    def execute(self, *, progress: Progress, cancellation: Cancellation, deadline_s: float = DEPLOY_S) -> Stack:
        """Carries the changes out, and follows them to the end; the stack as it is then, protected.

        Raises ``StackFailed`` with the first resource that failed, ``AwsError``, ``DeadlinePassed``.
        """
        name = self.wanted.name
        if self.differs:
            try:
                # A signal that comes meanwhile is to find out whether CloudFormation has begun.
                unbroken(self._begin)
            except AwsError as error:
                if error.not_found or error.code in _OVERTAKEN:
                    raise StackFailed(
                        f"The stack {name} was changed by somebody else meanwhile.", hint="Run the same command again."
                    ) from error
                raise
            self.stack = self._followed(progress=progress, cancellation=cancellation, deadline_s=deadline_s)
        assert self.stack
        if not self.stack.protected:
            self.access.protect(self.stack.id, on=True)
        return self.stack

    def _begin(self) -> None:
        self.access.execute_change_set(self.wanted.name, self.change_set, token=self.token)
        self.change_set, self.made_review = "", False

    def _followed(self, *, progress: Progress, cancellation: Cancellation, deadline_s: float) -> Stack:
        name = self.wanted.name
        begun = self.access.stack(name)
        stack_id = begun.id if begun else name
        stack = settled(
            self.access,
            stack_id,
            progress=progress,
            cancellation=cancellation,
            deadline_s=deadline_s,
            token=self.token,
        )
        if stack is None or stack.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            failed = failure(name, self.access.events(stack_id))
            what = "It is as it was before." if stack and stack.status == "UPDATE_ROLLBACK_COMPLETE" else ""
            hint = f"{what} Run the same command again when the reason is gone.".strip()
            if stack and stack.status not in _GOOD:
                hint = "Run the same command again with --replace-failed when the reason is gone."
            raise StackFailed(failed.message, hint=hint)
        return stack


def prepare(
    access: CloudFormation, wanted: PermanentStack, *, progress: Progress, cancellation: Cancellation
) -> Deployment:
    """Compares. The stack has been looked at with ``find_broken`` before.

    Raises ``StackFailed`` with the words of AWS for what it refuses, ``InputError``, ``AwsError``.
    """
    found = access.stack(wanted.name)
    if found:
        _check_ours(found)
        for left in access.change_sets(found.id):
            if left.name.startswith(_CHANGE_SETS):
                access.delete_change_set(found.id, left.name)
    if found and found.status == "UPDATE_ROLLBACK_COMPLETE":
        first = first_failure(access.events(found.id))
        if first:
            progress.note(f"The last update was rolled back: {first.type} {first.logical_id} failed: {first.reason}")
    new = found is None or found.status == REVIEW
    deployment = Deployment(access=access, wanted=wanted, stack=None if new else found, new=new, made_review=new)
    deployment.change_set = f"{_CHANGE_SETS}{uuid.uuid4()}"
    name = deployment.change_set

    def create() -> None:
        access.create_change_set(
            wanted.name,
            name,
            template=wanted.template,
            parameters=wanted.parameters,
            tags=wanted.tags,
            capabilities=wanted.capabilities,
            new=new,
        )

    try:
        unbroken(create)  # what a signal broke off would appear after the clean-up
        made = _made(access, wanted.name, name, progress=progress, cancellation=cancellation)
    except BaseException:
        deployment.discard()
        raise
    if made.status != "CREATE_COMPLETE":
        deployment.discard()
        if not any(words in made.reason for words in _UNCHANGED):
            raise StackFailed(f"CloudFormation refuses to deploy {wanted.name}: {made.reason}")
    else:
        deployment.differs, deployment.changes = True, made.changes
    return deployment


def _made(
    access: CloudFormation, stack: str, name: str, *, progress: Progress, cancellation: Cancellation
) -> ChangeSet:
    def made() -> ChangeSet | None:
        cancellation.check()
        found = access.change_set(stack, name)
        return found if found.status in ("CREATE_COMPLETE", "FAILED") else None

    return wait_until(
        "the change set",
        made,
        deadline_s=_CHANGE_SET_S,
        interval_s=_INTERVAL_S,
        progress=progress,
        hint="Look at the stack's change sets in the AWS console, and run the same command again.",
    )


def _at_rest(
    access: CloudFormation, name: str, *, progress: Progress, cancellation: Cancellation, deadline_s: float
) -> Stack | None:
    found = access.stack(name)
    if found is None:
        return None
    _check_ours(found)
    if under_way(found):
        progress.note(f"CloudFormation is at work on the stack {name} ({found.status}): it is waited for.")
        return settled(access, found.id, progress=progress, cancellation=cancellation, deadline_s=deadline_s)
    return found


def _check_ours(found: Stack) -> None:
    # An empty one has no tags yet.
    if found.status != REVIEW and found.tags.get(PROJECT) != PRODUCT:
        raise InputError(
            f"There is a stack {found.name} that dss did not make: it has no tag {PROJECT}={PRODUCT}.",
            hint="Remove it first, or use another account or region. Its bucket is kept if its template says so.",
        )
