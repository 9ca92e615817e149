"""The bucket of all builds, and the way to it from outside: outputs of the permanent stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from exasol_like_dss.lib.assets.names import (
    BUCKET_STACK,
    OUTPUT_BUCKET,
    OUTPUT_DOMAIN,
    OUTPUT_SIGNING_KEY,
    SIGNED_PATH,
)
from exasol_like_dss.lib.errors import InputError

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.session import AwsSession


@dataclass(frozen=True)
class DownloadPlace:
    """domain: of the distribution, without ``https://``. key_id: of the public key for signed URLs; may be empty."""

    bucket: str
    domain: str
    key_id: str

    def url(self, key: str) -> str:
        """For browsers: others meet a CAPTCHA."""
        return f"https://{self.domain}/{quote(key)}"

    def signed_path_url(self, key: str) -> str:
        """What is to be signed, for everybody else."""
        return f"https://{self.domain}{SIGNED_PATH}{quote(key)}"


def find_place(aws: AwsSession) -> DownloadPlace:
    """Of the session's region. Raises ``InputError``, ``AwsError``."""
    stack = aws.cloudformation().stack(BUCKET_STACK)
    if stack is None:
        raise InputError(
            f"The stack {BUCKET_STACK} does not exist in {aws.region}.",
            hint="Choose the --region that has it, or make it: dss setup-vm-bucket",
        )
    missing = [name for name in (OUTPUT_BUCKET, OUTPUT_DOMAIN) if not stack.outputs.get(name)]
    if missing:
        raise InputError(
            f"The stack {BUCKET_STACK} in {aws.region} has no output {' and '.join(missing)}: it is {stack.status}.",
            hint="Deploy it again: dss setup-vm-bucket",
        )
    outputs = stack.outputs
    return DownloadPlace(outputs[OUTPUT_BUCKET], outputs[OUTPUT_DOMAIN], outputs.get(OUTPUT_SIGNING_KEY, ""))
