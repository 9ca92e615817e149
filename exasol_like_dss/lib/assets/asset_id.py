"""The asset-id: the keyword that everything made in one build carries."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exasol_like_dss.lib.errors import InputError

_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
PRODUCT = "exasol-like-dss"


@dataclass(frozen=True)
class AssetId:
    """A checked asset-id: 1 to 63 characters, ``[A-Za-z0-9][A-Za-z0-9._-]*``.

    Raises ``InputError`` for anything else, before anything is touched.
    """

    value: str

    def __post_init__(self) -> None:
        if not _PATTERN.fullmatch(self.value):
            raise InputError(
                f"{self.value!r} is no asset-id.",
                hint="1 to 63 letters, digits, '.', '_', '-', the first a letter or a digit, for example 1.2.3-rc1.",
            )

    def __str__(self) -> str:
        return self.value

    def file_name(self, extension: str) -> str:
        """``exasol-like-dss-<asset-id>.<extension>``."""
        return f"{PRODUCT}-{self.value}.{extension}"
