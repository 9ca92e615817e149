"""Secrets Manager: texts that nobody is to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError, aws_errors

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


class Secrets:
    def __init__(self, client: SecretsManagerClient, region: str) -> None:
        self._client = client
        self.region = region

    def value(self, name: str) -> str | None:
        """The current one, by name or ARN; ``None`` when there is no such secret, or it is to be deleted.

        Raises ``AwsError``.
        """
        try:
            with aws_errors("secretsmanager", region=self.region):
                return self._client.get_secret_value(SecretId=name).get("SecretString", "")
        except AwsError as error:
            if error.not_found or (error.code == "InvalidRequestException" and "delet" in error.message):
                return None
            raise

    def exists(self, name: str) -> bool:
        """By name or ARN; does not read it. Raises ``AwsError``."""
        try:
            with aws_errors("secretsmanager", region=self.region):
                return "DeletedDate" not in self._client.describe_secret(SecretId=name)
        except AwsError as error:
            if error.not_found:
                return False
            raise

    def create(self, name: str, value: str, *, description: str, tags: Mapping[str, str], token: str) -> None:
        """Makes a secret. token: 32 to 64 characters; makes AWS recognise the repetition of a call.

        Raises ``AwsError``; code ``ResourceExistsException`` when there is one of this name,
        ``InvalidRequestException`` when one of this name is to be deleted.
        """
        with aws_errors("secretsmanager", region=self.region):
            self._client.create_secret(
                Name=name,
                SecretString=value,
                Description=description,
                Tags=[{"Key": key, "Value": text} for key, text in tags.items()],
                ClientRequestToken=token,
            )
