"""Commands of the Docker edition."""

from __future__ import annotations

from pathlib import Path

import click

from exasol_like_dss import __version__
from exasol_like_dss.cli.app import BASES, App, command
from exasol_like_dss.cli.output import (
    check_writable,
    human_bytes,
    output_option,
    print_json,
    print_report,
    print_table,
    report_option,
)
from exasol_like_dss.cli.passwords import REGISTRY_PASSWORD, read_registry_login
from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.errors import InputError


@command("verify-docker-image", kind="develop")
@click.argument("reference")
@report_option
@click.option("--screenshot", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Where a PNG of JupyterLab goes, with the welcome notebook run.")  # fmt: skip
@output_option
def verify_docker_image(
    app: App, reference: str, format_report: Path | None, screenshot: Path | None, output: str
) -> None:
    """Starts containers of the image REFERENCE, and checks them as a user would, with a real browser.

    Exit code 0 only if all checks hold.
    """
    from exasol_like_dss.access.docker import Docker
    from exasol_like_dss.lib.errors import ExitCode
    from exasol_like_dss.lib.verification.container import verify
    from exasol_like_dss.lib.verification.verify import write_report

    check_writable("report", format_report)
    check_writable("screenshot", screenshot)
    docker = Docker()
    try:
        report = verify.verify_docker_image(
            reference,
            docker=docker,
            programs=app.programs,
            progress=app.progress,
            cancellation=app.cancellation,
            screenshot=screenshot,
        )
    finally:
        docker.close()
    app.progress.close()
    if format_report:
        write_report(report, format_report)
    print_report(report, output=output)
    if not report.passed:
        raise click.exceptions.Exit(ExitCode.FAILED)


@command("create-docker-image", kind="release")
@click.option(
    "--repository",
    metavar="[HOST[:PORT]/]ORG/NAME",
    default="exasol/data-science-sandbox",
    show_default=True,
    help="The name of the image.",
)
@click.option("--version", default=__version__, show_default=True, help="The tag of the image.")
@click.option("--asset-id", help="The keyword in the image's labels. [default: the version]")
@click.option("--base", type=click.Choice(BASES), help=f"The distribution, built here. [default: {BASES[0]}]")
@click.option("--base-image", metavar="REF", help="Instead: an image of Debian or Ubuntu, pulled where it is missing.")
@click.option(
    "--from-rootfs",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Instead: a root file system as a folder or tar, or the output directory of create-vm --keep-rootfs.",
)
@click.option("--publish", is_flag=True, help="Pushes the image to its registry once it is verified.")
@click.option(
    "--latest",
    is_flag=True,
    help="Moves the tag latest, too. Only for a release, as 1.2.3, and not where it names a later one.",
)
@click.option("--force-latest", is_flag=True, help="With --latest: moves it back from a later version.")
@click.option(
    "--registry-user",
    metavar="NAME",
    envvar="DOCKER_REGISTRY_USER",
    help=f"Logs in with the password in {REGISTRY_PASSWORD}. [default: what the Docker client has stored]",
)
@click.option("--without", metavar="ROLE", multiple=True, help="Leaves a role out; can be given several times.")
@click.option(
    "--extra-vars", metavar="KEY=VALUE|JSON|@FILE", multiple=True, help="Variables of the roles, as in Ansible."
)
@click.option("--mirror", metavar="URL", help="Where packages of --base come from. [default: as this machine's apt]")
@click.option(
    "--ca-bundle",
    type=click.Path(path_type=Path),
    help="CA certificates (PEM) for https during the build. The image does not keep them.",
)
@click.option("--no-verify", is_flag=True, help="Does not start and check the finished image.")
@click.option("--keep-container", is_flag=True, help="Keeps the container that the image was made of, stopped.")
@click.option("--source", metavar="URL", help="Where the source is, for the labels. [default: the checkout's remote]")
@click.option(
    "--output-directory",
    type=click.Path(path_type=Path),
    help=f"Where manifest, bill of materials and report go. [default: ./{PRODUCT}-docker-<version>]",
)
@click.option(
    "--work-directory",
    type=click.Path(path_type=Path),
    default=Path("/var/tmp/exasol-like-dss"),
    show_default=True,
    help="Where the build works; --base needs about 1 GiB there.",
)
@output_option
def create_docker_image(
    app: App,
    *,
    repository: str,
    version: str,
    asset_id: str | None,
    base: str | None,
    base_image: str | None,
    from_rootfs: Path | None,
    publish: bool,
    latest: bool,
    force_latest: bool,
    registry_user: str | None,
    without: tuple[str, ...],
    extra_vars: tuple[str, ...],
    mirror: str | None,
    ca_bundle: Path | None,
    no_verify: bool,
    keep_container: bool,
    source: str | None,
    output_directory: Path | None,
    work_directory: Path,
    output: str,
) -> None:
    """Builds the sandbox as a Docker image, starts it to check it, and pushes it if asked to."""
    if sum(choice is not None for choice in (base, base_image, from_rootfs)) > 1:
        raise InputError(
            "--base, --base-image and --from-rootfs exclude each other.", hint="The lowest layer is one of them."
        )
    from exasol_like_dss.lib.images.references import check_tag, parse_repository

    checked_repository, checked_id = parse_repository(repository), AssetId(asset_id or check_tag(version))

    from exasol_like_dss.access.ansible import Ansible
    from exasol_like_dss.access.docker import Docker
    from exasol_like_dss.access.web import Web
    from exasol_like_dss.lib.checkout import checkout
    from exasol_like_dss.lib.images.bases import BASES as KNOWN
    from exasol_like_dss.lib.pipeline.access import Access
    from exasol_like_dss.lib.pipeline.container import ContainerBuild, create_docker_image
    from exasol_like_dss.lib.provisioning.editions import read_extra_vars
    from exasol_like_dss.lib.resources import tree

    here = checkout(app.programs)
    build = ContainerBuild(
        repository=checked_repository,
        version=version,
        asset_id=checked_id,
        output_directory=(output_directory or Path(f"{PRODUCT}-docker-{version}")).absolute(),
        base=None if base_image or from_rootfs else KNOWN[base or BASES[0]],
        base_image=base_image,
        from_rootfs=from_rootfs.absolute() if from_rootfs else None,
        without=without,
        extra_vars=read_extra_vars(extra_vars),
        mirror=mirror,
        ca_bundle=ca_bundle.absolute() if ca_bundle else None,
        verify=not no_verify,
        publish=publish,
        latest=latest,
        force_latest=force_latest,
        login=read_registry_login(registry_user) if publish else None,
        keep_container=keep_container,
        source=source or here.remote,
        revision=here.revision,
        work_directory=work_directory.absolute(),
    )
    access = Access(programs=app.programs, ansible=Ansible(tree=tree("ansible")), web=Web(ca_bundle=build.ca_bundle))
    docker = Docker()
    try:
        created = create_docker_image(
            build, docker=docker, access=access, progress=app.progress, cancellation=app.cancellation
        )
    finally:
        docker.close()
    app.progress.close()
    image, manifest = created.image, created.manifest
    if output == "json":
        from dataclasses import asdict

        print_json({
            "directory": str(created.directory),
            "sbom": str(created.directory / "sbom.cdx.json"),
            **asdict(manifest),
        })  # fmt: skip
        return
    rows = [
        *(["image", reference] for reference in image.references),
        ["id", image.image_id],
        ["digest", image.digest or "none: not published"],
        ["size", f"{human_bytes(image.size_bytes)} unpacked, {len(image.layers)} layers"],
        ["verification", manifest.verification.value],
        ["bill of materials", str(created.directory / "sbom.cdx.json")],
    ]
    print_table(["what", "result"], rows)
    click.echo(f"Start it:  docker run --rm -p 127.0.0.1:8888:8888 {image.references[0]}")


COMMANDS: list[click.Command] = [create_docker_image, verify_docker_image]
