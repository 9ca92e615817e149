from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from exasol_like_dss import __version__
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.duration import human_duration, parse_duration
from exasol_like_dss.lib.assets.tags import AssetTags, expiry_date, read_expiry, read_tags
from exasol_like_dss.lib.errors import InputError

NOW = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)


def test_what_is_made_carries_all_tags() -> None:
    tags = AssetTags(asset_id=AssetId("1.0"), owner="ada", expires=date(2026, 2, 1), extra={"team": "x"})
    assert tags.as_dict() == {
        "dss-asset-id": "1.0",
        "dss-owner": "ada",
        "dss-expires": "2026-02-01",
        "dss-project": "exasol-like-dss",
        "dss-version": __version__,
        "team": "x",
    }
    image, snapshot = tags.specifications("image", "snapshot")
    assert (image["ResourceType"], snapshot["ResourceType"]) == ("image", "snapshot")
    assert image["Tags"] == snapshot["Tags"] == tags.as_list()


def test_tags_of_the_user() -> None:
    assert read_tags(["a=b", "cost center=42=x", "ключ=é", "empty="]) == {
        "a": "b",
        "cost center": "42=x",
        "ключ": "é",
        "empty": "",
    }


@pytest.mark.parametrize(
    "pair",
    ["a", "=b", "aws:x=1", "AWS:x=1", "dss-owner=me", "a*=1", "a=<b>", "a=b\n", f"{'k' * 129}=1", f"k={'v' * 257}"],
)
def test_tags_that_aws_refuses_or_that_are_ours(pair: str) -> None:
    with pytest.raises(InputError) as caught:
        read_tags([pair])
    assert caught.value.hint


def test_too_many_and_repeated_tags() -> None:
    with pytest.raises(InputError):
        read_tags(["a=1", "a=2"])
    with pytest.raises(InputError):
        read_tags([f"k{number}=v" for number in range(46)])
    assert len(read_tags([f"k{number}=v" for number in range(45)])) == 45


def test_an_owner_that_is_no_tag_is_wrong_input() -> None:
    with pytest.raises(InputError):
        AssetTags(asset_id=AssetId("1"), owner="a<b", expires=date(2026, 1, 1))


def test_nothing_expires_before_its_time() -> None:
    assert expiry_date(timedelta(days=7), now=NOW) == date(2026, 2, 8)
    assert read_expiry({"dss-expires": "2026-02-08"}) == date(2026, 2, 8)
    assert read_expiry({"dss-expires": "next week"}) is None
    assert read_expiry({}) is None


def test_durations() -> None:
    assert [parse_duration(text) for text in ("12h", "7d", "2W")] == [
        timedelta(hours=12),
        timedelta(days=7),
        timedelta(days=14),
    ]
    seconds = (0, 59, 60, 3599, 3600, 86399, 86400, 10**6)
    assert [human_duration(timedelta(seconds=second)) for second in seconds] == [
        "0 min", "0 min", "1 min", "59 min", "1 h", "23 h", "1 d", "11 d",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7 d", "1.5d", "7m", "999999w", "٧d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(InputError):
        parse_duration(text)
