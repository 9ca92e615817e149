"""The bill of materials: what is found in a root file system, and that the file is valid and reproducible."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.publishing.sbom import debian_packages, python_packages, read_os_release, write_sbom

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STATUS = """\
Package: bash
Status: install ok installed
Version: 5.2.37-2
Architecture: amd64
Description: shell
 Version: not a field, but a continued line

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Source: gcc-14 (14.2.0-19)
Version: 1:14.2.0-19+b1

Package: gone
Status: deinstall ok config-files
Version: 1.0
Architecture: all
"""


def add_python_package(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n\nName: in the text\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/os-release").write_text('# comment\nNAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="13"\n')
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(STATUS)
    add_python_package(root / "opt/jupyter/lib/python3.13/site-packages", "numpy", "2.3.0")
    add_python_package(root / "opt/jupyter/lib/python3.13/site-packages", "Typing_Extensions", "4.15.0")
    add_python_package(root / "opt/poetry/lib/python3.13/site-packages", "numpy", "2.3.0")
    add_python_package(root / "usr/lib/python3/dist-packages", "shipped_by_debian", "1.0")
    add_python_package(root / "proc/1/cwd", "of_the_host", "1.0")
    return root


def write(root: Path, target: Path) -> dict[str, Any]:
    write_sbom(root=root, target=target, name="exasol-like-dss", version="1.2.3", timestamp=NOW)
    content: dict[str, Any] = json.loads(target.read_text())
    return content


def test_debian_packages_are_the_installed_ones(root: Path) -> None:
    found = debian_packages(root)
    assert [(package.name, package.version, package.source) for package in found] == [
        ("bash", "5.2.37-2", "bash"),
        ("libstdc++6", "1:14.2.0-19+b1", "gcc-14"),
    ]


def test_python_packages_know_their_environment_and_leave_out_those_of_debian(root: Path) -> None:
    found = [(package.name, package.environment) for package in python_packages(root)]
    assert found == [("Typing_Extensions", "/opt/jupyter"), ("numpy", "/opt/jupyter"), ("numpy", "/opt/poetry")]


def test_packages_outside_of_an_environment_have_their_folder(root: Path) -> None:
    add_python_package(root / "srv/vendored", "six", "1.17")
    add_python_package(root / "usr/local/lib/python3.13/dist-packages", "local", "1.0")
    found = {package.name: package.environment for package in python_packages(root)}
    assert found["six"] == "/srv/vendored"
    assert found["local"] == "/usr/local/lib/python3.13/dist-packages"


def test_metadata_without_a_name_is_read_from_the_folder(root: Path) -> None:
    info = root / "opt/odd/lib/python3.13/site-packages/odd-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_bytes(b"\xff\xfe\x00broken")
    assert ("odd", "0.1") in [(package.name, package.version) for package in python_packages(root)]


def test_links_out_of_the_root_are_not_followed(root: Path, tmp_path: Path) -> None:
    add_python_package(tmp_path / "host", "secret", "1.0")
    (root / "opt/link").symlink_to(tmp_path / "host")
    (root / "opt/linked-1.0.dist-info").symlink_to(tmp_path / "host/secret-1.0.dist-info")
    assert not {"secret", "linked"} & {package.name for package in python_packages(root)}


def test_purls(root: Path, tmp_path: Path) -> None:
    purls = {component["purl"] for component in write(root, tmp_path / "sbom.cdx.json")["components"]}
    assert purls == {
        "pkg:deb/debian/bash@5.2.37-2?arch=amd64&distro=debian-13",
        "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19%2Bb1?arch=amd64&distro=debian-13",
        "pkg:pypi/numpy@2.3.0",
        "pkg:pypi/typing-extensions@4.15.0",
    }


def test_the_count_is_that_of_the_components(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "sbom.cdx.json"
    count = write_sbom(root=root, target=target, name="n", version="1", timestamp=NOW)
    assert count == len(json.loads(target.read_text())["components"]) == 5


def test_the_file_is_valid_cyclonedx(root: Path, tmp_path: Path) -> None:
    write(root, tmp_path / "sbom.cdx.json")
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str((tmp_path / "sbom.cdx.json").read_text())
    assert error is None


def test_identical_input_gives_the_identical_file(root: Path, tmp_path: Path) -> None:
    write(root, tmp_path / "a")
    write(root, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_content_has_another_serial_number(root: Path, tmp_path: Path) -> None:
    before = write(root, tmp_path / "a")["serialNumber"]
    add_python_package(root / "opt/jupyter/lib/python3.13/site-packages", "pandas", "3.0")
    assert write(root, tmp_path / "b")["serialNumber"] != before


def test_a_root_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="os-release"):
        read_os_release(tmp_path)
    with pytest.raises(InputError, match="dpkg"):
        debian_packages(tmp_path)


def test_a_failed_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        write(tmp_path, tmp_path / "sbom.cdx.json")
    assert list(tmp_path.iterdir()) == []


def test_a_naive_timestamp_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="time zone"):
        write_sbom(root=root, target=tmp_path / "s", name="n", version="1", timestamp=datetime(2026, 1, 1))


def test_many_packages_are_fast(root: Path, tmp_path: Path) -> None:
    rows = (f"Package: p{n}\nStatus: install ok installed\nVersion: {n}\nArchitecture: all\n" for n in range(600))
    (root / "var/lib/dpkg/status").write_text("\n".join(rows))
    start_s = time.process_time()  # not the clock: the machine may be busy with other things
    write(root, tmp_path / "sbom.cdx.json")
    assert time.process_time() - start_s < 5
