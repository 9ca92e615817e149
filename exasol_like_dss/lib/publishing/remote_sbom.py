"""The bill of materials of a running machine.

The role ``seal`` ends every way in, and only after it the machine is what the image will be. So a program of root's
waits there from before, and answers after the playbook's end over the connection that is still open.
"""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.errors import DssError, tail
from exasol_like_dss.lib.publishing.sbom import write_sbom

if TYPE_CHECKING:
    import subprocess

    from exasol_like_dss.access.programs import Programs
    from exasol_like_dss.lib.machines.remote import RemoteMachine

_DEADLINE_S = 180.0
# What write_sbom reads, and nothing else.
_COLLECT = """\
read -r _ && cd / && {
    find usr/lib/os-release var/lib/dpkg/status -type f
    find usr opt home root srv var -xdev -type f -path "*.dist-info/METADATA" ! -path "usr/lib/python3/dist-packages/*"
} 2>/dev/null | tar --create --files-from=- --file=-
"""


class WaitingCollector:
    """Waits on a machine for the word. Made by ``waiting_collector``."""

    def __init__(self, process: subprocess.Popen[bytes], programs: Programs) -> None:
        self._process = process
        self._programs = programs

    def write_sbom(self, target: Path, *, asset_id: AssetId, work_directory: Path) -> int:
        """Collects, and writes the bill of materials; the number of components. Raises ``DssError``."""
        archive, root = work_directory / "packages.tar", work_directory / "packages"
        process = self._process
        assert process.stdin and process.stdout and process.stderr
        watchdog = threading.Timer(_DEADLINE_S, lambda: self._programs.end(process))
        watchdog.start()
        try:
            process.stdin.write(b"go\n")
            process.stdin.close()
            with archive.open("wb") as file:
                while piece := process.stdout.read(1 << 20):
                    file.write(piece)
            process.wait()
        except BrokenPipeError:
            pass
        finally:
            watchdog.cancel()
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(root, filter="data")
        except (tarfile.TarError, OSError):
            said = tail(process.stderr.read().decode(errors="replace"), lines=3)
            raise DssError(
                f"The machine's packages could not be listed: {said or 'the connection ended'}",
                hint="Run the same command again.",
            ) from None
        return write_sbom(
            root=root, target=target, name=PRODUCT, version=asset_id.value, timestamp=datetime.now(UTC)
        )  # fmt: skip


@contextmanager
def waiting_collector(remote: RemoteMachine, programs: Programs) -> Iterator[WaitingCollector]:
    """Opens the connection for the time of the block."""
    import subprocess

    command = remote.command(f"sudo -n sh -c '{_COLLECT}'")
    process = programs.start(command, stdin=subprocess.PIPE)
    with programs.ended(process):
        yield WaitingCollector(process, programs)
