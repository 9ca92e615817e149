"""Deployment commands: what the stacks that stay have in common. One module per kind of stack has its commands.

@command("setup-…", kind="deploy")
@deploy_options
@output_option
@aws_options
def setup_…(app, *, …, deploying: Deploying, output, aws_profile, region):
    deploying.check()                              # before anything else
    …
    deploy(app, session.cloudformation(), wanted, deploying=deploying, output=output)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from exasol_like_dss.cli.app import App
from exasol_like_dss.cli.output import check_can_ask, print_json, table_text
from exasol_like_dss.lib.errors import DeadlinePassed, Interrupted

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import CloudFormation, Stack
    from exasol_like_dss.lib.stacks.permanent import Broken, Deployment, PermanentStack


@dataclass(frozen=True, kw_only=True)
class Deploying:
    """What ``deploy_options`` say."""

    dry_run: bool
    yes: bool
    replace_failed: bool
    deadline_s: float

    def check(self) -> None:
        """Raises ``InputError`` when there is nobody to ask."""
        check_can_ask(yes=self.yes, dry_run=self.dry_run)


def deploy_options(function: Callable[..., None]) -> Callable[..., None]:
    """What all deployment commands have. The function gets ``deploying``."""
    options = (
        click.option("--dry-run", is_flag=True, help="Only shows what would change."),
        click.option("--yes", is_flag=True, help="Doesn't ask. Needed where there is no terminal."),
        click.option(
            "--replace-failed",
            is_flag=True,
            help="A stack that could not be made is removed and made anew; a rollback that failed is tried again.",
        ),
        click.option(
            "--deadline",
            metavar="SECONDS",
            type=click.IntRange(1),
            default=3600,
            show_default=True,
            help="How long the stack is followed. CloudFormation goes on after that.",
        ),
    )

    @functools.wraps(function)
    def wrapper(*arguments: Any, dry_run: bool, yes: bool, replace_failed: bool, deadline: int, **more: Any) -> None:
        deploying = Deploying(dry_run=dry_run, yes=yes, replace_failed=replace_failed, deadline_s=deadline)
        function(*arguments, deploying=deploying, **more)

    wrapped: Callable[..., None] = wrapper
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def deploy(
    app: App,
    access: CloudFormation,
    wanted: PermanentStack,
    *,
    deploying: Deploying,
    output: str,
    before: Callable[[], None] = lambda: None,
    notes: tuple[str, ...] = (),
) -> Stack | None:
    """Shows, asks, carries out, prints. ``None``: nothing was carried out.

    before: what has to be done between the answer and the change. notes: lines below the table of changes.
    """
    from exasol_like_dss.lib.stacks.permanent import check_usable, find_broken, prepare, repair

    follow: dict[str, Any] = {"progress": app.progress, "cancellation": app.cancellation}
    with app.progress.step(f"look at the stack {wanted.name}"):
        broken = find_broken(access, wanted.name, **follow, deadline_s=deploying.deadline_s)
    if broken:
        check_usable(broken, replace_failed=deploying.replace_failed)
        if not _repair_wanted(app, broken, access, deploying=deploying, output=output):
            return None
        with app.progress.step(f"repair the stack {wanted.name}"):
            repair(access, broken, **follow, deadline_s=deploying.deadline_s)
    with app.progress.step("make a change set"):
        deployment = prepare(access, wanted, **follow)
    try:
        app.progress.close()
        agreed = _agreed(app, deployment, deploying=deploying, output=output, notes=notes)
        if agreed:
            app.progress.reopen()
            before()
    except BaseException:
        deployment.discard()
        raise
    if not agreed:
        deployment.discard()
        if deploying.dry_run and output == "json":
            print_json(_record(deployment, deployment.stack, dry_run=True))
        return None
    stack = _execute(app, deployment, deploying=deploying)
    app.progress.close()
    if output == "json":
        print_json(_record(deployment, stack, dry_run=False))
    else:
        _print_stack(deployment, stack)
    return stack


def _repair_wanted(app: App, broken: Broken, access: CloudFormation, *, deploying: Deploying, output: str) -> bool:
    app.progress.close()
    click.echo(broken.why, err=True)
    click.echo(broken.remedy, err=True)
    if deploying.dry_run:
        if output == "json":
            stack = broken.stack
            print_json(
                {"stack": stack.name, "region": access.region, "status": stack.status, "action": "replace",
                 "why": broken.why, "changes": [], "outputs": {}, "dry_run": True}
            )  # fmt: skip
        app.progress.note("Nothing was done: --dry-run. The changes can be shown when that is done.")
        return False
    if not (deploying.yes or click.confirm("Shall it?", err=True)):
        app.progress.note("Nothing was done.")
        return False
    app.progress.reopen()
    return True


def _agreed(app: App, deployment: Deployment, *, deploying: Deploying, output: str, notes: tuple[str, ...]) -> bool:
    name = deployment.wanted.name
    if not deployment.differs:
        app.progress.note(f"The stack {name} in {deployment.region} is as it should be: nothing to change.")
        return not deploying.dry_run
    asks = not (deploying.yes or deploying.dry_run)
    if output == "table" or asks:
        kind = "new" if deployment.new else "there"
        text = [f"Stack {name} in {deployment.region} ({kind}):", _changes_text(deployment), *notes]
        click.echo("\n".join(text), err=output != "table")
    if deploying.dry_run:
        app.progress.note("Nothing was done: --dry-run.")
        return False
    if asks and not click.confirm("Carry this out?", err=True):
        app.progress.note("Nothing was done.")
        return False
    return True


def _execute(app: App, deployment: Deployment, *, deploying: Deploying) -> Stack:
    name = deployment.wanted.name
    step = app.progress.step(f"deploy the stack {name}") if deployment.differs else nullcontext()
    try:
        with step:
            return deployment.execute(
                progress=app.progress, cancellation=app.cancellation, deadline_s=deploying.deadline_s
            )
    except BaseException as error:
        app.progress.close()
        if deployment.change_set:
            deployment.discard()
        elif isinstance(error, Interrupted | DeadlinePassed):
            app.progress.note(
                f"CloudFormation goes on with the stack {name} in {deployment.region}. "
                "The same command follows it to the end."
            )
        raise


def _changes_text(deployment: Deployment) -> str:
    if not deployment.changes:
        return "No resource changes, only the stack's outputs or tags."
    rows = [
        [one.action, one.logical_id, one.type, one.replacement or "-", ", ".join(one.reasons) or "-"]
        for one in deployment.changes
    ]
    return table_text(["action", "logical id", "type", "replacement", "what changes"], rows)


def _record(deployment: Deployment, stack: Stack | None, *, dry_run: bool) -> dict[str, Any]:
    action = "none" if not deployment.differs else "create" if deployment.new else "update"
    return {
        "stack": deployment.wanted.name,
        "region": deployment.region,
        "status": stack.status if stack else "",
        "action": action,
        "changes": [
            {
                "action": one.action,
                "logical_id": one.logical_id,
                "type": one.type,
                "replacement": one.replacement,
                "what": list(one.reasons),
            }
            for one in deployment.changes
        ],
        "outputs": dict(stack.outputs) if stack else {},
        "dry_run": dry_run,
    }


def _print_stack(deployment: Deployment, stack: Stack) -> None:
    if deployment.differs:
        click.echo(f"The stack {stack.name} in {deployment.region} is {stack.status}.")
    for name, value in sorted(stack.outputs.items()):
        click.echo(f"  {name}: {value}")
