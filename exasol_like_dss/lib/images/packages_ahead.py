"""Packages are fetched, and their compression is undone, while mmdebstrap is busy with the essential ones.

mmdebstrap works on one processor: it unpacks the essential packages, installs them, and only then has apt fetch all
others, which dpkg decompresses one after the other. Meanwhile this fetches them, by the same apt with the same settings
(so everything is verified as ever; what an earlier build fetched is in a cache), and writes each one again without
compression: deb(5) allows ``data.tar`` as it is. Once apt has looked at the files and calls dpkg, they take the place
of those fetched. What is not ready by then, dpkg decompresses itself.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache.packages import PackageCache
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.images.maintainer_scripts import FOLDER

#: What mmdebstrap says when it has fetched the essential packages (1.3 to 1.5), and apt is free for the others.
_BEGIN = "I: extracting archives"
_ARCHIVES = "var/cache/apt/archives"
#: Its presence in the root file system says that apt has looked at the packages: they are dpkg's now.
_HANDED_OVER = f"{FOLDER}/handed-over"
_POLL_S = 0.05
#: Below this many bytes, another process takes longer than decompressing.
_SMALL_BYTES = 50_000
_HOOK_TRIES = 36_000

_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60


class PackagesAhead:
    """Works for the time of the block, in threads. root: of mmdebstrap. folder: of its own, on the same file system.

    afterwards: called in the thread when all packages are done, with a function that tells whether mmdebstrap has
    ended. Where it fails, it leaves everything to mmdebstrap, which tells what is wrong.
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
        self._afterwards = afterwards
        self._cache = cache
        self._given, self._fetched = folder / "given", folder / "fetched"
        self._cached: set[str] = set()
        self._essential: set[str] = set()
        self._root = root
        self._folder = folder
        self._packages = packages
        self._programs = programs
        self._cancelled = cancelled
        self._configuration = folder / "apt.conf"
        self._fetching = folder / "fetching"
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def options(self) -> list[str]:
        """What mmdebstrap is to be called with."""
        wait = (
            f"tries={_HOOK_TRIES}; while [ -e {shlex.quote(str(self._fetching))} ] && [ $tries -gt 0 ]; "
            "do tries=$((tries - 1)); sleep 0.05; done"
        )
        return [
            f'--setup-hook=cp "$MMDEBSTRAP_APT_CONFIG" {shlex.quote(str(self._configuration))}; '
            f'mkdir -p "$1/{_ARCHIVES}"; find {shlex.quote(str(self._given))} -name "*.deb" '
            f'-exec mv -t "$1/{_ARCHIVES}" {{}} +',
            f"--essential-hook={wait}",
            # Runs inside of the root file system; on this machine when mmdebstrap only asks for names.
            f'--aptopt=DPkg::Pre-Install-Pkgs {{"test ! -d {FOLDER} || touch {_HANDED_OVER}";}}',
        ]

    def heard(self, line: str) -> None:
        """Gets every line that mmdebstrap says."""
        if line.startswith(_BEGIN) and not self._threads and self._configuration.exists():
            self._fetching.touch()
            essential = set(self._archives())
            self._essential = {path.name for path in essential}
            self._link(essential)
            self._threads = [
                threading.Thread(target=self._fetch, args=(essential,), name="packages-fetch"),
                threading.Thread(target=self._undo_all, args=(essential,), name="packages-undo"),
            ]
            for thread in self._threads:
                thread.start()

    def __enter__(self) -> PackagesAhead:
        for folder in (self._given, self._fetched):
            folder.mkdir(parents=True)
        if self._cache:
            self._cached = self._cache.give(self._given, essential=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._cache and kind is None:
            came = sorted(self._fetched.iterdir(), key=_came)
            self._cache.keep({path: path.name in self._essential for path in came if self._is_used(path)})
        # One that came after mmdebstrap had cleaned.
        for path in self._archives():
            path.unlink()
        shutil.rmtree(self._folder)

    def _archives(self) -> Iterator[Path]:
        return (self._root / _ARCHIVES).glob("*.deb")

    def _is_used(self, package: Path) -> bool:
        """Whether it is what dpkg has unpacked, and nothing that an earlier build needed."""
        name = package.name.partition("_")[0]
        versions = sorted(self._fetched.glob(f"{glob.escape(name)}_*.deb"), key=lambda path: path.name in self._cached)
        return self._is_unpacked(package) and package == versions[0]

    def _is_unpacked(self, package: Path) -> bool:
        name = glob.escape(package.name.partition("_")[0])
        info = self._root / "var/lib/dpkg/info"
        return any(info.glob(f"{name}.list")) or any(info.glob(f"{name}:*.list"))

    def _link(self, packages: Iterable[Path]) -> None:
        """As apt has them: they are kept later, when they have been replaced already."""
        for path in packages:
            os.link(path, self._fetched / path.name)

    def _fetch(self, essential: set[Path]) -> None:
        try:
            if self._cache:
                self._cached |= self._cache.give(self._root / _ARCHIVES, essential=False)
            self._programs.run(
                # Nothing is installed: dpkg's lock is mmdebstrap's.
                ["apt-get", "--yes", "--download-only", "--option", "Debug::NoLocking=true", "install",
                 *self._packages],
                what="fetching packages",
                env={"APT_CONFIG": str(self._configuration)},
                cancelled=lambda: self._stop.is_set() or self._cancelled(),
            )  # fmt: skip
            self._link(set(self._archives()) - essential)
        except DssError:
            # mmdebstrap's own apt will meet the same, and says so.
            return
        finally:
            self._fetching.unlink()

    def _undo_all(self, essential: set[Path]) -> None:
        with contextlib.suppress(DssError, OSError):
            self._undo(essential)
            self._afterwards(self._stop.is_set)

    def _undo(self, essential: set[Path]) -> None:
        # apt has done with the essential ones; mmdebstrap unpacks them, and then has dpkg unpack them again.
        for path in sorted(essential):
            if self._store(path) and path.exists():
                (self._folder / path.name).replace(path)
        seen, ready = set(essential), set[Path]()
        while not self._stop.is_set():
            fetching = self._fetching.exists()
            handed_over = Path(f"{self._root}{_HANDED_OVER}").exists()
            if handed_over:
                for path in ready:
                    # Whichever of the two dpkg opens, it reads the same.
                    (self._folder / path.name).replace(path)
                ready.clear()
            # They come in the order in which dpkg will unpack them. Once it does, it is met from the other end.
            new = sorted((found for found in self._archives() if found not in seen), key=_came, reverse=handed_over)
            if new:
                seen.add(new[0])
                if self._store(new[0]):
                    ready.add(new[0])
            elif fetching or ready:
                self._stop.wait(_POLL_S)
            else:
                return

    def _store(self, package: Path) -> bool:
        """Whether the package is wanted, and stands in our folder now, not compressed."""
        if self._is_unpacked(package):
            return False
        try:
            return package.stat().st_size >= _SMALL_BYTES and write_stored(
                package, self._folder / package.name, programs=self._programs
            )
        except FileNotFoundError:
            return False  # mmdebstrap removes essential ones when they are installed


def _came(package: Path) -> int:
    """When apt had the package: nanoseconds since 1970. Its own time is that of the archive."""
    try:
        return package.stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def write_stored(package: Path, target: Path, *, programs: Programs) -> bool:
    """Writes a Debian package again with its ``data.tar`` not compressed; False when it isn't compressed.

    A package is an ar(5) archive: a magic word, then members with a header of 60 bytes (name, 16; time, 12; owner and
    group, 6 each; mode, 8; size in bytes, 10; an end mark, 2), each padded to an even length; ``data.tar`` is
    the last (deb(5)). Raises ``DssError`` when ``dpkg-deb`` can't read it.
    """
    with package.open("rb") as source, target.open("wb") as result:
        if source.read(len(_MAGIC)) != _MAGIC:
            raise DssError(f"{package.name} is not a Debian package.")
        result.write(_MAGIC)
        while True:
            header = source.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES:
                raise DssError(f"{package.name} has no data.")
            name, size = header[:16].rstrip(b" /"), int(header[48:58])
            if name == b"data.tar":
                return False
            if name.startswith(b"data.tar"):
                break
            result.write(header + source.read(size + size % 2))
        at = result.tell()
        result.write(b"data.tar".ljust(16) + header[16:])
        result.flush()
        process = programs.start(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=result, stderr=subprocess.DEVNULL)
        with programs.ended(process):
            if process.wait():
                raise DssError(f"dpkg-deb cannot read {package.name}.")
        end = os.lseek(result.fileno(), 0, os.SEEK_END)
        size = end - at - _HEADER_BYTES
        result.seek(at + 48)
        result.write(str(size).encode().ljust(10))
        if size % 2:
            result.seek(end)
            result.write(b"\n")
    return True
