"""The raw image: the bytes of the disk, sparse."""

from __future__ import annotations

import contextlib
import fcntl
import os
from io import FileIO

from exasol_like_dss.lib.images.formats.protocol import Reads, VmImageFormat, WriteJob
from exasol_like_dss.lib.images.formats.sparse import data_runs

#: ioctl_ficlonerange(2): btrfs and XFS then share the blocks of both files.
_FICLONE = 0x40049409


class Raw:
    """A copy of the source, with every aligned 64 KiB of zeros left out."""

    name = VmImageFormat.RAW
    reads = Reads.BLOCKS_AND_HASH

    def write(self, job: WriteJob) -> str:
        with job.output.open("wb", buffering=0) as file:
            copy_content(job, file)
        job.complete()
        return job.source.content_hash().hexdigest()


def copy_content(job: WriteJob, file: FileIO) -> None:
    """Copies the source sparsely to the beginning of an empty file, which is then as long as the source."""
    cloned = False
    if job.source.raw_file:
        with contextlib.suppress(OSError), job.source.raw_file.open("rb") as source:
            fcntl.ioctl(file.fileno(), _FICLONE, source.fileno())
            cloned = True
    file.truncate(job.source.size_bytes)
    for offset, data in job.source.blocks():
        if cloned:
            continue
        # Whole runs, and no copies: a call per grain gives Python's lock away, and the coder's threads wait for it.
        for start, run in data_runs(data):
            _write_at(file.fileno(), run, offset + start)
        job.advance(offset + len(data))
    job.advance(job.source.size_bytes)


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    done = os.pwrite(descriptor, data, offset)
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)
