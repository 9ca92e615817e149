"""What builds remember, and how two images differ."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from exasol_like_dss.cli.app import DEFAULT_CACHE, App, command
from exasol_like_dss.cli.output import human_bytes, output_option, print_json, print_table

cache_directory_option = click.option(
    "--cache-directory",
    type=click.Path(path_type=Path),
    envvar="DSS_CACHE_DIRECTORY",
    default=DEFAULT_CACHE,
    show_default=True,
    help="Where layers and packages of earlier builds are kept. Also: DSS_CACHE_DIRECTORY.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cache() -> None:
    """Lists, measures or removes what earlier builds left for later ones.

    dss create-vm keeps layers of root file systems and packages there, and knows where it left which image.
    """


cache.kind = "develop"  # type: ignore[attr-defined]


def _store(directory: Path) -> Any:
    """The cache; ``None`` when there is none yet."""
    from exasol_like_dss.lib.cache.store import Store
    from exasol_like_dss.lib.preflight import check_root_rights

    if not directory.exists():
        return None
    check_root_rights()
    return Store(directory)


@command("list", kind="develop")
@cache_directory_option
@output_option
def list_layers(_app: App, *, cache_directory: Path, output: str) -> None:
    """Lists the layers, the one used last first."""
    store = _store(cache_directory)
    layers = store.layers() if store else []

    def shown(seconds: float) -> str:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"

    if output == "json":
        rows = [
            {"identity": layer.identity, "layer": layer.name, "base": layer.title, "below": layer.below,
             "stored_bytes": layer.stored_bytes, "created": shown(layer.created), "used": shown(layer.used)}
            for layer in layers
        ]  # fmt: skip
        print_json({"directory": str(cache_directory), "layers": rows})
        return
    print_table(
        ["layer", "base", "size", "made", "used", "identity"],
        [
            [layer.name, layer.title, human_bytes(layer.stored_bytes), shown(layer.created), shown(layer.used),
             layer.identity[:12]]
            for layer in layers
        ],
    )  # fmt: skip


@command("size", kind="develop")
@cache_directory_option
@output_option
def size(_app: App, *, cache_directory: Path, output: str) -> None:
    """Says how much room the cache takes."""
    store = _store(cache_directory)
    count = store.size_bytes() if store else 0
    if output == "json":
        print_json({"directory": str(cache_directory), "size_bytes": count})
    else:
        click.echo(human_bytes(count))


@command("clean", kind="develop")
@cache_directory_option
@output_option
def clean(_app: App, *, cache_directory: Path, output: str) -> None:
    """Removes all of it. Builds that are running go on. No image is removed."""
    store = _store(cache_directory)
    count = store.clean() if store else 0
    if output == "json":
        print_json({"directory": str(cache_directory), "removed_bytes": count})
    else:
        click.echo(f"Removed: {human_bytes(count)}")


for _command in (list_layers, size, clean):
    cache.add_command(_command)


@command("compare-images", kind="develop")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@output_option
def compare_images(app: App, *, first: Path, second: Path, output: str) -> None:
    """Names what differs between two images: partitions, boot loader, each file.

    Of a file: kind, content, mode, owner, time, number of names, extended attributes. The formats may differ. Exit code
    0: the same disk; 1: they differ.
    """
    from dataclasses import asdict

    from exasol_like_dss.lib.images.compare import compare_images as compare

    found = compare(first, second, programs=app.programs, progress=app.progress, cancellation=app.cancellation)
    app.progress.close()
    if output == "json":
        print_json({"same": not found, "differences": [asdict(difference) for difference in found]})
    elif found:
        print_table(["where", "what", "A", "B"], [[each.where, each.what, each.first, each.second] for each in found])
    else:
        click.echo("The images are the same.")
    if found:
        click.get_current_context().exit(1)


COMMANDS: list[click.Command] = [cache, compare_images]
