from __future__ import annotations

import struct
from pathlib import Path

import pytest

from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images import bootloader
from exasol_like_dss.lib.images.disk import prepare_boot
from exasol_like_dss.lib.images.identity import DiskIdentity

IDENTITY = DiskIdentity("test", 1)


def test_boot_code_is_told_where_the_core_is() -> None:
    code = bootloader.bios_boot_code(b"\xeb\x63" + bytes(510), core_sector=2048)
    assert len(code) == 440
    assert code[0x5C:0x64] == struct.pack("<Q", 2048)
    assert code[0x66:0x68] == b"\x90\x90"


def test_core_is_told_where_its_rest_is() -> None:
    core = bootloader.bios_core(b"\1" * 1300, core_sector=2048, room_bytes=4096)
    assert len(core) == 3 * 512
    assert core[500:512] == struct.pack("<QHH", 2049, 2, 0x820)
    with pytest.raises(DssError, match="does not fit"):
        bootloader.bios_core(b"\1" * 1300, core_sector=2048, room_bytes=1024)


def root_with(root: Path, *files: str, links: dict[str, str]) -> Path:
    (root / "boot").mkdir(parents=True)
    (root / "etc").mkdir()
    for file in files:
        (root / file).write_text("")
    for link, target in links.items():
        (root / link).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({"vmlinuz": "boot/vmlinuz-6", "initrd.img": "boot/initrd.img-6"}, ("/vmlinuz", "/initrd.img")),
        ({"vmlinuz": "/boot/vmlinuz-6", "initrd.img": "/boot/initrd.img-6"}, ("/vmlinuz", "/initrd.img")),
        ({"boot/vmlinuz": "vmlinuz-6", "boot/initrd.img": "initrd.img-6"}, ("/boot/vmlinuz", "/boot/initrd.img")),
    ],
)
def test_kernel_links_of_both_distributions(tmp_path: Path, links: dict[str, str], expected: tuple[str, str]) -> None:
    root = root_with(tmp_path / "root", "boot/vmlinuz-6", "boot/initrd.img-6", links=links)
    assert bootloader.find_kernel(root) == expected


@pytest.mark.parametrize(
    ("files", "links", "what"),
    [
        ((), {}, "kernel"),
        (("boot/initrd.img-6",), {"vmlinuz": "boot/vmlinuz-6", "initrd.img": "boot/initrd.img-6"}, "kernel"),
        (("boot/vmlinuz-6",), {"vmlinuz": "boot/vmlinuz-6"}, "initial RAM disk"),
        ((), {"vmlinuz": "vmlinuz", "initrd.img": "initrd.img"}, "kernel"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, files: tuple[str, ...], links: dict[str, str], what: str) -> None:
    root = root_with(tmp_path / "root", *files, links=links)
    with pytest.raises(DssError, match=what) as caught:
        prepare_boot(root, identity=IDENTITY)
    assert caught.value.hint
    assert not (root / "etc/fstab").exists()


def test_boot_files_name_the_disk(tmp_path: Path) -> None:
    links = {"vmlinuz": "boot/vmlinuz-6", "initrd.img": "boot/initrd.img-6"}
    root = root_with(tmp_path / "root", "boot/vmlinuz-6", "boot/initrd.img-6", links=links)
    prepare_boot(root, identity=IDENTITY)
    prepare_boot(root, identity=IDENTITY)
    fstab = (root / "etc/fstab").read_text()
    assert f"UUID={IDENTITY.root_uuid} / ext4 " in fstab
    assert f"UUID={IDENTITY.fat_uuid} /boot/efi vfat " in fstab
    grub = (root / "boot/grub/grub.cfg").read_text()
    assert f"linux /vmlinuz root=UUID={IDENTITY.root_uuid} ro console=tty0 console=ttyS0,115200n8" in grub
    assert "initrd /initrd.img.old" in grub
    assert (root / "boot/efi").is_dir()


def test_missing_modules_name_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootloader, "GRUB_MODULES", tmp_path)
    with pytest.raises(InputError) as caught:
        bootloader.grub_folder("i386-pc")
    assert "grub-pc-bin" in caught.value.hint
