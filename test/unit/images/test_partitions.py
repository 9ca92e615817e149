from __future__ import annotations

import io
import struct
import uuid
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.images.partitions import EFI_SYSTEM, LINUX_ROOT_X86_64, MIB, Partition, write_gpt

DISK = uuid.UUID("12345678-1234-5678-9abc-def012345678")


def table(disk_bytes: int, partitions: list[Partition], boot_code: bytes = b"") -> bytes:
    file = io.BytesIO(bytes(disk_bytes))
    write_gpt(file, disk_bytes=disk_bytes, disk_guid=DISK, partitions=partitions, boot_code=boot_code)
    return file.getvalue()


def header(data: bytes, sector: int) -> tuple[int, ...]:
    raw = data[sector * 512 : sector * 512 + 92]
    magic, revision, size, checksum, _ = struct.unpack_from("<8sIIII", raw)
    assert (magic, revision, size) == (b"EFI PART", 0x00010000, 92)
    assert zlib.crc32(raw[:16] + bytes(4) + raw[20:]) == checksum
    assert raw[56:72] == DISK.bytes_le
    return struct.unpack_from("<QQQQ16xQIII", raw, 24)


@settings(deadline=None)
@given(mib=st.integers(4, 40), root_mib=st.integers(1, 2))
def test_both_tables_are_whole_and_the_same(mib: int, root_mib: int) -> None:
    guid = uuid.uuid4()
    data = table(mib * MIB, [Partition(3, "root", LINUX_ROOT_X86_64, guid, MIB, root_mib * MIB)])
    sectors = mib * MIB // 512
    at, other, first, last, entries_at, count, size, checksum = header(data, 1)
    assert (at, other, first, last, entries_at, count, size) == (1, sectors - 1, 34, sectors - 34, 2, 128, 128)
    at, other, first, last, entries_at, _, _, backup_checksum = header(data, sectors - 1)
    assert (at, other, first, last, entries_at) == (sectors - 1, 1, 34, sectors - 34, sectors - 33)
    entries = data[1024 : 34 * 512]
    assert zlib.crc32(entries) == checksum == backup_checksum
    assert data[(sectors - 33) * 512 : (sectors - 1) * 512] == entries
    assert entries[:256] == bytes(256)
    kind, this, start, end, attributes, name = struct.unpack_from("<16s16sQQQ72s", entries, 256)
    assert (kind, this) == (LINUX_ROOT_X86_64.bytes_le, guid.bytes_le)
    assert (start * 512, (end + 1) * 512) == (MIB, MIB + root_mib * MIB)
    assert (attributes, name.decode("utf-16-le").rstrip("\0")) == (0, "root")


def test_boot_code_leaves_the_protective_entry_alone() -> None:
    data = table(4 * MIB, [Partition(1, "ESP", EFI_SYSTEM, uuid.uuid4(), MIB, MIB)], b"\xfa" * 440)
    assert data[:440] == b"\xfa" * 440
    assert data[446:462] == bytes.fromhex("00000200eeffffff01000000") + struct.pack("<I", 4 * MIB // 512 - 1)
    assert data[462:512] == bytes(48) + b"\x55\xaa"


def test_boot_code_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="441 bytes"):
        table(4 * MIB, [], b"a" * 441)
