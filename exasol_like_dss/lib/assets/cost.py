"""What assets cost, estimated from a small dated table.

On-demand prices in USD without tax, discounts, traffic, public addresses, requests, and extra IOPS. Estimates, and
shown as such.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.files import write_text_atomically

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.pricing import Price, Pricing

HOURS_PER_MONTH = 730  # 365 * 24 / 12, as AWS's own calculator takes it
_GIB = 1 << 30
_OWN_TABLE = Path(__file__).with_name("prices.json")
#: Sizes of a family in units of ``large``: within a family the price goes with the size (EC2 On-Demand Pricing).
_SIZES = {"nano": 1 / 16, "micro": 1 / 8, "small": 1 / 4, "medium": 1 / 2, "large": 1.0, "xlarge": 2.0}
_STORAGE = ("gp3_gib_month", "gp2_gib_month", "snapshot_gib_month", "s3_gib_month", "logs_gib_month")


@dataclass(frozen=True)
class RegionPrices:
    """USD. large_hour: per family of instances, the price of its size ``large``.

    put_1000_blocks, get_1000_blocks, list_1000_requests: of the EBS direct APIs ("Pricing for EBS direct APIs", Amazon
    EBS User Guide). A table that was made before they were in it gets the guide's.
    """

    gp3_gib_month: float
    gp2_gib_month: float
    snapshot_gib_month: float
    s3_gib_month: float
    logs_gib_month: float
    large_hour: Mapping[str, float]
    put_1000_blocks: float = 0.006
    get_1000_blocks: float = 0.003
    list_1000_requests: float = 0.0006

    def blocks_written(self, blocks: int) -> float:
        return blocks / 1000 * self.put_1000_blocks

    def blocks_read(self, blocks: int, *, lists: int) -> float:
        """lists: the requests that asked which blocks there are."""
        return blocks / 1000 * self.get_1000_blocks + lists / 1000 * self.list_1000_requests

    def instance_hour(self, instance_type: str) -> float | None:
        """``None`` for a family that is not in the table."""
        family, _, size = instance_type.partition(".")
        multiple = re.fullmatch(r"([0-9]+)xlarge", size)
        larges = 2.0 * int(multiple[1]) if multiple else _SIZES.get(size)
        large = self.large_hour.get(family)
        return None if large is None or larges is None else large * larges

    def instance_month(self, instance_type: str) -> float | None:
        hour = self.instance_hour(instance_type)
        return None if hour is None else hour * HOURS_PER_MONTH

    def volume_month(self, size_gib: float, *, kind: str) -> float:
        """Other kinds than gp3 are taken for gp2."""
        return size_gib * (self.gp3_gib_month if kind == "gp3" else self.gp2_gib_month)

    def snapshot_month(self, size_bytes: int) -> float:
        return size_bytes / _GIB * self.snapshot_gib_month

    def s3_month(self, size_bytes: int) -> float:
        return size_bytes / _GIB * self.s3_gib_month

    def logs_month(self, size_bytes: int) -> float:
        return size_bytes / _GIB * self.logs_gib_month


@dataclass(frozen=True)
class Prices:
    """The table. fallback_region: whose prices stand for those of a region that is not in it."""

    as_of: date
    fallback_region: str
    regions: Mapping[str, RegionPrices]
    source: str

    def of(self, region: str) -> RegionPrices:
        return self.regions.get(region) or self.regions[self.fallback_region]

    def knows(self, region: str) -> bool:
        return region in self.regions

    def statement(self, regions: Iterable[str]) -> str:
        """The sentence below every sum."""
        text = f"Costs are estimates (on-demand prices as of {self.as_of}, without traffic and tax)."
        unknown = sorted({region for region in regions if not self.knows(region)})
        if unknown:
            text += f" No prices for {', '.join(unknown)}: those of {self.fallback_region} stand in."
        return text


def user_prices_file() -> Path:
    """Where ``refresh-prices`` leaves them (XDG Base Directory Specification)."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data) / PRODUCT / "prices.json"


def load_prices() -> Prices:
    """The user's table when there is one, else ours. Raises ``InputError`` for a file that can't be read."""
    chosen = user_prices_file()
    return _read(chosen) if chosen.is_file() else load_own_prices()


def load_own_prices() -> Prices:
    """The table that comes with this package."""
    return _read(_OWN_TABLE)


def _read(path: Path) -> Prices:
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")), source=str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The prices in {path} can't be read: {type(error).__name__}: {error}",
            hint="Remove the file, or make a new one with: dss refresh-prices",
        ) from error


def save_prices(prices: Prices, target: Path) -> None:
    """Writes a table that ``load_prices`` reads. Raises ``DssError``."""
    from dataclasses import asdict

    content = {
        "as_of": prices.as_of.isoformat(),
        "fallback_region": prices.fallback_region,
        "regions": {name: asdict(found) for name, found in sorted(prices.regions.items())},
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(target, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise DssError(f"The prices can't be written to {target}: {error.strerror}.") from error


def refresh_prices(pricing: Pricing, *, known: Prices, today: date | None = None) -> tuple[Prices, Sequence[str]]:
    """The prices of today, of all regions, for the kinds and families of ``known``.

    Also what AWS gave no price for, as ``region kind``: the known price stays. Regions that are new and not complete
    are left out. Raises ``AwsError``, and ``DssError`` when nothing came.
    """
    fresh: dict[str, dict[str, Any]] = {}
    families = sorted({family for region in known.regions.values() for family in region.large_hour})
    for family in families:
        for price in _per(pricing.prices("AmazonEC2", _instance_filters(f"{family}.large")), unit="Hrs"):
            fresh.setdefault(price.region, {}).setdefault("large_hour", {})[family] = price.usd
    for name, (service, filters, usage) in _STORAGE_PRODUCTS.items():
        for price in _per(pricing.prices(service, filters), unit="GB-Mo", usage=usage):
            fresh.setdefault(price.region, {})[name] = price.usd
    if not fresh.get(known.fallback_region):
        raise DssError(
            f"AWS gave no prices of {known.fallback_region}.", hint=f"The table as of {known.as_of} stays in use."
        )
    regions: dict[str, RegionPrices] = {}
    missing: list[str] = []
    for name, found in fresh.items():
        large_hour = found.pop("large_hour", {})
        lacking = [kind for kind in _STORAGE if kind not in found]
        if name in known.regions:
            before = known.regions[name]
            missing += [f"{name} {kind}" for kind in (*lacking, *(one for one in families if one not in large_hour))]
            regions[name] = replace(before, **found, large_hour={**before.large_hour, **large_hour})
        elif large_hour and not lacking:
            regions[name] = RegionPrices(**found, large_hour=large_hour)
    prices = Prices(
        as_of=today or datetime.now(UTC).date(),
        fallback_region=known.fallback_region,
        regions={**known.regions, **regions},
        source="AWS Price List API",
    )
    return prices, missing


#: Service code, filters on attributes, and what the usage type ends with (it begins with the region's short name).
_STORAGE_PRODUCTS: Mapping[str, tuple[str, Mapping[str, str], str]] = {
    "gp3_gib_month": ("AmazonEC2", {"productFamily": "Storage", "volumeApiName": "gp3"}, "EBS:VolumeUsage.gp3"),
    "gp2_gib_month": ("AmazonEC2", {"productFamily": "Storage", "volumeApiName": "gp2"}, "EBS:VolumeUsage.gp2"),
    "snapshot_gib_month": ("AmazonEC2", {"productFamily": "Storage Snapshot"}, "EBS:SnapshotUsage"),
    "s3_gib_month": ("AmazonS3", {"productFamily": "Storage", "volumeType": "Standard"}, "TimedStorage-ByteHrs"),
    "logs_gib_month": ("AmazonCloudWatch", {"productFamily": "Storage Snapshot"}, "TimedStorage-ByteHrs"),
}


def _instance_filters(instance_type: str) -> dict[str, str]:
    return {
        "instanceType": instance_type,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
    }


def _per(prices: Iterable[Price], *, unit: str, usage: str = "") -> Iterator[Price]:
    for price in prices:
        if price.unit.lower() == unit.lower() and price.usd > 0 and price.usage_type.endswith(usage):
            yield price


def _parse(content: Mapping[str, Any], *, source: str) -> Prices:
    regions = {name: RegionPrices(**found) for name, found in content["regions"].items()}
    if content["fallback_region"] not in regions:
        raise KeyError("fallback_region")
    return Prices(
        as_of=date.fromisoformat(content["as_of"]),
        fallback_region=content["fallback_region"],
        regions=regions,
        source=source,
    )
