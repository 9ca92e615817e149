"""dss convert-image, as a user calls it; qcow2 and others are read through a real qemu-nbd."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from exasol_like_dss.lib.images.identity import DiskIdentity
from exasol_like_dss.lib.images.partitions import EFI_SYSTEM, Partition, write_gpt
from test.support.command import Done, dss

MIB = 1 << 20
SIZE = 96 * MIB
RANDOM = Random(11).randbytes(6 * MIB)


def make_disk(path: Path, size_bytes: int = SIZE, content: Mapping[int, bytes] | None = None) -> Path:
    identity = DiskIdentity("convert", 1)
    with path.open("w+b") as file:
        file.truncate(size_bytes)
        for offset, data in (content or {MIB: RANDOM, 40 * MIB: b"text " * 500_000, 90 * MIB: b"end"}).items():
            file.seek(offset)
            file.write(data)
        write_gpt(file, disk_bytes=size_bytes, disk_guid=identity.disk_guid,
                  partitions=[Partition(1, "data", EFI_SYSTEM, identity.esp_guid, MIB, 2 * MIB)])  # fmt: skip
    return path


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_disk(tmp_path_factory.mktemp("disk") / "box.raw")


def convert(folder: Path, *arguments: str | Path) -> Done:
    return dss("convert-image", *arguments, cwd=folder, env={}, deadline_s=120)


def result(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def qemu_img(*arguments: str | Path) -> None:
    done = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def sums_hold(folder: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


@pytest.fixture(scope="module")
def from_raw(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All formats of the raw disk."""
    folder = tmp_path_factory.mktemp("from-raw")
    formats = [f"--vm-image-format={each}" for each in ("VMDK", "vhd", "OVA", "QCOW2", "RAW")]
    shown = result(convert(folder, disk, *formats, "--output-directory", folder, "--output", "json"))
    assert [each["format"] for each in shown["images"]] == ["VMDK", "VHD", "OVA", "QCOW2", "RAW"]
    assert shown["source"] == {"path": str(disk), "format": "RAW", "virtual_bytes": SIZE}
    for each in shown["images"]:
        path = Path(each["path"])
        assert path.parent == folder
        assert each["size_bytes"] == path.stat().st_size
        assert each["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    sums_hold(folder)
    return folder


def test_every_format_holds_the_disk(disk: Path, from_raw: Path) -> None:
    for name, driver in (("box.vmdk", "vmdk"), ("box.qcow2", "qcow2"), ("box.vhd", "vpc"), ("box.raw", "raw")):
        qemu_img("compare", "-f", "raw", "-F", driver, disk, from_raw / name)
    qemu_img("check", "-f", "qcow2", from_raw / "box.qcow2")
    qemu_img("check", "-f", "vmdk", from_raw / "box.vmdk")
    assert sorted(path.name for path in from_raw.iterdir()) == [
        "SHA256SUMS", "box.ova", "box.qcow2", "box.raw", "box.vhd", "box.vmdk",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("qcow2", "compat=0.10,cluster_size=4096"),
        ("qcow2", "compat=1.1,compression_type=zstd"),
        ("qcow2", "preallocation=full,lazy_refcounts=on"),
        ("qcow2", "extended_l2=on"),
        ("vmdk", "subformat=monolithicSparse"),
        ("vpc", "subformat=dynamic,force_size=on"),
    ],
)
def test_images_of_others_give_the_same_files(
    disk: Path, from_raw: Path, tmp_path: Path, driver: str, options: str
) -> None:
    """Whatever the disk is packed in, its VMDK and qcow2 are the same, bit by bit."""
    compressed = ["-c"] if "zstd" in options or "0.10" in options else []
    qemu_img("convert", "-f", "raw", "-O", driver, *compressed, "-o", options, disk, tmp_path / "box.image")
    result(
        convert(
            tmp_path, "box.image", "--vm-image-format", "VMDK", "--vm-image-format", "QCOW2", "--vm-image-format",
            "RAW", "--output", "json",
        )
    )  # fmt: skip
    for name in ("box.vmdk", "box.qcow2", "box.raw"):
        assert (tmp_path / name).read_bytes() == (from_raw / name).read_bytes()
    sums_hold(tmp_path)


def test_an_ova_is_read_inside_the_tar(from_raw: Path, tmp_path: Path) -> None:
    done = convert(tmp_path, from_raw / "box.ova", "--vm-image-format", "raw", "--output-directory", tmp_path / "a/b")
    assert done.code == 0, done.err
    assert (tmp_path / "a/b/box.raw").read_bytes() == (from_raw / "box.raw").read_bytes()
    assert "RAW" in done.out


def test_files_that_are_there_stay_without_force(from_raw: Path, disk: Path, tmp_path: Path) -> None:
    (tmp_path / "box.vmdk").write_text("mine")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  other\n{'1' * 64}  box.vmdk\n")
    arguments = (disk, "--vm-image-format", "VMDK", "--output-directory", tmp_path)
    done = convert(tmp_path, *arguments)
    assert done.code == 2
    assert "exists already" in done.err
    assert "--force" in done.err
    assert (tmp_path / "box.vmdk").read_text() == "mine"
    assert convert(tmp_path, *arguments, "--force").code == 0
    assert (tmp_path / "box.vmdk").read_bytes() == (from_raw / "box.vmdk").read_bytes()
    digest = hashlib.sha256((tmp_path / "box.vmdk").read_bytes()).hexdigest()
    assert (tmp_path / "SHA256SUMS").read_text() == f"{'0' * 64}  other\n{digest}  box.vmdk\n"


def bad_inputs(folder: Path, disk: Path) -> dict[str, tuple[list[str], str]]:
    """Name to arguments, and what is said."""
    qemu_img("convert", "-f", "raw", "-O", "qcow2", disk, folder / "whole.qcow2")
    cut = (folder / "whole.qcow2").read_bytes()
    (folder / "cut.qcow2").write_bytes(cut[: len(cut) // 2])
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "whole.qcow2", folder / "overlay.qcow2")
    qemu_img(
        "create", "-q", "-f", "qcow2", "-o", "data_file=external.data,data_file_raw=on", folder / "data.qcow2", "1M"
    )
    locked = bytearray((folder / "whole.qcow2").read_bytes())
    locked[35] = 2  # the method: LUKS
    (folder / "locked.qcow2").write_bytes(locked)
    (folder / "text.qcow2").write_text("no image at all " * 100)
    (folder / "short.raw").write_bytes(disk.read_bytes()[: SIZE // 2])
    (folder / "self.raw").write_bytes(disk.read_bytes()[: 2 * MIB])
    (folder / "link.vmdk").hardlink_to(make_disk(folder / "linked.raw"))
    return {
        "cut": (["cut.qcow2"], "is cut short or damaged"),
        "backing file": (["overlay.qcow2"], "needs a backing file"),
        "external data": (["data.qcow2"], "has its data in another file"),
        "encrypted": (["locked.qcow2"], "is encrypted"),
        "a text with the name of an image": (["text.qcow2"], "no disk image"),
        "a raw disk that is cut": (["short.raw"], "is cut short"),
        "missing": (["missing.raw"], "There is no file"),
        "a folder": (["."], "is a directory"),
        "over itself": (["self.raw", "--vm-image-format", "RAW", "--source-format", "raw"], "would be overwritten"),
        "over itself through a link": (["link.vmdk", "--force", "--source-format", "raw"], "would be overwritten"),
        "a directory that is a file": (["whole.qcow2", "--output-directory", "text.qcow2"], "is a file"),
    }


def test_bad_input_is_told_in_one_sentence_and_touches_nothing(disk: Path, tmp_path: Path) -> None:
    cases = bad_inputs(tmp_path, disk)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    for name, (arguments, says) in cases.items():
        done = convert(tmp_path, *arguments, "--vm-image-format", "VMDK")
        assert done.code == 2, (name, done.err)
        assert says in done.err, (name, done.err)
        assert "Traceback" not in done.err
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before, name


def test_damage_that_shows_while_reading(from_raw: Path, tmp_path: Path) -> None:
    """A compressed cluster that can't be unpacked: qemu-img's check does not see it, the reading does."""
    data = bytearray((from_raw / "box.qcow2").read_bytes())
    (l1_offset,) = struct.unpack_from(">Q", data, 40)
    (l2_offset,) = struct.unpack_from(">Q", data, l1_offset)
    entries = struct.unpack_from(">8192Q", data, l2_offset & ((1 << 54) - 1))
    place = next(entry for entry in entries if entry >> 62 & 1) & ((1 << 54) - 1)
    data[place] = 0b111  # a block type that deflate doesn't have
    (tmp_path / "box.qcow2").write_bytes(data)
    done = convert(tmp_path, "box.qcow2", "--vm-image-format", "VMDK")
    assert done.code == 1
    assert "can't be read at byte" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["box.qcow2"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """200 GiB of zeros take minutes to hash: it is in the middle of that."""
    make_disk(tmp_path / "big.raw", 200 << 30, {MIB: RANDOM})
    qemu_img("convert", "-f", "raw", "-O", "qcow2", tmp_path / "big.raw", tmp_path / "big.qcow2")
    (tmp_path / "big.raw").unlink()
    process = subprocess.Popen(
        [sys.executable, "-m", "exasol_like_dss", "convert-image", "big.qcow2", "--vm-image-format", "VHD",
         "--vm-image-format", "VMDK", "--output-directory", "out/deep"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/deep/.*/.*.partial")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["big.qcow2"], "no socket, no folder"


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    """All formats of 400 MiB of data at once: under 300 MB, interpreter and libraries included."""
    piece = Random(2).randbytes(MIB)
    with make_disk(tmp_path / "box.raw", 460 * MIB).open("r+b") as file:
        file.seek(2 * MIB)
        for _ in range(400):
            file.write(piece)
    formats = [f"--vm-image-format={each}" for each in ("VMDK", "VHD", "OVA", "QCOW2", "RAW")]
    # Not ru_maxrss: what it says of a child counts the memory of the parent that started it (getrusage(2), exec).
    program = (
        "import atexit, sys\n"
        "from pathlib import Path\n"
        "from exasol_like_dss.cli.main import main\n"
        "atexit.register(lambda: print(Path('/proc/self/status').read_text()))\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "convert-image", "box.raw", *formats, "--output-directory", "out"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (peak,) = (line.split()[1] for line in done.stdout.splitlines() if line.startswith("VmHWM:"))
    assert 20_000_000 < int(peak) * 1024 < 300_000_000
