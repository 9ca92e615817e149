"""apt is asked once, and again when anything has changed that its answer depends on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.access.web import Web
from exasol_like_dss.lib.cache.answers import Answers
from exasol_like_dss.lib.cache.apt_sources import remembered_host_archive
from exasol_like_dss.lib.images.bases import HostArchive

HOST = HostArchive("debian", "http://archive.test/debian", None)


class Machine:
    """A folder with all that apt reads, and an apt that counts how often it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in {
            "etc/apt/sources.list": "deb http://archive.test/debian bookworm main\n",
            "etc/apt/sources.list.d/more.list": "deb http://archive.test/more stable main\n",
            "etc/apt/apt.conf.d/docker-clean": 'Dir::Cache::pkgcache ""; Dir::Log "";\n',
            "var/lib/apt/lists/x_InRelease": "",
            "var/lib/dpkg/arch": "amd64\n",
            "os-release": "ID=debian\nVERSION_CODENAME=bookworm\n",
            "bin/apt-get": f"#!/bin/sh\necho >> {folder}/asked\necho http://archive.test/debian bookworm main\n",
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        (folder / "bin/apt-get").chmod(0o755)

    @property
    def asked(self) -> int:
        file = self.folder / "asked"
        return len(file.read_text()) if file.exists() else 0

    def archive(self) -> HostArchive:
        """As one run of the command: the answers are kept for the next."""
        answers = Answers(self.folder / "answers.json", web=Web(), now=1.0)
        found = remembered_host_archive(
            Programs(),
            answers=answers,
            configuration=self.folder / "etc/apt",
            state=(self.folder / "var/lib/apt/lists", self.folder / "var/lib/dpkg/arch"),
            os_release=self.folder / "os-release",
        )
        answers.save()
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.delenv("APT_CONFIG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return Machine(tmp_path)


def rewrite_within_one_tick(folder: Path) -> None:
    """The same size and the same time of modification: only the time of change differs, which nobody can set."""
    file = folder / "etc/apt/sources.list"
    status = file.stat()
    file.write_text(file.read_text().replace("bookworm", "bullseye"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def link_elsewhere(folder: Path) -> None:
    (folder / "other.list").write_text("deb http://other.test/debian bookworm main\n")
    (folder / "etc/apt/sources.list.d/linked.list").symlink_to(folder / "other.list")


CHANGES: dict[str, Callable[[Path], object]] = {
    "sources": lambda folder: (folder / "etc/apt/sources.list").write_text("deb http://new.test/debian bookworm main"),
    "sources, hardly to be seen": rewrite_within_one_tick,
    "a new file": lambda folder: (folder / "etc/apt/sources.list.d/new.sources").write_text(""),
    "one file less": lambda folder: (folder / "etc/apt/sources.list.d/more.list").unlink(),
    "a link": link_elsewhere,
    "configuration": lambda folder: (folder / "etc/apt/apt.conf").write_text('APT::Architecture "arm64";'),
    "the package lists": lambda folder: (folder / "var/lib/apt/lists/y_InRelease").write_text(""),
    "architectures": lambda folder: (folder / "var/lib/dpkg/arch").write_text("amd64\narm64\n"),
    "the distribution": lambda folder: (folder / "os-release").write_text("ID=ubuntu\nVERSION_CODENAME=noble\n"),
    "apt itself": lambda folder: (folder / "bin/apt-get").write_text(
        f"#!/bin/sh\necho >> {folder}/asked\necho http://new.test/debian bookworm main\n"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_apt_is_asked_again_when_something_has_changed(change: str, machine: Machine) -> None:
    assert machine.archive() == HOST
    assert machine.archive() == HOST
    assert machine.asked == 1
    CHANGES[change](machine.folder)
    machine.archive()
    assert machine.asked == 2
    machine.archive()
    assert machine.asked == 2


def test_what_a_linked_folder_holds_counts(machine: Machine) -> None:
    real = machine.folder / "real"
    (machine.folder / "etc/apt/sources.list.d").rename(real)
    (machine.folder / "etc/apt/sources.list.d").symlink_to(real)
    (real / "loop").symlink_to(real)
    machine.archive()
    (real / "more.list").write_text("deb http://archive.test/more unstable main\n")
    machine.archive()
    assert machine.asked == 2


def test_the_file_that_the_environment_names_counts(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.archive()
    named = machine.folder / "mine.conf"
    named.write_text('Acquire::Retries "3";')
    monkeypatch.setenv("APT_CONFIG", str(named))
    machine.archive()
    machine.archive()
    assert machine.asked == 2
    named.write_text('Acquire::Retries "4";')
    machine.archive()
    assert machine.asked == 3
    monkeypatch.delenv("APT_CONFIG")
    machine.archive()
    assert machine.asked == 4


@pytest.mark.parametrize(
    "text",
    [
        'Dir::Etc::sourcelist "/elsewhere/sources.list";',
        'Dir "/elsewhere";',
        'dir { Etc "elsewhere"; };',
        'RootDir "/elsewhere";',
        '#include "/elsewhere/apt.conf.d/";',
    ],
)
def test_configuration_that_leads_elsewhere_is_not_followed(text: str, machine: Machine) -> None:
    (machine.folder / "etc/apt/apt.conf.d/50here").write_text(text)
    assert machine.archive() == HOST
    assert machine.archive() == HOST
    assert machine.asked == 2


def test_a_memory_that_cannot_be_read_is_none(machine: Machine) -> None:
    machine.archive()
    answers = machine.folder / "answers.json"
    answers.write_text(answers.read_text().replace("archive", "something"))
    assert machine.archive() == HOST
    assert machine.asked == 2
