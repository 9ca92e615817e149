"""What botocore raises, as sentences; profiles, regions and credentials without any call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as known
from botocore.exceptions import ClientError

from exasol_like_dss.access.aws import errors
from exasol_like_dss.access.aws.errors import AwsError, aws_errors
from exasol_like_dss.access.aws.session import AwsSession, Identity
from exasol_like_dss.lib.errors import DssError, ExitCode, InputError


def raised(error: Exception, *, service: str = "ec2") -> DssError:
    with pytest.raises(DssError) as caught, aws_errors(service, region="eu-central-1"):
        raise error
    return caught.value


def answer(code: str, message: str = "because", *, operation: str = "DescribeImages", service: str = "ec2") -> AwsError:
    error = raised(ClientError({"Error": {"Code": code, "Message": message}}, operation), service=service)
    assert isinstance(error, AwsError)
    assert error.code == code
    return error


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        ("UnauthorizedOperation", errors.PermissionMissing, 1),
        ("AccessDenied", errors.PermissionMissing, 1),
        ("AccessDeniedException", errors.PermissionMissing, 1),
        ("403", errors.PermissionMissing, 1),
        ("ExpiredToken", errors.ExpiredCredentials, 2),
        ("ExpiredTokenException", errors.ExpiredCredentials, 2),
        ("RequestExpired", errors.ExpiredCredentials, 2),
        ("AuthFailure", errors.WrongCredentials, 2),
        ("InvalidClientTokenId", errors.WrongCredentials, 2),
        ("SignatureDoesNotMatch", errors.WrongCredentials, 2),
        ("OptInRequired", errors.WrongCredentials, 2),
        ("Throttling", errors.Throttled, 1),
        ("RequestLimitExceeded", errors.Throttled, 1),
        ("SlowDown", errors.Throttled, 1),
    ],
)
def test_answers_have_their_kind_a_sentence_and_a_hint(code: str, kind: type[AwsError], exit_code: int) -> None:
    error = answer(code)
    assert type(error) is kind
    assert error.hint
    assert "\n" not in error.message
    assert error.exit_code == exit_code


@pytest.mark.parametrize(
    ("service", "operation", "message", "action"),
    [
        ("ec2", "DescribeImages", "You are not authorized to perform this operation.", "ec2:DescribeImages"),
        ("ec2", "RunInstances", "User: x is not authorized to perform: iam:PassRole on y", "iam:PassRole"),
        ("s3", "ListObjectsV2", "Access Denied", "s3:ListBucket"),
        ("s3", "DeleteObjects", "Access Denied", "s3:DeleteObject"),
        ("s3", "ListMultipartUploads", "Access Denied", "s3:ListBucketMultipartUploads"),
    ],
)
def test_a_missing_permission_is_named(service: str, operation: str, message: str, action: str) -> None:
    error = answer("AccessDenied", message, operation=operation, service=service)
    assert error.action == action
    assert f"lack the permission {action} in eu-central-1" in error.message


@pytest.mark.parametrize(
    "code",
    ["InvalidAMIID.NotFound", "InvalidKeyPair.NotFound", "NoSuchUpload", "NoSuchKey", "ResourceNotFoundException"],
)
def test_what_is_gone_is_known(code: str) -> None:
    error = answer(code)
    assert error.not_found
    assert not error.in_use
    assert answer("ValidationError", "Stack with id x does not exist").not_found
    assert not answer("ValidationError", "Stack x is in another state").not_found


@pytest.mark.parametrize("code", ["DependencyViolation", "InvalidSnapshot.InUse", "VolumeInUse", "IncorrectState"])
def test_what_is_in_use_passes(code: str) -> None:
    error = answer(code)
    assert error.in_use
    assert error.passes
    assert not error.not_found
    assert not answer("InvalidParameterValue").passes


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (known.NoCredentialsError(), 2, "no usable AWS credentials"),
        (known.PartialCredentialsError(provider="env", cred_var="x"), 2, "no usable AWS credentials"),
        (known.UnauthorizedSSOTokenError(), 2, "single sign-on"),
        (known.NoRegionError(), 2, "No AWS region"),
        (known.InvalidRegionError(region_name="x y"), 2, "is no AWS region"),
        (known.EndpointConnectionError(endpoint_url="http://x"), 1, "does not answer at http://x"),
        (known.ConnectTimeoutError(endpoint_url="http://x"), 1, "does not answer at http://x"),
        (known.ReadTimeoutError(endpoint_url="http://x"), 1, "does not answer at http://x"),
        (known.SSLError(endpoint_url="http://x", error=OSError("e")), 1, "does not answer at http://x"),
        (known.ConnectionClosedError(endpoint_url="http://x"), 1, "does not answer at http://x"),
    ],
)
def test_errors_without_an_answer(error: known.BotoCoreError, exit_code: int, said: str) -> None:
    found = raised(error)
    assert said in found.message
    assert found.hint
    assert found.exit_code == exit_code


# --- sessions ---


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AWS configuration of its own, and nothing in the environment."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID",
                 "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CREDENTIAL_EXPIRATION"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-3\n")
    return tmp_path


@pytest.mark.usefixtures("configuration")
def test_the_region_comes_from_where_aws_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as caught:
        _ = AwsSession().region
    assert "--region" in caught.value.hint
    assert AwsSession(profile="work").region == "eu-west-3"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    assert AwsSession().region == "us-east-2"
    monkeypatch.setenv("AWS_REGION", "us-west-1")
    assert AwsSession().region == "us-west-1"
    assert AwsSession(region="eu-north-1").region == "eu-north-1"


@pytest.mark.usefixtures("configuration")
def test_an_unknown_profile_is_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as caught:
        AwsSession(profile="wrok")
    assert "work" in caught.value.hint
    monkeypatch.setenv("AWS_PROFILE", "wrok")
    with pytest.raises(InputError):
        AwsSession()


@pytest.mark.usefixtures("configuration")
def test_how_long_credentials_last(monkeypatch: pytest.MonkeyPatch) -> None:
    session = AwsSession(region="eu-west-1")
    with pytest.raises(errors.WrongCredentials) as caught:
        session.credentials_life()
    assert caught.value.exit_code == ExitCode.WRONG_INPUT
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    life = AwsSession().credentials_life()
    assert (life.ends_at, life.renewed) == (None, False)
    end = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", end.isoformat())
    assert AwsSession().credentials_life().ends_at == end


@pytest.mark.usefixtures("configuration")
def test_clients_are_made_once_a_service_and_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    session = AwsSession(profile="work")
    assert session.ec2() is session.ec2("eu-west-3")
    assert session.ec2("us-east-1") is not session.ec2()
    config: Any = session.client("sts").meta.config
    assert "exasol-like-dss" in config.user_agent_extra
    assert config.retries["total_max_attempts"] == 3
    assert config.connect_timeout < 60


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:iam::1:user/teams/ada", "ada"),
        ("arn:aws:sts::1:assumed-role/build/ada@example", "ada@example"),
        ("arn:aws:iam::1:root", "root"),
    ],
)
def test_the_name_of_the_caller(arn: str, name: str) -> None:
    assert Identity(account="1", arn=arn).name == name
