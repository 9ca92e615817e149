"""Commands of the Docker edition."""

from __future__ import annotations

from pathlib import Path

import click

from exasol_like_dss.cli.app import App, command
from exasol_like_dss.cli.output import check_writable, output_option, print_report, report_option


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


COMMANDS: list[click.Command] = [verify_docker_image]
