"""Builds that remember: what has not changed is not made again, and what is made again is the same bit by bit.

Small builds (roles base, password, seal) on a base from a tar, as in ``test_interruptions``: all that makes an image
differ from the next one runs, but for mmdebstrap itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from exasol_like_dss.lib.publishing.checksums import sha256_of
from test.integration.test_interruptions import Build
from test.support.archive import Archive, served_archive
from test.support.command import DSS, Done, dss

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

    def run(self, name: str, *more: str | Path, watched: bool = False) -> Done:
        arguments = [*self.build.arguments("--no-verify", "--vm-image-format", "RAW", "--vm-image-format", "OVA")]
        arguments[arguments.index("--output-directory") + 1] = self.folder / name
        arguments += ["--mirror", self.archive.address, "--cache-directory", self.cache, "--output", "json"]
        done = dss(
            *(*arguments, *more),
            cwd=self.folder,
            env={**self.build.env, "SOURCE_DATE_EPOCH": "1790000000", "no_proxy": "127.0.0.1"},
            program=(sys.executable, "-c", WATCHED) if watched else DSS,
        )
        assert done.code == 0, done.err
        return done

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


def test_from_layers_and_anew_in_another_place_it_is_the_same_bit_by_bit(first: Cached) -> None:
    # Another password makes another image; then the first one again, from its layers.
    for record in (first.cache / "images").iterdir():
        record.unlink()
    layered = first.run("layered")
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


def test_the_cache_holds_no_password_and_is_for_root_alone(first: Cached) -> None:
    import gzip

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
