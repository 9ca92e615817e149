"""What an edition consists of: its playbook's roles, and what the user changes of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exasol_like_dss.lib.errors import InputError

#: What comes out of an edition's playbook (its variable ``sandbox_kind``).
MACHINE, CONTAINER = "machine", "container"
#: An image without these is none of ours: nobody could log in, it would carry the traces of its build, or a container
#: would have nothing to start.
INDISPENSABLE = {MACHINE: ("base", "seal"), CONTAINER: ("base", "jupyter", "container", "seal")}

#: Variables that the tool itself sets.
_RESERVED = {
    "default_password": "Use --default-password.",
    "dss_roles": "Use --without.",
    "dss_layers": "The tool makes all of them.",
    "dss_roles_done": "It follows from the layers in the cache.",
    "dss_keep": "It follows from the layers in the cache.",
    "dss_lists_known": "It follows from how the root file system is made.",
    "password_salt": "It follows from SOURCE_DATE_EPOCH.",
    "dss_asset_id": "Use --asset-id.",
    "dss_version": "It is the version of this tool.",
    "dss_edition": "Use --edition.",
    "target_is_live": "It follows from where the playbook runs.",
    "build_environment": "Set the variables in the environment of dss.",
}


def edition_names(tree: Path, *, kind: str = MACHINE) -> list[str]:
    """The playbooks that define roles for a kind of image: ``sandbox`` for machines, ``docker`` for containers."""
    return sorted(path.stem for path in tree.glob("*.yml") if _playbook_roles(path, kind))


def edition_roles(tree: Path, edition: str, *, kind: str = MACHINE) -> list[str]:
    """The roles of an edition in their order. Raises ``InputError`` for an unknown edition."""
    roles = _playbook_roles(tree / f"{edition}.yml", kind)
    if not roles:
        raise InputError(
            f"There is no edition {edition!r}.", hint=f"The editions are: {', '.join(edition_names(tree, kind=kind))}."
        )
    return roles


def choose_roles(known: Sequence[str], *, without: Sequence[str], kind: str = MACHINE) -> list[str]:
    """``known`` less ``without``. Raises ``InputError`` for a role that is not known, or has to stay."""
    for role in without:
        if role not in known:
            raise InputError(f"There is no role {role!r}.", hint=f"The roles are: {', '.join(known)}.")
        if role in INDISPENSABLE[kind]:
            raise InputError(f"The role {role!r} can't be left out.", hint="Every image needs it.")
    return [role for role in known if role not in without]


def read_extra_vars(texts: Sequence[str]) -> dict[str, Any]:
    """Follows Ansible's ``--extra-vars``: ``key=value …``, JSON or YAML, or ``@file``; later ones win.

    Raises ``InputError`` for anything else, and for variables that have an option of their own.
    """
    result: dict[str, Any] = {}
    for text in texts:
        result |= _read_one(text)
    for name in result:
        if name in _RESERVED:
            raise InputError(f"The variable {name} can't be set by --extra-vars.", hint=_RESERVED[name])
    return result


def role_default(tree: Path, role: str, variable: str) -> Any:
    """The default of a role's variable, ``None`` where there is none."""
    return _load_yaml(tree / "roles" / role / "defaults" / "main.yml").get(variable)


def _read_one(text: str) -> Mapping[str, Any]:
    import yaml

    wrong = InputError(
        f"--extra-vars {text!r} is neither key=value, nor a JSON or YAML mapping, nor @file with one.",
        hint="For example: --extra-vars jupyter_port=9999 or --extra-vars @variables.yml",
    )
    if text.startswith("@"):
        path = Path(text[1:])
        try:
            found = yaml.safe_load(path.read_text())
        except OSError as error:
            raise InputError(f"The file {path} can't be read: {error.strerror}.", hint="See --extra-vars.") from None
        except (yaml.YAMLError, UnicodeDecodeError):
            raise wrong from None
    elif text.lstrip().startswith("{"):
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError:
            raise wrong from None
    else:
        try:
            pairs = [pair.split("=", 1) for pair in shlex.split(text)]
        except ValueError:
            raise wrong from None
        if not pairs or any(len(pair) != 2 or not pair[0].isidentifier() for pair in pairs):
            raise wrong
        found = {name: yaml.safe_load(value) if value.isdigit() else value for name, value in pairs}
    if not isinstance(found, dict) or not all(isinstance(name, str) and name.isidentifier() for name in found):
        raise wrong
    return found


def _playbook_roles(path: Path, kind: str) -> list[str]:
    plays = _load_yaml(path)
    if not isinstance(plays, list):
        return []
    for play in plays:
        variables = play.get("vars") or {}
        if variables.get("sandbox_roles") and variables.get("sandbox_kind") == kind:
            return [str(role) for role in variables["sandbox_roles"]]
    return []


def _load_yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        return {}
