"""Commands around a release: its notes and files, its publication, its downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.aws_options import aws_options, aws_options_of_regions, open_regions, open_session
from exasol_like_dss.cli.output import check_can_ask, human_bytes, output_option, print_json, print_table
from exasol_like_dss.cli.passwords import REGISTRY_PASSWORD, read_registry_login
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.errors import ExitCode, InputError

if TYPE_CHECKING:
    from exasol_like_dss.lib.publishing.download_check import DownloadReport
    from exasol_like_dss.lib.releases.update import ReleaseWorld

sign_key_option = click.option(
    "--sign-key",
    metavar="KEY|FILE|env:NAME",
    help="Signs SHA256SUMS: a key of your own (id, fingerprint, address), or a secret key in a file or variable. Its "
    "passphrase: DSS_SIGNING_PASSPHRASE, or your agent.",
)


def release_options(function: Callable[..., None]) -> Callable[..., None]:
    """Which release, of which repository and build."""
    options = (
        click.option(
            "--repository", metavar="OWNER/NAME", help="On GitHub. [default: the remote of the checkout of dss]"
        ),
        click.option("--asset-id", metavar="ID", help="The build. [default: the tag of the release]"),
        click.option("--release-id", metavar="N", type=click.IntRange(1), required=True, help="The release's number."),
    )
    for option in options:
        function = option(function)
    return function


@contextmanager
def opened(app: App, repository: str | None, *, profile: str | None, regions: tuple[str, ...], all_regions: bool
) -> Iterator[tuple[ReleaseWorld, tuple[str, ...]]]:  # fmt: skip
    """GitHub and AWS, with credentials that both accept; and the regions to look at."""
    from exasol_like_dss.access.github import GitHub
    from exasol_like_dss.lib.releases.repository import find_repository
    from exasol_like_dss.lib.releases.update import ReleaseWorld

    github = GitHub.of_environment(find_repository(repository, programs=app.programs))
    try:
        github.check()
        if all_regions:
            session, _ = open_session(profile, None)
            wanted = tuple(session.ec2().regions())
        else:
            session, found = open_regions(profile, regions=regions, all_regions=False)
            wanted = tuple(found)
        yield (
            ReleaseWorld(
                github=github,
                aws=session,
                programs=app.programs,
                progress=app.progress,
                cancellation=app.cancellation,
            ),
            wanted,
        )
    finally:
        github.close()


@command("update-release", kind="release")
@release_options
@click.option(
    "--docker-manifest",
    "docker_directory",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="What create-docker-image left: it is kept in S3. [default: what is there already]",
)
@sign_key_option
@click.option("--dry-run", is_flag=True, help="Checks all, and prints the notes; changes nothing.")
@aws_options_of_regions
@output_option
def update_release(
    app: App,
    *,
    release_id: int,
    asset_id: str | None,
    repository: str | None,
    docker_directory: Path | None,
    sign_key: str | None,
    dry_run: bool,
    aws_profile: str | None,
    region: tuple[str, ...],
    all_regions: bool,
    output: str,
) -> None:
    """Writes notes and files of a GitHub release that is there; refuses when anything is missing or not verified.

    Replaces what it wrote before, and nothing else: your own text, other files, and the draft state stay as they are.
    """
    checked_id = AssetId(asset_id) if asset_id else None

    from exasol_like_dss.lib.releases import update

    with opened(app, repository, profile=aws_profile, regions=region, all_regions=all_regions) as (world, regions):
        wish = update.ReleaseWish(
            release_id=release_id,
            asset_id=checked_id,
            regions=regions,
            docker_directory=folder_of(docker_directory),
            sign_key=sign_key,
        )
        done = update.update_release(wish, dry_run=dry_run, world=world)
    app.progress.close()
    files = done.files
    if output == "json":
        print_json(
            {
                "asset_id": str(done.content.asset_id),
                "release": vars(done.release),
                "dry_run": dry_run,
                "notes": done.notes,
                "notes_changed": done.notes_changed,
                "files": vars(files) if files else None,
                "signed_by": done.content.signed_by or None,
            }
        )
        return
    if files is None:
        click.echo(done.notes)
        app.progress.note("Nothing was changed: --dry-run.")
        return
    rows = [(name, "uploaded") for name in files.uploaded] + [(name, "replaced") for name in files.replaced]
    rows += [(name, "was there") for name in files.kept] + [("notes", "written" if done.notes_changed else "were so")]
    print_table(["of the release", "result"], rows)
    click.echo(f"{'Draft' if done.release.draft else 'Published'}: {done.release.url}")
    if done.release.draft:
        click.echo(f"To publish it:  dss publish-release --release-id {release_id}")


@command("publish-release", kind="release")
@release_options
@click.option("--no-docker", is_flag=True, help="The release has no Docker image.")
@click.option("--require-signature", is_flag=True, help="Refuses when SHA256SUMS is not signed.")
@click.option(
    "--registry-user",
    metavar="NAME",
    envvar="DOCKER_REGISTRY_USER",
    help=f"Logs in with the password in {REGISTRY_PASSWORD}. [default: what the Docker client has stored]",
)
@click.option("--dry-run", is_flag=True, help="Checks all, and shows what would become public; changes nothing.")
@click.option("--yes", is_flag=True, help="Doesn't ask. Needed where there is no terminal.")
@aws_options_of_regions
@output_option
def publish_release(
    app: App,
    *,
    release_id: int,
    asset_id: str | None,
    repository: str | None,
    no_docker: bool,
    require_signature: bool,
    registry_user: str | None,
    dry_run: bool,
    yes: bool,
    aws_profile: str | None,
    region: tuple[str, ...],
    all_regions: bool,
    output: str,
) -> None:
    """Makes a release public: AMIs, the Docker tag latest, then the release itself.

    Everything has to be there and verified, and the release up to date (update-release). latest moves only forward, and
    never to a pre-release. After a failure the same command goes on where it stopped.
    """
    checked_id = AssetId(asset_id) if asset_id else None
    check_can_ask(yes=yes, dry_run=dry_run)
    login = None if no_docker else read_registry_login(registry_user)

    from exasol_like_dss.access.docker import Docker
    from exasol_like_dss.lib.releases import publish, update

    docker = None if no_docker else Docker()
    try:
        if docker:
            docker.check()
        with opened(app, repository, profile=aws_profile, regions=region, all_regions=all_regions) as (world, regions):
            wish = update.ReleaseWish(release_id=release_id, asset_id=checked_id, regions=regions)
            plan = publish.plan_publication(
                wish, docker=docker, login=login, require_signature=require_signature, world=world
            )
            app.progress.close()
            if not yes or dry_run:
                _print_plan(plan, output=output, err=not dry_run)
            if dry_run:
                app.progress.note("Nothing was changed: --dry-run.")
                return
            if not yes and not click.confirm("Make it public?", err=True):
                raise InputError("Nothing was changed.", hint="Run it again when it is to be public.")
            app.progress.reopen()
            done = publish.publish(plan, docker=docker, login=login, world=world)
    finally:
        if docker:
            docker.close()
    app.progress.close()
    if output == "json":
        print_json(
            {
                "asset_id": str(done.content.asset_id),
                "release": vars(done.release),
                "newest": done.newest,
                "images": [{"region": one.region, "image_id": one.image.id} for one in done.content.images],
            }
        )
        return
    click.echo(f"Published: {done.release.url}")


def _print_plan(plan: Any, *, output: str, err: bool) -> None:
    from exasol_like_dss.cli.output import json_text, table_text

    steps = plan.steps()
    if output == "json" and not err:
        rows = [{"step": step, "of": what, "to_do": to_do} for step, what, to_do in steps]
        click.echo(json_text({"asset_id": str(plan.content.asset_id), "newest": plan.newest, "steps": rows}))
        return
    table = [[step, what, "to do" if to_do else "nothing to do"] for step, what, to_do in steps]
    click.echo(table_text(["step", "of", ""], table), err=err)


def folder_of(given: Path | None) -> Path | None:
    """The folder itself, or the one of its manifest.json."""
    if given is None or given.is_dir():
        return given
    if given.is_file() and given.name == "manifest.json":
        return given.parent
    raise InputError(f"{given} is no folder.", hint="Give the folder that create-docker-image left.")


@command("verify-download", kind="release")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The public key that has to have signed. [default: any key in your keyring]",
)
@click.option("--ignore-missing", is_flag=True, help="Files that are not there are no failure.")
@output_option
def verify_download(app: App, directory: Path, *, key: Path | None, ignore_missing: bool, output: str) -> None:
    """Checks the files in DIRECTORY against their SHA256SUMS, and who signed those (SHA256SUMS.gpg).

    Exit code 0 only if every file is there and whole, and the signature, if there is one, is good.
    """
    from exasol_like_dss.lib.publishing.download_check import verify_download as verify

    report = verify(
        directory,
        key=key,
        ignore_missing=ignore_missing,
        programs=app.programs,
        progress=app.progress,
        cancellation=app.cancellation,
    )
    app.progress.close()
    _print_download(report, output=output)
    if not report.passed:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _print_download(report: DownloadReport, *, output: str) -> None:
    signature = report.signature
    if output == "json":
        print_json(
            {
                "directory": str(report.directory),
                "passed": report.passed,
                "signature": vars(signature),
                "files": [{"name": file.name, "result": file.result.value} for file in report.files],
                "extra": list(report.extra),
            }
        )
        return
    rows = [[file.name, file.result.value if file.result.value == "ok" else file.result.value.upper()]
            for file in report.files]  # fmt: skip
    print_table(["file", "result"], [*rows, *([name, "not in SHA256SUMS"] for name in report.extra)])
    click.echo(f"Signature: {signature.result.value}. {signature.seen}")
    if signature.key:
        click.echo(f"Key:       {signature.key}")
    click.echo("Passed." if report.passed else "FAILED: do not use these files.")


@command("download-url", kind="release")
@click.option("--asset-id", metavar="ID", required=True, help="The build.")
@click.option("--file", "patterns", metavar="PATTERN", multiple=True,
              help="A file's name, or a pattern, as '*.ova'; can be given several times. [default: all]")  # fmt: skip
@click.option("--expires", metavar="DURATION", default="1h", show_default=True, help="For how long; at most 7d.")
@click.option("--key-file", metavar="FILE", type=click.Path(path_type=Path), help="The private key, as PEM.")
@click.option(
    "--secret", metavar="NAME|ARN", help="Where it is in Secrets Manager. [default: as setup-vm-bucket made it]"
)
@aws_options
@output_option
def download_url(
    app: App,
    *,
    asset_id: str,
    patterns: tuple[str, ...],
    expires: str,
    key_file: Path | None,
    secret: str | None,
    aws_profile: str | None,
    region: str | None,
    output: str,
) -> None:
    """Prints links to the files of a build that work without a browser for a limited time.

    Who has a link can download. Nothing is changed, and nobody is told.
    """
    from exasol_like_dss.lib.assets.duration import parse_duration
    from exasol_like_dss.lib.releases import downloads

    checked_id, lifetime = AssetId(asset_id), parse_duration(expires)
    if key_file and secret:
        raise InputError("--key-file and --secret exclude each other.", hint="Give one of them.")
    session, _ = open_session(aws_profile, region)
    with app.progress.step("sign"):
        urls = downloads.download_urls(
            checked_id, patterns=patterns, lifetime=lifetime, key_file=key_file, secret=secret, aws=session
        )
    app.progress.close()
    if output == "json":
        print_json(
            {
                "asset_id": asset_id,
                "urls": [
                    {"name": one.name, "size_bytes": one.size_bytes, "expires": one.expires.isoformat(), "url": one.url}
                    for one in urls
                ],
            }
        )
        return
    for one in urls:
        click.echo(f"# {one.name}, {human_bytes(one.size_bytes)}, until {one.expires:%Y-%m-%d %H:%M} UTC")
        click.echo(f"curl --fail --location --continue-at - --output {one.name} '{one.url}'")


COMMANDS: list[click.Command] = [update_release, publish_release, verify_download, download_url]
