"""Release commands: what the release job runs."""

from __future__ import annotations

from pathlib import Path

import click

from exasol_like_dss import __version__
from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.output import human_bytes, output_option, print_json, print_table
from exasol_like_dss.cli.passwords import (
    REGISTRY_PASSWORD,
    default_password_option,
    read_default_password,
    read_registry_login,
)
from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.errors import InputError

FORMATS = ("VMDK", "VHD", "OVA", "QCOW2", "RAW")
BASES = ("debian-13", "debian-12", "ubuntu-24.04")
_UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_disk_size(text: str) -> int:
    """``100G`` in bytes. Units: M, G, T (binary). Raises ``InputError``, also below 1 GiB and above 2040 GiB.

    The upper bound is that of VHD (a 32-bit count of sectors; Azure takes no more than 2 TiB - 8 GiB).
    """
    number, unit = text[:-1], text[-1:].upper()
    if not number.isdecimal() or unit not in _UNITS:
        raise InputError(f"{text!r} is no disk size.", hint="A whole number and M, G or T, for example 100G.")
    size = int(number) * _UNITS[unit]
    if not 1 << 30 <= size <= 2040 << 30:
        raise InputError(f"A disk of {text} is not possible.", hint="From 1G to 2040G.")
    return size


@command("create-vm", kind="release")
@click.option("--builder", type=click.Choice(["local"]), default="local", show_default=True, help="Where it is built.")
@click.option("--base", type=click.Choice(BASES), default=BASES[0], show_default=True, help="The distribution.")
@click.option("--edition", default="sandbox", show_default=True, help="What goes in: a playbook of the Ansible tree.")
@click.option("--asset-id", default=__version__, show_default=True, help="The keyword that all that is made carries.")
@click.option(
    "--vm-image-format",
    "formats",
    type=click.Choice(FORMATS, case_sensitive=False),
    multiple=True,
    default=FORMATS[:3],
    show_default=True,
    help="An image format; can be given several times.",
)
@click.option(
    "--output-directory",
    type=click.Path(path_type=Path),
    help=f"Where the files go. [default: ./{PRODUCT}-<asset-id>]",
)
@click.option(
    "--disk-size", default="100G", show_default=True, help="The size that the guest sees; the file is sparse."
)
@default_password_option
@click.option("--without", metavar="ROLE", multiple=True, help="Leaves a role out; can be given several times.")
@click.option(
    "--extra-vars", metavar="KEY=VALUE|JSON|@FILE", multiple=True, help="Variables of the roles, as in Ansible."
)
@click.option("--mirror", metavar="URL", help="Where packages come from. [default: as this machine's apt]")
@click.option(
    "--ca-bundle",
    type=click.Path(path_type=Path),
    help="CA certificates (PEM) for https during the build. The image does not keep them.",
)
@click.option("--no-verify", is_flag=True, help="Does not boot and check the finished image.")
@click.option("--force", is_flag=True, help="Replaces a finished build of the same asset-id.")
@click.option(
    "--work-directory",
    type=click.Path(path_type=Path),
    default=Path("/var/tmp/exasol-like-dss"),
    show_default=True,
    help="Where the build works, should there be too little memory for that; needs about 8 GiB then.",
)
@click.option("--on-disk", is_flag=True, help="Works on disk even when there is enough memory (about 13 GiB).")
@click.option("--keep-rootfs", is_flag=True, help="Keeps the root file system as a tar, for create-docker-image.")
@output_option
def create_vm(
    app: App,
    *,
    builder: str,  # noqa: ARG001  (there is one)
    base: str,
    edition: str,
    asset_id: str,
    formats: tuple[str, ...],
    output_directory: Path | None,
    disk_size: str,
    default_password: str | None,
    without: tuple[str, ...],
    extra_vars: tuple[str, ...],
    mirror: str | None,
    ca_bundle: Path | None,
    no_verify: bool,
    force: bool,
    work_directory: Path,
    on_disk: bool,
    keep_rootfs: bool,
    output: str,
) -> None:
    """Builds a sandbox image on this machine, boots it to check it, and leaves files to import."""
    checked_id = AssetId(asset_id)
    size = parse_disk_size(disk_size)
    password = read_default_password(default_password)

    from exasol_like_dss.access.ansible import Ansible
    from exasol_like_dss.access.web import Web
    from exasol_like_dss.lib.images.bases import BASES as KNOWN
    from exasol_like_dss.lib.images.formats import VmImageFormat
    from exasol_like_dss.lib.pipeline.access import Access
    from exasol_like_dss.lib.pipeline.local import LocalBuild, create_vm_local
    from exasol_like_dss.lib.provisioning.editions import read_extra_vars
    from exasol_like_dss.lib.resources import tree

    build = LocalBuild(
        asset_id=checked_id,
        base=KNOWN[base],
        edition=edition,
        formats=tuple(dict.fromkeys(VmImageFormat(name.upper()) for name in formats)),
        output_directory=(output_directory or Path(f"{PRODUCT}-{checked_id}")).absolute(),
        disk_bytes=size,
        default_password=password.value,
        without=without,
        extra_vars=read_extra_vars(extra_vars),
        mirror=mirror,
        ca_bundle=ca_bundle.absolute() if ca_bundle else None,
        verify=not no_verify,
        force=force,
        work_directory=work_directory.absolute(),
        on_disk=on_disk,
        keep_rootfs=keep_rootfs,
    )
    access = Access(programs=app.programs, ansible=Ansible(tree=tree("ansible")), web=Web(ca_bundle=build.ca_bundle))
    created = create_vm_local(build, access=access, progress=app.progress, cancellation=app.cancellation)
    app.progress.close()
    manifest = created.manifest
    if output == "json":
        from dataclasses import asdict

        result = {"directory": str(created.directory), **asdict(manifest)}
        if password.generated:
            result["default_password"] = password.value
        print_json(result)
        return
    print_table(
        ["format", "size", "SHA-256", "file"],
        [
            [found.format, human_bytes(found.size_bytes), found.sha256, str(created.directory / found.name)]
            for found in manifest.artifacts
        ],
    )
    click.echo()
    print_table(
        ["step", "seconds"],
        [[path, f"{seconds:.1f}"] for path, seconds in manifest.seconds_per_step.items() if " / " not in path],
    )
    click.echo()
    click.echo(f"Verification: {manifest.verification.value}")
    if password.generated:
        click.echo(f"The password of the first login (shown only now): {password.value}")
    click.echo(f"Start it:  dss run-vm {created.directory / manifest.artifacts[0].name}")


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
@click.option("--latest", is_flag=True, help="Moves the tag latest, too. Only for a release, as 1.2.3.")
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


COMMANDS: list[click.Command] = [create_vm, create_docker_image]
