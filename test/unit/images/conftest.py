from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.images.formats import ImageDescription, VmImageFormat, WrittenImage, write_formats
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress

#: Offset to content; the rest of an image is a hole.
Content = Mapping[int, bytes]


def make_image(path: Path, size_bytes: int, content: Content) -> Path:
    """A sparse raw image."""
    with path.open("wb") as file:
        for offset, data in content.items():
            file.seek(offset)
            file.write(data)
        file.truncate(size_bytes)
    return path


def write(
    source: Path,
    *formats: VmImageFormat,
    directory: Path,
    stem: str = "image",
    cancellation: Cancellation | None = None,
) -> list[WrittenImage]:
    """``write_formats`` with what tests don't care about."""
    return write_formats(
        source=source,
        formats=formats,
        directory=directory,
        stem=stem,
        description=ImageDescription(name=stem, version="1.2", timestamp=1_700_000_000),
        programs=Programs(),
        progress=Progress(),
        cancellation=cancellation or Cancellation(),
    )


@pytest.fixture
def image(tmp_path: Path) -> Callable[[int, Content], Path]:
    return lambda size_bytes, content: make_image(tmp_path / "source.raw", size_bytes, content)
