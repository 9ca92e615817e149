"""The listing, over access objects of the test's own (moto takes 20 s for as many): size, memory, interruption."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from exasol_like_dss.access.aws.ec2_results import Image, Snapshot
from exasol_like_dss.access.aws.errors import ExpiredCredentials, PermissionMissing
from exasol_like_dss.access.aws.session import AwsSession
from exasol_like_dss.lib.assets.asset_id import AssetPattern
from exasol_like_dss.lib.assets.cost import load_own_prices
from exasol_like_dss.lib.assets.listing import Listing, list_assets
from exasol_like_dss.lib.assets.record import AssetKind
from exasol_like_dss.lib.errors import Interrupted
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress

NOW = datetime(2026, 5, 1, tzinfo=UTC)
#: Of one listed asset: the record, its strings and its date; about 500 were seen. Each tag here has a kilobyte more.
BYTES_PER_ASSET = 900


class FakeEc2:
    """``count`` AMIs and as many snapshots, made when they are asked for, each with a kilobyte that nobody keeps."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.error: BaseException | None = None
        self.asked = 0

    def _tags(self) -> dict[str, str]:
        return {"dss-asset-id": "1.0", "dss-owner": "ada", "note": "n" * 1000}

    def images(self, _filters: Any) -> Iterator[Image]:
        for number in range(self.count):
            self.asked += 1
            yield Image(
                id=f"ami-{number}", name=f"image {number}", state="available", created=NOW, public=False, size_gib=8,
                snapshot_ids=(f"snap-{number}",), tags=self._tags(),
            )  # fmt: skip

    def snapshots(self, _filters: Any) -> Iterator[Snapshot]:
        if self.error:
            raise self.error
        for number in range(self.count):
            yield Snapshot(
                id=f"snap-{number}", state="completed", progress="100%", description=f"of {number}", started=NOW,
                volume_id="", volume_gib=8, full_bytes=1 << 30, tags=self._tags(),
            )  # fmt: skip


class FakeAws:
    def __init__(self, count: int) -> None:
        self.fake = FakeEc2(count)

    def ec2(self, _region: str) -> FakeEc2:
        return self.fake


def listed(aws: FakeAws, cancellation: Cancellation | None = None, **more: Any) -> Listing:
    return list_assets(
        cast(AwsSession, aws),
        regions=more.get("regions", ["us-east-1"]),
        pattern=AssetPattern(more.get("pattern", "1.0")),
        kinds=[AssetKind.AMI, AssetKind.SNAPSHOT],
        prices=load_own_prices(),
        progress=Progress(),
        cancellation=cancellation or Cancellation(),
        now=NOW,
    )


def test_ten_thousand_assets_take_the_memory_of_their_table() -> None:
    listed(FakeAws(1))  # imports
    tracemalloc.start()
    try:
        listing = listed(FakeAws(5000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(listing.assets) == 10_000
    assert listing.usd_per_month == pytest.approx(5000 * 0.05)
    assert not any(asset.marks for asset in listing.assets)
    assert peak < 10_000 * BYTES_PER_ASSET, f"{peak / 10_000:.0f} bytes per asset"


def test_a_region_is_listed_once_and_the_order_is_fixed() -> None:
    listing = listed(FakeAws(2), regions=["us-east-1", "us-east-1"])
    assert [asset.id for asset in listing.assets] == ["ami-0", "ami-1", "snap-0", "snap-1"]


def test_what_does_not_fit_the_pattern_is_left_out_whatever_aws_sends() -> None:
    assert listed(FakeAws(2), pattern="1.?.0").assets == []


def test_a_missing_permission_is_a_note_and_expired_credentials_end_it() -> None:
    aws = FakeAws(2)
    aws.fake.error = PermissionMissing("no", action="ec2:DescribeSnapshots")
    listing = listed(aws)
    assert not listing.complete
    assert [asset.id for asset in listing.assets] == ["ami-0", "ami-1"]
    assert listing.notes[0].kind == AssetKind.SNAPSHOT
    assert "ec2:DescribeSnapshots" in listing.notes[0].text
    aws.fake.error = ExpiredCredentials("over")
    with pytest.raises(ExpiredCredentials):
        listed(aws)


def test_it_stops_when_it_is_cancelled() -> None:
    aws, cancellation = FakeAws(100_000), Cancellation()
    cancellation.cancel()
    with pytest.raises(Interrupted):
        listed(aws, cancellation)
    assert aws.fake.asked <= 1
