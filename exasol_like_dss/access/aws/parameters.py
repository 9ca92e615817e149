"""SSM parameters: by these, the distributions publish the ids of their newest AMIs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError, aws_errors

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


class Parameters:
    def __init__(self, client: SSMClient, region: str) -> None:
        self._client = client
        self.region = region

    def value(self, name: str) -> str | None:
        """``None`` when there is no such parameter. Raises ``AwsError``."""
        try:
            with aws_errors("ssm", region=self.region):
                return self._client.get_parameter(Name=name)["Parameter"].get("Value")
        except AwsError as error:
            if error.code == "ParameterNotFound":
                return None
            raise
