"""The disk and the image formats, judged by programs that are not ours.

Needs root (device nodes and owners in a root file system), and e2fsprogs, dosfstools, mtools, gdisk, qemu-utils,
qemu-system-x86, ovmf, grub-common, grub-pc-bin, grub-efi-amd64-bin.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.disk import DiskLayout, build_disk, needed_disk_bytes
from exasol_like_dss.lib.images.formats import ImageDescription, VmImageFormat, WrittenImage, write_formats
from exasol_like_dss.lib.images.formats.reader import inspect_image, qemu_source
from exasol_like_dss.lib.images.formats.vhd import geometry
from exasol_like_dss.lib.images.identity import DiskIdentity
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress

MIB = 1 << 20
GIB = 1 << 30
IDENTITY = DiskIdentity("integration", timestamp=1_700_000_000)
#: cap_net_raw+ep, as setcap writes it (linux/capability.h, vfs_cap_data revision 2).
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def run(*argv: str | Path) -> str:
    done = subprocess.run(
        [str(each) for each in argv], capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C"},
    )  # fmt: skip
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# The disk


def build(root: Path, disk: Path, disk_bytes: int = 20 * GIB) -> DiskLayout:
    return build_disk(root=root, disk=disk, disk_bytes=disk_bytes, identity=IDENTITY, programs=Programs(),
                      progress=Progress(), cancellation=Cancellation())  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not a system, but one of every kind of file. The kernel is none, so the boot loader says so."""
    root = tmp_path_factory.mktemp("rootfs") / "root"
    for folder in ("boot", "etc", "dev", "home/user", "many"):
        (root / folder).mkdir(parents=True)
    for name in ("vmlinuz-1", "initrd.img-1"):
        (root / "boot" / name).write_bytes(b"no kernel" * 1000)
        link = root / name.removesuffix("-1")
        link.symlink_to(f"boot/{name}")
        link.with_name(link.name + ".old").symlink_to(f"boot/{name}")
    (root / "etc/shadow").write_text("secret")
    (root / "etc/shadow").chmod(0o640)
    os.chown(root / "etc/shadow", 0, 42)
    (root / "home/user/file").write_text("mine")
    (root / "home/user/file").chmod(0o4711)
    os.chown(root / "home/user/file", 1000, 1001)
    (root / "home/user/file").chmod(0o4711)
    os.link(root / "home/user/file", root / "home/again")
    (root / "home/long").symlink_to("x" * 200)
    (root / "ping").write_text("ping")
    os.setxattr(root / "ping", "security.capability", CAPABILITY)
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for number in range(3000):
        (root / "many" / f"file-{number}").write_text(str(number))
    return root


@pytest.fixture(scope="module")
def disk(root: Path, tmp_path_factory: pytest.TempPathFactory) -> DiskLayout:
    return build(root, tmp_path_factory.mktemp("disk") / "disk.raw")


@pytest.fixture(scope="module")
def root_partition(disk: DiskLayout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    partition = tmp_path_factory.mktemp("partition") / "root"
    extract(disk, 3, partition)
    return partition


def extract(disk: DiskLayout, number: int, to: Path) -> None:
    partition = disk.partitions[number - 1]
    run("dd", f"if={disk.disk}", f"of={to}", "bs=1M", f"skip={partition.start_bytes // MIB}",
        f"count={partition.size_bytes // MIB}", "conv=sparse")  # fmt: skip
    os.truncate(to, partition.size_bytes)


def test_partition_table(disk: DiskLayout) -> None:
    assert "No problems found" in run("sgdisk", "--verify", disk.disk)
    table = run("sgdisk", "--print", disk.disk)
    assert [line.split()[5] for line in table.splitlines() if line.split()[:1] in (["1"], ["2"], ["3"])] == [
        "EF02", "EF00", "8304",
    ]  # fmt: skip
    assert str(IDENTITY.disk_guid).upper() in table
    assert disk.disk.stat().st_size == disk.disk_bytes == 20 * GIB


def test_the_disk_is_sparse(disk: DiskLayout) -> None:
    used = disk.disk.stat().st_blocks * 512
    assert used < disk.content_bytes + 32 * MIB


def test_root_file_system(root_partition: Path) -> None:
    run("e2fsck", "-f", "-n", root_partition)
    header = run("dumpe2fs", "-h", root_partition)
    assert str(IDENTITY.root_uuid) in header
    assert "metadata_csum_seed" not in header
    assert "orphan_file" not in header

    def debugfs(command: str) -> str:
        return run("debugfs", "-R", command, root_partition)

    file = debugfs("stat /home/user/file")
    assert "User:  1000   Group:  1001" in file
    assert "Mode:  04711" in file
    assert "Links: 2" in file
    assert file.split("Inode:")[1].split()[0] == debugfs("stat /home/again").split("Inode:")[1].split()[0]
    assert "Group:    42" in debugfs("stat /etc/shadow")
    assert "character special" in debugfs("stat /dev/null").lower()
    assert "security.capability" in debugfs("ea_list /ping")
    assert "x" * 200 in debugfs("stat /home/long") or "Size: 200" in debugfs("stat /home/long")
    assert debugfs("cat /many/file-2999") == "2999"
    assert f"UUID={IDENTITY.root_uuid} / ext4" in debugfs("cat /etc/fstab")


def test_the_root_file_system_grows(disk: DiskLayout, root_partition: Path, tmp_path: Path) -> None:
    """What first boot does, with the same programs, but on a file."""
    copy = tmp_path / "root"
    run("cp", "--sparse=always", root_partition, copy)
    os.truncate(copy, 20 * GIB - disk.root.start_bytes - MIB)
    run("e2fsck", "-f", "-n", copy)
    run("resize2fs", copy)
    run("e2fsck", "-f", "-n", copy)


def test_efi_system_partition(disk: DiskLayout, tmp_path: Path) -> None:
    extract(disk, 2, tmp_path / "esp")
    run("fsck.vfat", "-n", tmp_path / "esp")
    run("mcopy", "-i", tmp_path / "esp", "::/EFI/BOOT/BOOTX64.EFI", tmp_path / "loader")
    assert (tmp_path / "loader").read_bytes()[:2] == b"MZ"
    serial = run("mdir", "-i", tmp_path / "esp", "::/").upper()
    assert IDENTITY.fat_uuid in serial


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_both_firmwares_reach_the_kernel(disk: DiskLayout, firmware: str, tmp_path: Path) -> None:
    """GRUB is loaded, finds the root file system and its configuration there, and looks at the (no) kernel."""
    command = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "256", "-display", "none",
               "-monitor", "none", "-nic", "none", "-snapshot", "-serial", f"file:{tmp_path}/serial",
               "-drive", f"file={disk.disk},format=raw,if=virtio"]  # fmt: skip
    if firmware == "uefi":
        shutil.copy("/usr/share/OVMF/OVMF_VARS_4M.fd", tmp_path / "vars")
        command += ["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
                    "-drive", f"if=pflash,format=raw,file={tmp_path}/vars"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        seen = b""
        deadline = time.monotonic() + 90
        while b"magic number" not in seen and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
            seen = (tmp_path / "serial").read_bytes() if (tmp_path / "serial").exists() else b""
        assert b"magic number" in seen, seen[-2000:]
    finally:
        process.kill()
        process.wait()


def test_two_builds_are_the_same_disk(root: Path, disk: DiskLayout, root_partition: Path, tmp_path: Path) -> None:
    """Also after somebody has looked into the directory."""
    for file in root.rglob("*"):
        os.utime(file, ns=(time.time_ns(), file.lstat().st_mtime_ns), follow_symlinks=False)
    last = run("debugfs", "-R", "stat /many/file-2999", root_partition)
    assert last.count(f"{IDENTITY.timestamp:#x}:00000000") == 3, "all but the modification time"
    second = build(root, tmp_path / "disk.raw")
    first = write(disk.disk, tmp_path / "1", VmImageFormat.VMDK)
    again = write(second.disk, tmp_path / "2", VmImageFormat.VMDK)
    assert first[0].sha256 == again[0].sha256


def test_disks_that_cannot_be_built(root: Path, tmp_path: Path) -> None:
    needed = needed_disk_bytes(root)
    with pytest.raises(InputError, match=f"{needed // MIB} MiB are needed"):
        build(root, tmp_path / "disk", needed - MIB)
    run("sgdisk", "--verify", build(root, tmp_path / "smallest", needed).disk)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DssError, match="no kernel"):
        build(tmp_path / "empty", tmp_path / "disk")
    assert not (tmp_path / "disk").exists()
    assert not list(tmp_path.glob(".disk-*"))


# The formats


@dataclass(frozen=True)
class Case:
    """A raw image: its size, and what is where."""

    size_bytes: int
    content: Mapping[int, bytes]

    def make(self, path: Path) -> Path:
        with path.open("wb") as file:
            for offset, data in self.content.items():
                file.seek(offset)
                file.write(data)
            file.truncate(self.size_bytes)
        return path


RANDOM = Random(7).randbytes(20 * MIB)
CASES = {
    "one sector": Case(512, {0: b"x"}),
    "one empty sector": Case(512, {}),
    "less than a grain": Case(65536 - 512, {65536 - 600: b"end"}),
    "one sector more than a grain": Case(65536 + 512, {65536: b"end"}),
    "no whole sectors": Case(1_000_003, {1_000_000: b"end"}),
    "one table": Case(32 * MIB, {0: b"a", 32 * MIB - 1: b"z"}),
    "one sector more than a table": Case(32 * MIB + 512, {32 * MIB: b"z" * 512}),
    "incompressible": Case(20 * MIB, {0: RANDOM}),
    "compressible": Case(50 * MIB, {7: b"some text, over and over " * 1_000_000}),
    "scattered": Case(300 * MIB, {n * 14 * MIB + n * 511: RANDOM[n * 1000 :][: 70_000 + n] for n in range(20)}),
    "all zeros": Case(200 * MIB, {}),
    "300 GiB, data at both ends": Case(300 * GIB, {0: RANDOM[:100_000], 300 * GIB - 100_000: RANDOM[:100_000]}),
}


def write(source: Path, directory: Path, *formats: VmImageFormat) -> list[WrittenImage]:
    directory.mkdir(exist_ok=True)
    return write_formats(
        source=source, formats=formats, directory=directory, stem="box-1.0",
        description=ImageDescription("box-1.0", timestamp=IDENTITY.timestamp), programs=Programs(),
        progress=Progress(), cancellation=Cancellation(),
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_format_holds_the_source(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = case.make(tmp_path / "source")
    # The SHA-256 of RAW and VHD covers their zeros, which takes a minute for 100 GiB: not in this test.
    small = case.size_bytes <= GIB
    formats = list(VmImageFormat) if small else [VmImageFormat.VMDK, VmImageFormat.OVA]
    for image in write(source, tmp_path / "out", *formats):
        path = str(image.path)
        assert image.size_bytes == image.path.stat().st_size
        if small:
            assert image.sha256 == sha256(image.path)
        if image.format is VmImageFormat.RAW:
            run("cmp", source, path)
            continue
        if image.format is VmImageFormat.OVA:
            unpacked(image.path, tmp_path / "unpacked")
        info = inspect_image(image.path, Programs(), deep=True)
        assert info.format is image.format
        if not small and image.format is VmImageFormat.OVA:
            continue  # its disk is the VMDK, bit by bit, as the manifest says
        assert 0 <= info.virtual_bytes - case.size_bytes < (MIB if image.format is VmImageFormat.VHD else 512)
        run("qemu-img", "compare", "-f", "raw", source, qemu_source(info))
        if image.format in (VmImageFormat.VMDK, VmImageFormat.QCOW2):
            run("qemu-img", "check", "-f", info.qemu_driver, path)


def unpacked(ova: Path, to: Path) -> Path:
    """Unpacked with tar, and compared with its manifest by sha256sum. Returns the disk."""
    to.mkdir()
    run("tar", "-C", to, "-xf", ova)
    assert run("tar", "-tf", ova).split() == ["box-1.0.ovf", "box-1.0.mf", "box-1.0.vmdk"]
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "box-1.0.mf"], cwd=to, check=True)
    return to / "box-1.0.vmdk"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_two_runs_are_bit_identical(tmp_path: Path) -> None:
    formats = list(VmImageFormat)
    source = CASES["scattered"].make(tmp_path / "source")
    copy = tmp_path / "copy"
    run("cp", "--sparse=never", source, copy)
    one = write(source, tmp_path / "1", *formats)
    two = write(copy, tmp_path / "2", *formats)
    assert [image.sha256 for image in one] == [image.sha256 for image in two], "holes make no difference"


@pytest.mark.parametrize(
    ("qemu_name", "qemu_options", "kind"),
    [
        ("vmdk", "subformat=streamOptimized", VmImageFormat.VMDK),
        ("vmdk", "subformat=monolithicSparse", VmImageFormat.VMDK),
        ("vmdk", "subformat=monolithicFlat", VmImageFormat.VMDK),
        ("vpc", "subformat=fixed,force_size=on", VmImageFormat.VHD),
        ("vpc", "subformat=dynamic", VmImageFormat.VHD),
        ("qcow2", "compat=0.10", VmImageFormat.QCOW2),
        ("qcow2", "compat=1.1", VmImageFormat.QCOW2),
    ],
)
def test_images_of_others(qemu_name: str, qemu_options: str, kind: VmImageFormat, tmp_path: Path) -> None:
    source = Case(70 * MIB, {0: RANDOM[: 5 * MIB], 40 * MIB: RANDOM[:MIB]}).make(tmp_path / "source")
    image = tmp_path / "image"
    run("qemu-img", "convert", "-O", qemu_name, "-o", qemu_options, "-f", "raw", source, image)
    info = inspect_image(image, Programs(), deep=True)
    assert info.format is kind
    assert 70 * MIB <= info.virtual_bytes < 71 * MIB
    run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-F", info.qemu_driver, "-b", qemu_source(info), tmp_path / "overlay"
    )
    run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", source, tmp_path / "overlay")
    if "Flat" in qemu_options:
        (tmp_path / "image-flat.vmdk").unlink(missing_ok=True)
        next(iter(tmp_path.glob("image*flat*")), tmp_path / "none").unlink(missing_ok=True)
    else:
        os.truncate(image, image.stat().st_size * 2 // 3)
        if kind is VmImageFormat.VHD and "fixed" in qemu_options:
            image = image.rename(tmp_path / "image.vhd")  # a raw disk otherwise
    with pytest.raises(InputError):
        inspect_image(image, Programs())


def test_an_overlay_on_every_format(tmp_path: Path, disk: DiskLayout) -> None:
    """What verify-vm does: a throw-away overlay over whatever the user gives, nothing unpacked."""
    formats = [VmImageFormat.VMDK, VmImageFormat.OVA, VmImageFormat.QCOW2]
    sources = [disk.disk, *[image.path for image in write(disk.disk, tmp_path / "out", *formats)]]
    for number, source in enumerate(sources):
        info = inspect_image(source, Programs(), deep=True)
        assert info.virtual_bytes == disk.disk_bytes
        overlay = tmp_path / f"overlay-{number}"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", info.qemu_driver, "-b", qemu_source(info), overlay)
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", disk.disk, overlay)


@pytest.mark.parametrize("mib", [1, 3, 17, 100, 500, 504, 505, 1024, 8000, 32768, 130_000, 200_000])
def test_vhd_geometry_is_that_of_others(mib: int, tmp_path: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=dynamic", tmp_path / "vhd", f"{mib}M")
    footer = (tmp_path / "vhd").read_bytes()[:512]
    (current_bytes,) = struct.unpack_from(">Q", footer, 48)
    assert struct.unpack_from(">HBB", footer, 56) == geometry(current_bytes // 512)
