"""Commands about finished images: other formats of them, and what takes the room in them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.output import human_bytes, output_option, print_json, print_table
from exasol_like_dss.cli.release import FORMATS

_MADE_BY_WIDTH = 60


@command("convert-image", kind="release")
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--vm-image-format",
    "formats",
    type=click.Choice(FORMATS, case_sensitive=False),
    multiple=True,
    required=True,
    help="A format to write; can be given several times: all are made in one read.",
)
@click.option(
    "--output-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the files go. [default: beside IMAGE]",
)
@click.option(
    "--source-format",
    type=click.Choice(["auto", "raw"]),
    default="auto",
    show_default=True,
    help="auto: known by its content. raw: the bytes of a disk, also without a partition table.",
)
@click.option("--force", is_flag=True, help="Replaces files that are there.")
@output_option
def convert_image(
    app: App,
    *,
    image: Path,
    formats: tuple[str, ...],
    output_directory: Path | None,
    source_format: str,
    force: bool,
    output: str,
) -> None:
    """Writes the disk image IMAGE in other formats, all of them in one read.

    IMAGE is raw, qcow2, VMDK, VHD or OVA. The sums go into SHA256SUMS.
    The same disk gives the same content; with SOURCE_DATE_EPOCH the same bytes, too.
    """
    from exasol_like_dss.lib.images.formats import VmImageFormat
    from exasol_like_dss.lib.pipeline.converting import Conversion
    from exasol_like_dss.lib.pipeline.converting import convert_image as convert

    order = Conversion(
        image=image.absolute(),
        formats=tuple(dict.fromkeys(VmImageFormat(name.upper()) for name in formats)),
        output_directory=(output_directory or image.parent).absolute(),
        raw=source_format == "raw",
        force=force,
    )
    done = convert(order, programs=app.programs, progress=app.progress, cancellation=app.cancellation)
    app.progress.close()
    if output == "json":
        print_json(
            {
                "source": {
                    "path": str(image),
                    "format": done.source.format.value,
                    "virtual_bytes": done.source.virtual_bytes,
                },
                "directory": str(done.directory),
                "images": [
                    {
                        "format": each.format.value,
                        "path": str(done.directory / each.path.name),
                        "size_bytes": each.size_bytes,
                        "sha256": each.sha256,
                        "seconds": round(each.seconds, 3),
                    }
                    for each in done.images
                ],
            }
        )
        return
    print_table(
        ["format", "size", "SHA-256", "file"],
        [
            [each.format.value, human_bytes(each.size_bytes), each.sha256, str(done.directory / each.path.name)]
            for each in done.images
        ],
    )


@command("image-size", kind="develop")
@click.argument("image")
@click.option(
    "--work-directory",
    type=click.Path(path_type=Path),
    default=Path("/var/tmp/exasol-like-dss"),
    show_default=True,
    help="For a sparse raw copy of a compressed image, which goes at the end.",
)
@output_option
def image_size(app: App, *, image: str, work_directory: Path, output: str) -> None:
    """Shows what takes the room in IMAGE, and what of it could go.

    IMAGE is a disk image, a folder with a root file system, the tar that create-vm --keep-rootfs leaves, or a container
    image: docker://NAME:TAG of the Docker engine, the tar of docker save, or an OCI image layout (a tar or a folder).
    """
    from exasol_like_dss.lib.pipeline.image_usage import ENGINE, docker_image_usage, image_usage

    if image.startswith(ENGINE):
        from exasol_like_dss.access.docker import Docker

        docker = Docker()
        try:
            usage = docker_image_usage(
                image.removeprefix(ENGINE), docker=docker, progress=app.progress, cancellation=app.cancellation
            )
        finally:
            docker.close()
    else:
        usage = image_usage(
            Path(image),
            work_directory=work_directory.absolute(),
            programs=app.programs,
            progress=app.progress,
            cancellation=app.cancellation,
        )
    app.progress.close()
    if output == "json":
        from dataclasses import asdict

        print_json(asdict(usage))
        return

    def share(size_bytes: int) -> list[str]:
        return [human_bytes(size_bytes), f"{size_bytes / max(1, usage.size_bytes):.1%}"]

    click.echo(f"{human_bytes(usage.size_bytes)} in {usage.files} files")
    for title, rows in (("part", usage.parts), ("package", usage.packages), ("folder", usage.folders)):
        click.echo()
        print_table([title, "size", "share"], [[row.name, *share(row.size_bytes)] for row in rows])
    if usage.layers:
        click.echo()
        print_table(
            ["layer", "size", "hidden by later ones", "made by"],
            [
                [each.digest[:19], human_bytes(each.size_bytes), human_bytes(each.hidden_bytes),
                 textwrap.shorten(each.made_by, _MADE_BY_WIDTH, placeholder=" …")]
                for each in usage.layers
            ],
        )  # fmt: skip
    click.echo()
    if usage.avoidable:
        print_table(
            ["avoidable", "size", "share", "what takes it away"],
            [[row.name, *share(row.size_bytes), row.how] for row in usage.avoidable],
        )
    else:
        click.echo("Nothing that is known to be avoidable.")


COMMANDS: list[click.Command] = [convert_image, image_size]
