"""The main job: one command builds, checks and boots a sandbox, and leaves files that others can read."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path

from test.integration.conftest import BuiltImage
from test.support.command import dss

MIB = 1 << 20


def test_it_leaves_exactly_the_files_it_promises(built_image: BuiltImage) -> None:
    stem = f"exasol-like-dss-{built_image.asset_id}"
    assert sorted(path.name for path in built_image.directory.iterdir()) == sorted(
        [
            *(f"{stem}.{extension}" for extension in ("vmdk", "vhd", "ova", "qcow2", "rootfs.tar.gz")),
            *("manifest.json", "SHA256SUMS", "sbom.cdx.json", "verification.json"),
        ]
    )


def test_the_password_is_nowhere_in_what_it_printed_or_wrote(built_image: BuiltImage) -> None:
    assert built_image.default_password not in built_image.done.out + built_image.done.err
    for name in ("manifest.json", "verification.json", "sbom.cdx.json", "SHA256SUMS"):
        assert built_image.default_password not in (built_image.directory / name).read_text()


def test_the_manifest_tells_what_was_made_and_how_long_it_took(built_image: BuiltImage) -> None:
    manifest = json.loads((built_image.directory / "manifest.json").read_text())
    assert manifest["asset_id"] == built_image.asset_id
    assert manifest["verification"] == "passed"
    assert manifest["base"] == "debian-13"
    assert manifest["inputs"]["roles"][0] == "base"
    assert {artifact["format"] for artifact in manifest["artifacts"]} == {"VMDK", "VHD", "OVA", "QCOW2", "ROOTFS"}
    for artifact in manifest["artifacts"]:
        path = built_image.directory / artifact["name"]
        assert path.stat().st_size == artifact["size_bytes"]
    for step in (
        "root file system",
        "provisioning",
        "provisioning / role jupyter",
        "disk",
        "image formats",
        "verification",
    ):
        assert manifest["seconds_per_step"][step] > 0
    assert json.loads(built_image.done.out)["asset_id"] == built_image.asset_id


def test_coreutils_agrees_with_the_checksums(built_image: BuiltImage) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=built_image.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == 8


def test_independent_readers_read_every_format_back_and_find_the_same_bytes(built_image: BuiltImage) -> None:
    def qemu_img(*arguments: str | Path) -> None:
        done = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

    vmdk = built_image.path("VMDK")
    qemu_img("check", "-f", "qcow2", built_image.path("QCOW2"))
    qemu_img("check", "-f", "vmdk", vmdk)
    qemu_img("compare", "-f", "vmdk", "-F", "qcow2", vmdk, built_image.path("QCOW2"))
    qemu_img("compare", "-f", "vmdk", "-F", "vpc", vmdk, built_image.path("VHD"))


def test_the_ova_holds_the_same_vmdk_and_a_manifest_that_fits(built_image: BuiltImage, tmp_path: Path) -> None:
    with tarfile.open(built_image.path("OVA")) as ova:
        names = ova.getnames()
        ova.extractall(tmp_path, filter="data")
    assert [Path(name).suffix for name in names] == [".ovf", ".mf", ".vmdk"]
    for line in (tmp_path / names[1]).read_text().splitlines():
        name, digest = line.removeprefix("SHA256(").split(")= ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert (tmp_path / names[2]).read_bytes() == built_image.path("VMDK").read_bytes()


def test_sizes(built_image: BuiltImage) -> None:
    assert built_image.path("VMDK").stat().st_size <= 700 * MIB
    vhd = built_image.path("VHD")
    assert vhd.stat().st_size % MIB == 512, "Azure: whole MiB, and the footer"
    assert vhd.stat().st_blocks * 512 < 8 << 30, "sparse"


def test_the_bill_of_materials_names_debian_and_python_packages(built_image: BuiltImage) -> None:
    sbom = json.loads((built_image.directory / "sbom.cdx.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    addresses = [component["purl"] for component in sbom["components"]]
    for start in ("pkg:deb/debian/docker.io@", "pkg:deb/debian/systemd@", "pkg:pypi/jupyterlab@", "pkg:pypi/poetry@"):
        assert any(address.startswith(start) for address in addresses), start


def test_the_verification_covers_what_the_image_promises(built_image: BuiltImage) -> None:
    report = json.loads((built_image.directory / "verification.json").read_text())
    assert report["passed"]
    assert sorted(report["firmwares"]) == ["bios", "uefi"]
    assert len(report["checks"]) > 30
    assert report["left_out"] == []


def test_nothing_of_the_build_is_left_on_the_machine(built_image: BuiltImage) -> None:
    work = built_image.directory.parent / "exasol-like-dss"
    assert list(work.iterdir()) == []
    assert str(built_image.directory.parent) not in Path("/proc/self/mountinfo").read_text()
    mine = subprocess.run(["pgrep", "-f", str(work)], capture_output=True, text=True, check=False)
    assert mine.stdout.split() in ([], [str(os.getpid())])


def test_a_finished_build_is_not_replaced_by_accident(built_image: BuiltImage) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in built_image.directory.iterdir()}
    for asset_id, sentence in ((built_image.asset_id, "already holds"), ("other", "holds another build")):
        done = dss(
            "create-vm", "--asset-id", asset_id, "--output-directory", built_image.directory,
            "--without", "script_languages", cwd=built_image.directory.parent,
        )  # fmt: skip
        assert done.code == 2
        assert sentence in done.err
    assert {path.name: path.stat().st_mtime_ns for path in built_image.directory.iterdir()} == before
