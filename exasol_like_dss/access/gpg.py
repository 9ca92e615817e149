"""GnuPG, the program. One call runs it once. Its answers are the status lines for programs (GnuPG, ``doc/DETAILS``)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, ProgramFailed

_PREFIX = "[GNUPG:] "
_DEADLINE_S = 120.0


class Gpg:
    """home: of the keys; ``None`` for the user's own. Nothing asks on the terminal but the user's own agent."""

    def __init__(self, programs: Programs, *, home: Path | None = None) -> None:
        self._programs = programs
        self.home = home

    def check(self) -> None:
        """Raises ``ProgramMissing``."""
        self._programs.find("gpg")

    def import_keys(self, data: bytes) -> tuple[list[str], list[str]]:
        """Fingerprints of what was imported (a new or a known key), and all status lines."""
        _, lines = self._run(["--import"], stdin=data)
        found = [line.split()[2] for line in lines if line.startswith("IMPORT_OK ") and len(line.split()) > 2]
        return list(dict.fromkeys(found)), lines

    def secret_keys(self, wanted: str) -> list[str]:
        """Fingerprints of the primary keys that ``wanted`` (an id, a fingerprint, an address) names and that can sign.

        From ``--list-secret-keys --with-colons``: the record ``sec`` has what the key can do in its 12th field, where
        the capital ``S`` stands for it and its subkeys together; ``fpr`` follows.
        """
        text, _ = self._run(["--with-colons", "--list-secret-keys", "--", wanted], stdin=None)
        found: list[str] = []
        signs = False
        for row in (line.split(":") for line in text.splitlines()):
            if row[0] == "sec":
                signs = "S" in row[11] and row[1] not in ("e", "r", "d", "i")
            elif row[0] == "ssb":
                signs = False
            elif row[0] == "fpr" and signs:
                found.append(row[9])
                signs = False
        return found

    def sign(self, file: Path, *, key: str, passphrase: str | None) -> tuple[str, list[str]]:
        """A detached signature in ASCII, and the status lines. The text is empty when it could not be made.

        passphrase: goes through standard input; ``None`` leaves it to the agent.
        """
        secret = [] if passphrase is None else ["--pinentry-mode", "loopback", "--passphrase-fd", "0"]
        argv = [*secret, "--local-user", key, "--digest-algo", "SHA256", "--armor", "--detach-sign", "--output", "-"]
        return self._run(
            [*argv, "--", str(file)], stdin=None if passphrase is None else passphrase.encode() + b"\n"
        )  # fmt: skip

    def verify(self, signature: Path, file: Path) -> list[str]:
        """The status lines."""
        return self._run(["--verify", "--", str(signature), str(file)], stdin=None)[1]

    def end_agent(self) -> None:
        """Of a home of our own. Never raises."""
        if self.home:
            with suppress(DssError):
                self._programs.run(
                    ["gpgconf", "--kill", "gpg-agent"], env={"GNUPGHOME": str(self.home)}, deadline_s=_DEADLINE_S
                )

    def _run(self, arguments: Sequence[str], *, stdin: bytes | None) -> tuple[str, list[str]]:
        lines: list[str] = []
        home = [] if self.home is None else ["--homedir", str(self.home)]
        argv = ["gpg", *home, "--batch", "--no-tty", "--status-fd", "2", *arguments]
        try:
            text = self._programs.run(
                argv, stdin=stdin, env={"LC_ALL": "C"}, deadline_s=_DEADLINE_S, on_line=lines.append
            )
        except ProgramFailed:
            text = ""  # the status lines say why
        return text, [line.removeprefix(_PREFIX) for line in lines if line.startswith(_PREFIX)]
