from __future__ import annotations

import re
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import PERMANENT_STACKS, AssetNames, check_name, client_token
from exasol_like_dss.lib.errors import InputError

IDS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z").map(AssetId)


@given(IDS)
def test_every_asset_id_gives_names_that_aws_takes(asset_id: AssetId) -> None:
    """The patterns as the API references state them."""
    names = AssetNames.of(asset_id)
    assert re.fullmatch(r"[a-zA-Z][-a-zA-Z0-9]*", names.stack)
    assert len(names.stack) <= 128
    assert re.fullmatch(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}", names.image)
    assert names.key_pair.isascii()
    assert len(names.key_pair) <= 255
    assert re.fullmatch(r"[.\-_/#A-Za-z0-9]{1,512}", names.log_group)
    assert names.s3_prefix == f"data_science_sandbox/{asset_id}/"
    assert names.stack not in PERMANENT_STACKS


@given(IDS, IDS)
def test_different_ids_give_different_names(one: AssetId, other: AssetId) -> None:
    if one != other:
        first, second = asdict(AssetNames.of(one)), asdict(AssetNames.of(other))
        assert not [name for name in first if first[name] == second[name]]


def test_dots_dashes_and_underscores_are_kept_apart() -> None:
    assert len({AssetNames.of(AssetId(text)).stack for text in ("1.0", "1-0", "1_0")}) == 3
    assert AssetNames.of(AssetId("1-0")).stack == "EC2-DATA-SCIENCE-SANDBOX-1-0"


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("stack", "EC2-1.0", "stack name 'EC2-1.0'"),
        ("stack", "E" * 129, "has 129 characters, AWS takes 128"),
        ("image", "a*b", "AMI name 'a*b'"),
        ("image", "ab", "AMI name 'ab'"),
        ("key_pair", "k ", "key pair name 'k '"),
        ("s3_prefix", "a b/", "S3 prefix 'a b/'"),
        ("log_group", "/a b", "log group name '/a b'"),
    ],
)
def test_a_name_that_aws_refuses_is_named_with_the_reason(kind: str, name: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_name(kind, name, asset_id=AssetId("x"))
    assert said in caught.value.message
    assert caught.value.hint


@given(IDS, st.text(max_size=100), st.text(max_size=100))
def test_client_tokens_are_the_same_for_the_same_step(asset_id: AssetId, step: str, other: str) -> None:
    token = client_token(asset_id, step)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", token)
    assert token == client_token(asset_id, step)
    assert (token == client_token(asset_id, other)) == (step == other)
