"""The keys of signed downloads: public ones for CloudFront, the private one of dss in Secrets Manager.

CloudFront takes RSA keys of 2048 bits and ECDSA keys of P-256 (Amazon CloudFront Developer Guide, "Specify signers").
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.assets.tags import PROJECT
from exasol_like_dss.lib.errors import DssError, InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from exasol_like_dss.access.aws.secrets import Secrets

#: In the region of the bucket's stack. Holds a private key, PEM (PKCS #8, without a password).
SECRET = f"{PRODUCT}/download-key"
#: Places for public keys in the stack; two, so that one can be replaced while URLs of the other are still good.
PLACES = ("A", "B")
_MODULUS_BITS = 2048


@dataclass(frozen=True)
class DownloadKeys:
    """public: PEM, the first one is what dss signs with. private: PEM of a key that is yet to be stored, or empty."""

    public: tuple[str, ...]
    private: str = ""

    def store(self, secrets: Secrets) -> None:
        """Puts a new private key where ``download-url`` finds it. Raises ``DssError``."""
        if not self.private:
            return
        try:
            secrets.create(
                SECRET,
                self.private,
                description="The private key of signed downloads of the data science sandbox",
                tags={PROJECT: PRODUCT},
                token=str(uuid.uuid4()),
            )
        except AwsError as error:
            if error.code == "ResourceExistsException":
                raise DssError(
                    f"Somebody else has stored a key in the secret {SECRET} meanwhile.",
                    hint="Run the same command again: it takes that one.",
                ) from error
            if error.code == "InvalidRequestException":
                raise InputError(
                    f"The secret {SECRET} is being deleted.",
                    hint=f"aws secretsmanager restore-secret --secret-id {SECRET}, or give --public-key.",
                ) from error
            raise


def own_keys(secrets: Secrets) -> DownloadKeys:
    """Of the private key in Secrets Manager; without one, of a new one, which is stored nowhere yet.

    Raises ``InputError`` when the secret holds something else, ``AwsError``.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    stored = secrets.value(SECRET)
    if stored is None:
        made = rsa.generate_private_key(public_exponent=65537, key_size=_MODULUS_BITS)
        text = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return DownloadKeys((_public_text(made.public_key()),), text.decode())
    try:
        key = serialization.load_pem_private_key(stored.encode(), password=None)
    except (ValueError, TypeError):
        raise InputError(
            f"The secret {SECRET} holds no private key that can be read.", hint="It has to be PEM, without a password."
        ) from None
    return DownloadKeys((_checked(key.public_key(), what=f"The key in the secret {SECRET}"),))


def keys_of_files(files: Sequence[Path]) -> DownloadKeys:
    """Public keys from PEM files; the private ones stay where they are. Raises ``InputError``."""
    from cryptography.hazmat.primitives import serialization

    if len(files) > len(PLACES):
        raise InputError(f"{len(files)} public keys are too many.", hint=f"There are {len(PLACES)} places for them.")
    texts: list[str] = []
    for file in files:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise InputError(
                f"{file} can't be read: {error.strerror}.", hint="Give a file with a public key."
            ) from None
        if b"PRIVATE KEY" in data:
            raise InputError(
                f"{file} holds a private key.", hint=f"openssl pkey -in {file} -pubout -out public.pem, and give that."
            )
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, TypeError):
            raise InputError(
                f"{file} holds no public key.", hint="It has to be PEM: -----BEGIN PUBLIC KEY-----"
            ) from None
        texts.append(_checked(key, what=f"The key in {file}"))
    return DownloadKeys(tuple(dict.fromkeys(texts)))


def parameters_of(keys: DownloadKeys, before: Mapping[str, str]) -> dict[str, str]:
    """Parameters of the stack. before: those that it has now.

    A key that is there stays in its place, since CloudFront can't change one; a new one takes a free place.
    Raises ``InputError`` when none is free: of keys that were there, one has to go in a run before.
    """
    # As PEM ends, whatever became of the last line's end on the way.
    placed = {place: _with_end(before.get(f"PublicKey{place}", "")) for place in PLACES}
    result = {place: text if text in keys.public else "" for place, text in placed.items()}
    for text in keys.public:
        if text in result.values():
            continue
        # Where nothing was before comes first: else one key would become another in the same place.
        free = [place for place in PLACES if not placed[place]]
        if not free:
            raise InputError(
                "The stack has no free place for another key.",
                hint="Give one that is there beside a new one; of two, take one away first.",
            )
        result[free[0]] = placed[free[0]] = text
    signing = next(place for place, text in result.items() if text == keys.public[0])
    return {**{f"PublicKey{place}": text for place, text in result.items()}, "SigningKey": signing}


def _with_end(text: str) -> str:
    return text.rstrip() + "\n" if text.strip() else ""


def _checked(key: PublicKeyTypes, *, what: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    right = (isinstance(key, rsa.RSAPublicKey) and key.key_size == _MODULUS_BITS) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    )
    if not right:
        raise InputError(f"{what} is none that CloudFront takes.", hint="RSA with 2048 bits, or ECDSA with P-256.")
    return _public_text(key)


def _public_text(key: PublicKeyTypes) -> str:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
