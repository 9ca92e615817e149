"""Image formats: one module for each, behind one protocol (``protocol.py``), and a reader that judges images."""

from exasol_like_dss.lib.images.formats.protocol import (
    DiskController,
    Firmware,
    ImageDescription,
    ImageFormat,
    VmImageFormat,
    WrittenImage,
)
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
