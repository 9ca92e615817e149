"""What is looked at before work begins. Each check raises ``InputError``; none of them changes anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.errors import DeadlinePassed, InputError, ProgramFailed, tail

GIB = 1 << 30
_GIT_DEADLINE_S = 30.0


class GitUnreachable(InputError):
    """A git repository does not answer."""


def check_root_rights() -> None:
    if os.geteuid() != 0:
        raise InputError("Building an image needs root rights (chroot, mounts).", hint="Run it with sudo.")


def check_programs(names: Iterable[str], *, programs: Programs) -> None:
    """Names the first program that is missing, with its package."""
    for name in names:
        programs.find(name)


def check_output_directory(directory: Path, asset_id: AssetId, *, force: bool) -> None:
    """The folder is writable (or can be made), and does not hold a finished build.

    A build is finished when its manifest is there: it is written last. Files without it are what an interrupted run
    left, and are replaced.
    """
    existing = next(folder for folder in (directory, *directory.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise InputError(f"The output directory {existing} is a file.", hint="Give another --output-directory.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"The output directory {existing} is not writable.", hint="Give another --output-directory.")
    held = held_asset_id(directory)
    if held is None:
        return
    if held != asset_id.value:
        raise InputError(
            f"The output directory {directory} holds another build (asset-id {held}).",
            hint="Give another --output-directory: one folder for one build.",
        )
    if not force:
        raise InputError(
            f"The output directory {directory} already holds asset-id {asset_id}.",
            hint="Give --force to replace it, or another --asset-id or --output-directory.",
        )


def held_asset_id(directory: Path) -> str | None:
    """The asset-id of the finished build in a folder."""
    from exasol_like_dss.lib.publishing.manifest import read_manifest

    path = directory / "manifest.json"
    if not path.exists():
        return None
    try:
        return read_manifest(path).asset_id
    except InputError as error:
        raise InputError(
            f"The output directory {directory} holds a manifest.json that is not of {PRODUCT}.",
            hint="Give another --output-directory.",
        ) from error


def check_space(needs: Iterable[tuple[Path, int, str]]) -> None:
    """needs: (folder, bytes, the option that chooses it). Folders on one file system are added up."""
    wanted: dict[int, list[tuple[Path, int, str]]] = {}
    for folder, count, option in needs:
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        wanted.setdefault(existing.stat().st_dev, []).append((existing, count, option))
    for rows in wanted.values():
        folder, _, option = rows[0]
        total = sum(count for _, count, _ in rows)
        free = shutil.disk_usage(folder).free
        if free < total:
            raise InputError(
                f"{folder} has {free / GIB:.1f} GiB free, and the build needs about {total / GIB:.1f} GiB.",
                hint=f"Free some space, or choose another place with {option}.",
            )


def available_memory(*, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that programs can have without swapping (the kernel's MemAvailable)."""
    for line in meminfo.read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return 0


def check_memory(needed_bytes: int, *, available_bytes: int) -> None:
    """Whether this much memory is available."""
    if available_bytes < needed_bytes:
        raise InputError(
            f"{available_bytes / GIB:.1f} GiB of memory are available, and this needs {needed_bytes / GIB:.1f} GiB.",
            hint="Close other programs; without verification (--no-verify) less is needed.",
        )


def check_git_repository(url: str, tag: str, *, role: str, ca_bundle: Path | None, programs: Programs) -> str:
    """Whether the repository answers and has the tag; returns its commit. Names the role that would need it."""
    environment = {"GIT_TERMINAL_PROMPT": "0", **({"GIT_SSL_CAINFO": str(ca_bundle)} if ca_bundle else {})}
    hint = f"Check the network, give another with --extra-vars {role}_repository=URL, or leave it out: --without {role}"
    try:
        found = programs.run(["git", "ls-remote", url, tag], env=environment, deadline_s=_GIT_DEADLINE_S)
    except (ProgramFailed, DeadlinePassed) as error:
        seen = tail(error.output, lines=1) if isinstance(error, ProgramFailed) else "no answer"
        raise GitUnreachable(
            f"The git repository {url} can't be reached: {seen} (Step: role {role})", hint=hint
        ) from error
    if not found.strip():
        raise InputError(f"The git repository {url} has no tag {tag!r}. (Step: role {role})", hint=hint)
    return found.split()[0]


def check_script_languages(
    tree: Path, extra_vars: Mapping[str, Any], *, ca_bundle: Path | None, programs: Programs
) -> str:
    """Whether the repository of the role ``script_languages`` answers and has the tag; returns its commit."""
    from exasol_like_dss.lib.provisioning.editions import role_default

    role = "script_languages"
    url, tag = (
        str(extra_vars.get(name, role_default(tree, role, name))) for name in (f"{role}_repository", f"{role}_tag")
    )
    return check_git_repository(url, tag, role=role, ca_bundle=ca_bundle, programs=programs)


def check_readable_file(path: Path, *, what: str) -> None:
    if not path.is_file() or not os.access(path, os.R_OK):
        raise InputError(f"The {what} {path} is no readable file.", hint="Check the path.")
