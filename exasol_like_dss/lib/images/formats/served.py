"""An image of any format that QEMU reads, read as a raw disk, without unpacking it: ``qemu-nbd`` serves it."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from exasol_like_dss.access.nbd import NbdDisk
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, InputError, ProgramFailed
from exasol_like_dss.lib.images.formats.content import DiskContent, RawFile
from exasol_like_dss.lib.images.formats.protocol import VmImageFormat
from exasol_like_dss.lib.images.formats.qcow2 import MAGIC as QCOW2_MAGIC
from exasol_like_dss.lib.images.formats.reader import ImageInfo, qemu_source
from exasol_like_dss.lib.images.formats.sparse import Block, block_extents, fingerprint_of, grain_extents, is_zero
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.waiting import wait_until

_START_S = 30.0
#: qcow2: "incompatible features", bit 2: the data is in another file.
_EXTERNAL_DATA = 1 << 2


@contextmanager
def disk_content(info: ImageInfo, *, programs: Programs, progress: Progress) -> Iterator[DiskContent]:
    """The content of an image, for the time of the block.

    Ask ``check_alone`` before. Raises ``ProgramMissing``, ``ProgramFailed``, ``DssError``.
    """
    if info.format is VmImageFormat.RAW:
        yield RawFile(info.path)
        return
    with tempfile.TemporaryDirectory(prefix="dss-nbd-") as folder, tempfile.TemporaryFile() as errors:
        address = Path(folder) / "nbd"
        argv = ["qemu-nbd", "--read-only", "--persistent", "--shared", "1", "--socket", str(address), qemu_source(info)]
        process = programs.start(argv, stdout=errors, stderr=errors)

        def failed(what: str) -> ProgramFailed:
            errors.seek(0)
            return ProgramFailed(argv, process.returncode, errors.read().decode(errors="replace"), what=what)

        def served() -> bool:
            if process.poll() is not None:
                raise failed("Reading the image")
            return address.exists()

        with programs.ended(process):
            wait_until(
                "qemu-nbd",
                served,
                deadline_s=_START_S,
                progress=progress,
                hint="Is the machine overloaded? Try again.",
                interval_s=0.02,
            )
            with closing(NbdDisk(address)) as disk:
                yield _Served(info.path, disk)


def check_alone(path: Path) -> None:
    """Raises ``InputError`` for a qcow2 whose content is not in this file, or not to be had without a password."""
    try:
        with path.open("rb") as file:
            head = file.read(104)
    except OSError:  # ``inspect_image`` says why
        return
    if not head.startswith(QCOW2_MAGIC) or len(head) < 104:
        return
    version, backing = struct.unpack_from(">IQ", head, 4)
    (encryption,) = struct.unpack_from(">I", head, 32)
    if backing:
        raise InputError(
            f"{path} needs a backing file: it holds only what differs from that.",
            hint="Merge them into a new file: qemu-img convert -O qcow2 IMAGE NEW.",
        )
    if encryption:
        raise InputError(f"{path} is encrypted.", hint="Decrypt it into a new file with qemu-img convert.")
    if version >= 3 and int.from_bytes(head[72:80], "big") & _EXTERNAL_DATA:
        raise InputError(
            f"{path} has its data in another file.",
            hint="Merge them into a new file: qemu-img convert -O qcow2 IMAGE NEW.",
        )


class _Served:
    """A disk that ``qemu-nbd`` serves."""

    raw_file = None

    def __init__(self, path: Path, disk: NbdDisk) -> None:
        self.path = path
        self._disk = disk
        self.size_bytes = disk.size_bytes
        if not self.size_bytes:
            raise DssError(f"The disk in {path} has no size.")

    def blocks(self, *, cancellation: Cancellation) -> Iterator[Block]:
        for offset, size_bytes in block_extents(grain_extents(self._extents(cancellation), self.size_bytes)):
            cancellation.check()
            data = self._disk.read(offset, size_bytes)
            if not is_zero(data):
                yield offset, data

    def fingerprint(self) -> bytes:
        return fingerprint_of(
            self.size_bytes, grain_extents(self._extents(Cancellation()), self.size_bytes), self._disk.read
        )

    def _extents(self, cancellation: Cancellation) -> Iterator[tuple[int, int]]:
        """What is not known to be zeros."""
        offset = 0
        while offset < self.size_bytes:
            cancellation.check()
            for length, zeros in self._disk.status(offset, self.size_bytes - offset):
                if not zeros:
                    yield offset, min(offset + length, self.size_bytes)
                offset += length
