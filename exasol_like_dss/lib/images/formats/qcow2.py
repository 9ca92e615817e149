"""qcow2, by ``qemu-img``: compressed with zstd (QEMU 5.1 and newer read it), which it does with several threads."""

from __future__ import annotations

import subprocess
import tempfile

from exasol_like_dss.lib.errors import ProgramFailed
from exasol_like_dss.lib.images.formats.protocol import Reads, VmImageFormat, WriteJob
from exasol_like_dss.lib.images.formats.sparse import hash_file

_NOTICE_S = 0.2


class Qcow2:
    """The qcow2 image. ``-W``: blocks may be written in any order, so it is not bit-identical from run to run."""

    name = VmImageFormat.QCOW2
    reads = Reads.FILE

    def write(self, job: WriteJob) -> str:
        argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd", "-m", "8", "-W",
                str(job.source.path), str(job.output)]  # fmt: skip
        with tempfile.TemporaryFile() as errors:
            process = job.programs.start(argv, stdout=subprocess.DEVNULL, stderr=errors)
            self._wait(process, job)
            if process.returncode:
                errors.seek(0)
                output = errors.read().decode(errors="replace")
                raise ProgramFailed(argv, process.returncode, output, what="Writing the qcow2 image")
        return hash_file(job.output, cancellation=job.cancellation)

    def _wait(self, process: subprocess.Popen[bytes], job: WriteJob) -> None:
        with job.programs.ended(process):
            while process.poll() is None:
                job.cancellation.check()
                if job.output.exists():
                    job.advance(job.output.stat().st_blocks * 512)
                try:
                    process.wait(_NOTICE_S)
                except subprocess.TimeoutExpired:
                    continue
