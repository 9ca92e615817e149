from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import cast

import pytest

from exasol_like_dss.access.aws.pricing import Price, Pricing
from exasol_like_dss.lib.assets import cost
from exasol_like_dss.lib.errors import DssError, InputError

TODAY = date(2026, 3, 4)


@pytest.fixture(autouse=True)
def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


class FakePricing:
    """Two regions, one of them without prices of instances."""

    def __init__(self, *, usd: float = 0.5, lacking: tuple[str, ...] = ()) -> None:
        self.usd = usd
        self.lacking = lacking

    def prices(self, service: str, filters: Mapping[str, str]) -> Iterator[Price]:
        assert service
        if filters.get("volumeApiName") in self.lacking:
            return
        if "instanceType" in filters:
            yield Price("us-east-1", "BoxUsage", "Hrs", self.usd)
            yield Price("us-east-1", "BoxUsage", "Hrs", 0.0)
            return
        regions = [("us-east-1", ""), ("eu-nowhere-1", "EUN1-")] if self.usd else []
        for region, short in regions:
            for usage in ("EBS:VolumeUsage.gp3", "EBS:VolumeUsage.gp2", "EBS:SnapshotUsage", "TimedStorage-ByteHrs"):
                yield Price(region, short + usage, "GB-Mo", 0.25)
            yield Price(region, short + "EBS:SnapshotUsageUnderBilling", "GB-Mo", 99.0)
            yield Price(region, short + "EBS:SnapshotUsage", "Hrs", 99.0)


def fake(pricing: FakePricing) -> Pricing:
    return cast(Pricing, pricing)


def test_the_table_of_the_package_is_whole() -> None:
    prices = cost.load_prices()
    assert {"us-east-1", "eu-central-1", "eu-west-1"} <= set(prices.regions)
    for region in prices.regions.values():
        assert set(region.large_hour) == set(prices.of("us-east-1").large_hour)
        assert 0.01 < region.s3_gib_month < region.snapshot_gib_month < region.gp3_gib_month < region.gp2_gib_month < 1
        assert all(0.05 < price < 0.5 for price in region.large_hour.values())


@pytest.mark.parametrize(
    ("instance_type", "usd"),
    [
        ("t3.nano", 0.0052),
        ("t3.micro", 0.0104),
        ("t3.medium", 0.0416),
        ("t3.large", 0.0832),
        ("t3.2xlarge", 0.3328),
        ("m5.24xlarge", 4.608),
        ("c5.xlarge", 0.17),
        ("u-6tb1.metal", None),
        ("t3.metal", None),
        ("t3", None),
    ],
)
def test_the_price_goes_with_the_size(instance_type: str, usd: float | None) -> None:
    found = cost.load_prices().of("us-east-1").instance_hour(instance_type)
    assert found == (None if usd is None else pytest.approx(usd))


def test_storage_is_priced_by_gibibytes() -> None:
    prices = cost.load_prices().of("us-east-1")
    assert prices.volume_month(100, kind="gp3") == pytest.approx(8.0)
    assert prices.volume_month(100, kind="io2") == pytest.approx(10.0)
    assert prices.snapshot_month(10 << 30) == pytest.approx(0.5)
    assert prices.s3_month(1 << 40) == pytest.approx(23.552)


def test_regions_without_prices_are_told() -> None:
    prices = cost.load_prices()
    assert prices.of("mars-1") == prices.of("us-east-1")
    said = prices.statement(["mars-1", "us-east-1"])
    assert "estimates" in said
    assert prices.as_of.isoformat() in said
    assert "No prices for mars-1: those of us-east-1 stand in." in said
    assert "stand in" not in prices.statement(["us-east-1"])


def test_fresh_prices_of_the_user_come_first(data_folder: Path) -> None:
    own = cost.load_own_prices()
    fresh, missing = cost.refresh_prices(fake(FakePricing()), known=own, today=TODAY)
    assert missing == []
    assert fresh.regions.keys() == own.regions.keys()
    cost.save_prices(fresh, cost.user_prices_file())
    loaded = cost.load_prices()
    assert (loaded.as_of, loaded.source) == (TODAY, str(data_folder / "exasol-like-dss/prices.json"))
    assert loaded.regions == fresh.regions
    assert loaded.of("us-east-1").snapshot_gib_month == 0.25
    assert loaded.of("us-east-1").instance_hour("c5.xlarge") == 1.0
    assert loaded.of("eu-west-1") == own.of("eu-west-1")


def test_what_aws_gave_no_price_for_stays_and_is_told() -> None:
    own = cost.load_own_prices()
    fresh, missing = cost.refresh_prices(fake(FakePricing(lacking=("gp3",))), known=own, today=TODAY)
    assert missing == ["us-east-1 gp3_gib_month"]
    assert fresh.of("us-east-1").gp3_gib_month == own.of("us-east-1").gp3_gib_month


def test_no_prices_are_no_table() -> None:
    with pytest.raises(DssError) as caught:
        cost.refresh_prices(fake(FakePricing(usd=0.0)), known=cost.load_own_prices(), today=TODAY)
    assert "stays in use" in caught.value.hint


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"as_of": "x", "fallback_region": "a", "regions": {}})])
def test_a_broken_file_is_named(content: str) -> None:
    file = cost.user_prices_file()
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        cost.load_prices()
    assert str(file) in caught.value.message
    assert "refresh-prices" in caught.value.hint
    assert cost.load_own_prices()
