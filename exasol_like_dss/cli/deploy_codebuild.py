"""Deployment commands for the jobs in CodeBuild."""

from __future__ import annotations

from collections.abc import Callable

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.aws_options import aws_options, open_session
from exasol_like_dss.cli.deploy import Deploying, deploy, deploy_options
from exasol_like_dss.cli.output import output_option


def _job_options(function: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option(
            "--repository", metavar="OWNER/NAME", help="The repository on GitHub. [default: the checkout's remote]"
        ),
        click.option(
            "--connection",
            metavar="ARN",
            help="A connection to GitHub. [default: the credentials that CodeBuild has for GitHub]",
        ),
        click.option(
            "--build-image", metavar="NAME", help="What the job runs in. [default: aws/codebuild/standard:8.0]"
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@command("setup-ci-codebuild", kind="deploy")
@click.option(
    "--main-branch", metavar="NAME", default="main", show_default=True, help="The branch that is never tested there."
)
@_job_options
@deploy_options
@output_option
@aws_options
def setup_ci_codebuild(
    app: App,
    *,
    main_branch: str,
    repository: str | None,
    connection: str | None,
    build_image: str | None,
    deploying: Deploying,
    output: str,
    aws_profile: str | None,
    region: str | None,
) -> None:
    """Deploys the job that tests against a real account.

    It runs for pushes whose commit message contains [CodeBuild]. It needs the stack of setup-vm-bucket.
    """
    from exasol_like_dss.lib.releases.repository import find_repository
    from exasol_like_dss.lib.stacks.codebuild import JobChoice, check_connected, find_bucket_place, wanted_ci

    deploying.check()
    name = find_repository(repository, programs=app.programs)
    choice = JobChoice(repository=name, connection=connection, build_image=build_image)
    session, _ = open_session(aws_profile, region)
    with app.progress.step("check the input"):
        wanted = wanted_ci(choice, find_bucket_place(session.cloudformation()), main_branch=main_branch)
        check_connected(session.codebuild(), choice)
    deploy(app, session.cloudformation(), wanted, deploying=deploying, output=output)


@command("setup-release-codebuild", kind="deploy")
@click.option(
    "--secret",
    metavar="NAME",
    default="dss/release",
    show_default=True,
    help="The secret in Secrets Manager: a JSON object with GITHUB_TOKEN, DSS_DEFAULT_PASSWORD and so on.",
)
@click.option(
    "--docker-repository", metavar="[HOST/]ORG/NAME", default="", help="Where the Docker image goes. [default: none]"
)
@click.option("--registry-user", metavar="NAME", default="", help="Who logs in there.")
@click.option("--signed", is_flag=True, help="Signs SHA256SUMS with the GPG key that the secret has as DSS_SIGN_KEY.")
@_job_options
@deploy_options
@output_option
@aws_options
def setup_release_codebuild(
    app: App,
    *,
    secret: str,
    docker_repository: str,
    registry_user: str,
    signed: bool,
    repository: str | None,
    connection: str | None,
    build_image: str | None,
    deploying: Deploying,
    output: str,
    aws_profile: str | None,
    region: str | None,
) -> None:
    """Deploys the release job, which start-release-build starts.

    It needs the stack of setup-vm-bucket, and a secret in Secrets Manager.
    """
    from exasol_like_dss.lib.releases.repository import find_repository
    from exasol_like_dss.lib.stacks.codebuild import (
        JobChoice,
        ReleaseChoice,
        check_connected,
        check_secret,
        find_bucket_place,
        wanted_release,
    )

    deploying.check()
    release = ReleaseChoice(
        secret=secret, docker_repository=docker_repository, registry_user=registry_user, signed=signed
    )
    name = find_repository(repository, programs=app.programs)
    choice = JobChoice(repository=name, connection=connection, build_image=build_image)
    session, _ = open_session(aws_profile, region)
    with app.progress.step("check the input"):
        wanted = wanted_release(choice, find_bucket_place(session.cloudformation()), release)
        check_secret(session.secrets(), release)
        check_connected(session.codebuild(), choice)
    deploy(app, session.cloudformation(), wanted, deploying=deploying, output=output)


COMMANDS: list[click.Command] = [setup_ci_codebuild, setup_release_codebuild]
