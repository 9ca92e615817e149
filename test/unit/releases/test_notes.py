"""The part of the notes that is ours, and everything around it that is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.releases.notes import BEGIN, END, replaced_notes

_theirs = st.text().filter(lambda text: "dss:release-notes" not in text)


@given(_theirs, _theirs, _theirs, _theirs)
def test_only_our_part_changes(before: str, after: str, first: str, second: str) -> None:
    body = f"{before}{BEGIN}{first}{END}{after}"
    result = replaced_notes(body, second)
    assert result.startswith(before + BEGIN)
    assert result.endswith(END + after)
    assert second.strip() in result
    assert replaced_notes(result, second) == result


@given(_theirs, _theirs)
def test_without_a_part_it_comes_at_the_end(body: str, own: str) -> None:
    result = replaced_notes(body, own)
    assert result.startswith(body)
    assert replaced_notes(result, own) == result


def test_the_words_behind_a_marker_may_have_been_changed() -> None:
    body = "a <!-- dss:release-notes begin --> old <!-- dss:release-notes end, really --> b"
    assert replaced_notes(body, "new") == f"a {BEGIN}\n\nnew\n\n{END} b"


@pytest.mark.parametrize(
    "body",
    [
        BEGIN,
        END,
        END + BEGIN,
        BEGIN + END + BEGIN,
        BEGIN + END + END,
        "<!-- dss:release-notes begin " + END,
        BEGIN + "<!-- dss:release-notes end",
    ],
)
def test_damaged_markers(body: str) -> None:
    with pytest.raises(InputError, match="one of each in order") as caught:
        replaced_notes(body, "new")
    assert "Nothing was changed" in caught.value.hint


def test_too_long_for_github() -> None:
    with pytest.raises(InputError, match="GitHub takes 125000"):
        replaced_notes("x" * 124_999, "new")
