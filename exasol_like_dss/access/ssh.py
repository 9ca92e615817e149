"""OpenSSH's client, as a user of a freshly imported machine would use it: with a password, and no key.

Passwords are typed into a pseudo-terminal; they are never in an argument or in the environment.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, ProgramFailed, tail

if TYPE_CHECKING:
    from pexpect.fdpexpect import fdspawn

_CURRENT, _RETYPE, _NEW, _LOGIN, _DENIED, _PROMPT = range(6)
# The words "password:" alone are no question: a message of the day may hold them.
_DIALOGUE = [
    r"(?i)current (?:unix )?password:|\(current\) unix password:",
    r"(?i)(?:retype|re-enter|reenter|repeat)[^:\n]{0,20}password:",
    r"(?i)new (?:unix )?password:",
    r"(?i)@[\w.:-]+(?:'s|\)) password: ?$",
    r"(?i)permission denied|too many authentication failures",
    r"[\w.-]+@[\w.-]+:[^\r\n]{0,60}\$ (?:\x1b\[\?2004h)?$",
]
# ssh asks for passwords on its controlling terminal. pexpect's own spawn would get it one by forkpty(3), which must not
# be used in a process with threads; so ssh is started like any program, and takes its standard input for that terminal.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@dataclass(frozen=True)
class Dialogue:
    """What a login led to. forced: a new password was asked for. entered: it ended at a shell's prompt."""

    entered: bool
    forced: bool
    denied: bool
    transcript: str


class Ssh:
    """One machine, by default behind a port of 127.0.0.1.

    directory: a private one, for the known hosts and the control socket. host_keys: public ones, if they are known
    ("ssh-ed25519 AAAA…"): then no other is accepted.
    """

    def __init__(
        self,
        *,
        user: str,
        port: int,
        directory: Path,
        programs: Programs,
        host: str = "127.0.0.1",
        host_keys: Sequence[str] = (),
    ) -> None:
        self._programs = programs
        self._host = host
        self._port = port
        self._target = f"{user}@{host}"
        self._control = directory / "control"
        if host_keys:
            place = host if port == 22 else f"[{host}]:{port}"
            (directory / "known_hosts").write_text("".join(f"{place} {key}\n" for key in host_keys))
        self._session: _Terminal | None = None
        self._options = ["-F", "none", "-p", str(port)]
        for option in (
            f"StrictHostKeyChecking={'yes' if host_keys else 'accept-new'}",
            f"UserKnownHostsFile={directory / 'known_hosts'}",
            "GlobalKnownHostsFile=none", "PubkeyAuthentication=no", "PasswordAuthentication=yes",
            "PreferredAuthentications=password,keyboard-interactive", "NumberOfPasswordPrompts=1",
            "ConnectTimeout=300", "ServerAliveInterval=20", "LogLevel=ERROR", "EscapeChar=none",
        ):  # fmt: skip
            self._options += ["-o", option]

    def answers(self) -> bool:
        """Whether a server tells its version (RFC 4253, section 4.2): QEMU takes connections before the guest does."""
        try:
            with socket.create_connection((self._host, self._port), timeout=10) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def host_keys(self, *, deadline_s: float) -> dict[str, str]:
        """The public host keys by type (ssh-keyscan(1)); nothing while ssh does not answer."""
        argv = ["ssh-keyscan", "-T", str(int(deadline_s)), "-p", str(self._port), self._host]
        try:
            text = self._programs.run(argv, what="reading the ssh host keys", deadline_s=deadline_s + 10)
        except ProgramFailed:  # nobody answers
            return {}
        fields = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
        return {field[1]: field[2] for field in fields if len(field) >= 3}

    def log_in(self, *, password: str, new_password: str | None, deadline_s: float, keep: bool = False) -> Dialogue:
        """Goes through the login dialogue in a terminal, and answers a demand for a new password with ``new_password``.

        keep: the session stays open and carries ``run``, until ``close``.
        """
        terminal = _Terminal(
            [self._programs.find("ssh"), "-tt", *self._options, *(["-M", "-S", str(self._control)] if keep else []),
             self._target],
            self._programs,
            deadline_s,
        )  # fmt: skip
        try:
            dialogue = _talk(terminal.expect, password, new_password)
        except BaseException:
            terminal.close()
            raise
        if keep and dialogue.entered:
            self._session = terminal
        else:
            terminal.close()
        return dialogue

    def run(self, command: str, *, stdin: bytes = b"", deadline_s: float, what: str) -> str:
        """Runs a shell command over the session that ``log_in(keep=True)`` left open; returns its standard output."""
        argv = ["ssh", "-S", str(self._control), "-o", "ControlMaster=no", *self._options, self._target, command]
        return self._programs.run(argv, stdin=stdin, what=what, deadline_s=deadline_s)

    def forward(self, port: int) -> int:
        """Leads a port of 127.0.0.1 to one there, over the session that ``log_in(keep=True)`` left open; that port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ours: int = free.getsockname()[1]
        forward = f"127.0.0.1:{ours}:127.0.0.1:{port}"
        argv = ["ssh", "-S", str(self._control), "-O", "forward", "-L", forward, *self._options, self._target]
        self._programs.run(argv, what=f"leading port {port} here", deadline_s=30)
        return ours

    def converse(self, command: str, *, answer: str, deadline_s: float) -> str:
        """Types a command into the open session, and ``answer`` whenever it asks for a password. Returns what it said.

        Raises ``DssError`` when the command does not come back to the prompt in time, or ends with an error.
        """
        import pexpect

        if self._session is None:
            raise DssError("There is no open ssh session.")
        session, said = self._session.expect, ""
        session.sendline(f"{command}; echo ended-with-$?")
        while True:
            try:
                found = session.expect([r"(?i)password:\s*$", r"ended-with-(\d+)\r"], timeout=deadline_s)
            except (pexpect.TIMEOUT, pexpect.EOF):
                raise DssError(f"{command} did not end.\n{tail(said + str(session.before), lines=6)}") from None
            said += session.before or ""
            if found == 0:
                _type(session, answer)
            elif isinstance(session.match, re.Match) and session.match.group(1) != "0":
                raise DssError(f"{command} failed.\n{tail(without_control(said), lines=6)}")
            else:
                return without_control(said)

    def close(self) -> None:
        """Ends the session. Safe to call twice."""
        if self._session is not None:
            self._session.close()
            self._session = None


class _Terminal:
    """A program in a pseudo-terminal, and pexpect at its other end."""

    def __init__(self, argv: list[str], programs: Programs, deadline_s: float) -> None:
        from pexpect.fdpexpect import fdspawn

        ours, theirs = os.openpty()
        termios.tcsetwinsize(ours, (50, 200))
        try:
            self._process: subprocess.Popen[bytes] = programs.start(
                [sys.executable, "-c", _TAKE_TERMINAL, *argv], stdin=theirs, stdout=theirs, stderr=theirs,
                env={"TERM": "xterm"},
            )  # fmt: skip
        finally:
            os.close(theirs)
        self._programs = programs
        self.expect: fdspawn[str] = fdspawn(ours, timeout=deadline_s, encoding="utf-8", codec_errors="replace")

    def close(self) -> None:
        with self._programs.ended(self._process):
            self.expect.close()  # hangs up
            self._programs.end(self._process)


def _type(terminal: fdspawn[str], text: str) -> None:
    # Who turns the echo off for a password drops what was typed before (tcsetattr(3), TCSAFLUSH).
    time.sleep(0.1)
    terminal.sendline(text)


def _talk(terminal: fdspawn[str], password: str, new_password: str | None) -> Dialogue:
    import pexpect

    transcript = ""
    asked: list[int] = []
    while len(asked) < 12:
        try:
            found = terminal.expect([*_DIALOGUE, pexpect.EOF])
        except pexpect.TIMEOUT:
            transcript += terminal.before if isinstance(terminal.before, str) else ""
            raise DssError(f"The ssh login stood still.\n{tail(transcript, lines=6)}") from None
        transcript += (terminal.before or "") + (terminal.after if isinstance(terminal.after, str) else "")
        asked.append(found)
        if found == _PROMPT:
            return Dialogue(True, _NEW in asked, False, transcript)
        if found == _DENIED or (found == _LOGIN and asked.count(_LOGIN) > 1):
            return Dialogue(False, _NEW in asked, True, transcript)
        if found == len(_DIALOGUE):  # the connection ended, as it does after a new password
            if _NEW not in asked:
                raise DssError(f"The ssh login ended early.\n{tail(transcript, lines=6)}")
            return Dialogue(False, True, False, transcript)
        if found in (_NEW, _RETYPE):
            if new_password is None:
                return Dialogue(False, True, False, transcript)
            _type(terminal, new_password)
        else:
            _type(terminal, password)
    raise DssError(f"The ssh login asks again and again.\n{tail(transcript, lines=6)}")


def without_control(text: str) -> str:
    """Without terminal control sequences."""
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\r", "", text)
