"""Image formats: one module for each, behind one protocol (``protocol.py``), and a reader that judges images."""

from typing import TYPE_CHECKING, Any

from exasol_like_dss.lib.images.formats.protocol import (
    DiskController,
    Firmware,
    ImageDescription,
    ImageFormat,
    VmImageFormat,
    WrittenImage,
)

if TYPE_CHECKING:
    from exasol_like_dss.lib.images.formats.writing import FORMATS, write_formats

__all__ = [
    "FORMATS",
    "DiskController",
    "Firmware",
    "ImageDescription",
    "ImageFormat",
    "VmImageFormat",
    "WrittenImage",
    "write_formats",
]


def __getattr__(name: str) -> Any:
    """The writers, when one is wanted: who only names a format needs none of them."""
    if name not in ("FORMATS", "write_formats"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from exasol_like_dss.lib.images.formats import writing

    return getattr(writing, name)
