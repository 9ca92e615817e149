"""Images are compared file by file, with a reader of our own; and what settles a root file system."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.compare import compare_images
from exasol_like_dss.lib.images.ext4 import make_ext4, measure
from exasol_like_dss.lib.images.identity import DiskIdentity, password_salt
from exasol_like_dss.lib.images.partitions import LINUX_ROOT_X86_64, MIB, Partition, write_gpt
from exasol_like_dss.lib.images.settle import settle
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress

TIME = 1_700_000_000


def image(root: Path, disk: Path, *, seed: str = "x") -> Path:
    identity = DiskIdentity(seed=seed, timestamp=TIME)
    content = measure(root)
    partition = Partition(3, "root", LINUX_ROOT_X86_64, identity.root_guid, 2 * MIB, content.partition_bytes)
    disk_bytes = content.partition_bytes + 4 * MIB
    with disk.open("wb") as file:
        file.truncate(disk_bytes)
    make_ext4(disk, root=root, partition=partition, content=content, identity=identity, programs=Programs())
    with disk.open("r+b") as file:
        write_gpt(file, disk_bytes=disk_bytes, disk_guid=identity.disk_guid, partitions=[partition], boot_code=b"")
    return disk


def differences(first: Path, second: Path) -> list[tuple[str, str]]:
    found = compare_images(first, second, programs=Programs(), progress=Progress(), cancellation=Cancellation())
    return [(each.where, each.what.partition(",")[0]) for each in found if each.where != "disk"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "many").mkdir(parents=True)
    for number in range(700):  # a hashed folder
        (root / f"many/{number:05}-{'n' * 60}").write_text(str(number))
    (root / "big").write_bytes(os.urandom(3 * MIB))
    (root / "holes").touch()
    os.truncate(root / "holes", 8 * MIB)
    with (root / "holes").open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"data")
    (root / "short").symlink_to("big")
    (root / "long").symlink_to("x" * 200)
    (root / "other name").hardlink_to(root / "big")
    for path in [root, *root.rglob("*")]:
        os.utime(path, (TIME - 100, TIME - 100), follow_symlinks=False)
    return root


def wrote(path: Path, change: Callable[[Path], object]) -> None:
    change(path)
    os.utime(path, (TIME - 100, TIME - 100))


def test_the_same_folder_twice_is_the_same(root: Path, tmp_path: Path) -> None:
    one, two = image(root, tmp_path / "1.raw"), image(root, tmp_path / "2.raw")
    assert differences(one, two) == []
    assert one.read_bytes() == two.read_bytes()


def test_every_kind_of_difference_is_named(root: Path, tmp_path: Path) -> None:
    one = image(root, tmp_path / "1.raw")
    many = sorted((root / "many").iterdir())
    wrote(root / "holes", lambda path: os.pwrite(os.open(path, os.O_WRONLY), b"!", 6 * MIB))
    wrote(many[0], lambda path: path.write_text("another length"))
    many[1].chmod(0o600)
    os.utime(many[2], (TIME, TIME))
    many[3].unlink()
    os.utime(root / "many", (TIME - 100, TIME - 100))
    (root / "long").unlink()
    (root / "long").symlink_to("y" * 200)
    os.utime(root / "long", (TIME - 100, TIME - 100), follow_symlinks=False)
    (root / "short").unlink()
    (root / "short").mkdir()
    os.utime(root / "short", (TIME - 100, TIME - 100))
    os.utime(root, (TIME - 100, TIME - 100))
    found = differences(one, image(root, tmp_path / "2.raw"))
    expected = {
        ("/holes", "content"), (f"/many/{many[0].name}", "size"), (f"/many/{many[1].name}", "mode"),
        (f"/many/{many[2].name}", "time"), (f"/many/{many[3].name}", "there"), ("/long", "target"), ("/short", "kind"),
    }  # fmt: skip
    assert expected <= set(found)
    assert {where for where, _ in found} - {"/"} == {where for where, _ in expected}


def test_identifiers_are_named_and_a_qcow2_is_read(root: Path, tmp_path: Path) -> None:
    one = image(root, tmp_path / "1.raw")
    assert {("root file system", "UUID"), ("root file system", "hash seed"), ("partition root", "guid")} <= set(
        differences(one, image(root, tmp_path / "2.raw", seed="y"))
    )
    subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", one, tmp_path / "1.qcow2"], check=True)
    assert differences(one, tmp_path / "1.qcow2") == []


def test_what_is_no_image_is_wrong_input(root: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no image")
    with pytest.raises(InputError):
        differences(image(root, tmp_path / "1.raw"), tmp_path / "text")


def test_settling_clamps_times_and_keeps_byte_code_valid(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/shadow").write_text("root:*:20500:0:99999:7:::\nold:*:100:0:99999:7:::\nuser:x:0:0:::: \n")
    module = tmp_path / "module.py"
    module.write_text("ANSWER = 42\n")
    compiled = Path(py_compile.compile(str(module), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP) or "")
    old = tmp_path / "old"
    old.write_text("")
    os.utime(old, (5, 5))
    settle(tmp_path, timestamp=TIME)
    assert old.stat().st_mtime == 5
    assert {path.stat().st_mtime for path in (tmp_path, module, compiled, tmp_path / "etc")} == {float(TIME)}
    days = [line.split(":")[2] for line in (tmp_path / "etc/shadow").read_text().splitlines()]
    assert days == [str(TIME // 86400), "100", "0"]
    data = compiled.read_bytes()
    assert int.from_bytes(data[8:12], "little") == TIME
    shutil.copy(compiled, tmp_path / "before")
    subprocess.run(["python3", "-c", "import module; assert module.ANSWER == 42"], cwd=tmp_path, check=True)


def test_the_salt_follows_from_seed_and_time_alone() -> None:
    salts = {password_salt(DiskIdentity(seed=seed, timestamp=time)) for seed in "ab" for time in (1, 2)}
    assert len(salts) == 4
    assert all(len(salt) == 23 and salt.startswith("$y$j9T$") for salt in salts)
