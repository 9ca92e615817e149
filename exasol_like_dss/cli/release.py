"""Release commands: what the release job runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from exasol_like_dss import __version__
from exasol_like_dss.cli.app import BASES, App, command
from exasol_like_dss.cli.cache import cache_directory_option
from exasol_like_dss.cli.ec2_options import ec2_options
from exasol_like_dss.cli.ec2_release import build_options, check_builder, create_vm_in_ec2, export_vm
from exasol_like_dss.cli.import_ami import Publishing, as_json, print_imported, publish_options
from exasol_like_dss.cli.output import human_bytes, output_option, print_json, print_table
from exasol_like_dss.cli.passwords import default_password_option, read_default_password
from exasol_like_dss.cli.publishing import sign_key_option
from exasol_like_dss.cli.sizes import parse_cache_size, parse_disk_size
from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId

FORMATS = ("VMDK", "VHD", "OVA", "QCOW2", "RAW")


@command("create-vm", kind="release")
@click.option(
    "--builder", type=click.Choice(["local", "ec2"]), default="local", show_default=True, help="Where it is built."
)
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
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Whether the finished image is booted and checked; --verify: also one that has passed before.",
)
@click.option("--force", is_flag=True, help="Replaces a finished build of the same asset-id.")
@click.option(
    "--work-directory",
    type=click.Path(path_type=Path),
    default=Path("/var/tmp/exasol-like-dss"),
    show_default=True,
    help="Where the build works, should there be too little memory for that; needs about 8 GiB then.",
)
@click.option("--on-disk", is_flag=True, help="Works on disk even when there is enough memory (about 13 GiB).")
@cache_directory_option
@click.option(
    "--cache-size",
    envvar="DSS_CACHE_SIZE",
    default="10G",
    show_default=True,
    help="How large all layers may become; what was not used for longest goes first. Also: DSS_CACHE_SIZE.",
)
@click.option("--no-cache", is_flag=True, help="Builds all of it anew, and keeps no layers.")
@click.option("--keep-rootfs", is_flag=True, help="Keeps the root file system as a tar, for create-docker-image.")
@sign_key_option
@publish_options
@build_options
@ec2_options
@output_option
def create_vm(
    app: App,
    *,
    builder: str,
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
    verify: bool | None,
    force: bool,
    work_directory: Path,
    on_disk: bool,
    cache_directory: Path,
    cache_size: str,
    no_cache: bool,
    keep_rootfs: bool,
    sign_key: str | None,
    publish_ami: bool,
    boot_mode: str,
    output: str,
    **ec2: Any,
) -> None:
    """Builds a sandbox image on this machine, boots it to check it, and leaves files to import.

    With --builder ec2: on a machine in AWS, as an AMI and as images in S3.
    """
    check_builder(builder, publishes=publish_ami)
    checked_id = AssetId(asset_id)
    if builder == "ec2":
        create_vm_in_ec2(
            app, asset_id=checked_id, base=base, edition=edition, formats=formats, default_password=default_password,
            without=without, extra_vars=extra_vars, ca_bundle=ca_bundle, no_verify=verify is False, output=output,
            **ec2,
        )  # fmt: skip
        return
    size = parse_disk_size(disk_size)
    cache_bytes = parse_cache_size(cache_size)
    password = read_default_password(default_password)
    publishing = Publishing.begin(app, ec2, checked_id, boot_mode, verify=verify is not False) if publish_ami else None

    from exasol_like_dss.access.ansible import Ansible
    from exasol_like_dss.access.web import Web
    from exasol_like_dss.lib.images.bases import BASES as KNOWN
    from exasol_like_dss.lib.images.formats import VmImageFormat
    from exasol_like_dss.lib.pipeline.access import Access
    from exasol_like_dss.lib.pipeline.create_vm import create_vm_local
    from exasol_like_dss.lib.pipeline.local_plan import LocalBuild
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
        password_generated=password.generated,
        without=without,
        extra_vars=read_extra_vars(extra_vars),
        mirror=mirror,
        ca_bundle=ca_bundle.absolute() if ca_bundle else None,
        verify=verify is not False,
        verify_again=verify is True,
        force=force,
        work_directory=work_directory.absolute(),
        on_disk=on_disk,
        keep_rootfs=keep_rootfs,
        sign_key=sign_key,
        cache_directory=None if no_cache else cache_directory.absolute(),
        package_cache=cache_directory.absolute(),
        cache_bytes=cache_bytes,
    )
    access = Access(programs=app.programs, ansible=Ansible(tree=tree("ansible")), web=Web(ca_bundle=build.ca_bundle))
    created = create_vm_local(build, access=access, progress=app.progress, cancellation=app.cancellation)
    imported = publishing.publish(created.directory) if publishing else None
    app.progress.close()
    manifest = created.manifest
    if output == "json":
        from dataclasses import asdict

        result = {"directory": str(created.directory), "found": created.found, **asdict(manifest)}
        if password.generated and not created.found:
            result["default_password"] = password.value
        if imported:
            result["ami"] = as_json(imported)
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
    if not created.found:
        print_table(
            ["step", "seconds"],
            [[path, f"{seconds:.1f}"] for path, seconds in manifest.seconds_per_step.items() if " / " not in path],
        )
        click.echo()
    click.echo(f"Verification: {manifest.verification.value}")
    if password.generated and not created.found:
        click.echo(f"The password of the first login (shown only now): {password.value}")
    click.echo(f"Start it:  dss run-vm {created.directory / manifest.artifacts[0].name}")
    if imported:
        click.echo()
        print_imported(imported, asset_id=checked_id)


COMMANDS: list[click.Command] = [create_vm, export_vm]
