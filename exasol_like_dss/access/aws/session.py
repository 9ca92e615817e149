"""Credentials, region, and the one configuration of all AWS clients."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from exasol_like_dss.access.aws.errors import aws_errors, no_region, wrong_profile
from exasol_like_dss.access.aws.patience import Patience

if TYPE_CHECKING:
    import boto3

    from exasol_like_dss.access.aws.cloudformation import CloudFormation
    from exasol_like_dss.access.aws.codebuild import CodeBuild
    from exasol_like_dss.access.aws.ebs import Ebs
    from exasol_like_dss.access.aws.ec2 import Ec2
    from exasol_like_dss.access.aws.ec2_build import Ec2Builds
    from exasol_like_dss.access.aws.iam import Iam
    from exasol_like_dss.access.aws.logs import Logs
    from exasol_like_dss.access.aws.parameters import Parameters
    from exasol_like_dss.access.aws.pricing import Pricing
    from exasol_like_dss.access.aws.quotas import Quotas
    from exasol_like_dss.access.aws.s3 import S3
    from exasol_like_dss.access.aws.s3_build import S3Builds
    from exasol_like_dss.access.aws.secrets import Secrets

T = TypeVar("T")
USER_AGENT = "exasol-like-dss"
_ATTEMPTS = 6  # standard retries, with up to 20 s between two
_CONNECT_S = 10
_READ_S = 60  # EC2 answers large lists slowly
_CONNECTIONS = 16
#: Services whose requests are repeated by ``lib.pace``: botocore's own repetitions would multiply with those.
_SENT_ONCE = ("ebs",)
_MANY_CONNECTIONS = 64
#: The Pricing API is in a few regions only (AWS Billing, "AWS Price List API endpoints").
_PRICING_REGION = "us-east-1"
#: Ways to get credentials after which botocore gets new ones by itself.
_RENEWED = ("assume-role", "assume-role-with-web-identity", "sso", "iam-role", "container-role", "custom-process")


@dataclass(frozen=True)
class Identity:
    """Who the credentials belong to."""

    account: str
    arn: str

    @property
    def name(self) -> str:
        """The last part of the ARN: a user's name, or the name of a role's session."""
        return self.arn.rsplit("/", 1)[-1].rsplit(":", 1)[-1]


@dataclass(frozen=True)
class CredentialsLife:
    """ends_at: when the credentials end; ``None``: never, or it is not known. renewed: botocore gets new ones then."""

    ends_at: datetime | None
    renewed: bool


class AwsSession:
    """Gives the access objects of each service, per region. May be used from several threads."""

    def __init__(
        self, *, profile: str | None = None, region: str | None = None, patience: Patience | None = None
    ) -> None:
        """profile, region: ``None`` takes the standard ones (AWS_PROFILE; AWS_REGION, AWS_DEFAULT_REGION, the profile).
        patience: with requests; ``None`` takes no notice of signals.

        Raises ``InputError`` for a profile that doesn't exist. Makes no call.
        """
        import boto3
        import botocore.session

        core = botocore.session.Session(profile=profile)
        wanted = profile or core.get_config_variable("profile")
        if wanted and wanted not in core.available_profiles:
            raise wrong_profile(wanted, core.available_profiles)
        # boto3 itself doesn't look at AWS_REGION; the other tools of AWS do, before all else.
        region = region or os.environ.get("AWS_REGION") or core.get_config_variable("region")
        self._attempts: int = core.get_config_variable("max_attempts") or _ATTEMPTS
        self._region = region
        self._patience = patience or Patience()
        self._session: boto3.Session = boto3.Session(botocore_session=core, region_name=region)
        self._made: dict[tuple[Callable[..., Any], str], Any] = {}
        self._lock = threading.RLock()

    @property
    def region(self) -> str:
        """The region to work in. Raises ``InputError`` without one."""
        if not self._region:
            raise no_region()
        return self._region

    def ec2(self, region: str | None = None) -> Ec2:
        from exasol_like_dss.access.aws.ec2 import Ec2

        return self._access("ec2", Ec2, region)

    def ec2_builds(self) -> Ec2Builds:
        from exasol_like_dss.access.aws.ec2_build import Ec2Builds

        return self._access("ec2", Ec2Builds, None)

    def ebs(self) -> Ebs:
        """Its requests are sent once: see ``lib.pace``."""
        from exasol_like_dss.access.aws.ebs import Ebs

        return self._access("ebs", Ebs, None)

    def s3_builds(self) -> S3Builds:
        return self._access("s3", self._s3_builds, None)

    def parameters(self) -> Parameters:
        from exasol_like_dss.access.aws.parameters import Parameters

        return self._access("ssm", Parameters, None)

    def quotas(self) -> Quotas:
        from exasol_like_dss.access.aws.quotas import Quotas

        return self._access("service-quotas", Quotas, None)

    def iam(self) -> Iam:
        from exasol_like_dss.access.aws.iam import Iam

        return self._access("iam", Iam, None)

    def s3(self, region: str | None = None) -> S3:
        from exasol_like_dss.access.aws.s3 import S3

        return self._access("s3", S3, region)

    def secrets(self, region: str | None = None) -> Secrets:
        from exasol_like_dss.access.aws.secrets import Secrets

        return self._access("secretsmanager", Secrets, region)

    def cloudformation(self, region: str | None = None) -> CloudFormation:
        from exasol_like_dss.access.aws.cloudformation import CloudFormation

        return self._access("cloudformation", CloudFormation, region)

    def codebuild(self) -> CodeBuild:
        from exasol_like_dss.access.aws.codebuild import CodeBuild

        return self._access("codebuild", CodeBuild, None)

    def logs(self, region: str | None = None) -> Logs:
        from exasol_like_dss.access.aws.logs import Logs

        return self._access("logs", Logs, region)

    def pricing(self) -> Pricing:
        from exasol_like_dss.access.aws.pricing import Pricing

        return self._access("pricing", Pricing, _PRICING_REGION)

    def identity(self) -> Identity:
        """Asks AWS. Raises ``AwsError``."""
        client = self.client("sts")
        with aws_errors("sts", region=self.region):
            answer = client.get_caller_identity()
        return Identity(account=answer["Account"], arn=answer["Arn"])

    def credentials_life(self) -> CredentialsLife:
        """How long the credentials last. Raises ``WrongCredentials`` when there are none."""
        from botocore.exceptions import NoCredentialsError

        with aws_errors("sts"):
            credentials = self._session.get_credentials()
            if credentials is None:
                raise NoCredentialsError
            credentials.get_frozen_credentials()  # gets those that are got late
        # botocore has no public word for it (RefreshableCredentials).
        ends_at: datetime | None = getattr(credentials, "_expiry_time", None)
        return CredentialsLife(ends_at=ends_at, renewed=credentials.method in _RENEWED)

    def client(self, service: str, region: str | None = None) -> Any:
        """A boto3 client with our configuration. For the classes in this package."""
        from botocore.config import Config

        region = region or self.region
        once = service in _SENT_ONCE
        config = Config(
            user_agent_extra=USER_AGENT,
            retries={"mode": "standard", "total_max_attempts": 1 if once else self._attempts},
            connect_timeout=_CONNECT_S,
            read_timeout=_READ_S,
            max_pool_connections=_MANY_CONNECTIONS if once else _CONNECTIONS,
        )
        make: Callable[..., Any] = self._session.client
        with self._lock, aws_errors(service, region=region):
            client = make(service, region_name=region, config=config)
            self._patience.send(client)
            return client

    def _s3_builds(self, client: Any, region: str) -> S3Builds:
        from exasol_like_dss.access.aws.s3_build import S3Builds

        return S3Builds(client, region, self._patience)

    def _access(self, service: str, make: Callable[[Any, str], T], region: str | None) -> T:
        region = region or self.region
        # Sessions are not thread-safe, clients are (boto3 guide, "Multithreading"). Making one takes long.
        with self._lock:
            if (make, region) not in self._made:
                self._made[make, region] = make(self.client(service, region), region)
            made: T = self._made[make, region]
        return made
