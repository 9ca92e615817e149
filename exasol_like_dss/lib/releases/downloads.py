"""``download-url``: addresses that work without a browser, for a limited time (CloudFront signed URLs, canned policy).

A signature names one object and one time. Amazon CloudFront Developer Guide, "Create a signed URL using a canned
policy": the policy is signed with RSA (PKCS #1 v1.5) or ECDSA; ``Hash-Algorithm=SHA256`` says that it is not SHA-1.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.lib.assets.names import BUCKET_STACK, AssetNames
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.publishing.s3_release import FROM_AWS
from exasol_like_dss.lib.releases.place import find_place
from exasol_like_dss.lib.stacks.download_keys import SECRET

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.assets.asset_id import AssetId
    from exasol_like_dss.lib.releases.place import DownloadPlace

#: CloudFront itself knows no limit; a link that leaks is to be of no use soon.
LONGEST = timedelta(days=7)


@dataclass(frozen=True)
class DownloadUrl:
    """expires: aware."""

    name: str
    size_bytes: int
    url: str
    expires: datetime


def download_urls(
    asset_id: AssetId,
    *,
    patterns: Sequence[str],
    lifetime: timedelta,
    key_file: Path | None,
    secret: str | None,
    aws: AwsSession,
) -> list[DownloadUrl]:
    """One for each object of just this asset-id, by name. patterns: of names; empty for all.

    key_file: with the private key; else ``secret`` (name or ARN in Secrets Manager); else that of the bucket's stack.
    Raises ``InputError``, ``AwsError``.
    """
    if not timedelta(0) < lifetime <= LONGEST:
        raise InputError(
            "A download URL is valid for 7 days at most.", hint="Give a shorter --expires, for example 1d."
        )
    place = find_place(aws)
    if not place.key_id:
        raise InputError(
            f"The stack {BUCKET_STACK} has no key for signed URLs.", hint="Deploy it again: dss setup-vm-bucket"
        )
    prefix = AssetNames.of(asset_id).export_prefix
    found = {
        name: one.size_bytes
        for one in aws.s3().objects(place.bucket, prefix)
        if (name := one.key.removeprefix(prefix)) and "/" not in name and not name.startswith(FROM_AWS)
    }
    if not found:
        raise InputError(
            f"There is nothing of {asset_id} in s3://{place.bucket}/{prefix}.", hint="See: dss show-aws-assets"
        )
    chosen = [name for name in found if not patterns or any(fnmatch.fnmatchcase(name, one) for one in patterns)]
    if not chosen:
        raise InputError(f"No file fits {', '.join(patterns)}.", hint=f"There are {', '.join(found)}.")
    key = load_key(key_file, secret, aws=aws)
    # Whole seconds: the policy has no others.
    expires = datetime.fromtimestamp(int((datetime.now(UTC) + lifetime).timestamp()), UTC)
    return [
        DownloadUrl(name, found[name], sign_url(place, prefix + name, expires=expires, key=key), expires)
        for name in chosen
    ]


def sign_url(
    place: DownloadPlace, key_of_object: str, *, expires: datetime, key: RSAPrivateKey | EllipticCurvePrivateKey
) -> str:
    from botocore.signers import CloudFrontSigner
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    def sign(policy: bytes) -> bytes:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key.sign(policy, ec.ECDSA(hashes.SHA256()))
        return key.sign(policy, padding.PKCS1v15(), hashes.SHA256())

    signed: str = CloudFrontSigner(place.key_id, sign).generate_presigned_url(
        place.signed_path_url(key_of_object), date_less_than=expires
    )
    return signed if "Hash-Algorithm=" in signed else f"{signed}&Hash-Algorithm=SHA256"


def load_key(key_file: Path | None, secret: str | None, *, aws: AwsSession) -> RSAPrivateKey | EllipticCurvePrivateKey:
    """Raises ``InputError`` for what is no private key, ``AwsError``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if key_file:
        where = str(key_file)
        try:
            data = key_file.read_bytes()
        except OSError as error:
            raise InputError(f"The key file {key_file} can't be read: {error.strerror}.", hint="Give a file.") from None
    else:
        where = f"the secret {secret or SECRET}"
        text = aws.secrets().value(secret or SECRET)
        if not text:
            raise InputError(
                f"There is no secret {secret or SECRET} in {aws.region}.",
                hint="dss setup-vm-bucket makes one; where it was given a --public-key, give the private --key-file.",
            )
        data = text.encode()
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(
            f"There is no private key in {where} that can be read.", hint="It has to be PEM, without a passphrase."
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise InputError(
            f"CloudFront can't use the kind of key in {where}.", hint="It takes RSA (2048) and ECDSA (P-256)."
        )
    return key
