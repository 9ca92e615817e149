"""Builds that remember: what has not changed is not made again, and what is made again is the same bit by bit.

Small builds (roles base, password, seal) on a base from a tar, as in ``test_interruptions``: all that makes an image
differ from the next one runs, but for mmdebstrap itself.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from exasol_like_dss.lib.publishing.checksums import sha256_of
from test.integration.test_interruptions import Build
from test.support.archive import Archive, served_archive
from test.support.aws import Aws, running_aws
from test.support.command import DSS, Done, Running, dss, started
from test.support.small_disk import BLOCK_BYTES

#: Runs the command, and says on standard error which programs it starts (Python's audit events).
WATCHED = """
import sys
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty")
sys.addaudithook(lambda event, given: event in STARTS and print("STARTED", event, given[:2], file=sys.stderr))
from exasol_like_dss.cli.main import main
main()
"""


class Cached:
    """Builds with one cache, in output directories of their own."""

    def __init__(self, folder: Path, base_tar: Path, archive: Archive) -> None:
        self.build = Build(folder, base_tar)
        self.folder = folder
        self.cache = folder / "cache"
        self.archive = archive

    @property
    def env(self) -> dict[str, str]:
        return {**self.build.env, "SOURCE_DATE_EPOCH": "1790000000", "no_proxy": "127.0.0.1"}

    def arguments(self, name: str, *more: str | Path, verify: bool = False) -> list[str | Path]:
        options = [] if verify else ["--no-verify"]
        arguments = [*self.build.arguments(*options, "--vm-image-format", "RAW", "--vm-image-format", "OVA")]
        arguments[arguments.index("--output-directory") + 1] = self.folder / name
        arguments += ["--mirror", self.archive.address, "--cache-directory", self.cache, "--output", "json"]
        return [*arguments, *more]

    def run(
        self,
        name: str,
        *more: str | Path,
        verify: bool = False,
        env: Mapping[str, str] | None = None,
        watched: bool = False,
    ) -> Done:
        """env: more of it. watched: see ``WATCHED``."""
        program = (sys.executable, "-c", WATCHED) if watched else DSS
        arguments = self.arguments(name, *more, verify=verify)
        done = dss(*arguments, cwd=self.folder, env={**self.env, **(env or {})}, program=program)
        assert done.code == 0, done.err
        return done

    def ask(self, command: str) -> dict[str, Any]:
        """``dss cache list``, ``size`` or ``clean``."""
        done = dss("cache", command, "--cache-directory", self.cache, "--output", "json", cwd=self.folder)
        assert done.code == 0, done.err
        found: dict[str, Any] = json.loads(done.out)
        return found

    def whole_layers(self) -> list[str]:
        """The names of the layers that ``dss cache list`` tells, the lowest first. Their archives are as described."""
        layers = {layer["below"]: layer for layer in self.ask("list")["layers"]}
        names: list[str] = []
        below = None
        while below in layers:
            layer = layers.pop(below)
            archive = self.cache / "layers" / layer["identity"] / "layer.tar.gz"
            assert archive.stat().st_size == layer["stored_bytes"]
            names.append(layer["layer"])
            below = layer["identity"]
        assert not layers, "layers that stand on nothing"
        return names

    def unfinished(self) -> list[Path]:
        return list((self.cache / "layers").glob(".*"))

    def sums(self, name: str) -> dict[str, str]:
        return {path.suffix: sha256_of(path) for path in sorted((self.folder / name).glob("exasol-like-dss-cut.*"))}


@pytest.fixture(scope="module")
def first(debian_12_tar: Path) -> Iterator[Cached]:
    """On disk: the images of all tests here are more than what a test machine has of memory."""
    with TemporaryDirectory(prefix="dss-test-cache-", dir="/var/tmp") as folder, served_archive() as archive:
        cached = Cached(Path(folder), debian_12_tar, archive)
        done = cached.run("first")
        assert "role base …" in done.err
        assert json.loads(done.out)["found"] is False
        yield cached


def test_nothing_changed_runs_nothing(first: Cached) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (first.folder / "first").iterdir()}
    first.archive.seen.clear()
    done = first.run("first", watched=True)
    assert json.loads(done.out)["found"] is True
    assert "STARTED" not in done.err
    assert [(validator is not None, status) for _, validator, status in first.archive.seen] == [(True, 304)] * 3
    assert "Nothing has changed" in done.err
    assert "provisioning" not in done.err
    assert {path.name: path.stat().st_mtime_ns for path in (first.folder / "first").iterdir()} == before
    copied = first.run("copy")
    assert json.loads(copied.out)["found"] is True
    assert first.sums("copy") == first.sums("first")


def test_one_role_changed_runs_it_and_what_follows(first: Cached) -> None:
    done = first.run("changed", "--extra-vars", "base_hostname=other")
    assert "base root file system (from the cache)" in done.err
    assert "role base …" in done.err
    differing = dss("compare-images", first.folder / "first/exasol-like-dss-cut.raw",
                    first.folder / "changed/exasol-like-dss-cut.ova", "--output", "json",
                    cwd=first.folder, env={"TMPDIR": str(first.folder)})  # fmt: skip
    assert differing.code == 1, differing.err
    found = {(row["where"], row["what"].partition(",")[0]) for row in json.loads(differing.out)["differences"]}
    assert {("/etc/hostname", "size"), ("/etc/hosts", "size")} <= found
    named = {"/etc/hostname", "/etc/hosts", "/etc/cloud/cloud.cfg.d/99_dss.cfg", "/etc/exasol-like-dss/image.json"}
    assert {where for where, _ in found} <= named | {"disk"}


@pytest.fixture(scope="module")
def published(first: Cached) -> Iterator[tuple[Done, Aws]]:
    """The first image once more, from its layers, and as an AMI. What the stand-in for AWS has then.

    Its verification is one that is remembered: booting takes minutes, and other tests do it.
    """
    for record in (first.cache / "images").iterdir():
        record.unlink()
    seen = [{"name": "booted", "passed": True, "seen": "yes", "boot": "BIOS"}]
    verified = sha256_of(first.folder / "first/exasol-like-dss-cut.vmdk")
    report = {"image": "cut", "asset_id": "cut", "passed": True, "checks": seen}
    (first.cache / f"reports/{verified}.json").write_text(json.dumps(report))
    with running_aws(image_pending_s=0.0) as aws:
        done = first.run("layered", "--publish-ami", verify=True, env=aws.environment())
        assert "These very bytes have passed their verification before" in done.err
        yield done, aws


def test_from_layers_and_anew_in_another_place_it_is_the_same_bit_by_bit(
    first: Cached, published: tuple[Done, Aws]
) -> None:
    layered, _ = published
    assert "base (from the cache)" in layered.err
    assert "role base …" not in layered.err
    assert first.sums("layered") == first.sums("first")
    anew = first.run("anew", "--no-cache", "--on-disk", "--work-directory", first.folder / "elsewhere")
    assert "role base …" in anew.err
    same = dss("compare-images", first.folder / "first/exasol-like-dss-cut.raw",
               first.folder / "anew/exasol-like-dss-cut.raw", cwd=first.folder)  # fmt: skip
    assert same.code == 0, same.out
    assert first.sums("anew") == first.sums("first")
    assert set(first.sums("first")) == {".raw", ".vmdk", ".ova"}


def test_a_build_becomes_an_ami_in_one_command(first: Cached, published: tuple[Done, Aws]) -> None:
    done, aws = published
    made = json.loads(done.out)
    assert (made["verification"], made["found"]) == ("passed", False)
    ami = made["ami"]
    (image,) = aws.client("ec2").describe_images(Owners=["self"])["Images"]
    assert image["ImageId"] == ami["image_id"]
    tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
    assert tags["dss-asset-id"] == "cut" and "dss-verified" in tags
    ebs, listed, page = aws.client("ebs"), [], {"NextToken": ""}
    while "NextToken" in page:
        more = {"NextToken": page["NextToken"]} if page["NextToken"] else {}
        page = ebs.list_snapshot_blocks(SnapshotId=ami["snapshot_id"], **more)
        listed += [block["BlockIndex"] for block in page["Blocks"]]
    assert listed == blocks_with_data(first.folder / "first/exasol-like-dss-cut.raw")
    assert ami["blocks"] == ami["blocks_written"] == len(listed)

    again = first.run("layered", "--publish-ami", verify=True, env=aws.environment())
    assert "Nothing has changed" in again.err
    found = json.loads(again.out)
    assert found["found"] is True
    assert (found["ami"]["image_id"], found["ami"]["blocks_written"]) == (ami["image_id"], 0)


def blocks_with_data(disk: Path) -> list[int]:
    """The indexes of the blocks of 512 KiB that are not all zeros; holes (lseek(2)) are not read."""
    found: list[int] = []
    with disk.open("rb") as file:
        at, end = 0, disk.stat().st_size
        while at < end:
            with contextlib.suppress(OSError):  # no data behind it
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // BLOCK_BYTES * BLOCK_BYTES
                if any(os.pread(file.fileno(), BLOCK_BYTES, at)):
                    found.append(at // BLOCK_BYTES)
                at += BLOCK_BYTES
                continue
            break
    return found


def test_the_cache_holds_no_password_and_is_for_root_alone(first: Cached) -> None:
    assert first.cache.stat().st_mode & 0o077 == 0
    password = first.build.env["DSS_DEFAULT_PASSWORD"].encode()
    for path in first.cache.rglob("*"):
        if path.is_file():
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            assert password not in content
            assert b"ubuntu:$y$" not in content, "nor its hash"


def test_a_killed_or_damaged_layer_is_made_anew(first: Cached) -> None:
    layers = json.loads(dss("cache", "list", "--cache-directory", first.cache, "--output", "json",
                            cwd=first.folder).out)["layers"]  # fmt: skip
    (top,) = (layer for layer in layers if layer["layer"] == "base" and layer is layers[0])
    archive = first.cache / "layers" / top["identity"] / "layer.tar.gz"
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    for record in (first.cache / "images").iterdir():
        record.unlink()
    done = first.run("mended")
    assert "A damaged layer is removed from the cache" in done.err
    assert first.sums("mended") == first.sums("first")
    cleaned = dss("cache", "clean", "--cache-directory", first.cache, cwd=first.folder)
    assert cleaned.code == 0
    assert dss("cache", "list", "--cache-directory", first.cache, cwd=first.folder).out.count("\n") == 2


class HeldTar:
    """A ``tar`` before the real one: as long as it is ``held``, it stops before it writes a layer."""

    def __init__(self, build: Build) -> None:
        self._hold, self._reached = build.folder / "hold", build.folder / "reached"
        program = build.folder / "bin/tar"
        program.write_text(
            "#!/bin/sh\n"
            f'case "$*" in *--create*) if [ -e {self._hold} ]; then touch {self._reached}; fi;; esac\n'
            f'case "$*" in *--create*) while [ -e {self._hold} ]; do sleep 0.05; done;; esac\n'
            f'exec {shutil.which("tar")} "$@"\n'
        )
        program.chmod(0o755)

    def hold(self) -> None:
        self._reached.unlink(missing_ok=True)
        self._hold.touch()

    def release(self) -> None:
        self._hold.unlink()

    def wait(self, running: Running, *, deadline_s: float = 300) -> None:
        """Until a layer is about to be written."""
        end = time.monotonic() + deadline_s
        while not self._reached.exists():
            assert running.process.poll() is None and time.monotonic() < end, running.text
            time.sleep(0.02)


def test_what_was_whole_at_an_interruption_is_what_the_next_build_takes(debian_12_tar: Path) -> None:
    """In the middle of the first layer, also with kill -9; in the middle of the second one; and once more."""
    base, role = "base root file system", "base"
    with TemporaryDirectory(prefix="dss-test-cache-", dir="/var/tmp") as folder, served_archive() as archive:
        cached = Cached(Path(folder), debian_12_tar, archive)
        tar = HeldTar(cached.build)
        arguments = cached.arguments("out", "--extra-vars", '{"base_packages": ["sudo"]}')
        whole: list[str] = []
        for number, words, holds in (
            (signal.SIGINT, "check the input …", True),
            (signal.SIGKILL, "check the input …", True),
            (signal.SIGTERM, "role base …", True),
            (signal.SIGINT, "role base …", False),
        ):
            with started(arguments, cwd=cached.folder, env=cached.env) as running:
                running.wait_for(words)
                if holds:
                    tar.hold()
                    tar.wait(running)
                running.signal(number)
                if holds:
                    tar.release()
                assert running.end() == (-number if number == signal.SIGKILL else 130), running.text
            assert taken(running.text, (base, role)) == whole
            cached.build.assert_no_process_or_mount()
            assert not (cached.folder / "out/manifest.json").exists()
            assert number == signal.SIGKILL or not (cached.folder / "out").exists()
            # What kill -9 leaves goes with the next build. A layer may have become whole at the last moment; none is
            # lost, and none is there before the one below.
            assert len(cached.unfinished()) == (number == signal.SIGKILL)
            before, whole = whole, cached.whole_layers()
            assert whole[: len(before)] == before and whole == [base, role][: len(whole)]
            if number == signal.SIGKILL:
                files = [path for path in cached.cache.rglob("*") if path.is_file()]
                assert cached.ask("size")["size_bytes"] == sum(path.stat().st_size for path in files)
        assert base in whole
        size_bytes = cached.ask("size")["size_bytes"]
        assert cached.ask("clean")["removed_bytes"] == size_bytes - (cached.cache / "secret").stat().st_size
        assert cached.whole_layers() == []


def taken(progress: str, names: Sequence[str]) -> list[str]:
    """The layers that a build took from the cache."""
    return [name for name in names if f" {name} (from the cache)" in progress]
