"""The Price List API: what AWS charges, per region."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_pricing import PricingClient


@dataclass(frozen=True)
class Price:
    """An on-demand price in USD of the first tier. unit: ``Hrs``, ``GB-Mo``."""

    region: str
    usage_type: str
    unit: str
    usd: float


class Pricing:
    def __init__(self, client: PricingClient, region: str) -> None:
        self._client = client
        self.region = region

    def prices(self, service: str, filters: Mapping[str, str]) -> Iterator[Price]:
        """Of all regions, for what fits all filters (a product's attributes). Raises ``AwsError``."""
        with aws_errors("pricing"):
            pages = self._client.get_paginator("get_products").paginate(
                ServiceCode=service,
                Filters=[{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in filters.items()],
            )
            for page in pages:
                for text in page["PriceList"]:
                    yield from _prices(text)


def _prices(text: str) -> Iterator[Price]:
    product = json.loads(text)
    attributes = product["product"]["attributes"]
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            if "regionCode" in attributes and dimension.get("beginRange", "0") == "0":
                yield Price(
                    region=attributes["regionCode"],
                    usage_type=attributes.get("usagetype", ""),
                    unit=dimension["unit"],
                    usd=float(dimension["pricePerUnit"].get("USD", 0)),
                )
