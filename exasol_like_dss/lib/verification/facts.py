"""What an image says of itself: ``/etc/exasol-like-dss/image.json``, written by the Ansible tree
(``ansible/templates/image.json.j2``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exasol_like_dss.lib.errors import InputError

FILE = "/etc/exasol-like-dss/image.json"


@dataclass(frozen=True)
class ImageFacts:
    """roles: what was installed; a check for a role that is not among them is left out. raw: the whole file."""

    asset_id: str
    edition: str
    roles: frozenset[str]
    login_user: str
    jupyter_port: int | None
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def has(self, role: str) -> bool:
        return role in self.roles

    @property
    def can_log_in(self) -> bool:
        """Without the role ``password`` nobody knows a password."""
        return self.has("password")

    def text(self, *path: str, default: str = "") -> str:
        """A text somewhere in the file, or ``default``."""
        found: Any = self.raw
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, str) else default


def parse_facts(text: str) -> ImageFacts:
    """Raises ``InputError`` when the text is not what the Ansible tree writes."""
    try:
        raw = json.loads(text)
        return ImageFacts(
            asset_id=str(raw["asset_id"]),
            edition=str(raw["edition"]),
            roles=frozenset(str(role) for role in raw["roles"]),
            login_user=str(raw["login_user"]),
            jupyter_port=int(raw["jupyter_port"]) if raw.get("jupyter_port") else None,
            raw=raw,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The image's {FILE} can't be understood: {type(error).__name__}: {error}.",
            hint="Was this image made by dss?",
        ) from None
