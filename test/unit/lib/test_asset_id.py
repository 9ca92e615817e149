from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exasol_like_dss.lib.assets.asset_id import AssetId
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
