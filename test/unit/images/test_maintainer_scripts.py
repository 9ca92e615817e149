from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from exasol_like_dss.lib.images import maintainer_scripts
from exasol_like_dss.lib.images.maintainer_scripts import FOLDER


def script(text: str, root: Path) -> str:
    """As if ``root`` were the root of the file system, with programs of its own."""
    inside = text.replace(f'"$1{FOLDER}', f'"{FOLDER}').replace(FOLDER, f"{root}{FOLDER}")
    return inside.replace("PATH=/usr/local/sbin", f"PATH={root}/bin:/usr/local/sbin")


def begin(root: Path, compile_text: str) -> Path:
    (root / "bin").mkdir(parents=True)
    for name, text in {"py3compile": compile_text, "depmod": "echo depmod >> {log}"}.items():
        program = root / "bin" / name
        program.write_text(f"#!/bin/sh\n{text.format(log=root / 'log')}\n")
        program.chmod(0o755)
    subprocess.run(["sh", "-euc", script(maintainer_scripts.BEGIN, root)], check=True)
    return Path(f"{root}{FOLDER}")


def end(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", script(maintainer_scripts.END, root)], text=True, capture_output=True, check=False
    )


def test_programs_run_beside_and_are_waited_for(tmp_path: Path) -> None:
    folder = begin(tmp_path, 'sleep 0.2; echo "$2" >> {log}')
    for name in ("one", "two words", "three"):
        # Whoever waits for the end of its output (debconf does) must not wait for the program.
        called = subprocess.run([folder / "py3compile", "-p", name], check=True, capture_output=True)
        assert called.stdout == b""
    subprocess.run([folder / "depmod"], check=True)
    done = end(tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "log").read_text().splitlines()) == ["one", "three", "two words"]
    assert not folder.exists()


def test_one_that_fails_is_told(tmp_path: Path) -> None:
    folder = begin(tmp_path, "echo no such package >&2; exit 3")
    subprocess.run([folder / "py3compile", "-p", "some"], check=True)
    done = end(tmp_path)
    assert done.returncode == 1
    assert "no such package\npy3compile -p some failed: 3" in done.stderr


@pytest.mark.parametrize("name", ["depmod", "ssh-keygen", "update-initramfs"])
def test_what_is_made_later_is_not_made_now(tmp_path: Path, name: str) -> None:
    folder = begin(tmp_path, "true")
    assert subprocess.run([folder / name, "-x"], check=True, capture_output=True).stdout == b""
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("package", "script_name", "asked", "beside"),
    [
        ("python3.13", "postinst", ["-L", "libpython3.13-stdlib:amd64"], True),
        ("python3.11-minimal", "postinst", ["-L", "libpython3.11-minimal:amd64"], True),
        ("python3.13", "prerm", ["-L", "libpython3.13-stdlib:amd64"], False),
        ("python3.13", "postinst", ["--compare-versions", "1", "lt", "2"], False),
        ("other", "postinst", ["-L", "libpython3.13-stdlib:amd64"], False),
    ],
)
def test_the_standard_library_is_compiled_beside(
    tmp_path: Path, package: str, script_name: str, asked: list[str], beside: bool
) -> None:
    folder = begin(tmp_path, "true")
    version = asked[1].removeprefix("libpython").split("-")[0]
    library = tmp_path / f"usr/lib/python{version}"
    library.mkdir(parents=True)
    for name in ("one.py", "two.py", "data.txt", "py_compile.py"):
        (library / name).touch()
    listed = [library / "one.py", library / "data.txt", library / "dangling.py", library / "two.py"]
    (tmp_path / "bin/dpkg").write_text("#!/bin/sh\n" + "".join(f"echo {path}\n" for path in listed))
    (tmp_path / f"bin/python{version}").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/log\n')
    for path in (tmp_path / "bin").iterdir():
        path.chmod(0o755)
    text = (folder / "dpkg").read_text().replace("/usr/bin/dpkg", f"{tmp_path}/bin/dpkg")
    (folder / "dpkg").write_text(text)
    own = folder / "own/compile-library"
    own.write_text(
        own.read_text().replace("/usr/lib", f"{tmp_path}/usr/lib").replace("^\\/usr\\/lib\\/", ".*\\/usr\\/lib\\/")
    )
    environment = {"DPKG_MAINTSCRIPT_PACKAGE": package, "DPKG_MAINTSCRIPT_NAME": script_name, "PATH": "/usr/bin:/bin"}
    called = subprocess.run([folder / "dpkg", *asked], env=environment, text=True, check=True, capture_output=True)
    done = end(tmp_path)
    assert done.returncode == 0, done.stderr
    assert called.stdout.split() == ([] if beside else [str(path) for path in listed])
    compiled = [f"-E -S {library}/py_compile.py {library}/one.py {library}/two.py"]
    log = tmp_path / "log"
    assert (log.read_text().splitlines() if log.exists() else []) == (compiled if beside else [])
