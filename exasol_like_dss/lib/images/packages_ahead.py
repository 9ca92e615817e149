"""Packages are fetched while mmdebstrap is busy with the essential ones, or come from a cache of what builds fetched.

mmdebstrap fetches the essential packages, unpacks and installs them, and only then has apt fetch all others. Meanwhile
this has them fetched by the same apt with the same settings, so that everything is verified as ever.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache.packages import PackageCache
from exasol_like_dss.lib.errors import DssError, Interrupted

#: What mmdebstrap says when it has fetched the essential packages (1.3 to 1.5), and apt is free for the others.
_BEGIN = "I: extracting archives"
_ARCHIVES = "var/cache/apt/archives"
_LISTS = "var/lib/apt/lists"
#: Half an hour, of 0.05 s each.
_HOOK_TRIES = 36_000
_FIELDS = ("Package", "Version", "Architecture")
_FIELD = re.compile(rf"^({'|'.join(_FIELDS)}): (.+)$", re.MULTILINE)


class PackagesAhead:
    """Works for the time of the block. root: of mmdebstrap. folder: of its own, on the same file system.

    afterwards: called in the thread that has fetched, with a function that tells whether mmdebstrap has ended. Where
    fetching fails, it is left to mmdebstrap, which tells what is wrong.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        packages: Sequence[str],
        *,
        cache: PackageCache | None,
        afterwards: Callable[[Callable[[], bool]], None],
        programs: Programs,
        cancelled: Callable[[], bool],
    ) -> None:
        self._root = root
        self._archives = root / _ARCHIVES
        self._folder = folder
        self._configuration = folder / "apt.conf"
        self._fetching = folder / "fetching"
        self._given, self._came, self._given_lists = folder / "given", folder / "came", folder / "lists"
        self._packages = packages
        self._cache = cache
        self._afterwards = afterwards
        self._programs = programs
        self._cancelled = cancelled
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def options(self) -> list[str]:
        """What mmdebstrap is to be called with."""
        given, lists, fetching = (shlex.quote(str(path)) for path in (self._given, self._given_lists, self._fetching))
        return [
            f'--setup-hook=cp "$MMDEBSTRAP_APT_CONFIG" {shlex.quote(str(self._configuration))}',
            f'--setup-hook=mkdir -p "$1/{_ARCHIVES}"; find {given} -name "*.deb" -exec mv -t "$1/{_ARCHIVES}" {{}} +',
            f'--setup-hook=mkdir -p "$1/{_LISTS}"; find {lists} -type f -exec mv -t "$1/{_LISTS}" {{}} +',
            # Differences between lists take longer to apply than a list takes to fetch.
            "--aptopt=Acquire::PDiffs false",
            f"--essential-hook=tries={_HOOK_TRIES}; while [ -e {fetching} ] && [ $tries -gt 0 ]; "
            "do tries=$((tries - 1)); sleep 0.05; done",
        ]

    def heard(self, line: str) -> None:
        """Gets every line that mmdebstrap says."""
        if line.startswith(_BEGIN) and not self._thread and self._configuration.exists():
            try:
                self._fetching.touch()
            except OSError:
                return  # whoever calls reads mmdebstrap's output, and must go on
            self._remember()  # mmdebstrap removes the essential ones when they are installed
            self._thread = threading.Thread(target=self._work, name="packages-ahead")
            self._thread.start()

    def __enter__(self) -> PackagesAhead:
        for folder in (self._given, self._came, self._given_lists):
            folder.mkdir(parents=True)
        if self._cache:
            self._cache.give(self._given)
            self._cache.give_lists(self._given_lists)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        if self._cache and kind is None:
            # Not what only an earlier build needed.
            used = installed_archives(self._root / "var/lib/dpkg/status")
            self._cache.keep_lists(self._root / _LISTS)
            self._cache.keep([path for path in sorted(self._came.iterdir()) if path.name in used])
        shutil.rmtree(self._folder)

    def _work(self) -> None:
        # mmdebstrap's own apt will meet what goes wrong here, and says so.
        with contextlib.suppress(DssError, OSError, Interrupted):
            try:
                self._programs.run(
                    # Nothing is installed: dpkg's lock is mmdebstrap's.
                    ["apt-get", "--yes", "--download-only", "--option", "Debug::NoLocking=true", "install",
                     *self._packages],
                    what="fetching packages",
                    env={"APT_CONFIG": str(self._configuration)},
                    cancelled=lambda: self._stop.is_set() or self._cancelled(),
                )  # fmt: skip
                self._remember()
            finally:
                self._fetching.unlink()
            self._afterwards(self._stop.is_set)

    def _remember(self) -> None:
        for path in self._archives.glob("*.deb"):
            # Linked before; or mmdebstrap has just removed it.
            with contextlib.suppress(OSError):
                os.link(path, self._came / path.name)


def installed_archives(status: Path) -> set[str]:
    """The names under which apt has the packages that are in dpkg's status file (pkgAcqArchive: colons as %3a)."""
    result = set[str]()
    if not status.exists():
        return result
    for paragraph in status.read_text().split("\n\n"):
        fields = dict(_FIELD.findall(paragraph))
        if len(fields) == len(_FIELDS):
            result.add("_".join(fields[name].replace(":", "%3a") for name in _FIELDS) + ".deb")
    return result
