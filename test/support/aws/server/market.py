"""Quotas, prices and the caller's identity, as far as a build asks for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from test.support.aws.server.ec2_common import paged
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT, Request, handles

_QUOTA_NAMES = {
    "L-1216C47A": ("ec2", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
    "L-D18FCD1D": ("ebs", "Storage for General Purpose SSD (gp2) volumes, in TiB"),
    "L-309BACF6": ("ebs", "Snapshots per Region"),
}
#: The regions that have the endpoint (AWS: "AWS Price List endpoints").
_PRICING_REGIONS = ("us-east-1", "eu-central-1", "ap-south-1")
_LOCATIONS = {
    "eu-central-1": "EU (Frankfurt)",
    "eu-west-1": "EU (Ireland)",
    "us-east-1": "US East (N. Virginia)",
    "us-west-2": "US West (Oregon)",
}


def _quota(request: Request, code: str) -> dict[str, Any]:
    service, name = _QUOTA_NAMES.get(code, (str(request.get("ServiceCode")), code))
    return {
        "ServiceCode": service,
        "ServiceName": service,
        "QuotaArn": f"arn:aws:servicequotas:{request.region}:{ACCOUNT}:{service}/{code}",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": request.world.settings.quotas[code],
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


@handles("servicequotas", "GetServiceQuota", "GetAWSDefaultServiceQuota")
def get_service_quota(request: Request) -> Mapping[str, Any]:
    code = str(request.get("QuotaCode"))
    if code not in request.world.settings.quotas or _quota(request, code)["ServiceCode"] != request.get("ServiceCode"):
        raise ApiError("NoSuchResourceException", "The request failed because the specified quota does not exist.")
    return {"Quota": _quota(request, code)}


@handles("servicequotas", "ListServiceQuotas")
def list_service_quotas(request: Request) -> Mapping[str, Any]:
    quotas = [_quota(request, code) for code in request.world.settings.quotas]
    return {"Quotas": [each for each in quotas if each["ServiceCode"] == request.get("ServiceCode")]}


def _products(prices: Mapping[str, float]) -> Iterator[tuple[str, str, dict[str, str], str, float]]:
    """Service, family, attributes, unit, US dollars."""
    for region, location in _LOCATIONS.items():
        place = {"regionCode": region, "location": location}
        for name, price in prices.items():
            if "." in name:
                attributes = {
                    "instanceType": name,
                    "operatingSystem": "Linux",
                    "tenancy": "Shared",
                    "preInstalledSw": "NA",
                    "capacitystatus": "Used",
                    "licenseModel": "No License required",
                    "marketoption": "OnDemand",
                    "usagetype": f"BoxUsage:{name}",
                }
                yield "AmazonEC2", "Compute Instance", {**place, **attributes}, "Hrs", price
            elif name.startswith("gp"):
                attributes = {
                    "volumeApiName": name,
                    "volumeType": "General Purpose",
                    "usagetype": f"EBS:VolumeUsage.{name}",
                }
                yield "AmazonEC2", "Storage", {**place, **attributes}, "GB-Mo", price
            elif name == "snapshot":
                attributes = {"usagetype": "EBS:SnapshotUsage", "storageMedia": "Amazon S3"}
                yield "AmazonEC2", "Storage Snapshot", {**place, **attributes}, "GB-Mo", price
            elif name == "s3":
                attributes = {
                    "volumeType": "Standard",
                    "storageClass": "General Purpose",
                    "usagetype": "TimedStorage-ByteHrs",
                }
                yield "AmazonS3", "Storage", {**place, **attributes}, "GB-Mo", price


@handles("sts", "GetCallerIdentity")
def get_caller_identity(_: Request) -> Mapping[str, Any]:
    return {"UserId": "AIDATHEDEVELOPER0000", "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/developer"}


@handles("pricing", "GetProducts")
def get_products(request: Request) -> Mapping[str, Any]:
    """All filters must fit (TERM_MATCH). The price list is a list of JSON texts."""
    if request.region not in _PRICING_REGIONS:
        raise ApiError("UnknownEndpoint", f"the Pricing API has no endpoint in {request.region}")
    wanted = {each["Field"]: each["Value"] for each in request.get("Filters", [])}
    found = []
    for service, family, attributes, unit, price in _products(request.world.settings.prices):
        known = {**attributes, "productFamily": family, "servicecode": service}
        if service != request.get("ServiceCode") or any(known.get(name) != value for name, value in wanted.items()):
            continue
        sku = f"{service}-{attributes['regionCode']}-{attributes['usagetype']}"
        dimension = {"unit": unit, "pricePerUnit": {"USD": f"{price:.10f}"}, "beginRange": "0", "endRange": "Inf"}
        terms = {"OnDemand": {f"{sku}.T": {"sku": sku, "priceDimensions": {f"{sku}.T.D": dimension}}}}
        product = {"sku": sku, "productFamily": family, "attributes": {**attributes, "servicecode": service}}
        entry = {"product": product, "serviceCode": service, "terms": terms, "publicationDate": "2026-11-01T00:00:00Z"}
        found.append(json.dumps(entry))
    page = paged(request, "PriceList", lambda: found, lambda each: each, most=100, least=1)
    return {"FormatVersion": "aws_v1", **page}
