"""A git repository with a tag, served on loopback: stands in for script-languages-release on GitHub."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def served_repository(folder: Path, *, tag: str, address: str = "127.0.0.1") -> Iterator[str]:
    """The address (``git://ADDRESS:PORT/…``) of a new repository that has one commit and ``tag``."""
    work = folder / "script-languages-release"
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", "-C", str(work)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "README.md").write_text("# Script languages\n")
    (work / "exaslct").write_text("#!/bin/sh\necho exaslct\n")
    (work / "exaslct").chmod(0o755)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "A release"], check=True)
    subprocess.run([*git, "tag", tag], check=True)
    port = free_port()
    daemon = subprocess.Popen(
        [
            "git",
            "daemon",
            "--export-all",
            f"--base-path={folder}",
            f"--listen={address}",
            f"--port={port}",
            str(folder),
        ],
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # git starts git-daemon: both are of one process group
    )
    try:
        for _ in range(100):
            with socket.socket() as tried:
                if tried.connect_ex((address, port)) == 0:
                    break
            time.sleep(0.05)
        yield f"git://{address}:{port}/script-languages-release"
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:  # git waits for a child of its own that has not seen the signal
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait(10)
