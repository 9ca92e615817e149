"""All requested formats of one image, written at the same time."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, InputError, Interrupted
from exasol_like_dss.lib.images.formats.content import DiskContent, RawFile, same_file
from exasol_like_dss.lib.images.formats.ova import Ova
from exasol_like_dss.lib.images.formats.protocol import (
    ImageDescription,
    ImageFormat,
    VmImageFormat,
    WriteJob,
    WrittenImage,
)
from exasol_like_dss.lib.images.formats.qcow2 import Qcow2
from exasol_like_dss.lib.images.formats.raw import Raw
from exasol_like_dss.lib.images.formats.source import SharedSource
from exasol_like_dss.lib.images.formats.vhd import Vhd
from exasol_like_dss.lib.images.formats.vmdk import Vmdk
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress

#: How soon a signal is noticed at the latest.
_NOTICE_S = 0.2

#: A new format is a module with a class, and a line here.
FORMATS: dict[VmImageFormat, ImageFormat] = {each.name: each for each in (Raw(), Vmdk(), Vhd(), Ova(), Qcow2())}


def write_formats(
    *,
    source: Path | DiskContent,
    formats: Iterable[VmImageFormat],
    directory: Path,
    stem: str,
    description: ImageDescription,
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
    on_content: Callable[[VmImageFormat, Path], None] = lambda _format, _path: None,
) -> list[WrittenImage]:
    """Writes ``directory/stem.EXTENSION`` for every format, in one read of ``source`` (a path: a raw image).

    The files have temporary names (``.NAME.partial``) until all are complete; on failure none is left. Memory does not
    grow with the image. Returns the images in the order of ``formats``. Raises ``DssError``, and ``Interrupted`` when
    ``cancellation`` says so.

    on_content: told, in another thread, that a format is complete under its temporary name: it can be read from then
    on, while others are still written.
    """
    writers = [FORMATS[each] for each in dict.fromkeys(formats)]
    outputs = {writer.name: directory / f"{stem}.{writer.name.extension}" for writer in writers}
    path = source if isinstance(source, Path) else source.path
    if not path.is_file() or not path.stat().st_size:
        raise InputError(f"There is no image to convert in {path}.", hint="Give a raw disk image.")
    if any(same_file(path, output) for output in outputs.values()):
        raise InputError(f"{path} would be overwritten.", hint="Choose another directory or name.")
    if not writers:
        return []
    stop = LinkedCancellation(cancellation)
    shared = SharedSource(
        RawFile(source) if isinstance(source, Path) else source,
        readers=dict(Counter(writer.reads for writer in writers)),
        name=outputs.get(VmImageFormat.VMDK, directory / f"{stem}.vmdk").name,
        cancellation=stop,
        progress=progress,
    )
    start = time.monotonic()
    under = progress.current()

    def write(writer: ImageFormat, partial: Path) -> WrittenImage:
        with progress.step(f"write {writer.name.value}", under=under) as step:
            content_seconds = 0.0

            def complete() -> None:
                nonlocal content_seconds
                content_seconds = time.monotonic() - start
                on_content(writer.name, partial)

            job = WriteJob(
                source=shared,
                output=partial,
                stem=stem,
                description=description,
                programs=programs,
                cancellation=stop,
                advance=lambda written: progress.bytes(step, written),
                complete=complete,
            )
            try:
                sha256 = writer.write(job)
            except OSError as error:
                raise DssError(
                    f"Writing {outputs[writer.name]} failed: {error.strerror or error}.",
                    hint="Is there enough room, and may you write there?",
                ) from error
        return WrittenImage(
            writer.name,
            outputs[writer.name],
            partial.stat().st_size,
            sha256,
            seconds=time.monotonic() - start,
            content_seconds=content_seconds,
        )

    with contextlib.ExitStack() as stack:
        partials = [stack.enter_context(_partial(outputs[writer.name])) for writer in writers]
        tasks: list[Callable[[], WrittenImage | None]] = [functools.partial(task, under) for task in shared.tasks()]
        tasks += [functools.partial(write, *each) for each in zip(writers, partials, strict=True)]
        results = _run_together(tasks, stop=stop)
        for writer, partial in zip(writers, partials, strict=True):
            partial.replace(outputs[writer.name])
    return [result for result in results if result]


class LinkedCancellation(Cancellation):
    """Off when it is itself, or the one it hangs on: so that one writer's failure ends the others."""

    def __init__(self, parent: Cancellation) -> None:
        super().__init__()
        self._parent = parent

    @property
    def cancelled(self) -> bool:
        return self._parent.cancelled or super().cancelled


def _run_together(tasks: list[Callable[[], WrittenImage | None]], *, stop: Cancellation) -> list[WrittenImage | None]:
    """Runs all tasks, each in a thread. When one fails, or we are interrupted, the others are stopped and waited for.

    Raises the first error that is not the consequence of another.
    """
    errors: list[BaseException] = []
    results: list[WrittenImage | None] = []
    go, done = threading.Event(), threading.Event()

    def conduct() -> None:
        go.wait()
        try:
            stop.check()
            with ThreadPoolExecutor(len(tasks), thread_name_prefix="format") as pool:
                futures = [pool.submit(task) for task in tasks]
                _, unfinished = wait(futures, return_when=FIRST_EXCEPTION)
                if unfinished:
                    stop.cancel()
            errors.extend(error for future in futures if (error := future.exception()))
            if not errors:
                results.extend(future.result() for future in futures)
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    # A signal raises in the main thread, at any place; in the middle of starting a thread, nobody knows whether it
    # runs. So the main thread starts just one, which does nothing before it is told to: when that is not reached, it
    # finds the work off.
    conductor = threading.Thread(target=conduct, name="format-conductor", daemon=True)
    try:
        conductor.start()
        go.set()
        # Woken up now and then: a signal that comes just before the thread falls asleep, or is taken by another
        # thread, is handled only when this one runs again.
        while not done.wait(_NOTICE_S):
            pass
    except BaseException:
        stop.cancel()
        begun = go.is_set()
        go.set()
        if begun:
            done.wait()
        raise
    conductor.join()
    for error in errors:
        if not isinstance(error, Interrupted):
            raise error
    if errors:
        raise errors[0]
    return results


@contextmanager
def _partial(output: Path) -> Iterator[Path]:
    """The temporary name of a file; what still has it at the end of the block is removed."""
    partial = output.with_name(f".{output.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)
