"""The stack with the bucket of the images: ``cloudformation/vm-bucket.yaml``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exasol_like_dss.lib.assets.names import BUCKET_STACK
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.resources import tree
from exasol_like_dss.lib.stacks.permanent import PermanentStack

_TEMPLATE = "vm-bucket.yaml"
_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_CERTIFICATE = re.compile(r"arn:[^:]+:acm:us-east-1:\d{12}:certificate/[\w-]+")


@dataclass(frozen=True, kw_only=True)
class OwnDomain:
    """A name for the distribution, and the ARN of its certificate. Raises ``InputError`` when made of anything else."""

    name: str
    certificate: str

    def __post_init__(self) -> None:
        if not _DOMAIN.fullmatch(self.name):
            raise InputError(f"{self.name!r} is no domain name.", hint="For example downloads.example.org.")
        if not _CERTIFICATE.fullmatch(self.certificate):
            raise InputError(
                f"{self.certificate!r} is no certificate for CloudFront.",
                hint="It has to be in us-east-1: arn:aws:acm:us-east-1:ACCOUNT:certificate/ID",
            )


def wanted_bucket(
    *, web_acl: str, versioned: bool, keys: dict[str, str], domain: OwnDomain | None = None
) -> PermanentStack:
    """web_acl: its ARN (``find_web_acl``). keys: parameters (``download_keys.parameters_of``)."""
    parameters = {
        "WebACLArn": web_acl,
        "Versioning": "Enabled" if versioned else "Suspended",
        "DomainName": domain.name if domain else "",
        "CertificateArn": domain.certificate if domain else "",
        **keys,
    }
    return PermanentStack(
        name=BUCKET_STACK,
        template=(tree("cloudformation") / _TEMPLATE).read_text(encoding="utf-8"),
        parameters=parameters,
        capabilities=("CAPABILITY_IAM",),
    )
