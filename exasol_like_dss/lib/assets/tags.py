"""The tags of everything that is made in a cloud: they are the only record of what belongs to whom.

They are given in the call that creates, so that nothing exists without them, whenever the process is killed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from exasol_like_dss import __version__
from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.errors import InputError

ASSET_ID = "dss-asset-id"
OWNER = "dss-owner"
EXPIRES = "dss-expires"
PROJECT = "dss-project"
VERSION = "dss-version"
#: Set by CloudFormation on what it makes.
STACK_NAME = "aws:cloudformation:stack-name"

# EC2 User Guide, "Tag restrictions".
_LONGEST_KEY = 128
_LONGEST_VALUE = 256
_MOST = 50
_PUNCTUATION = " +-=._:/@"


@dataclass(frozen=True)
class AssetTags:
    """What everything of one build is tagged with. extra: the user's own (``read_tags``)."""

    asset_id: AssetId
    owner: str
    expires: date
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_value(self.owner, what="The owner")

    def as_dict(self) -> dict[str, str]:
        return {
            ASSET_ID: str(self.asset_id),
            OWNER: self.owner,
            EXPIRES: self.expires.isoformat(),
            PROJECT: PRODUCT,
            VERSION: __version__,
            **self.extra,
        }

    def as_list(self) -> list[dict[str, str]]:
        """``[{"Key": …, "Value": …}]``, as CloudFormation and IAM take them."""
        return [{"Key": key, "Value": value} for key, value in self.as_dict().items()]

    def specifications(self, *resource_types: str) -> list[dict[str, Any]]:
        """``TagSpecifications`` as EC2 takes them, for example of ``image`` and ``snapshot``."""
        return [{"ResourceType": name, "Tags": self.as_list()} for name in resource_types]


def expiry_date(lifetime: timedelta, *, now: datetime | None = None) -> date:
    """The first day (UTC) on which an asset that may live this long is not wanted any more."""
    return ((now or datetime.now(UTC)) + lifetime + timedelta(days=1)).date()


def read_expiry(tags: Mapping[str, str]) -> date | None:
    """``None`` without the tag, and for what is no date: people edit tags."""
    try:
        return date.fromisoformat(tags.get(EXPIRES, ""))
    except ValueError:
        return None


def read_tags(pairs: Sequence[str]) -> dict[str, str]:
    """The user's ``k=v``. Raises ``InputError`` for what AWS refuses, and for tags that are ours."""
    tags: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InputError(f"{pair!r} is no tag.", hint="KEY=VALUE, for example --tag cost-center=42.")
        if key.lower().startswith("aws:") or key in (ASSET_ID, OWNER, EXPIRES, PROJECT, VERSION):
            raise InputError(f"The tag {key!r} can't be set.", hint="Tags of AWS begin with 'aws:'; ours with 'dss-'.")
        if key in tags:
            raise InputError(f"The tag {key!r} is given twice.", hint="Give it once.")
        if len(key) > _LONGEST_KEY:
            raise InputError(f"The name of the tag {key[:20]!r}… is too long.", hint=f"AWS takes {_LONGEST_KEY}.")
        _check_characters(key, what=f"The name of the tag {key!r}")
        _check_value(value, what=f"The value of the tag {key!r}")
        tags[key] = value
    ours = 5
    if len(tags) > _MOST - ours:
        raise InputError(f"{len(tags)} tags are too many.", hint=f"AWS takes {_MOST} each, and {ours} are ours.")
    return tags


def _check_value(value: str, *, what: str) -> None:
    if len(value) > _LONGEST_VALUE:
        raise InputError(f"{what} is longer than AWS takes.", hint=f"At most {_LONGEST_VALUE} characters.")
    _check_characters(value, what=what)


def _check_characters(text: str, *, what: str) -> None:
    # Letters, digits and spaces of all languages, as in the pattern [\p{L}\p{Z}\p{N}_.:/=+\-@]*
    wrong = [char for char in text if char not in _PUNCTUATION and unicodedata.category(char)[0] not in "LNZ"]
    if wrong or re.search(r"[\r\n]", text):
        raise InputError(f"{what} has a character that AWS refuses in tags: {wrong[0]!r}.",
                         hint="Letters, digits, spaces, and + - = . _ : / @.")  # fmt: skip
