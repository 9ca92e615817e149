"""Errors for people: one sentence, a hint, an exit code.

Only these reach the user as they are. Anything else is a defect of ours, and is shown as such by ``cli.main``.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    LEFT_OVER = 3
    INTERRUPTED = 130


class DssError(Exception):
    """Something went wrong, and a person is to be told.

    message: one sentence that says what failed, without a final newline.
    hint: what to do now; empty where there is nothing to say.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(DssError):
    """What the user gave can't be used. Nothing has been touched."""

    exit_code = ExitCode.WRONG_INPUT


class ProgramMissing(InputError):
    """A program that this command needs is not installed."""

    def __init__(self, program: str, *, package: str | None = None) -> None:
        hint = f"Install it: apt-get install {package}" if package else f"Install {program}, and try again."
        super().__init__(f"The program {program!r} is not installed.", hint=hint)
        self.program = program


class ProgramFailed(DssError):
    """A program ended with an error. The command can be pasted into a shell.

    argv: what was run. exit_code is of ours; ``returncode`` is the program's (negative: killed by that signal).
    output: the last lines that it wrote (standard error, or both streams).
    """

    def __init__(self, argv: Sequence[str], returncode: int, output: str, *, what: str = "", hint: str = "") -> None:
        name = argv[0].rsplit("/", 1)[-1]
        ended = f"was killed by signal {-returncode}" if returncode < 0 else f"ended with exit code {returncode}"
        last = tail(output, lines=12)
        message = f"{what or name} failed: {name} {ended}."
        if last:
            message += f"\n{last}"
        super().__init__(message, hint=hint or f"To see it by hand: {shlex.join(argv)}")
        self.argv = tuple(argv)
        self.returncode = returncode
        self.output = output


class LeftOver(DssError):
    """The work is done, but something that was to be removed stays."""

    exit_code = ExitCode.LEFT_OVER


class DeadlinePassed(DssError):
    """A wait took longer than it may."""


class Interrupted(BaseException):
    """The user (Ctrl-C) or the system (SIGTERM, SIGHUP) wants this process to end.

    Not an ``Exception``: nothing but the outermost frame may swallow it.
    """

    exit_code = ExitCode.INTERRUPTED

    def __init__(self, signal_name: str = "SIGINT") -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name


def tail(text: str, *, lines: int) -> str:
    """The last non-empty ``lines`` lines of ``text``."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-lines:])
