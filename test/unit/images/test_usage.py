from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.usage import File, Usage, usage_of
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.pipeline.image_usage import image_usage
from exasol_like_dss.lib.progress import Progress

VENV = "/opt/jupyter/venv/lib/python3.13/site-packages"
SIZES = {
    "/boot/initrd.img": 300,
    "/usr/bin/ctr": 27,
    "/usr/bin/tool": 5,
    "/usr/lib/modules/6.12/kernel/sound/core.ko.xz": 8,
    "/usr/lib/modules/6.12/kernel/fs/ext4.ko.xz": 9,
    "/usr/share/doc/tool/copyright": 1,
    "/usr/share/doc/tool/README": 2,
    f"{VENV}/numpy/core.so": 50,
    f"{VENV}/numpy/tests/test_core.py": 20,
    f"{VENV}/numpy.libs/libblas.so": 30,
    f"{VENV}/numpy-2.0.dist-info/RECORD": 1,
    f"{VENV}/numpy/__pycache__/core.pyc": 7,
    "/var/lib/dpkg/info/tool.list": 60,
    "/var/lib/apt/lists/deb_Packages": 40,
    "/home/user/file": 3,
    "/somewhere/else": 4,
}
LIST = "/.\n/bin\n/bin/tool\n/usr/share/doc/tool/copyright\n"


def read(paths: list[str]) -> Mapping[str, str]:
    assert paths == ["/var/lib/dpkg/info/tool.list"]
    return {paths[0]: LIST}


@pytest.fixture
def usage() -> Usage:
    return usage_of([File(path, size, number) for number, (path, size) in enumerate(SIZES.items())], read=read)


def test_parts_cover_all_and_overlap_nowhere(usage: Usage) -> None:
    assert usage.size_bytes == sum(SIZES.values()) == sum(part.size_bytes for part in usage.parts)
    assert usage.files == len(SIZES)
    parts = {part.name: part.size_bytes for part in usage.parts}
    assert parts["kernel: modules"] == 17
    assert parts["tests of Python packages"] == 20
    assert parts["byte code of Python"] == 7
    assert parts["Python packages of JupyterLab"] == 81
    assert parts["caches and package lists"] == 40
    assert parts["other files"] == 4
    assert [part.size_bytes for part in usage.parts] == sorted(parts.values(), reverse=True)


def test_packages_have_their_files(usage: Usage) -> None:
    packages = {package.name: package.size_bytes for package in usage.packages}
    assert packages == {"Python: numpy (/opt/jupyter/venv)": 108, "Debian: tool": 6}


def test_what_could_go(usage: Usage) -> None:
    avoidable = {each.name: each.size_bytes for each in usage.avoidable}
    assert avoidable == {
        "package lists and archives of apt": 40,
        "ctr, a debugging client of containerd": 27,
        "tests of Python packages": 20,
        "modules for sound": 8,
        "manual pages and documentation": 2,
    }
    assert all(each.how for each in usage.avoidable)


def test_a_file_with_two_names_counts_once() -> None:
    usage = usage_of([File("/usr/bin/b", 10, 7), File("/usr/bin/a", 10, 7)], read=lambda _: {})
    assert (usage.size_bytes, usage.files) == (10, 1)


def tree(root: Path) -> Path:
    for path, size in SIZES.items():
        file = root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(LIST if path.endswith(".list") else "x" * size)
    (root / "bin").symlink_to("usr/bin")
    os.link(root / "usr/bin/tool", root / "usr/bin/tool2")
    return root


def measure(image: Path, tmp_path: Path) -> Usage:
    return image_usage(
        image, work_directory=tmp_path / "work", programs=Programs(), progress=Progress(), cancellation=Cancellation()
    )


def test_a_folder_and_a_tar_of_it_are_the_same(tmp_path: Path) -> None:
    root = tree(tmp_path / "root")
    in_folder = measure(root, tmp_path)
    assert in_folder.size_bytes == sum(SIZES.values()) - 60 + len(LIST)
    for mode, name in (("w", "root.tar"), ("w:gz", "root.tar.gz")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            tar.add(root, ".")
        assert measure(tmp_path / name, tmp_path) == in_folder
    assert not (tmp_path / "work").exists()


def test_what_holds_no_root_file_system(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no root file system"):
        measure(tmp_path / "empty", tmp_path)
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        info = tarfile.TarInfo("file")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(InputError, match="holds no root file system"):
        measure(tmp_path / "other.tar", tmp_path)
    (tree(tmp_path / "root") / "usr/random").write_bytes(Random(1).randbytes(300_000))
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "root", ".")
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:150_000])
    with pytest.raises(InputError, match="can't be read as a tar"):
        measure(tmp_path / "cut.tar.gz", tmp_path)
    with pytest.raises(InputError, match="There is no file"):
        measure(tmp_path / "missing", tmp_path)
