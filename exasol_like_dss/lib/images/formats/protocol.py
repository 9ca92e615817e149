"""What all image formats have in common.

A format is one module with one class. It writes one file, in a thread of its own, and takes what it needs from the
``SharedSource``: the blocks of the raw image, or the compressed VMDK stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.images.identity import build_timestamp
from exasol_like_dss.lib.interrupts import Cancellation

if TYPE_CHECKING:
    from exasol_like_dss.lib.images.formats.source import SharedSource


class VmImageFormat(Enum):
    """The formats that an image is written in."""

    RAW = "RAW"
    VMDK = "VMDK"
    VHD = "VHD"
    OVA = "OVA"
    QCOW2 = "QCOW2"

    @property
    def extension(self) -> str:
        """Of the file's name, without the dot."""
        return self.value.lower()


class Reads(Enum):
    """What a format takes from the source."""

    BLOCKS = "blocks of the raw image"
    BLOCKS_AND_HASH = "blocks of the raw image, and the SHA-256 over all of it"
    VMDK_STREAM = "the VMDK as a stream"


class GuestOs(Enum):
    """Guest systems: the CIM number of DSP0243's OperatingSystemSection, VMware's name, and ours."""

    DEBIAN = (96, "debian10_64Guest", "Debian GNU/Linux (64 bit)")
    UBUNTU = (94, "ubuntu64Guest", "Ubuntu (64 bit)")
    OTHER_LINUX = (101, "other3xLinux64Guest", "Linux (64 bit)")

    def __init__(self, cim_id: int, vmware_type: str, title: str) -> None:
        self.cim_id = cim_id
        self.vmware_type = vmware_type
        self.title = title


class Firmware(Enum):
    """What the virtual machine of an OVA starts with. The disk itself boots with both."""

    BIOS = "bios"
    EFI = "efi"


class DiskController(Enum):
    """The virtual controller of an OVA.

    VirtualBox calls its SATA controller ``AHCI``, VMware ``vmware.sata.ahci``, and each stumbles over the other's name.
    ``lsilogic`` is known to both. Guests need the driver mptspi in their initramfs (Debian's and Ubuntu's have it).
    """

    LSILOGIC = "lsilogic"
    AHCI = "AHCI"


@dataclass(frozen=True)
class ImageDescription:
    """The virtual machine around the disk, as far as a format can tell it (the OVA does).

    name: of the virtual machine. title, version, vendor, product_url: of what is inside. distribution: ``debian``,
    ``ubuntu``, or any other Linux. timestamp: seconds since 1970 for every time stamp in the files.
    """

    name: str
    title: str = "Data Science Sandbox"
    version: str = ""
    vendor: str = ""
    product_url: str = ""
    annotation: str = ""
    distribution: str = "debian"
    cpus: int = 2
    memory_bytes: int = 4 << 30
    firmware: Firmware = Firmware.BIOS
    controller: DiskController = DiskController.LSILOGIC
    timestamp: int = field(default_factory=build_timestamp)

    @property
    def guest_os(self) -> GuestOs:
        return {"debian": GuestOs.DEBIAN, "ubuntu": GuestOs.UBUNTU}.get(self.distribution, GuestOs.OTHER_LINUX)


@dataclass(frozen=True)
class WrittenImage:
    """One finished file. ``sha256`` in hex.

    seconds: from the start of the writing to the end of this format. content_seconds: until its content was there.
    """

    format: VmImageFormat
    path: Path
    size_bytes: int
    sha256: str
    seconds: float
    content_seconds: float = 0.0


@dataclass(frozen=True)
class WriteJob:
    """One file to be written.

    output: the (temporary) file. stem: the name without extension that the file gets, and that is written inside.
    advance: is told the bytes that have been written so far. complete: called when the file holds all of its content,
    and can be read; what takes the time to the end of ``write`` is its SHA-256.
    """

    source: SharedSource
    output: Path
    stem: str
    description: ImageDescription
    programs: Programs
    cancellation: Cancellation
    advance: Callable[[int], None]
    complete: Callable[[], None]


class ImageFormat(Protocol):
    """Writes files of one format."""

    @property
    def name(self) -> VmImageFormat: ...

    @property
    def reads(self) -> Reads: ...

    def write(self, job: WriteJob) -> str:
        """Writes ``job.output`` and returns its SHA-256 in hex."""
        ...
