"""Where finished builds were left. The cache holds no images: it knows where they are, and sees when one changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache.store import Store
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.publishing.manifest import Manifest, Verification, read_manifest

_KIND = "images"
#: Of one image, so many places are remembered.
_PLACES = 8


@dataclass(frozen=True)
class Place:
    """A folder that holds a finished build, unchanged since."""

    directory: Path
    manifest: Manifest
    names: tuple[str, ...]

    def copy_to(self, folder: Path, *, programs: Programs) -> None:
        """Copies all files; on file systems that can (btrfs, XFS), as a reference. Raises ``ProgramFailed``.

        Never as a hard link: who starts a machine of one of them would change the other.
        """
        programs.run(
            ["cp", "--reflink=auto", "--sparse=always", "--preserve=mode,timestamps", "--",
             *(str(self.directory / name) for name in self.names), str(folder)],
            what="Copying the image",
        )  # fmt: skip


def find_finished(store: Store, identity: str, preferred: Path, *, verified: bool) -> Place | None:
    """A place whose files are as they were left, ``preferred`` before all others. verified: only one that passed."""
    record = store.record(_KIND, identity) or []
    for row in sorted(record, key=lambda row: row["directory"] != str(preferred)):
        place = _whole(row)
        if place and (not verified or place.manifest.verification is Verification.PASSED):
            return place
    return None


def find_place(store: Store, identity: str, directory: Path) -> Place | None:
    """What is in ``directory``, if it is this image and unchanged."""
    for row in store.record(_KIND, identity) or []:
        if row["directory"] == str(directory):
            return _whole(row)
    return None


def remember_place(store: Store, identity: str, directory: Path, manifest: Manifest) -> None:
    """Notes names, sizes and times of all files of a finished build."""
    names = [artifact.name for artifact in manifest.artifacts]
    names += [name for name in ("manifest.json", "SHA256SUMS", "sbom.cdx.json", "verification.json")
              if (directory / name).exists()]  # fmt: skip
    row = {"directory": str(directory), "files": {name: _seen(directory / name) for name in names}}
    others = [other for other in store.record(_KIND, identity) or [] if other["directory"] != str(directory)]
    store.remember(_KIND, identity, [row, *others][:_PLACES])


def _whole(row: Any) -> Place | None:
    directory = Path(row["directory"])
    try:
        if any(_seen(directory / name) != seen for name, seen in row["files"].items()):
            return None
        return Place(directory, read_manifest(directory / "manifest.json"), tuple(row["files"]))
    except (OSError, InputError):
        return None


def _seen(path: Path) -> list[int]:
    """Size, time of modification and inode: a file that was written to, or replaced, differs in one of them."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
