from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.formats import VmImageFormat
from exasol_like_dss.lib.images.formats.reader import inspect_image, qemu_source
from exasol_like_dss.lib.images.identity import DiskIdentity
from exasol_like_dss.lib.images.partitions import EFI_SYSTEM, MIB, Partition, write_gpt
from test.unit.images.conftest import make_image, write

SIZE = 40 * MIB


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[VmImageFormat, Path]:
    """One small partitioned disk in our own formats."""
    folder = tmp_path_factory.mktemp("images")
    source = make_image(folder / "source", SIZE, {3 * MIB: Random(1).randbytes(2_000_000), 38 * MIB: b"end" * 1000})
    identity = DiskIdentity("test", 1)
    with source.open("r+b") as file:
        write_gpt(file, disk_bytes=SIZE, disk_guid=identity.disk_guid,
                  partitions=[Partition(1, "data", EFI_SYSTEM, identity.esp_guid, MIB, 2 * MIB)])  # fmt: skip
    ours = (VmImageFormat.RAW, VmImageFormat.VMDK, VmImageFormat.VHD, VmImageFormat.OVA)
    return {each.format: each.path for each in write(source, *ours, directory=folder)}


@pytest.mark.parametrize(
    ("kind", "driver"),
    [
        (VmImageFormat.RAW, "raw"),
        (VmImageFormat.VMDK, "vmdk"),
        (VmImageFormat.VHD, "vpc"),
        (VmImageFormat.OVA, "vmdk"),
    ],
)
@pytest.mark.parametrize("deep", [False, True])
def test_our_own_images(images: dict[VmImageFormat, Path], kind: VmImageFormat, driver: str, deep: bool) -> None:
    info = inspect_image(images[kind], Programs(), deep=deep)
    assert (info.format, info.virtual_bytes, info.qemu_driver) == (kind, SIZE, driver)
    assert info.file_bytes == images[kind].stat().st_size
    scheme, source = qemu_source(info).split(":", 1)
    assert scheme == "json"
    parsed = json.loads(source)
    assert parsed["driver"] == driver
    if kind is VmImageFormat.OVA:
        disk = images[kind].read_bytes()[info.disk_offset : info.disk_offset + info.disk_bytes]
        assert disk == images[VmImageFormat.VMDK].read_bytes()
        assert (parsed["file"]["offset"], parsed["file"]["size"]) == (info.disk_offset, info.disk_bytes)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0, 0.99999))
@pytest.mark.parametrize("kind", [VmImageFormat.RAW, VmImageFormat.VMDK, VmImageFormat.VHD, VmImageFormat.OVA])
def test_cut_images_are_refused(
    images: dict[VmImageFormat, Path], tmp_path: Path, kind: VmImageFormat, share: float
) -> None:
    data = images[kind].read_bytes()
    if kind is VmImageFormat.OVA:
        data = data.rstrip(b"\0") + bytes(1024)
    cut = tmp_path / f"cut.{kind.extension}"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError) as caught:
        inspect_image(cut, Programs())
    assert str(cut) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("kind", [VmImageFormat.VMDK, VmImageFormat.OVA])
def test_damage_inside_is_found_by_a_deep_check(
    images: dict[VmImageFormat, Path], tmp_path: Path, kind: VmImageFormat
) -> None:
    data = bytearray(images[kind].read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|differs"):
        inspect_image(damaged, Programs(), deep=True)


def test_vhd_with_a_damaged_footer(images: dict[VmImageFormat, Path], tmp_path: Path) -> None:
    data = bytearray(images[VmImageFormat.VHD].read_bytes())
    data[-500] ^= 1
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(InputError, match="damaged VHD footer"):
        inspect_image(tmp_path / "image", Programs())


def test_gpt_with_a_flipped_bit(images: dict[VmImageFormat, Path], tmp_path: Path) -> None:
    data = bytearray(images[VmImageFormat.RAW].read_bytes())
    data[512 + 40] ^= 1
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(InputError, match="damaged partition table"):
        inspect_image(tmp_path / "image", Programs())


def no_tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, "file")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_text("hello"), "no disk image"),
        (lambda path: path.write_bytes(bytes(1 << 20)), "no disk image"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.mkdir(), "directory"),
        (Path.exists, "There is no file"),
        (lambda path: path.write_bytes(gzip.compress(b"x")), "gzip"),
        (lambda path: path.write_bytes(b"vhdxfile" + bytes(1000)), "VHDX"),
        (lambda path: path.write_bytes(b"KDMV" + b"\xff" * 1000), "damaged"),
        (lambda path: path.write_bytes(b"QFI\xfb"), "cut short"),
        (no_tar, "no OVF descriptor"),
    ],
)
def test_no_images(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    path = tmp_path / "image.img"
    make(path)
    with pytest.raises(InputError, match=says) as caught:
        inspect_image(path, Programs())
    assert caught.value.hint
