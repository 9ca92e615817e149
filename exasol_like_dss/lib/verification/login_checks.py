"""Checks over ssh: the forced change of the password, and what the probe program finds."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exasol_like_dss.access.ssh import Ssh, without_control
from exasol_like_dss.lib.errors import DssError, tail
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification import probe as probe_program
from exasol_like_dss.lib.verification.report import Checks

_LOGIN_S = 300.0
_PROBE_S = 900.0


def check_forced_change(checks: Checks, ssh: Ssh, default_password: str, progress: Progress) -> tuple[str, str]:
    """Logs in as a user does for the first time; leaves a session open for ``ssh.run``.

    Returns what the second login showed, and the password that it took. Raises ``DssError`` when nobody can log in.
    """
    password = "Aa1-" + secrets.token_urlsafe(15)  # passes pam_pwquality's and pam_unix' rules
    with progress.step("Logging in with the default password"):
        first = ssh.log_in(password=default_password, new_password=password, deadline_s=_LOGIN_S)
    if first.denied and not first.forced:
        checks.add("login forces a new password", False, "the default password is refused")
        raise DssError("Nobody can log in.")
    seen = "asked for at the first login" if first.forced else "the default password can be kept"
    checks.add("login forces a new password", first.forced, seen)
    used = password if first.forced else default_password
    with progress.step("Logging in with the new password"):
        second = ssh.log_in(password=used, new_password=None, deadline_s=_LOGIN_S, keep=True)
    last = tail(without_control(second.transcript), lines=3)
    checks.add("new password works", second.entered, "logged in" if second.entered else last)
    if not second.entered:
        raise DssError(f"The login with the new password fails: {last}")
    return without_control(second.transcript), used


def check_default_is_refused(checks: Checks, ssh: Ssh, default_password: str, progress: Progress) -> None:
    """After the change."""
    with progress.step("Logging in with the default password again"):
        again = ssh.log_in(password=default_password, new_password=None, deadline_s=_LOGIN_S)
    refused = again.denied and not again.forced
    checks.add("default password is refused afterwards", refused, "refused" if refused else "accepted")


def probe(ssh: Ssh, kind: str, progress: Progress, *, only: Sequence[str] = ()) -> dict[str, Any]:
    """Runs ``probe.py`` in the guest, as ``root`` (``before-boot``, too) or as ``user``. only: some of its facts.

    Raises ``DssError``.
    """
    program = Path(probe_program.__file__).read_bytes()
    command = " ".join([*(["sudo", "-n"] if kind != "user" else []), "python3", "-", kind, *only])
    with progress.step(f"Looking around as {kind}"):
        said = ssh.run(command, stdin=program, deadline_s=_PROBE_S, what=f"looking around in the guest as {kind}")
    for line in said.splitlines():
        if line.startswith(probe_program.MARK):
            facts: dict[str, Any] = json.loads(line.removeprefix(probe_program.MARK))
            return facts
    raise DssError(f"The probe in the guest said nothing of use.\n{tail(said, lines=5)}")
