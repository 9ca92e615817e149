"""The notes of a release in Markdown: the same content gives the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exasol_like_dss.lib.publishing.s3_release import MANIFEST, SBOM, SUMS
from exasol_like_dss.lib.publishing.signing import SIGNATURE
from exasol_like_dss.lib.releases.content import docker_repository

if TYPE_CHECKING:
    from exasol_like_dss.lib.releases.content import ReleaseContent


def render_notes(content: ReleaseContent) -> str:
    """Downloads, AMIs, the Docker image, and how to verify."""
    parts = [_downloads(content), _amis(content)]
    if content.docker:
        parts.append(_docker(content))
    parts.append(_verifying(content))
    return "\n\n".join(parts)


def _downloads(content: ReleaseContent) -> str:
    rows = [
        [
            artifact.format,
            f"[{artifact.name}]({content.place.url(content.prefix + artifact.name)})",
            _size(artifact.size_bytes),
            f"`{artifact.sha256}`",
        ]
        for artifact in content.manifest.artifacts
    ]
    return (
        f"## Virtual machine images\n\n{_table(['Format', 'File', 'Size', 'SHA-256'], rows)}\n\n"
        "Open the links in a browser: it is asked for a CAPTCHA. For scripts, ask a maintainer for a link that works "
        f"without one (`dss download-url --asset-id {content.asset_id}`)."
    )


def _amis(content: ReleaseContent) -> str:
    rows = [[one.region, f"`{one.image.id}`", one.image.name] for one in content.images]
    return (
        f"## Amazon Machine Images\n\n{_table(['Region', 'AMI', 'Name'], rows)}\n\n"
        "In other regions: copy it with `aws ec2 copy-image`."
    )


def _docker(content: ReleaseContent) -> str:
    assert content.docker
    repository = docker_repository(content.docker, content.asset_id)
    return (
        f"## Docker image\n\n```shell\ndocker pull {repository}@{content.docker.digest}\n```\n\n"
        f"The same image has the tag `{repository}:{content.asset_id}`."
    )


def _verifying(content: ReleaseContent) -> str:
    names = [name for name in (SUMS, SIGNATURE, MANIFEST, SBOM) if name in content.files]
    steps = [f"sha256sum --check --ignore-missing {SUMS}"]
    signed = "`SHA256SUMS` of this release is not signed."
    if SIGNATURE in content.files:
        steps.insert(0, f"gpg --verify {SIGNATURE} {SUMS}")
        signed = f"The key that signed has the fingerprint `{content.signed_by}`."
    commands = "\n".join(steps)
    return (
        f"## Verify what you downloaded\n\nPut {', '.join(f'`{name}`' for name in names[: len(steps)])} from the files "
        f"of this release beside the images, then:\n\n```shell\n{commands}\n```\n\n"
        f"`dss verify-download DIRECTORY` does the same, and says what is wrong. {signed}\n\n"
        f"`{MANIFEST}` says what the images were made from, `{SBOM}` lists every package (CycloneDX)."
    )


def _table(columns: list[str], rows: list[list[str]]) -> str:
    cells = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in cells)


def _size(count: int) -> str:
    """Both: the one that people compare, and the one that programs do."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit} ({count} B)"
        size /= 1024
    raise AssertionError("unreachable")
