"""The image formats, written beside the rest of a pipeline."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.images.formats import VmImageFormat, WrittenImage, write_formats
from exasol_like_dss.lib.images.formats.protocol import ImageDescription
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.waiting import awaited

#: The one to boot first: what users import most, and what takes no unpacking.
_ORDER = (VmImageFormat.VMDK, VmImageFormat.OVA, VmImageFormat.QCOW2, VmImageFormat.RAW, VmImageFormat.VHD)


class BackgroundWriting:
    """Writes all formats in a thread for the time of the block, which it does not leave before the thread has ended.

    SHA-256 over a disk of 100 GiB takes a minute: the image that is complete first is booted meanwhile. An error in the
    block ends the writing.
    """

    def __init__(
        self,
        *,
        source: Path,
        formats: Sequence[VmImageFormat],
        directory: Path,
        stem: str,
        description: ImageDescription,
        programs: Programs,
        progress: Progress,
        cancellation: Cancellation,
    ) -> None:
        self.chosen = min(formats, key=_ORDER.index)
        self._links = directory / ".readable"
        self._cancellation = cancellation
        self._readable: Future[Path] = Future()
        self._images: Future[list[WrittenImage]] = Future()

        def on_content(image_format: VmImageFormat, path: Path) -> None:
            if image_format is self.chosen:
                # A name of its own: the other one changes when all formats are complete.
                link = self._links / f"{stem}.{image_format.extension}"
                link.parent.mkdir()
                link.hardlink_to(path)
                self._readable.set_result(link)

        def write() -> None:
            try:
                with progress.step("image formats"):
                    written = write_formats(
                        source=source,
                        formats=formats,
                        directory=directory,
                        stem=stem,
                        description=description,
                        programs=programs,
                        progress=progress,
                        cancellation=cancellation,
                        on_content=on_content,
                    )
                self._images.set_result(written)
            except BaseException as error:
                self._images.set_exception(error)
                if not self._readable.done():
                    self._readable.set_exception(error)

        self._thread = threading.Thread(target=write, name="image-formats")

    def __enter__(self) -> BackgroundWriting:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._cancellation.cancel()
        self._thread.join()
        shutil.rmtree(self._links, ignore_errors=True)

    def first_readable(self) -> Path:
        """Waits for the content of the format ``chosen``: a file that is there to the end of the block.

        Raises what the writing raised.
        """
        return awaited(self._readable)

    def images(self) -> list[WrittenImage]:
        """Waits for all. Raises what the writing raised."""
        return awaited(self._images)
