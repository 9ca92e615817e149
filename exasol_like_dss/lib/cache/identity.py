"""What a layer, and an image, is made from: all that makes another one of it when it changes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from exasol_like_dss import __version__
from exasol_like_dss.access.programs import Programs

#: Files of the Ansible tree that every role depends on. Our own modules among them: they make what is in a layer.
_SHARED = ("group_vars", "tasks/prepare.yml", "tasks/role.yml", "library", "action_plugins", "files")
#: Our own code that decides what is in a layer; changes of the rest leave the layers as they are.
_LAYER_CODE = ("lib/images/rootfs.py", "lib/images/boot_files.py", "lib/images/maintainer_scripts.py",
               "lib/images/packages_ahead.py", "lib/images/bases.py", "lib/machines/chroot.py",
               "lib/machines/environment.py", "lib/cache/delta.py", "lib/pipeline/layers.py")  # fmt: skip
#: Our own code that makes an image of the last layer, and describes it.
_IMAGE_CODE = ("lib/cache", "lib/images", "lib/machines", "lib/provisioning", "lib/publishing",
               "lib/pipeline/layers.py", "lib/pipeline/local.py", "lib/pipeline/local_plan.py",
               "lib/pipeline/describing.py", "lib/pipeline/writing.py")  # fmt: skip
#: Programs whose versions decide how a disk looks.
_DISK_PROGRAMS = ("mke2fs", "debugfs", "mkfs.vfat", "mcopy", "grub-mkimage")
_PACKAGE = Path(__file__).resolve().parent.parent.parent


def digest(paths: Iterable[Path], *, root: Path) -> str:
    """SHA-256 of the names (below ``root``), modes and content of files; of folders, all that is below them."""
    result = hashlib.sha256()
    for path in sorted({file for found in paths for file in _files(found)}):
        mode = path.stat().st_mode & 0o111
        result.update(f"{path.relative_to(root)}\0{mode}\0".encode())
        result.update(hashlib.sha256(path.read_bytes()).digest())
    return result.hexdigest()


@cache
def layer_code() -> dict[str, str]:
    """What makes layers: our code, and Ansible's version."""
    return {
        "code": digest([_PACKAGE / name for name in _LAYER_CODE], root=_PACKAGE),
        "ansible-core": version("ansible-core"),
    }


def shared_files(tree: Path, edition: str) -> list[Path]:
    return [tree / f"{edition}.yml", *(tree / name for name in _SHARED)]


def role_files(tree: Path, edition: str, role: str) -> str:
    """Of the files of a role, and of those that all roles depend on."""
    return digest([*shared_files(tree, edition), tree / "roles" / role], root=tree)


def role_variables(tree: Path, edition: str, role: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``variables`` that can matter to a role: their names stand in its files, in those that all roles depend
    on, or in the value of another one that matters. Others may change without the role running again."""
    text = "\n".join(
        path.read_text(errors="replace")
        for found in (*shared_files(tree, edition), tree / "roles" / role)
        for path in _files(found)
    )
    wanted: dict[str, Any] = {}
    while True:
        more = {
            name: value
            for name, value in variables.items()
            if name not in wanted and re.search(rf"\b{re.escape(name)}\b", text)
        }
        if not more:
            return wanted
        wanted |= more
        text = json.dumps(list(more.values()), default=str)


def program_files(names: Iterable[str], *, programs: Programs) -> dict[str, list[int]]:
    """Size and time of programs: an upgrade changes them. Asking for their versions would take longer than all else."""
    seen = {name: Path(programs.find(name)).stat() for name in names}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in seen.items()}


def image_tools(tree: Path, *, programs: Programs) -> dict[str, Any]:
    """What makes an image of the last layer: our code, the whole Ansible tree, and programs of this machine."""
    grub = sorted(Path("/usr/lib/grub").glob("*/moddep.lst"))
    return {
        "version": __version__,
        "code": digest([_PACKAGE / name for name in _IMAGE_CODE], root=_PACKAGE),
        "tree": digest([tree], root=tree),
        "programs": program_files(_DISK_PROGRAMS, programs=programs),
        "grub": {str(path): path.stat().st_mtime_ns for path in grub},
    }


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [found for found in path.rglob("*") if found.is_file() and "__pycache__" not in found.parts]
