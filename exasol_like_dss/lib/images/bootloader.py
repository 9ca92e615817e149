"""GRUB for BIOS and for UEFI, put into place without running a guest's programs and without mounting anything.

Both loaders carry all modules that they need, and a configuration that finds the root file system by its UUID; the rest
is in ``/boot/grub/grub.cfg`` there. So the two work with any GRUB of the host (2.06 and 2.12 are known), and none needs
to be installed in the guest.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.identity import DiskIdentity
from exasol_like_dss.lib.images.partitions import MBR_CODE_BYTES, SECTOR_BYTES

GRUB_MODULES = Path("/usr/lib/grub")
_PACKAGES = {"i386-pc": "grub-pc-bin", "x86_64-efi": "grub-efi-amd64-bin"}
_MODULES = ("part_gpt", "part_msdos", "ext2", "fat", "search", "search_fs_uuid", "normal", "configfile", "linux",
            "echo", "test", "sleep", "cat", "ls", "minicmd", "reboot", "halt", "serial", "terminal",
            "all_video")  # fmt: skip

# GRUB's source, include/grub/i386/pc/boot.h: where boot.img keeps the 64-bit sector of the core image, and where two
# NOPs in place of a jump make it distrust the drive number that the BIOS passes (what grub-bios-setup does for a disk).
_KERNEL_SECTOR_AT = 0x5C
_DRIVE_CHECK_AT = 0x66
# The core's first sector (diskboot.S) ends with a list of blocks, the first one at the very end: sector (64 bits),
# number of sectors, and the real mode segment to load them to.
_BLOCK_LIST = struct.Struct("<QHH")
_CORE_SEGMENT = 0x0820


def grub_image(platform: str, *, output: Path, identity: DiskIdentity, programs: Programs, work: Path) -> Path:
    """Makes a loader with ``grub-mkimage``: the core for ``i386-pc``, the program for ``x86_64-efi``.

    Raises ``InputError`` when GRUB's modules for the platform are not installed.
    """
    folder = grub_folder(platform)
    configuration = work / "embedded.cfg"
    configuration.write_text(
        f"search --no-floppy --fs-uuid --set=root {identity.root_uuid}\n"
        "set prefix=($root)/boot/grub\n"
        "configfile $prefix/grub.cfg\n"
    )
    modules = (*_MODULES, "biosdisk") if platform == "i386-pc" else _MODULES
    programs.run(
        ["grub-mkimage", "-O", platform, "-d", str(folder), "-o", str(output), "-p", "/boot/grub",
         "-c", str(configuration), *modules],
        what="Making the boot loader",
    )  # fmt: skip
    return output


def grub_folder(platform: str) -> Path:
    """Where GRUB's modules for a platform are. Raises ``InputError`` with the package that has them."""
    folder = GRUB_MODULES / platform
    if not (folder / "moddep.lst").is_file():
        raise InputError(
            f"GRUB's modules for {platform} are not installed.",
            hint=f"Install them: apt-get install {_PACKAGES[platform]}",
        )
    return folder


def bios_boot_code(boot_image: bytes, *, core_sector: int) -> bytes:
    """What stands in the first 440 bytes of the disk: GRUB's boot.img, told where the core image begins."""
    code = bytearray(boot_image[:MBR_CODE_BYTES])
    struct.pack_into("<Q", code, _KERNEL_SECTOR_AT, core_sector)
    code[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + 2] = b"\x90\x90"
    return bytes(code)


def bios_core(core_image: bytes, *, core_sector: int, room_bytes: int) -> bytes:
    """The core image for its place on the disk: its first sector loads all others, which follow without a gap."""
    if len(core_image) > room_bytes:
        raise DssError(f"GRUB's core image of {len(core_image)} bytes does not fit into its {room_bytes} bytes.")
    sectors = -(-len(core_image) // SECTOR_BYTES)
    core = bytearray(core_image.ljust(sectors * SECTOR_BYTES, b"\0"))
    _BLOCK_LIST.pack_into(core, SECTOR_BYTES - _BLOCK_LIST.size, core_sector + 1, sectors - 1, _CORE_SEGMENT)
    return bytes(core)


def find_kernel(root: Path) -> tuple[str, str]:
    """The kernel and the initial RAM disk as seen in the guest: the links that its kernel packages keep up to date.

    Debian keeps ``/vmlinuz`` and ``/initrd.img``; Ubuntu keeps them in ``/boot``. Raises ``DssError`` when there are
    none, or when they point to nothing.
    """
    for folder in ("/", "/boot/"):
        pair = (f"{folder}vmlinuz", f"{folder}initrd.img")
        if all(_is_file(root, path) for path in pair):
            return pair
    present = [path for path in ("vmlinuz", "boot/vmlinuz") if _is_file(root, f"/{path}")]
    what = "initial RAM disk (initrd.img)" if present else "kernel (vmlinuz)"
    raise DssError(
        f"The root file system has no {what} in / or /boot.",
        hint="Install a kernel with an initramfs into it, for example linux-image-amd64 or linux-image-virtual.",
    )


def grub_configuration(kernel: str, initrd: str, *, identity: DiskIdentity) -> str:
    """``/boot/grub/grub.cfg``: static, because kernel updates move the links that it names."""

    def entry(title: str, suffix: str) -> Sequence[str]:
        return (
            f'menuentry "{title}" {{',
            f"    linux {kernel}{suffix} root=UUID={identity.root_uuid} ro console=tty0 console=ttyS0,115200n8",
            f"    initrd {initrd}{suffix}",
            "}",
        )

    return "\n".join(
        (
            "# Static. A kernel update moves the links below, and needs no update-grub.",
            f"search --no-floppy --fs-uuid --set=root {identity.root_uuid}",
            "# Machines without a serial port keep their console: the command fails there.",
            "if serial --unit=0 --speed=115200; then",
            "    terminal_input console serial",
            "    terminal_output console serial",
            "fi",
            "set default=0",
            "set fallback=1",
            "set timeout=1",
            *entry("Linux", ""),
            *entry("Linux, the previous kernel", ".old"),
            "",
        )
    )


def _is_file(root: Path, path: str) -> bool:
    """Whether ``path`` is a file when links are followed as the guest would: absolute ones start at ``root``."""
    at = root / path.lstrip("/")
    for _ in range(8):
        if not at.is_symlink():
            return at.is_file()
        target = at.readlink()
        at = root / str(target).lstrip("/") if target.is_absolute() else at.parent / target
    return False
