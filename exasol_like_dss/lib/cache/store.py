"""The folder of the cache: what is in it is whole, or is not seen.

    secret                      256 random bits: the key of all identities, so that none betrays what it is made of
    answers.json                what package archives and git repositories answered last
    layers/IDENTITY/            layer.json (written last) and layer.tar.gz
    images/IDENTITY.json        where a finished build was left, and how its files looked
    reports/SHA256.json         the verification of an image file
    packages/                   see ``packages``

Only root reads it: a layer holds what an image holds. A layer is written under another name, synchronised (fsync(2))
and renamed. So neither a killed build nor a power cut leaves one that only looks complete. Readers take no lock: they
open all files of a chain before they use the first one, and what is removed meanwhile can still be read.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exasol_like_dss.lib.cache.packages import FOLDER as PACKAGES
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.files import write_text_atomically
from exasol_like_dss.lib.locks import is_free, locked

DEFAULT_DIRECTORY = Path("/var/cache/exasol-like-dss")
DEFAULT_SIZE_BYTES = 10 << 30
ARCHIVE = "layer.tar.gz"
_MARKER = "layer.json"
_PARTIAL = ".partial-"
#: Records of images and verifications are small. So many of them are kept.
_KEPT_RECORDS = 200


@dataclass(frozen=True)
class Layer:
    """A layer that is there. name: ``base``, or that of a role. below: the identity of the one below, if any.

    depth: how many are below it. stored_bytes: of the archive. used: seconds since 1970.
    """

    identity: str
    name: str
    title: str
    below: str | None
    depth: int
    stored_bytes: int
    created: float
    used: float
    folder: Path


class Store:
    """The cache in ``directory``, made when missing. Raises ``InputError`` when it can't be."""

    def __init__(self, directory: Path, *, limit_bytes: int = DEFAULT_SIZE_BYTES) -> None:
        self.directory = directory
        self._limit_bytes = limit_bytes
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("layers", "images", "reports"):
                (directory / name).mkdir(exist_ok=True, mode=0o700)
            self._secret = self._ensure_secret()
        except OSError as error:
            raise InputError(
                f"The cache {directory} can't be used: {error.strerror}.",
                hint="Give another --cache-directory, or --no-cache.",
            ) from error

    def identity(self, description: Mapping[str, Any]) -> str:
        """64 hexadecimal digits (HMAC-SHA-256, RFC 2104) of anything that JSON can hold."""
        text = json.dumps(description, sort_keys=True, default=str)
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    # --- layers ---------------------------------------------------------------------------------------------------

    def layer(self, identity: str) -> Layer | None:
        """The layer, if it is there and whole."""
        return self._read(self.directory / "layers" / identity)

    def layers(self) -> list[Layer]:
        """All, the one used last first."""
        found = [self._read(folder) for folder in (self.directory / "layers").iterdir() if folder.name[0] != "."]
        return sorted((layer for layer in found if layer), key=lambda layer: (-layer.used, layer.depth))

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A folder for the archive of a new layer; removed at the end, unless ``keep`` has been called."""
        with locked(self.directory):  # else another build takes it for a leftover before it has its own lock
            path = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.directory / "layers"))
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)

    def keep(self, folder: Path, *, identity: str, name: str, title: str, below: Layer | None) -> Layer:
        """Makes a folder with an archive the layer ``identity``, unless another build was quicker."""
        archive = folder / ARCHIVE
        described = {
            "name": name,
            "title": title,
            "below": below.identity if below else None,
            "depth": below.depth + 1 if below else 0,
            "stored_bytes": archive.stat().st_size,
            "created": time.time(),
        }
        _synchronise(archive)
        write_text_atomically(folder / _MARKER, json.dumps(described))
        _synchronise(folder)
        target = self.directory / "layers" / identity
        with locked(self.directory):
            if self._read(target) is None:
                shutil.rmtree(target, ignore_errors=True)
                folder.rename(target)
                _synchronise(target.parent)
        kept = self._read(target)
        assert kept
        return kept

    def touch(self, layer: Layer) -> None:
        """It has been used just now."""
        with suppress(FileNotFoundError):
            os.utime(layer.folder / _MARKER)

    def drop(self, layer: Layer) -> None:
        """Removes a layer, for example a damaged one."""
        with locked(self.directory):
            self._remove(layer.folder)

    def evict(self) -> list[Layer]:
        """Removes what killed builds left, what was not used for longest as long as all is larger than the limit, and
        layers whose lower ones have gone. Returns the layers that went."""
        gone: list[Layer] = []
        with locked(self.directory):
            for partial in (self.directory / "layers").glob(f"{_PARTIAL}*"):
                if is_free(partial):
                    shutil.rmtree(partial, ignore_errors=True)
            layers = self.layers()
            total = sum(layer.stored_bytes for layer in layers)
            # Of one chain, whose layers are used together, the topmost first: the others are of use without it.
            for layer in sorted(layers, key=lambda layer: (round(layer.used), -layer.depth)):
                if total <= self._limit_bytes:
                    break
                self._remove(layer.folder)
                total -= layer.stored_bytes
                gone.append(layer)
            left = {layer.identity: layer for layer in layers if layer not in gone}
            for layer in sorted(left.values(), key=lambda layer: layer.depth):
                if layer.below and layer.below not in left:
                    self._remove(layer.folder)
                    del left[layer.identity]
                    gone.append(layer)
            for kind in ("images", "reports"):
                records = sorted((self.directory / kind).glob("*.json"), key=lambda path: -path.stat().st_mtime)
                for record in records[_KEPT_RECORDS:]:
                    record.unlink(missing_ok=True)
        return gone

    def clean(self) -> int:
        """Removes everything but the secret, and returns how many bytes that were. Layers that a running build is
        writing stay."""
        before = self.size_bytes()
        with locked(self.directory):
            for layer in self.layers():
                self._remove(layer.folder)
            for partial in (self.directory / "layers").glob(".*"):
                if is_free(partial):
                    shutil.rmtree(partial, ignore_errors=True)
            for kind in ("images", "reports"):
                for record in (self.directory / kind).iterdir():
                    record.unlink(missing_ok=True)
            (self.directory / "answers.json").unlink(missing_ok=True)
            shutil.rmtree(self.directory / PACKAGES, ignore_errors=True)
        return before - self.size_bytes()

    def size_bytes(self) -> int:
        """What all of it takes."""
        total = 0
        for folder, _, names in os.walk(self.directory):
            for name in names:
                with suppress(FileNotFoundError):
                    total += Path(folder, name).lstat().st_size
        return total

    # --- records --------------------------------------------------------------------------------------------------

    def record(self, kind: str, name: str) -> Any:
        """What was remembered of an image or a verification; ``None`` when nothing was, or it can't be read."""
        path = self.directory / kind / f"{name}.json"
        try:
            found = json.loads(path.read_text())
            os.utime(path)
        except (OSError, ValueError):
            return None
        return found

    def remember(self, kind: str, name: str, content: object) -> None:
        """Replaces it."""
        write_text_atomically(self.directory / kind / f"{name}.json", json.dumps(content))

    # --- inside ---------------------------------------------------------------------------------------------------

    def _ensure_secret(self) -> bytes:
        path = self.directory / "secret"
        with locked(self.directory):
            if not path.exists() or path.stat().st_size != 32:
                with suppress(FileNotFoundError):
                    path.unlink()
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(32))
        return path.read_bytes()

    def _remove(self, folder: Path) -> None:
        """The marker first, by renaming: half a removal leaves nothing that looks complete."""
        gone = folder.with_name(f"{_PARTIAL}{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _read(self, folder: Path) -> Layer | None:
        try:
            content = json.loads((folder / _MARKER).read_text())
            if (folder / ARCHIVE).stat().st_size != content["stored_bytes"]:
                return None
            used = (folder / _MARKER).stat().st_mtime
            return Layer(identity=folder.name, used=used, folder=folder, **content)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
