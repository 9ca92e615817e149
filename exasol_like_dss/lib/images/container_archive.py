"""A container image in a file: what ``docker save`` writes, and an OCI image layout, also as a folder.

Read in one pass, whatever the order of its members is, and without unpacking anything to the disk: of a layer, only the
list of its entries is kept. Formats: github.com/moby/docker-image-spec (``manifest.json``), and the OCI image
specification (``image-layout.md``, ``manifest.md``, ``config.md``).

Whether it is whole tells the configuration: it has the SHA-256 of each layer, uncompressed (``diff_ids``).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.container_layers import Entry, Kind

_PIECE = 1 << 20
_MOST_DOCUMENT_BYTES = 16 << 20
_GZIP, _ZSTD, _USTAR_AT = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", 257
#: The names with which such an archive begins. The root file systems that we know have none of them.
_FIRST = re.compile(r"(blobs|oci-layout|index\.json|manifest\.json|repositories|(sha256:)?[0-9a-f]{12,64})([./].*)?$")
#: The machines that the images are for; the only choice where an archive has an image for several.
_ARCHITECTURE = "amd64"
_AGAIN = "Fetch or save it again: docker save NAME:TAG --output FILE"

Wanted = Callable[[str], bool]
Check = Callable[[], None]


@dataclass(frozen=True)
class Layer:
    """digest: SHA-256 of the uncompressed tar. made_by: what the image's history says."""

    digest: str
    made_by: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class _Member:
    """Of the archive. content: of a file, to be read before the next member is asked for."""

    name: str
    content: IO[bytes] | None = None
    target: str = ""


@dataclass(frozen=True)
class _Found:
    """A layer as it is, or why it can't be read."""

    digest: str = ""
    entries: tuple[Entry, ...] = ()
    problem: str = ""


@dataclass
class _Archive:
    documents: dict[str, bytes] = field(default_factory=dict)
    layers: dict[str, _Found] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """Where a name leads: layers that are the same are links in archives of older engines."""
        name = posixpath.normpath(name)
        for _ in range(len(self.links)):
            if name not in self.links:
                break
            name = self.links[name]
        return name

    def document(self, name: str) -> Any:
        """Raises ``KeyError`` where there is none, ``ValueError`` where it is none."""
        return json.loads(self.documents[self.place(name)])


@dataclass(frozen=True)
class _Choice:
    """One image of an archive. layers: the names of the members."""

    names: tuple[str, ...]
    config: Any
    layers: tuple[str, ...]


def begins_archive(name: str) -> bool:
    """Whether a tar whose first member has this name holds a container image."""
    return bool(_FIRST.match(posixpath.normpath(name)))


def is_layout(folder: Path) -> bool:
    return (folder / "oci-layout").is_file()


def read_layout(folder: Path, *, wanted: Wanted, check: Check) -> tuple[Layer, ...]:
    """The layers of the image in a folder, the lowest first. For wanted, check and errors, see ``read_tar``."""

    def members() -> Iterator[_Member]:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                with path.open("rb") as content:
                    yield _Member(str(path.relative_to(folder)), content)

    return _read(members(), f"The folder {folder}", wanted, check)


def read_tar(tar: tarfile.TarFile, *, what: str, wanted: Wanted, check: Check) -> tuple[Layer, ...]:
    """The layers of the image in an archive, the lowest first. tar: may be a stream.

    what: the archive is, for errors. wanted: whether the text of the file at a path inside of the image is kept. check:
    called now and then, and may raise. Raises ``InputError`` for an archive that is damaged, not whole, or of several
    images; ``tarfile.TarError``, ``OSError``, ``EOFError`` and ``zlib.error`` when the tar itself can't be read.
    """

    def members() -> Iterator[_Member]:
        for member in tar:
            name = posixpath.normpath(member.name.lstrip("/"))
            if member.isreg():
                yield _Member(name, tar.extractfile(member))
            elif member.issym():
                yield _Member(name, target=posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname)))
            elif member.islnk():
                yield _Member(name, target=posixpath.normpath(member.linkname))

    return _read(members(), what, wanted, check)


def _read(members: Iterable[_Member], what: str, wanted: Wanted, check: Check) -> tuple[Layer, ...]:
    archive = _Archive()
    for member in members:
        check()
        if member.content is None:
            archive.links[member.name] = member.target
            continue
        content: Any = member.content
        head = content.peek(512)[:512]
        if head.startswith(_GZIP) or head[_USTAR_AT : _USTAR_AT + 5] == b"ustar" or (head and not any(head)):
            archive.layers[member.name] = _read_layer(content, wanted, check, gzipped=head.startswith(_GZIP))
        elif head.startswith(_ZSTD):
            archive.layers[member.name] = _Found(problem="is compressed with zstd, which can't be read here")
        else:
            document = content.read(_MOST_DOCUMENT_BYTES + 1)
            if len(document) <= _MOST_DOCUMENT_BYTES:
                archive.documents[member.name] = document
    try:
        return _layers(_chosen(_choices(archive), what), archive, what)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{what} is damaged, or is not whole.", hint=_AGAIN) from None


class _Hashed:
    """A tar's bytes on their way, as ``tarfile`` takes them."""

    def __init__(self, source: IO[bytes], check: Check) -> None:
        self.sha256 = hashlib.sha256()
        self._source = source
        self._check = check

    def read(self, size: int) -> bytes:
        self._check()
        data = self._source.read(size)
        self.sha256.update(data)
        return data


def _read_layer(content: IO[bytes], wanted: Wanted, check: Check, *, gzipped: bool) -> _Found:
    source: Any = gzip.GzipFile(fileobj=content) if gzipped else content
    stream: Any = _Hashed(source, check)
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_PIECE) as tar:
            entries = tuple(_entry(tar, member, wanted) for member in tar)
        while stream.read(_PIECE):  # the sum is that of all bytes
            pass
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        return _Found(problem=f"is damaged ({error})")
    return _Found(f"sha256:{stream.sha256.hexdigest()}", entries)


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: Wanted) -> Entry:
    if member.isreg():
        text = None
        path = posixpath.normpath(f"/{member.name.lstrip('/')}")
        if wanted(path) and member.size <= _MOST_DOCUMENT_BYTES:
            content = tar.extractfile(member)
            text = content.read().decode(errors="replace") if content else ""
        return Entry(member.name, Kind.FILE, member.size, text=text)
    if member.isdir():
        return Entry(member.name, Kind.FOLDER)
    if member.islnk():
        return Entry(member.name, Kind.HARD_LINK, target=member.linkname)
    if member.issym():
        return Entry(member.name, Kind.SYMBOLIC_LINK, target=member.linkname)
    return Entry(member.name, Kind.OTHER)


def _choices(archive: _Archive) -> list[_Choice]:
    """What docker says in ``manifest.json``; without it, what the OCI index leads to and is in the archive."""
    if "manifest.json" in archive.documents:
        return [
            _Choice(tuple(one.get("RepoTags") or ()), archive.document(one["Config"]), tuple(one["Layers"]))
            for one in archive.document("manifest.json")
        ]
    choices: list[_Choice] = []
    todo = [(one, "") for one in archive.document("index.json")["manifests"]]
    while todo:
        descriptor, above = todo.pop(0)
        name = (descriptor.get("annotations") or {}).get("org.opencontainers.image.ref.name", above)
        if archive.place(_blob(descriptor)) not in archive.documents:
            continue  # for another platform, and left out
        manifest = archive.document(_blob(descriptor))
        if "manifests" in manifest:
            todo += [(one, name) for one in manifest["manifests"]]
            continue
        config = archive.document(_blob(manifest["config"]))
        if "rootfs" in config and config.get("architecture") != "unknown":  # else an attestation or another artifact
            names = (name,) if name else ()
            choices.append(_Choice(names, config, tuple(_blob(layer) for layer in manifest["layers"])))
    return choices


def _blob(descriptor: Any) -> str:
    algorithm, _, digest = descriptor["digest"].partition(":")
    return f"blobs/{algorithm}/{digest}"


def _chosen(choices: list[_Choice], what: str) -> _Choice:
    different = list({choice.layers: choice for choice in choices}.values())
    if len(different) > 1:
        different = [one for one in different if one.config.get("architecture") == _ARCHITECTURE] or different
    if not different:
        raise ValueError("none")
    if len(different) > 1:
        names = ", ".join(name for one in different for name in one.names)
        raise InputError(f"{what} holds {len(different)} images{': ' * bool(names)}{names}.", hint="Save one of them.")
    return different[0]


def _layers(choice: _Choice, archive: _Archive, what: str) -> tuple[Layer, ...]:
    digests = choice.config["rootfs"]["diff_ids"]
    if len(digests) != len(choice.layers):
        raise ValueError("layers are missing")
    made_by = _history(choice.config, len(digests))
    layers: list[Layer] = []
    for number, (name, digest) in enumerate(zip(choice.layers, digests, strict=True)):
        found = archive.layers.get(archive.place(name), _Found(problem="is missing"))
        problem = found.problem or ("is damaged: it has another SHA-256 than it should" * (found.digest != digest))
        if problem:
            raise InputError(f"Layer {number + 1} of {what[0].lower()}{what[1:]} {problem}.", hint=_AGAIN)
        layers.append(Layer(digest, made_by[number], found.entries))
    return tuple(layers)


def _history(config: Any, count: int) -> list[str]:
    """What made each layer: the words of who committed it, else the command. Empty where the image does not say."""
    made = [one for one in config.get("history") or () if not one.get("empty_layer")]
    if len(made) != count:
        return [""] * count
    said = [(str(one.get("comment") or ""), str(one.get("created_by") or "")) for one in made]
    return [comment if comment and not comment.startswith("buildkit.") else by for comment, by in said]
