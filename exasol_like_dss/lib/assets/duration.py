"""``7d``, ``12h``, ``2w``: durations as options take them."""

from __future__ import annotations

import re
from datetime import timedelta

from exasol_like_dss.lib.errors import InputError

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=3660)


def parse_duration(text: str) -> timedelta:
    """A whole number and ``h``, ``d`` or ``w``. Raises ``InputError``, also for more than ten years."""
    found = re.fullmatch(r"([0-9]{1,6})([hdw])", text.strip().lower())
    if not found:
        raise InputError(f"{text!r} is no duration.", hint="A whole number and h, d or w, for example 7d.")
    duration = int(found[1]) * _UNITS[found[2]]
    if duration > _LONGEST:
        raise InputError(f"{text} is longer than ten years.", hint="Give something shorter, for example 7d.")
    return duration


def human_duration(duration: timedelta) -> str:
    """``3 d``, ``5 h``, ``12 min``: the greatest unit of which there is at least one."""
    for name, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if duration.total_seconds() >= seconds:
            return f"{duration.total_seconds() // seconds:.0f} {name}"
    return "0 min"
