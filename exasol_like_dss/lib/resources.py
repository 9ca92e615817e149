"""Where the Ansible tree and the CloudFormation templates are: in the wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

from exasol_like_dss.lib.errors import DssError

_PACKAGE = Path(__file__).resolve().parent.parent


def tree(name: str) -> Path:
    """The folder ``ansible`` or ``cloudformation``. Raises ``DssError`` for a broken installation."""
    for candidate in (_PACKAGE / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise DssError(f"The folder {name!r} is missing from this installation.", hint="Install exasol-like-dss again.")
