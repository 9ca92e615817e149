"""The asset-id: the keyword that everything made in one build carries."""

from __future__ import annotations

import fnmatch
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


@dataclass(frozen=True)
class AssetPattern:
    """Which asset-ids are meant: exactly one, or those that fit ``*`` (any characters) and ``?`` (any one).

    EC2's filters know the same two (EC2 API Reference, "Filtering"). Raises ``InputError`` for what no asset-id fits.
    """

    text: str = "*"

    def __post_init__(self) -> None:
        plain = self.text.replace("*", "a").replace("?", "a")
        if not self.text or not re.fullmatch(r"[A-Za-z0-9._-]*", plain, re.ASCII) or plain[0] in "._-":
            raise InputError(
                f"{self.text!r} is no asset-id, and no pattern of asset-ids.",
                hint="Letters, digits, '.', '_', '-'; with '*' and '?' for any characters, in quotes: '1.2.*'.",
            )
        if self.is_exact:
            AssetId(self.text)

    def __str__(self) -> str:
        return self.text

    @property
    def is_exact(self) -> bool:
        return "*" not in self.text and "?" not in self.text

    @property
    def fixed_start(self) -> str:
        """What all asset-ids that are meant begin with: all of it, or up to the first wildcard."""
        return re.split(r"[*?]", self.text, maxsplit=1)[0]

    def matches(self, asset_id: str) -> bool:
        return asset_id == self.text if self.is_exact else fnmatch.fnmatchcase(asset_id, self.text)
