"""The part of a release's notes that belongs to dss. What people wrote before and after it is never changed."""

from __future__ import annotations

from exasol_like_dss.lib.errors import InputError

BEGIN = "<!-- dss:release-notes begin: `dss update-release` writes what is between these two lines anew -->"
END = "<!-- dss:release-notes end -->"
#: What a marker is known by, also after somebody has changed the rest of its line.
_BEGIN_WORDS, _END_WORDS = "<!-- dss:release-notes begin", "<!-- dss:release-notes end"
#: GitHub's limit of a release's body, in characters.
_LONGEST = 125_000


def replaced_notes(body: str, own: str) -> str:
    """``body`` with ``own`` between the markers; at its end where there are none yet. The rest stays byte for byte.

    Raises ``InputError`` when the markers are not one pair in order, or the whole gets too long for GitHub.
    """
    part = f"{BEGIN}\n\n{own.strip()}\n\n{END}"
    begins, ends = body.count(_BEGIN_WORDS), body.count(_END_WORDS)
    start, end = body.find(_BEGIN_WORDS), body.find(_END_WORDS)
    close = body.find("-->", end) if end >= 0 else -1
    if begins == ends == 0:
        result = f"{body}\n\n{part}\n" if body.strip() else f"{body}{part}\n"
    elif begins == ends == 1 and start < end and 0 <= body.find("-->", start) < end <= close:
        result = body[:start] + part + body[close + len("-->") :]
    else:
        raise InputError(
            f"The notes of the release hold {begins} beginnings and {ends} ends of the part of dss, not one of each in "
            "order.",
            hint="Edit them on GitHub: keep one line with <!-- dss:release-notes begin --> before one line with "
            "<!-- dss:release-notes end -->, or remove both. Nothing was changed.",
        )
    if len(result) > _LONGEST:
        raise InputError(
            f"The notes would have {len(result)} characters; GitHub takes {_LONGEST}.", hint="Shorten your own part."
        )
    return result
