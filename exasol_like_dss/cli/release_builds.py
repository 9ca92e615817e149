"""The commands that start the release job in CodeBuild, and follow it."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.aws_options import aws_options, open_session
from exasol_like_dss.cli.output import output_option, print_json
from exasol_like_dss.lib.errors import DeadlinePassed, DssError, Interrupted

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.releases.builds import ReleaseBuild, ReleaseProject, WantedBuild


def _build_options(function: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--branch", metavar="NAME", required=True, help="What is built. It has to be on GitHub."),
        click.option(
            "--repository", metavar="OWNER/NAME", help="The repository on GitHub. [default: the checkout's remote]"
        ),
        click.option("--no-wait", is_flag=True, help="Starts the build, and does not follow it."),
        click.option(
            "--deadline",
            metavar="MINUTES",
            type=click.FloatRange(min=0.01),
            help="How long the build is followed. It goes on after that. [default: the job's own time-out, and 10]",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@command("start-release-build", kind="release")
@click.option("--upload-url", metavar="URL", required=True, help="Of the release on GitHub, as its API shows it.")
@click.option(
    "--publish/--no-publish",
    default=True,
    show_default=True,
    help="Whether it becomes public at the end, when all is there and verified.",
)
@_build_options
@aws_options
@output_option
def start_release_build(
    app: App,
    *,
    upload_url: str,
    publish: bool,
    branch: str,
    repository: str | None,
    no_wait: bool,
    deadline: float | None,
    aws_profile: str | None,
    region: str | None,
    output: str,
) -> None:
    """Starts the release job in AWS CodeBuild for a draft of a release on GitHub, and follows it.

    The release's tag is the asset-id. Run again, it follows the build that runs, or starts one that goes on where the
    last one stopped. The token for GitHub is in GITHUB_TOKEN.
    """
    from exasol_like_dss.access.github import API_URL, PUBLIC_API, GitHub
    from exasol_like_dss.lib.releases.builds import find_project
    from exasol_like_dss.lib.releases.repository import find_repository, read_upload_url
    from exasol_like_dss.lib.releases.starting import plan_release

    name = find_repository(repository, programs=app.programs)
    release_id = read_upload_url(upload_url, repository=name, api_url=os.environ.get(API_URL) or PUBLIC_API)
    with closing(GitHub.of_environment(name)) as github:
        session, _ = open_session(aws_profile, region)
        with app.progress.step("check the input"):
            project = find_project(session.cloudformation(), repository=name)
            wanted = plan_release(github, release_id=release_id, branch=branch, publish=publish)
    _run(app, session, project, wanted, no_wait=no_wait, deadline=deadline, output=output)


@command("start-test-release", kind="develop")
@click.option(
    "--release-title",
    metavar="TITLE",
    required=True,
    help="A version, as 1.2.3-test.1: of the draft, its tag and the asset-id.",
)
@_build_options
@aws_options
@output_option
def start_test_release(
    app: App,
    *,
    release_title: str,
    branch: str,
    repository: str | None,
    no_wait: bool,
    deadline: float | None,
    aws_profile: str | None,
    region: str | None,
    output: str,
) -> None:
    """Makes a draft on GitHub, and starts the release job for it. Nothing of it becomes public.

    Run again, it takes the draft with this title. The token for GitHub is in GITHUB_TOKEN.
    """
    from exasol_like_dss.access.github import GitHub
    from exasol_like_dss.lib.releases.builds import find_project
    from exasol_like_dss.lib.releases.repository import find_repository
    from exasol_like_dss.lib.releases.starting import check_test_release, ensure_test_release

    name = find_repository(repository, programs=app.programs)
    with closing(GitHub.of_environment(name)) as github:
        session, _ = open_session(aws_profile, region)
        with app.progress.step("check the input"):
            project = find_project(session.cloudformation(), repository=name)
            check_test_release(github, branch=branch, title=release_title)
        with app.progress.step("find or make the draft"):
            wanted, release = ensure_test_release(github, branch=branch, title=release_title, progress=app.progress)
    more = {"release_url": release.url}
    _run(app, session, project, wanted, no_wait=no_wait, deadline=deadline, output=output, more=more)


def _run(
    app: App,
    session: AwsSession,
    project: ReleaseProject,
    wanted: WantedBuild,
    *,
    no_wait: bool,
    deadline: float | None,
    output: str,
    more: dict[str, str] | None = None,
) -> None:
    from exasol_like_dss.lib.releases.builds import ReleaseBuild

    run = ReleaseBuild(
        session.codebuild(),
        session.logs(),
        project=project.name,
        wanted=wanted,
        progress=app.progress,
        cancellation=app.cancellation,
    )
    try:
        with app.progress.step(f"the build of {wanted.asset_id}"):
            run.ensure()
            app.progress.note(f"Build: {run.link}")
            if not no_wait:
                run.follow(deadline_s=deadline and deadline * 60)
    except Interrupted as interrupted:
        _end(app, run, interrupted)
        raise
    except DssError as error:
        if run.build and not isinstance(error, DeadlinePassed):
            app.progress.note(f"The build goes on: {run.link}  The same command follows it again.")
        raise
    app.progress.close()
    _print(run, wanted, output=output, more=more or {})
    if not no_wait:
        run.check()


def _end(app: App, run: ReleaseBuild, interrupted: Interrupted) -> None:
    """Stops the build, unless somebody at a terminal wants it to go on."""
    app.progress.close()
    if run.build is None or run.build.ended:
        return
    if interrupted.signal_name == "SIGINT" and sys.stdin.isatty() and sys.stderr.isatty():
        try:
            if not click.confirm(f"Stop the build {run.build.id}, too?", default=True, err=True):
                app.progress.note(f"The build goes on: {run.link}")
                return
        except click.Abort:
            pass  # no answer: as without a terminal
    try:
        app.progress.reopen()
        with app.progress.step("stop the build"):
            stopped = run.stop()
        app.progress.note(f"The build is {stopped.status}. What it made stays: dss show-aws-assets lists it.")
    except DssError as error:
        app.progress.note(f"The build could not be stopped: {error.message}")
        app.progress.note(f"Stop it: aws codebuild stop-build --id {run.build.id}")


def _print(run: ReleaseBuild, wanted: WantedBuild, *, output: str, more: dict[str, str]) -> None:
    from exasol_like_dss.lib.releases.builds import failed_phase

    build = run.build
    assert build
    failed = failed_phase(build)
    result: dict[str, Any] = {
        "build_id": build.id,
        "status": build.status,
        "phase": failed.name if failed else build.phase,
        "link": run.link,
        "log_link": build.log_link,
        "asset_id": str(wanted.asset_id),
        "release_id": wanted.release_id,
        "branch": wanted.branch,
        **more,
    }
    if output == "json":
        print_json({**result, "last_lines": run.last_lines})
        return
    for name, value in result.items():
        if value != "":
            click.echo(f"{name.replace('_', ' ') + ':':13} {value}")


start_test_release_build = copy.copy(start_test_release)
start_test_release_build.name = "start-test-release-build"
start_test_release_build.short_help = "The same as start-test-release."

COMMANDS: list[click.Command] = [start_release_build, start_test_release, start_test_release_build]
