"""A root file system becomes a disk that boots with BIOS and with UEFI, without mounting anything.

The disk is a sparse file: only what is used takes room. In this order:

    1 MiB   BIOS boot partition   1 MiB    GRUB's core image
    2 MiB   EFI system partition  64 MiB   FAT32, EFI/BOOT/BOOTX64.EFI
    66 MiB  root                  content  ext4; last, so that it can grow to the disk's end at first boot
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images import bootloader
from exasol_like_dss.lib.images.ext4 import ContentSize, make_ext4, measure
from exasol_like_dss.lib.images.identity import DiskIdentity
from exasol_like_dss.lib.images.partitions import (
    BIOS_BOOT,
    EFI_SYSTEM,
    LINUX_ROOT_X86_64,
    MIB,
    SECTOR_BYTES,
    Partition,
    write_gpt,
)
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress

DEFAULT_DISK_BYTES = 100 << 30
_BIOS_BOOT_AT, _BIOS_BOOT_BYTES = MIB, MIB
_ESP_AT, _ESP_BYTES = 2 * MIB, 64 * MIB
_ROOT_AT = _ESP_AT + _ESP_BYTES
#: Room for the backup partition table, in whole MiB.
_END_BYTES = MIB


@dataclass(frozen=True)
class DiskLayout:
    """What has been built. ``partitions``: BIOS boot, EFI system, root."""

    disk: Path
    disk_bytes: int
    partitions: tuple[Partition, ...]
    content_bytes: int

    @property
    def root(self) -> Partition:
        return self.partitions[-1]


def needed_disk_bytes(root: Path) -> int:
    """The smallest disk, in bytes, that ``build_disk`` makes of this directory: for checks before work begins."""
    return _needed(measure(root))


def _needed(content: ContentSize) -> int:
    return _ROOT_AT + content.partition_bytes + _END_BYTES


def prepare_boot(root: Path, *, identity: DiskIdentity) -> None:
    """Writes what the guest needs to boot from this disk: ``/etc/fstab`` and ``/boot/grub/grub.cfg``.

    Raises ``DssError`` when there is no kernel or no initial RAM disk.
    """
    kernel, initrd = bootloader.find_kernel(root)
    (root / "boot/grub").mkdir(parents=True, exist_ok=True)
    (root / "boot/efi").mkdir(mode=0o700, exist_ok=True)
    configuration = bootloader.grub_configuration(kernel, initrd, identity=identity)
    _ensure_text(root / "boot/grub/grub.cfg", configuration, timestamp=identity.timestamp)
    # The EFI partition is not mounted at boot: nothing in a running guest needs it.
    fstab = (
        "# <file system> <mount point> <type> <options> <dump> <pass>\n"
        f"UUID={identity.root_uuid} / ext4 defaults,errors=remount-ro 0 1\n"
        f"UUID={identity.fat_uuid} /boot/efi vfat umask=0077,noauto,nofail 0 0\n"
    )
    _ensure_text(root / "etc/fstab", fstab, timestamp=identity.timestamp)


def _ensure_text(path: Path, text: str, *, timestamp: int) -> None:
    """Writes a file that is not there as wanted. Not touched otherwise: its change time would get onto the disk."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o644)
        os.utime(path, (timestamp, timestamp))


def build_disk(
    *,
    root: Path,
    disk: Path,
    disk_bytes: int,
    identity: DiskIdentity,
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
) -> DiskLayout:
    """Builds the raw disk file ``disk`` of ``disk_bytes`` (rounded down to whole MiB) from the directory ``root``.

    ``root`` gets an fstab and a GRUB configuration (``prepare_boot``). No file is left behind on failure.
    Raises ``InputError`` when the disk is too small for the content or a program is missing, ``DssError`` when there
    is no kernel, and ``ProgramFailed``.
    """
    disk_bytes -= disk_bytes % MIB
    with progress.step("prepare the boot configuration"):
        prepare_boot(root, identity=identity)
    with progress.step("measure the root file system"):
        content = measure(root)
        needed = _needed(content)
        if disk_bytes < needed:
            raise InputError(
                f"The disk of {disk_bytes // MIB} MiB is too small for the content: {needed // MIB} MiB are needed.",
                hint=f"Give a disk of at least {-(-needed // (1 << 30))}G.",
            )
    partitions = (
        Partition(1, "BIOS boot", BIOS_BOOT, identity.bios_boot_guid, _BIOS_BOOT_AT, _BIOS_BOOT_BYTES),
        Partition(2, "EFI system", EFI_SYSTEM, identity.esp_guid, _ESP_AT, _ESP_BYTES),
        Partition(3, "root", LINUX_ROOT_X86_64, identity.root_guid, _ROOT_AT, content.partition_bytes),
    )
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".disk-", dir=disk.parent)))
        stack.push(_removed_on_failure(disk))
        with disk.open("wb") as file:
            file.truncate(disk_bytes)
        with progress.step("fill the root partition"):
            make_ext4(disk, root=root, partition=partitions[2], content=content, identity=identity,
                      programs=programs)  # fmt: skip
        cancellation.check()
        with disk.open("r+b") as file:
            with progress.step("make the EFI system partition"):
                _lay_esp(file, identity=identity, programs=programs, work=work)
            cancellation.check()
            with progress.step("write the boot loader and the partition table"):
                code = _lay_bios_core(file, identity=identity, programs=programs, work=work)
                write_gpt(
                    file,
                    disk_bytes=disk_bytes,
                    disk_guid=identity.disk_guid,
                    partitions=partitions,
                    boot_code=code,
                )
        cancellation.check()
    return DiskLayout(disk, disk_bytes, partitions, content.content_bytes)


def _lay_esp(file: BinaryIO, *, identity: DiskIdentity, programs: Programs, work: Path) -> None:
    """The EFI system partition: firmware without settings starts ``EFI/BOOT/BOOTX64.EFI`` (UEFI 3.5.1.1)."""
    loader = bootloader.grub_image(
        "x86_64-efi", output=work / "BOOTX64.EFI", identity=identity, programs=programs, work=work
    )
    os.utime(loader, (identity.timestamp, identity.timestamp))
    image = work / "esp"
    with image.open("wb") as esp:
        esp.truncate(_ESP_BYTES)
    env = {"SOURCE_DATE_EPOCH": str(identity.timestamp), "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    what = "Making the EFI system partition"
    # One sector per cluster: 64 MiB then have the 65525 clusters that make a FAT a FAT32.
    programs.run(
        ["mkfs.vfat", "-F", "32", "-s", "1", "-S", str(SECTOR_BYTES), "--invariant",
         # After --invariant, which sets an id of its own.
         "-i", f"{identity.fat_volume_id:08x}",
         "-n", "ESP", "-h", str(_ESP_AT // SECTOR_BYTES), str(image)],
        what=what, env=env,
    )  # fmt: skip
    programs.run(["mmd", "-i", str(image), "::/EFI", "::/EFI/BOOT"], what=what, env=env)
    programs.run(["mcopy", "-m", "-i", str(image), str(loader), "::/EFI/BOOT/BOOTX64.EFI"], what=what, env=env)
    copy_data(image, file, at=_ESP_AT)


def _lay_bios_core(file: BinaryIO, *, identity: DiskIdentity, programs: Programs, work: Path) -> bytes:
    """Writes GRUB's core into the BIOS boot partition; returns the code for the disk's first sector."""
    core = bootloader.grub_image("i386-pc", output=work / "core.img", identity=identity, programs=programs, work=work)
    sector = _BIOS_BOOT_AT // SECTOR_BYTES
    file.seek(_BIOS_BOOT_AT)
    file.write(bootloader.bios_core(core.read_bytes(), core_sector=sector, room_bytes=_BIOS_BOOT_BYTES))
    boot_image = (bootloader.grub_folder("i386-pc") / "boot.img").read_bytes()
    return bootloader.bios_boot_code(boot_image, core_sector=sector)


def copy_data(source: Path, file: BinaryIO, *, at: int) -> None:
    """Copies a small image into a sparse file, without the zeros."""
    with source.open("rb") as image:
        offset = 0
        while block := image.read(1 << 16):
            if block.count(0) != len(block):
                file.seek(at + offset)
                file.write(block)
            offset += len(block)


def _removed_on_failure(path: Path) -> Callable[..., None]:
    def leave(kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            path.unlink(missing_ok=True)

    return leave
