"""What the image holds: the rules of ``hygiene`` that make sense without a machine, on the files of a container."""

from __future__ import annotations

import io
import tarfile
from pathlib import PurePosixPath

from exasol_like_dss.access.docker import Docker, EngineRefused
from exasol_like_dss.lib.verification import hygiene
from exasol_like_dss.lib.verification.container.bench import Bench, judged
from exasol_like_dss.lib.verification.container.configuration import NOTEBOOKS
from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.hygiene import Rule
from exasol_like_dss.lib.verification.report import Checks
from exasol_like_dss.lib.verification.trees import Entry, FileTree, find

#: -xdev: nothing of what the engine mounts into a container; the volume holds what the image has there.
_LIST = ("find", "/", NOTEBOOKS, "-xdev", "-printf", r"%y\t%s\t%p\0")
_KINDS = {"f": "file", "d": "directory", "l": "symlink"}
#: Folders of which many files are read: each is fetched once.
_FETCHED = ("/etc", "/usr/share/ca-certificates")


class ContainerTree:
    """The root file system of a container, listed by ``find`` in it and read through the engine."""

    def __init__(self, listing: str, docker: Docker, container: str) -> None:
        self._docker = docker
        self._container = container
        self._folders: dict[str, dict[str, Entry]] = {}
        self._texts: dict[str, dict[str, str]] = {}
        for line in listing.split("\0"):
            kind, _, rest = line.partition("\t")
            size, _, path = rest.partition("\t")
            if path and path != "/" and size.isdecimal():
                pure = PurePosixPath(path)
                entry = Entry(pure.name, _KINDS.get(kind, "other"), int(size))
                self._folders.setdefault(str(pure.parent), {})[entry.name] = entry

    @property
    def paths(self) -> list[str]:
        return [f"{folder.rstrip('/')}/{name}" for folder, names in self._folders.items() for name in names]

    def list(self, path: str) -> list[Entry]:
        entries = self._folders.get(str(PurePosixPath(path)), {})
        return [entries[name] for name in sorted(entries)]

    def read(self, path: str) -> str:
        entry = find(self, path)
        if entry is None or entry.kind != "file":
            return ""
        fetched = next((folder for folder in _FETCHED if path.startswith(f"{folder}/")), path)
        if fetched not in self._texts:
            self._texts[fetched] = read_texts(self._docker, self._container, fetched)
        return self._texts[fetched].get(path, "")


def read_texts(docker: Docker, container: str, path: str) -> dict[str, str]:
    """The files at or below ``path`` of a container, by path; what is not UTF-8 is replaced. Nothing: there is none."""
    try:
        packed = b"".join(docker.read_archive(container, path))
    except EngineRefused as error:
        if error.status == 404:
            return {}
        raise
    above = PurePosixPath(path).parent
    texts: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file:
                texts[str(above / member.name)] = file.read().decode(errors="replace")
    return texts


def _machine_id(tree: FileTree, _facts: ImageFacts) -> list[str]:
    # A container needs none: nothing in it starts systemd.
    entry = find(tree, "/etc/machine-id")
    return ["/etc/machine-id is not empty"] if entry and entry.kind == "file" and entry.size_bytes else []


def _of_the_build(tree: FileTree, _facts: ImageFacts) -> list[str]:
    paths = tree.paths if isinstance(tree, ContainerTree) else []
    return [path for path in sorted(paths) if PurePosixPath(path).name.startswith(("dss-build", ".ansible"))]


_REPLACED = {"machine-id is empty": Rule("machine-id is empty", _machine_id)}
RULES = (*(_REPLACED.get(rule.name, rule) for rule in hygiene.RULES), Rule("no files of the build", _of_the_build))


def check(checks: Checks, bench: Bench) -> None:
    """Hygiene, and the user of a command that is given to ``docker run``."""
    with judged(checks, "hygiene", goes_on=True):
        helper = bench.helper({})
        listing = helper.ran(*_LIST)
        checks.extend(hygiene.judge(ContainerTree(listing, bench.docker, helper.id), bench.facts, RULES))
        helper.remove()
    name = "a command runs as the user"
    with judged(checks, name):
        said = bench.said(["id", "-u"]).strip()
        checks.add(name, said.isdecimal() and said != "0", f"id -u prints {said}")
