"""``100G``: sizes of disks as options take them."""

from __future__ import annotations

from exasol_like_dss.lib.errors import InputError

_UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_disk_size(text: str) -> int:
    """``100G`` in bytes. Units: M, G, T (binary). Raises ``InputError``, also below 1 GiB and above 2040 GiB.

    The upper bound is that of VHD (a 32-bit count of sectors; Azure takes no more than 2 TiB - 8 GiB).
    """
    number, unit = text[:-1], text[-1:].upper()
    if not number.isdecimal() or unit not in _UNITS:
        raise InputError(f"{text!r} is no disk size.", hint="A whole number and M, G or T, for example 100G.")
    size = int(number) * _UNITS[unit]
    if not 1 << 30 <= size <= 2040 << 30:
        raise InputError(f"A disk of {text} is not possible.", hint="From 1G to 2040G.")
    return size


def parse_cache_size(text: str) -> int:
    """``10G`` in bytes. Raises ``InputError``."""
    number, unit = text[:-1], text[-1:].upper()
    if not number.isdecimal() or unit not in _UNITS:
        raise InputError(f"{text!r} is no size of a cache.", hint="A whole number and M, G or T, for example 10G.")
    return int(number) * _UNITS[unit]
