"""Service Quotas: how much of something the account may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_service_quotas import ServiceQuotasClient


class Quotas:
    def __init__(self, client: ServiceQuotasClient, region: str) -> None:
        self._client = client
        self.region = region

    def value(self, service: str, code: str) -> float:
        """Raises ``AwsError``."""
        with aws_errors("service-quotas", region=self.region):
            return self._client.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"]
