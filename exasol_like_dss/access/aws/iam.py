"""IAM: roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError, aws_errors

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient


class Iam:
    def __init__(self, client: IAMClient, region: str) -> None:
        self._client = client
        self.region = region

    def has_role(self, name: str) -> bool:
        """Raises ``AwsError``."""
        try:
            with aws_errors("iam"):
                self._client.get_role(RoleName=name)
        except AwsError as error:
            if error.code == "NoSuchEntity":
                return False
            raise
        return True
