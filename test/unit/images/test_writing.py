from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, InputError, Interrupted
from exasol_like_dss.lib.images.formats import FORMATS, ImageDescription, VmImageFormat, write_formats, writing
from exasol_like_dss.lib.images.formats.protocol import WriteJob
from exasol_like_dss.lib.images.formats.vhd import Vhd
from exasol_like_dss.lib.images.formats.vmdk import Vmdk
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from test.unit.images.conftest import Content, write

OURS = (VmImageFormat.RAW, VmImageFormat.VMDK, VmImageFormat.VHD, VmImageFormat.OVA)
SIZE = (40 << 20) + 512
CONTENT = {0: b"start" * 100000, 20 << 20: bytes(range(256)) * 9000, SIZE - 3: b"end"}


def test_every_format_has_a_writer_and_an_extension() -> None:
    assert set(FORMATS) == set(VmImageFormat)
    assert [each.extension for each in VmImageFormat] == ["raw", "vmdk", "vhd", "ova", "qcow2"]


def test_all_at_once(image: Callable[[int, Content], Path], tmp_path: Path) -> None:
    source = image(SIZE, CONTENT)
    written = write(source, *OURS, directory=tmp_path)
    assert [each.format for each in written] == list(OURS)
    for each in written:
        assert each.path == tmp_path / f"image.{each.format.extension}"
        assert each.size_bytes == each.path.stat().st_size
        assert each.sha256 == hashlib.sha256(each.path.read_bytes()).hexdigest()
    raw, _, vhd, _ = (each.path for each in written)
    assert raw.read_bytes() == source.read_bytes()
    assert raw.stat().st_blocks <= source.stat().st_blocks + 16 * 128
    assert vhd.stat().st_size == (41 << 20) + 512
    assert vhd.read_bytes()[:-512] == source.read_bytes().ljust(41 << 20, b"\0")
    assert not list(tmp_path.glob(".*"))


def test_alone_or_together_the_bytes_are_the_same(image: Callable[[int, Content], Path], tmp_path: Path) -> None:
    source = image(SIZE, CONTENT)
    together = {each.format: each.sha256 for each in write(source, *OURS, directory=tmp_path)}
    for each in OURS:
        (tmp_path / each.value).mkdir()
        assert write(source, each, directory=tmp_path / each.value)[0].sha256 == together[each]


def test_a_format_that_is_asked_for_twice_is_written_once(
    image: Callable[[int, Content], Path], tmp_path: Path
) -> None:
    assert len(write(image(512, {}), VmImageFormat.RAW, VmImageFormat.RAW, directory=tmp_path)) == 1
    assert write(image(512, {}), directory=tmp_path) == []


class Broken:
    reads = Vmdk.reads
    name = VmImageFormat.VMDK

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def write(self, job: WriteJob) -> str:
        job.output.write_bytes(b"half")
        next(iter(job.source.vmdk_stream()))
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), DssError("no"), Interrupted("SIGTERM")])
def test_one_failure_ends_all_and_leaves_nothing(
    image: Callable[[int, Content], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    monkeypatch.setitem(writing.FORMATS, VmImageFormat.VMDK, Broken(error))
    (tmp_path / "out").mkdir()
    with pytest.raises(Interrupted if isinstance(error, Interrupted) else DssError) as caught:
        write(image(SIZE, CONTENT), *OURS, directory=tmp_path / "out")
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("format", "deflate"))]


def test_cancelling_leaves_nothing(image: Callable[[int, Content], Path], tmp_path: Path) -> None:
    """A disk of 100 GiB takes a minute to hash; cancelled after a moment, it takes a moment."""
    source = image(100 << 30, {0: b"x"})
    cancellation = Cancellation()
    threading.Timer(0.3, cancellation.cancel).start()
    (tmp_path / "out").mkdir()
    with pytest.raises(Interrupted):
        write_formats(
            source=source,
            formats=[VmImageFormat.VHD, VmImageFormat.OVA],
            directory=tmp_path / "out",
            stem="image",
            description=ImageDescription("image"),
            programs=Programs(),
            progress=Progress(),
            cancellation=cancellation,
        )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.2])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_at_any_moment(image: Callable[[int, Content], Path], tmp_path: Path, delay_s: float) -> None:
    """An exception that is raised while an object is being destroyed is swallowed by Python: so it cancels, too."""
    cancellation = Cancellation()

    def interrupt(*_: object) -> None:
        cancellation.cancel()
        raise Interrupted("SIGTERM")

    source = image(100 << 30, {0: b"x" * 3_000_000})
    (tmp_path / "out").mkdir()
    start = time.monotonic()
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(Interrupted):
            threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGTERM)).start()
            write(source, VmImageFormat.VHD, VmImageFormat.OVA, directory=tmp_path / "out", cancellation=cancellation)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - start < 10
    assert list((tmp_path / "out").iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("format_", "deflate"))]


def test_what_a_killed_run_left_is_replaced(image: Callable[[int, Content], Path], tmp_path: Path) -> None:
    (tmp_path / ".image.vhd.partial").write_bytes(b"old" * 10_000_000)
    [vhd] = write(image(512, {0: b"x"}), VmImageFormat.VHD, directory=tmp_path)
    assert vhd.size_bytes == (1 << 20) + 512


def test_bad_sources(image: Callable[[int, Content], Path], tmp_path: Path) -> None:
    for bad in (tmp_path / "missing", tmp_path, image(0, {})):
        with pytest.raises(InputError):
            write(bad, VmImageFormat.RAW, directory=tmp_path)
    with pytest.raises(InputError, match="overwritten"):
        write(image(512, {}), VmImageFormat.RAW, directory=tmp_path, stem="source")


def test_progress_knows_the_formats(image: Callable[[int, Content], Path], tmp_path: Path) -> None:
    progress = Progress()
    with progress.step("formats"):
        write_formats(
            source=image(SIZE, CONTENT), formats=OURS, directory=tmp_path, stem="image",
            description=ImageDescription("image"), programs=Programs(), progress=progress, cancellation=Cancellation(),
        )  # fmt: skip
    steps = {step.path: step for step in progress.finished}
    assert steps["formats / write VHD"].done_bytes == SIZE
    assert steps["formats / SHA-256 of the content"].done_bytes == SIZE
    assert steps["formats / write OVA"].done_bytes > 0
    assert Vhd.name is VmImageFormat.VHD
