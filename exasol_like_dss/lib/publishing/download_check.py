"""``verify-download``: are these the files that were published, all of them, and who says so?"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.access.gpg import Gpg
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.publishing.checksums import CheckedFile, ChecksumResult, read_sha256sums, sha256_of
from exasol_like_dss.lib.publishing.signing import SIGNATURE, temporary_gpg

if TYPE_CHECKING:
    from exasol_like_dss.access.programs import Programs
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

SUMS = "SHA256SUMS"


class SignatureResult(StrEnum):
    GOOD = "good"
    ABSENT = "absent"
    BAD = "bad"
    EXPIRED_KEY = "expired key"
    REVOKED_KEY = "revoked key"
    UNKNOWN_KEY = "unknown key"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Signature:
    """key: fingerprint or id of the key that signed; empty where that is not known. seen: one sentence."""

    result: SignatureResult
    key: str
    seen: str


@dataclass(frozen=True)
class DownloadReport:
    """files: one per line of the sums. extra: names of files that are in the folder, and in no line.

    key_wanted: a key was given, so that files without a signature don't pass.
    """

    directory: Path
    files: tuple[CheckedFile, ...]
    extra: tuple[str, ...]
    signature: Signature
    key_wanted: bool = False
    ignore_missing: bool = False

    @property
    def passed(self) -> bool:
        """Extra files are no fault. A folder in which nothing of the sums is there has proved nothing."""
        fine = (ChecksumResult.OK, ChecksumResult.MISSING) if self.ignore_missing else (ChecksumResult.OK,)
        signed = (SignatureResult.GOOD,) if self.key_wanted else (SignatureResult.GOOD, SignatureResult.ABSENT)
        return (
            all(file.result in fine for file in self.files)
            and any(file.result == ChecksumResult.OK for file in self.files)
            and self.signature.result in signed
        )

    def named(self, result: ChecksumResult) -> list[str]:
        return [file.name for file in self.files if file.result == result]


def verify_download(
    directory: Path,
    *,
    key: Path | None,
    ignore_missing: bool,
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
) -> DownloadReport:
    """Reads every file once. key: with the public key that has to have signed; ``None`` for the user's own keys.

    Raises ``InputError`` when there is nothing to check, ``ProgramMissing`` for a signature without GnuPG.
    """
    if not directory.is_dir():
        raise InputError(f"{directory} is no folder.", hint="Give the folder with the downloaded files.")
    sums = read_sha256sums(directory / SUMS)
    with progress.step("signature"):
        signature = check_signature(
            directory / SIGNATURE, directory / SUMS, key=key, programs=programs, progress=progress
        )  # fmt: skip
    there = {path.name: path for path in directory.iterdir() if path.is_file()}
    checked = []
    with progress.step("SHA-256") as step:
        total = sum(there[name].stat().st_size for name in sums if name in there)
        before = 0
        for name, digest in sums.items():
            if name not in there:
                checked.append(CheckedFile(name, ChecksumResult.MISSING))
                continue

            def on_bytes(done: int, before: int = before) -> None:
                cancellation.check()
                progress.bytes(step, before + done, total)

            try:
                same = sha256_of(there[name], on_bytes) == digest
            except OSError as error:
                raise InputError(f"{there[name]} can't be read: {error.strerror}.") from None
            checked.append(CheckedFile(name, ChecksumResult.OK if same else ChecksumResult.DIFFERS))
            before += there[name].stat().st_size
    extra = tuple(sorted(set(there) - set(sums) - {SUMS, SIGNATURE}))
    return DownloadReport(directory, tuple(checked), extra, signature, key is not None, ignore_missing)


def check_signature(
    signature: Path, signed: Path, *, key: Path | None, programs: Programs, progress: Progress
) -> Signature:
    """Raises ``InputError`` for a key that can't be read, ``ProgramMissing``."""
    if key and not key.is_file():
        raise InputError(f"There is no key file {key}.", hint="Give the public key: gpg --export --armor KEYID")
    if not signature.exists():
        return Signature(SignatureResult.ABSENT, "", f"There is no {signature.name}: anybody could have made the sums.")
    with temporary_gpg(programs, progress=progress) if key else nullcontext(Gpg(programs)) as gpg:
        gpg.check()
        if key:
            imported, _ = gpg.import_keys(key.read_bytes())
            if not imported:
                raise InputError(f"{key} holds no public key.", hint="gpg --export --armor KEYID writes one.")
        return judge(gpg.verify(signature, signed), given=bool(key))


def judge(lines: list[str], *, given: bool) -> Signature:
    """lines: the status lines of GnuPG (``doc/DETAILS``, "General status codes"). given: only one key is known."""
    rows = [line.split() for line in lines]
    found = {row[0]: row[1:] for row in rows if row}
    valid = found.get("VALIDSIG", [])
    # The tenth is the fingerprint of the primary key, of which a subkey may have signed.
    key = valid[9] if len(valid) > 9 else valid[0] if valid else ""

    def who(name: str) -> str:
        return " ".join(found[name][1:])

    if "BADSIG" in found:
        return Signature(
            SignatureResult.BAD, found["BADSIG"][0], f"It does not fit the sums: these were changed ({who('BADSIG')})."
        )
    if "REVKEYSIG" in found:
        return Signature(SignatureResult.REVOKED_KEY, key, f"The key of {who('REVKEYSIG')} was revoked by its owner.")
    if "EXPKEYSIG" in found:
        return Signature(
            SignatureResult.EXPIRED_KEY, key,
            f"The key of {who('EXPKEYSIG')} expired{_on(found.get('KEYEXPIRED', []))}: get a renewed one.",
        )  # fmt: skip
    if "EXPSIG" in found:
        return Signature(SignatureResult.BAD, key, f"The signature of {who('EXPSIG')} has expired.")
    if "GOODSIG" in found and valid:
        return Signature(SignatureResult.GOOD, key, f"Signed by {who('GOODSIG')}.")
    if "NO_PUBKEY" in found or "ERRSIG" in found:
        number = (found.get("NO_PUBKEY") or found["ERRSIG"])[0]
        seen = (
            f"It was made with another key than the one that you gave: {number}."
            if given
            else f"Your keyring has no key {number}: import it (gpg --import FILE), or give --key FILE."
        )
        return Signature(SignatureResult.UNKNOWN_KEY, number, seen)
    return Signature(SignatureResult.UNREADABLE, "", "The file is no signature that GnuPG can read.")


def _on(expired: list[str]) -> str:
    return f" on {datetime.fromtimestamp(int(expired[0]), UTC):%Y-%m-%d}" if expired and expired[0].isdigit() else ""
