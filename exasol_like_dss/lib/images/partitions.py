"""The GUID partition table, written byte by byte.

Source: UEFI specification 2.10, chapter 5 ("GUID Partition Table (GPT) Disk Layout"). Writing it takes fewer lines than
steering a partition program, which would align, round and reread behind our back.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

SECTOR_BYTES = 512
MIB = 1 << 20

#: Partition types. BIOS boot: GRUB manual, "BIOS installation". ESP: UEFI 5.3.3. Root: Discoverable Partitions
#: Specification (x86-64 root), so that systemd-dissect and systemd-nspawn understand the disk too.
BIOS_BOOT = uuid.UUID("21686148-6449-6e6f-744e-656564454649")
EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX_ROOT_X86_64 = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")

_ENTRIES = 128
_ENTRY_BYTES = 128
_TABLE_SECTORS = _ENTRIES * _ENTRY_BYTES // SECTOR_BYTES
#: Sectors at the disk's end that the backup takes: the entries and the header.
BACKUP_SECTORS = _TABLE_SECTORS + 1
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
#: 446 bytes of boot code stand before the four MBR entries (UEFI 5.2.1, table 5.1).
MBR_CODE_BYTES = 440


@dataclass(frozen=True)
class Partition:
    """One partition. ``number`` is its place in the table, from 1."""

    number: int
    name: str
    type_guid: uuid.UUID
    guid: uuid.UUID
    start_bytes: int
    size_bytes: int

    @property
    def first_sector(self) -> int:
        return self.start_bytes // SECTOR_BYTES

    @property
    def last_sector(self) -> int:
        return (self.start_bytes + self.size_bytes) // SECTOR_BYTES - 1


def write_gpt(
    disk: BinaryIO,
    *,
    disk_bytes: int,
    disk_guid: uuid.UUID,
    partitions: Sequence[Partition],
    boot_code: bytes = b"",
) -> None:
    """Writes the protective MBR, the partition table, and its backup at the end of a disk of ``disk_bytes``.

    boot_code: at most 440 bytes that the BIOS runs. The protective entry behind them stays as UEFI wants it.
    """
    sectors = disk_bytes // SECTOR_BYTES
    if len(boot_code) > MBR_CODE_BYTES:
        raise ValueError(f"boot code of {len(boot_code)} bytes")
    entries = bytearray(_ENTRIES * _ENTRY_BYTES)
    for partition in partitions:
        _ENTRY.pack_into(
            entries,
            (partition.number - 1) * _ENTRY_BYTES,
            partition.type_guid.bytes_le,
            partition.guid.bytes_le,
            partition.first_sector,
            partition.last_sector,
            0,
            partition.name.encode("utf-16-le"),
        )

    def header(*, at: int, other: int, table: int) -> bytes:
        fields = (b"EFI PART", 0x00010000, _HEADER.size, 0, 0, at, other, 2 + _TABLE_SECTORS,
                  sectors - BACKUP_SECTORS - 1, disk_guid.bytes_le, table, _ENTRIES, _ENTRY_BYTES,
                  zlib.crc32(entries))  # fmt: skip
        unsigned = _HEADER.pack(*fields)
        # The checksum covers the header with zero in the checksum's own place.
        signed = _HEADER.pack(*fields[:3], zlib.crc32(unsigned), *fields[4:])
        return signed.ljust(SECTOR_BYTES, b"\0")

    disk.seek(0)
    disk.write(_protective_mbr(sectors, boot_code))
    disk.write(header(at=1, other=sectors - 1, table=2) + entries)
    disk.seek((sectors - BACKUP_SECTORS) * SECTOR_BYTES)
    disk.write(entries + header(at=sectors - 1, other=1, table=sectors - BACKUP_SECTORS))


def _protective_mbr(sectors: int, boot_code: bytes) -> bytes:
    """One entry of type 0xEE over the whole disk (UEFI 5.2.3), not marked active."""
    entry = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, min(sectors - 1, 0xFFFFFFFF))
    return boot_code.ljust(MBR_CODE_BYTES, b"\0") + bytes(6) + entry + bytes(48) + b"\x55\xaa"
