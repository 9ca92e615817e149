"""The one place where errors of botocore become errors for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exasol_like_dss.lib.errors import DssError, ExitCode, InputError

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

#: Actions that are not called like the operation that needs them (Service Authorization Reference, Amazon S3).
_ACTIONS = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:UploadPartCopy": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "service-quotas:GetServiceQuota": "servicequotas:GetServiceQuota",
}
_DENIED = re.compile(r"UnauthorizedOperation|AccessDenied\w*|Authorization\w*|Unauthorized|NotAuthorized|403")
_EXPIRED = re.compile(r"ExpiredToken\w*|RequestExpired|TokenRefreshRequired")
_REFUSED = re.compile(
    r"AuthFailure|InvalidClientTokenId|UnrecognizedClient\w*|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken"
    r"|IncompleteSignature|InvalidSignature\w*|MissingAuthenticationToken\w*"
)
_THROTTLED = re.compile(
    r"\w*Throttl\w*|RequestLimitExceeded|SlowDown|TooManyRequests\w*|LimitExceededException|429|503"
)
_NOT_FOUND = re.compile(r".*\.NotFound|NoSuch\w+|ResourceNotFound\w*|InvalidAMIID\.Unavailable|404")
_IN_USE = re.compile(
    r"DependencyViolation|.*\.InUse|\w+InUse|IncorrectState|IncorrectInstanceState|OperationAborted\w*"
    r"|OperationInProgress\w*|ResourceConflict\w*"
)
_PASSING = (
    "InternalError", "InternalFailure", "InternalServerError", "InternalServerException", "ServiceUnavailable",
    "Unavailable",
)  # fmt: skip


class AwsError(DssError):
    """AWS answered with an error, or not at all.

    code: AWS's error code ("" without an answer). action: the IAM action of the call, for example
    ``ec2:DescribeImages`` ("" when no call was made). retry_after_s: how long AWS wants to be left alone.
    """

    def __init__(self, message: str, *, hint: str = "", code: str = "", action: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.action = action
        self.retry_after_s = 0.0

    @property
    def not_found(self) -> bool:
        """What the call was about does not exist (any more)."""
        # CloudFormation has no code for it: ValidationError, "Stack with id … does not exist".
        missing_stack = self.code == "ValidationError" and "does not exist" in self.message
        return bool(_NOT_FOUND.fullmatch(self.code)) or missing_stack

    @property
    def in_use(self) -> bool:
        """Something else still uses it, or works on it."""
        return bool(_IN_USE.fullmatch(self.code))

    @property
    def passes(self) -> bool:
        """The same call may succeed later."""
        return self.in_use or bool(_THROTTLED.fullmatch(self.code)) or self.code in _PASSING


class PermissionMissing(AwsError):
    """These credentials may not do ``action``."""


class Throttled(AwsError):
    """AWS wants fewer calls, and went on saying so after all retries. The same call may succeed later."""


class Unreachable(AwsError):
    """No answer from the endpoint."""


class WrongCredentials(AwsError):
    """No credentials, unknown ones, or a profile or region that can't be used."""

    exit_code = ExitCode.WRONG_INPUT


class ExpiredCredentials(WrongCredentials):
    """They were right once."""


@contextmanager
def aws_errors(service: str, *, region: str = "") -> Iterator[None]:
    """Turns what botocore raises in the block into ``AwsError`` and its kinds. service: the prefix of IAM actions."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raised = _of_answer(error, service=service, region=region)
        raised.retry_after_s = _retry_after(error)
        raise raised from error
    except BotoCoreError as error:
        raise _of_client(error, service=service, region=region) from error


def no_region() -> InputError:
    return InputError(
        "No AWS region is set.", hint="Give --region, set AWS_REGION, or put a region into the profile (aws configure)."
    )


def wrong_profile(name: str, known: list[str]) -> InputError:
    names = f"Known: {', '.join(sorted(known))}." if known else "There are none in the AWS configuration files."
    return InputError(f"There is no AWS profile {name!r}.", hint=f"{names} Choose with --aws-profile or AWS_PROFILE.")


def _of_answer(error: ClientError, *, service: str, region: str) -> AwsError:
    found = error.response.get("Error", {})
    code, text = str(found.get("Code", "")), str(found.get("Message", "")).strip()
    called = f"{service}:{error.operation_name}"
    action = _ACTIONS.get(called, called)
    where = f" in {region}" if region else ""
    if _EXPIRED.fullmatch(code):
        return ExpiredCredentials(
            "The AWS credentials have expired.",
            hint="Get new ones (for example aws sso login), and run the same command again: it goes on where it was.",
            code=code,
            action=action,
        )
    if _DENIED.fullmatch(code):
        # AWS names the action itself where it can; it knows better when one call needs several.
        named = re.search(r"not authorized to perform: ([\w-]+:\w+)", text)
        action = _ACTIONS.get(named[1], named[1]) if named else action
        return PermissionMissing(
            f"These AWS credentials lack the permission {action}{where}.",
            hint=f"Let an administrator allow {action}, or choose other credentials with --aws-profile.",
            code=code,
            action=action,
        )
    if _REFUSED.fullmatch(code):
        return WrongCredentials(
            f"AWS does not accept these credentials{where} ({code}).",
            hint="Check them with: aws sts get-caller-identity. A region that is not enabled answers so, too.",
            code=code,
            action=action,
        )
    if code == "OptInRequired":
        return WrongCredentials(
            f"The region {region} is not enabled in this account.", hint="Enable it, or choose another with --region.",
            code=code, action=action,
        )  # fmt: skip
    if _THROTTLED.fullmatch(code):
        return Throttled(
            f"AWS refuses so many calls of {action}{where} ({code}).",
            hint="Something else in this account uses up the rate. Wait a minute, and run the same command again.",
            code=code,
            action=action,
        )
    return AwsError(f"{action} failed{where}: {text or 'no reason given'} ({code})", code=code, action=action)


def _retry_after(error: ClientError) -> float:
    """RFC 9110, "Retry-After", as seconds; a date is passed over: nobody but the sender knows its clock."""
    metadata = error.response.get("ResponseMetadata", {})
    text = str(metadata.get("HTTPHeaders", {}).get("retry-after", ""))
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0


def _of_client(error: BotoCoreError, *, service: str, region: str) -> DssError:
    from botocore import exceptions as known

    if isinstance(error, known.NoCredentialsError | known.PartialCredentialsError | known.CredentialRetrievalError):
        return WrongCredentials(
            "There are no usable AWS credentials.",
            hint="Choose a profile with --aws-profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    if isinstance(error, known.SSOError | known.TokenRetrievalError):
        return ExpiredCredentials(
            "The AWS single sign-on session has expired.",
            hint="Run aws sso login, and the same command again: it goes on where it was.",
        )
    if isinstance(error, known.NoRegionError):
        return no_region()
    if isinstance(error, known.InvalidRegionError):
        return InputError(f"{region!r} is no AWS region.", hint="A region is called like eu-central-1.")
    if isinstance(error, known.ProfileNotFound):
        return wrong_profile(str(error.kwargs.get("profile", "")), [])
    if isinstance(error, known.HTTPClientError | known.ConnectionError):
        endpoint = str(error.kwargs.get("endpoint_url", "")) or service
        return Unreachable(
            f"AWS does not answer at {endpoint}.",
            hint="Is the region's name right, is the network there, is AWS_ENDPOINT_URL what it should be?",
        )
    return AwsError(f"The AWS client failed for {service}: {error}")
