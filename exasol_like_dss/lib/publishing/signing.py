"""``SHA256SUMS.gpg``: a detached signature of the sums, in ASCII, as Ubuntu's releases have it.

The key is one of the user's own, or comes as a file or in the environment. Then it lives in a folder in memory for the
time of the command, with an agent of its own that ends with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from exasol_like_dss.access.gpg import Gpg
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.files import write_text_atomically
from exasol_like_dss.lib.workspace import workspace

if TYPE_CHECKING:
    from exasol_like_dss.access.programs import Programs
    from exasol_like_dss.lib.progress import Progress

SIGNATURE = "SHA256SUMS.gpg"
PASSPHRASE = "DSS_SIGNING_PASSPHRASE"
_IN_MEMORY = Path("/dev/shm")
_KEY_ID = re.compile(r"(0x)?[0-9A-Fa-f]{8,40}|[^\s<>:/]+@[^\s<>:/]+")


@dataclass(frozen=True)
class Signer:
    """A key that can sign. fingerprint: of the primary key, 40 hexadecimal digits or more."""

    gpg: Gpg
    fingerprint: str

    def sign(self, file: Path) -> str:
        """The signature. Raises ``DssError``."""
        passphrase = os.environ.get(PASSPHRASE)
        text, lines = self.gpg.sign(file, key=self.fingerprint, passphrase=passphrase)
        if not text.startswith("-----BEGIN PGP SIGNATURE-----"):
            words = " ".join(lines)
            asked = "NEED_PASSPHRASE" in words or "pinentry" in words.lower() or "INQUIRE_MAXLEN" in words
            why = "its passphrase is missing or wrong" if asked or passphrase else "GnuPG did not say why"
            raise DssError(
                f"The key {self.fingerprint} can't sign: {why}.",
                hint=f"Put its passphrase into the environment variable {PASSPHRASE}, or unlock it in your agent.",
            )
        return text


@contextmanager
def signer(source: str, *, programs: Programs, progress: Progress) -> Iterator[Signer]:
    """The key that ``--sign-key`` names: an id, a fingerprint or an address of one of the user's own; a file with a
    secret key, also as ``file:PATH``; ``env:NAME`` with one in it.

    Raises ``InputError`` when there is none, or more than one, that can sign; ``ProgramMissing``.
    """
    data = _key_data(source)
    if data is None:
        own = Gpg(programs)
        own.check()
        yield Signer(own, _only(own.secret_keys(source), source))
        return
    with temporary_gpg(programs, progress=progress) as gpg:
        imported, _ = gpg.import_keys(data)
        found = [print_ for one in imported for print_ in gpg.secret_keys(one)]
        yield Signer(gpg, _only(list(dict.fromkeys(found)), source))


def check_signing(source: str, *, programs: Programs, progress: Progress) -> None:
    """Signs something of no use: better to fail now than after a build. Raises as ``signer`` and ``Signer.sign``."""
    with TemporaryDirectory(prefix="dss-") as folder, signer(source, programs=programs, progress=progress) as key:
        file = Path(folder) / "nothing"
        file.touch()
        key.sign(file)


def write_signature(sums: Path, source: str, *, programs: Programs, progress: Progress) -> Path:
    """``SHA256SUMS.gpg`` beside the sums. Raises as ``signer`` and ``Signer.sign``."""
    with signer(source, programs=programs, progress=progress) as key:
        target = sums.with_name(SIGNATURE)
        write_text_atomically(target, key.sign(sums))
        return target


@contextmanager
def temporary_gpg(programs: Programs, *, progress: Progress) -> Iterator[Gpg]:
    """GnuPG with no key at all, in memory where possible. What a killed run left of it is removed by the next."""
    base = (_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else Path("/tmp")) / f"dss-gpg-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.stat().st_uid != os.getuid() or base.is_symlink():
        raise InputError(f"{base} belongs to somebody else.", hint="Let an administrator remove it.")
    with workspace(base, progress=progress) as home:
        gpg = Gpg(programs, home=home)
        gpg.check()
        try:
            yield gpg
        finally:
            gpg.end_agent()


def _key_data(source: str) -> bytes | None:
    """What is in the file or variable; ``None`` for the name of a key of the user's own."""
    kind, _, name = source.partition(":")
    if kind == "env" and name:
        if not os.environ.get(name):
            raise InputError(f"The environment variable {name} with the signing key is not set.", hint=f"export {name}")
        return os.environ[name].encode()
    path = Path(name if kind == "file" and name else source)
    if kind == "file" or path.is_file():
        try:
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"The signing key {path} can't be read: {error.strerror}.", hint="Give a file.") from None
    if not _KEY_ID.fullmatch(source):
        raise InputError(
            f"{source!r} is no file, and no key.",
            hint="--sign-key takes a key's id, fingerprint or address, file:PATH, or env:NAME with the secret key.",
        )
    return None


def _only(found: list[str], source: str) -> str:
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{source} names several keys: {', '.join(found)}.", hint="Give the fingerprint of one.")
    raise InputError(
        f"There is no secret key in {source} that can sign."
        if ":" in source or Path(source).is_file()
        else f"There is no secret key {source} that can sign.",
        hint="gpg --list-secret-keys shows yours. Has it expired? A file has to hold the secret key (gpg "
        "--export-secret-keys --armor).",
    )
