from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exasol_like_dss.lib.assets.asset_id import AssetId, AssetPattern
from exasol_like_dss.lib.errors import ExitCode, InputError

RULE = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


@given(st.from_regex(RULE))
def test_every_id_that_follows_the_rule_is_taken_as_it_is(text: str) -> None:
    assert str(AssetId(text)) == text
    assert AssetId(text).file_name("vmdk") == f"exasol-like-dss-{text}.vmdk"


@given(st.text(max_size=80).filter(lambda text: not RULE.match(text)))
def test_every_other_text_is_wrong_input(text: str) -> None:
    with pytest.raises(InputError) as caught:
        AssetId(text)
    assert caught.value.exit_code == ExitCode.WRONG_INPUT
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "-a", ".a", "a" * 64, "a b", "a/b", "../a", "a\n", "ä", "5٠"])
def test_near_misses(text: str) -> None:
    with pytest.raises(InputError):
        AssetId(text)


IDS = st.from_regex(RULE)


@given(IDS, IDS)
def test_an_exact_pattern_fits_itself_alone(one: str, other: str) -> None:
    pattern = AssetPattern(one)
    assert pattern.is_exact
    assert pattern.fixed_start == one
    assert pattern.matches(one)
    assert pattern.matches(other) == (one == other)
    assert not pattern.matches(one + "-rc1")


@given(IDS, st.integers(0, 62), st.integers(0, 62))
def test_wildcards_stand_for_what_they_replace(text: str, start: int, length: int) -> None:
    assert AssetPattern(text[:start] + "*" + text[start + length :]).matches(text)
    if start < len(text):
        question = AssetPattern(text[:start] + "?" + text[start + 1 :])
        assert question.matches(text)
        assert not question.matches(text + "x")
        assert text.startswith(question.fixed_start)


@pytest.mark.parametrize("text", ["", "a b", "-a*", "a/*", "[ab]", "a\\*", "*\n", "ä*", "a" * 64])
def test_what_no_asset_id_fits_is_no_pattern(text: str) -> None:
    with pytest.raises(InputError):
        AssetPattern(text)
