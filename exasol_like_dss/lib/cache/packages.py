"""Packages and lists as apt fetched them: a build whose base has changed fetches only those that are new.

    packages/KEY/index.json     of each file its SHA-256, and when it was used last
    packages/KEY/NAME.deb
    packages/KEY/lists/         of /var/lib/apt/lists

KEY stands for the archive that they came from. apt verifies what it fetches; what it finds it takes by name and size
(pkgAcqArchive). So each package is compared with its SHA-256 before apt finds it, and one that differs is removed.
Lists it compares with the Release file, whose signature it checks each time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from exasol_like_dss.lib.files import write_text_atomically, written_atomically
from exasol_like_dss.lib.locks import locked

#: In the folder of the cache.
FOLDER = "packages"
_INDEX = "index.json"
_LISTS = "lists"
_UNUSED_S = 30 * 24 * 3600
_LIMIT_BYTES = 2 << 30
#: Two of them: one reads while the other one hashes.
_THREADS = 2


@dataclass(frozen=True)
class Kept:
    """sha256: of the file. used: seconds since 1970."""

    sha256: str
    used: float


class PackageCache:
    """The packages of one archive, whose ``sources`` are lines of sources.list(5). directory: of the whole cache.

    It is an optimisation: what can't be read or written is left out, and fetched.
    """

    def __init__(self, directory: Path, sources: Sequence[str]) -> None:
        key = hashlib.sha256("\n".join(sources).encode()).hexdigest()[:16]
        self._folder = directory / FOLDER / key

    def give(self, target: Path) -> None:
        """Copies those that are whole into a folder."""

        def copy(name: str, kept: Kept) -> None:
            with suppress(OSError):
                content = (self._folder / name).read_bytes()
                if hashlib.sha256(content).hexdigest() == kept.sha256:
                    (target / name).write_bytes(content)
                else:
                    (self._folder / name).unlink()

        with ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="packages") as pool:
            for name, kept in self._index().items():
                pool.submit(copy, name, kept)

    def give_lists(self, target: Path) -> None:
        """Copies the lists into a folder. apt asks whether they are the newest ones."""
        with suppress(OSError):
            shutil.copytree(self._folder / _LISTS, target, dirs_exist_ok=True)

    def keep_lists(self, source: Path) -> None:
        """Keeps the files of /var/lib/apt/lists instead of those kept before, unless they are the same."""
        new, old = (self._folder / f".{_LISTS}.{word}" for word in ("new", "old"))
        with suppress(OSError), self._locked():
            if _files(source) == _files(self._folder / _LISTS):
                return
            for left in (new, old):
                shutil.rmtree(left, ignore_errors=True)
            new.mkdir()
            for name in _files(source):
                shutil.copy2(source / name, new / name)
            if (self._folder / _LISTS).exists():
                (self._folder / _LISTS).rename(old)
            new.rename(self._folder / _LISTS)
            shutil.rmtree(old, ignore_errors=True)

    def keep(self, packages: Sequence[Path]) -> None:
        """Keeps copies of packages. Forgets what was not used for a month, and what was not used for longest when there
        are more than 2 GiB; of other archives, all when nothing of them was used for a month."""
        with suppress(OSError), self._locked():
            now, index = time.time(), self._index()
            for path in packages:
                name, target = path.name, self._folder / path.name
                kept = index.get(name)
                if kept is None or not target.exists() or target.stat().st_size != path.stat().st_size:
                    content = path.read_bytes()
                    kept = Kept(hashlib.sha256(content).hexdigest(), now)
                    with written_atomically(target, synchronised=False) as partial:
                        partial.write_bytes(content)
                index[name] = replace(kept, used=now)
            index = self._recent(index, now)
            write_text_atomically(
                self._folder / _INDEX,
                json.dumps({name: asdict(kept) for name, kept in index.items()}),
                synchronised=False,
            )
            for path in self._folder.iterdir():
                if path.is_file() and path.name not in index and path.name != _INDEX:
                    path.unlink()
            for other in self._folder.parent.iterdir():
                # Each build that uses an archive writes its index.
                written = max(path.stat().st_mtime for path in (other, *other.glob(_INDEX)))
                if other != self._folder and now - written > _UNUSED_S:
                    shutil.rmtree(other, ignore_errors=True)

    def _recent(self, index: dict[str, Kept], now: float) -> dict[str, Kept]:
        total, left = 0, {}
        for name, kept in sorted(index.items(), key=lambda item: -item[1].used):
            with suppress(FileNotFoundError):
                total += (self._folder / name).stat().st_size
                if total <= _LIMIT_BYTES and now - kept.used < _UNUSED_S:
                    left[name] = kept
        return left

    def _index(self) -> dict[str, Kept]:
        try:
            found = json.loads((self._folder / _INDEX).read_text())
            return {name: Kept(**each) for name, each in found.items() if name == Path(name).name}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for folder in (self._folder.parent.parent, self._folder.parent, self._folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._folder):
            yield


def _files(lists: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of lists (the archive's times)."""
    if not lists.is_dir():
        return {}
    found = {path.name: path.stat() for path in lists.iterdir() if path.is_file() and path.name != "lock"}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}
