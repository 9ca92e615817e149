"""Programs on this machine. One call runs one program.

Every program dies with us, also when we are killed: it runs under ``setpriv --pdeathsig KILL`` (util-linux; see
prctl(2), PR_SET_PDEATHSIG). A program that has children or mounts of its own runs ``contained``: in a PID and mount
namespace whose end takes all of them along (pid_namespaces(7)), so that nothing has to be found and undone.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from exasol_like_dss.lib.errors import DeadlinePassed, Interrupted, ProgramFailed, ProgramMissing

#: Debian packages of the programs that we use, for the hint.
PACKAGES = {
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "chroot": "coreutils",
    "debugfs": "e2fsprogs",
    "gpg": "gnupg",
    "gpgconf": "gnupg",
    "grub-mkimage": "grub-common",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mmd": "mtools",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "sfdisk": "fdisk",
    "ssh": "openssh-client",
    "unshare": "util-linux",
}
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_TERMINATE_S = 5.0
_SLICE_S = 0.5
_KEPT_LINES = 200


class Programs:
    """Runs programs, and ends those still running when asked to."""

    def __init__(self) -> None:
        self._running: dict[subprocess.Popen[bytes], bool] = {}
        self._lock = threading.Lock()
        self._path = os.environ.get("PATH", os.defpath) + ":" + _SBIN

    def find(self, name: str) -> str:
        """The full path of a program. Raises ``ProgramMissing`` with the package that has it."""
        found = shutil.which(name, path=self._path)
        if not found:
            raise ProgramMissing(name, package=PACKAGES.get(name))
        return found

    def command(self, argv: Sequence[str], *, contained: bool = False) -> list[str]:
        """``argv`` with what makes the program die with us."""
        prefix = [self.find("setpriv"), "--pdeathsig", "KILL", "--"]
        if contained:
            prefix += [self.find("unshare"), "--mount", "--propagation", "private", "--uts", "--pid", "--fork",
                       "--kill-child=KILL", "--mount-proc", "--"]  # fmt: skip
        return [*prefix, self.find(argv[0]), *argv[1:]]

    def start(
        self,
        argv: Sequence[str],
        *,
        contained: bool = False,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        stderr: int | IO[Any] | None = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a program in a session of its own (a Ctrl-C on the terminal is for us to handle, not for it).

        It is killed when the *thread* that started it ends. Raises ``ProgramMissing``.
        """
        process = subprocess.Popen(
            self.command(argv, contained=contained),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "PATH": self._path, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        with self._lock:
            self._running[process] = contained
        return process

    def run(
        self,
        argv: Sequence[str],
        *,
        what: str = "",
        hint: str = "",
        contained: bool = False,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        deadline_s: float | None = None,
        on_line: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> str:
        """Runs a program to its end, and returns its standard output (UTF-8, what is not is replaced).

        what: what it was to do, for the error. on_line: gets every line of standard error as it comes. cancelled: asked
        several times a second; for programs that take long.
        Raises ``ProgramMissing``, ``ProgramFailed``, ``Interrupted`` when cancelled, and ``DeadlinePassed`` after
        ``deadline_s`` seconds.
        """
        process = self.start(
            argv,
            contained=contained,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        )
        with self.ended(process):
            output: list[bytes] = []
            errors: deque[str] = deque(maxlen=_KEPT_LINES)

            def read_errors() -> None:
                assert process.stderr
                for raw in process.stderr:
                    line = raw.decode(errors="replace").rstrip("\r\n")
                    errors.append(line)
                    if on_line:
                        on_line(line)

            def read_output() -> None:
                assert process.stdout
                output.append(process.stdout.read())

            threads = [threading.Thread(target=target, daemon=True) for target in (read_errors, read_output)]
            for thread in threads:
                thread.start()
            if stdin is not None and process.stdin:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(stdin)
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            end = time.monotonic() + (deadline_s if deadline_s is not None else float("inf"))
            # In slices: a signal that comes just before a blocking call is handled only when that returns.
            while process.poll() is None:
                if cancelled():
                    raise Interrupted
                if time.monotonic() >= end:
                    raise DeadlinePassed(
                        f"{what or argv[0]} took longer than {deadline_s:.0f} s.",
                        hint=hint or f"The command was: {shlex.join(argv)}",
                    )
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=min(_SLICE_S, max(0.0, end - time.monotonic())))
            for thread in threads:
                thread.join()
        text = b"".join(output).decode(errors="replace")
        if process.returncode:
            raise ProgramFailed(argv, process.returncode, "\n".join(errors) or text, what=what, hint=hint)
        return text

    @contextmanager
    def ended(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Sees to it that a started program has ended when the block is left."""
        try:
            yield
        finally:
            self.end(process)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    with contextlib.suppress(OSError, ValueError):
                        stream.close()
            with self._lock:
                self._running.pop(process, None)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Ends a program of ours with all of its process group; returns when it is gone. Safe when it is.

        SIGTERM, then SIGKILL after five seconds. A contained one is killed at once: it is the first process of its
        PID namespace, which signals don't reach, and nothing of it outlives the namespace.
        """
        steps = [(signal.SIGTERM, _TERMINATE_S), (signal.SIGKILL, 60.0)]
        for number, patience_s in steps[1:] if self._running.get(process) else steps:
            if process.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=patience_s)

    def end_all(self) -> None:
        """Ends every program that is still running (those of other threads too)."""
        with self._lock:
            running = list(self._running)
        for process in running:
            self.end(process)
