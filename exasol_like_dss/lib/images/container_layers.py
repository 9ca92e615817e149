"""The layers of a container image, laid one over the other: which files are seen in the end, and what each layer holds.

After the OCI image specification (github.com/opencontainers/image-spec, layer.md): ``.wh.NAME`` takes NAME of the
layers below away, ``.wh..wh..opq`` everything below its folder; both leave alone what their own layer brings. A folder
over a folder adds to it; everything else replaces what has its name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.usage import File

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
#: What AUFS once kept beside the files (``.wh..wh.plnk`` and others).
_AUFS = ".wh..wh."
#: As many as Linux follows in one path (path_resolution(7)).
_MOST_LINKS = 40


class Kind(Enum):
    """What a tar's entry is. OTHER: devices, pipes."""

    FILE = "file"
    FOLDER = "folder"
    HARD_LINK = "hard link"
    SYMBOLIC_LINK = "symbolic link"
    OTHER = "other"


@dataclass(frozen=True)
class Entry:
    """One entry of a layer. path: as in the tar. target: of a link. text: where it was asked for."""

    path: str
    kind: Kind
    size_bytes: int = 0
    target: str = ""
    text: str | None = None


@dataclass(frozen=True)
class Merged:
    """files: those that are seen. texts: of those of them that have one, by path.

    brought_bytes, seen_bytes: per layer, what it holds, and what of that is still seen.
    """

    files: tuple[File, ...]
    texts: Mapping[str, str]
    brought_bytes: tuple[int, ...]
    seen_bytes: tuple[int, ...]


@dataclass(eq=False)
class _Content:
    """What all names of one file share."""

    layer: int
    number: int
    size_bytes: int
    text: str | None


@dataclass(frozen=True)
class _Link:
    target: str


@dataclass(eq=False)
class _Folder:
    #: ``None``: a device or the like.
    below: dict[str, _Folder | _Content | _Link | None] = field(default_factory=dict)


def merge(layers: Sequence[Sequence[Entry]]) -> Merged:
    """layers: the lowest first. Raises ``InputError`` for what no engine could unpack."""
    root = _Folder()
    contents: list[_Content] = []
    for number, entries in enumerate(layers):
        _take_away(root, entries)
        for entry in entries:
            _add(root, entry, number, contents)
    files: list[File] = []
    texts: dict[str, str] = {}
    seen: dict[int, _Content] = {}
    for path, content in _contents(root):
        files.append(File(path, content.size_bytes, content.number))
        seen[content.number] = content
        if content.text is not None:
            texts[path] = content.text
    return Merged(tuple(files), texts, _by_layer(contents, len(layers)),
                  _by_layer(seen.values(), len(layers)))  # fmt: skip


def _by_layer(contents: Iterable[_Content], count: int) -> tuple[int, ...]:
    sizes = [0] * count
    for content in contents:
        sizes[content.layer] += content.size_bytes
    return tuple(sizes)


def _take_away(root: _Folder, entries: Sequence[Entry]) -> None:
    """Before anything is added: the order of a layer's entries does not matter (layer.md, "Whiteouts")."""
    for entry in entries:
        folder, name = _split(entry.path)
        if not name.startswith(_WHITEOUT) or (name.startswith(_AUFS) and name != _OPAQUE):
            continue
        found = _walk(root, folder, make=False)
        if found is None:
            continue
        if name == _OPAQUE:
            found.below.clear()
        else:
            found.below.pop(name.removeprefix(_WHITEOUT), None)


def _add(root: _Folder, entry: Entry, layer: int, contents: list[_Content]) -> None:
    folder, name = _split(entry.path)
    if not name or name.startswith(_WHITEOUT):
        return
    below = _made(root, folder).below
    match entry.kind:
        case Kind.FOLDER:
            if not isinstance(below.get(name), _Folder):
                below[name] = _Folder()
        case Kind.FILE:
            contents.append(_Content(layer, len(contents), entry.size_bytes, entry.text))
            below[name] = contents[-1]
        case Kind.HARD_LINK:
            target_folder, target_name = _split(entry.target)
            found = _walk(root, target_folder, make=False)
            if found is None or target_name not in found.below:
                raise InputError(
                    f"Layer {layer + 1} has the hard link {entry.path} to {entry.target}, which is not there.",
                    hint="The image is damaged: fetch or make it again.",
                )
            below[name] = found.below[target_name]
        case Kind.SYMBOLIC_LINK:
            below[name] = _Link(entry.target)
        case Kind.OTHER:
            below[name] = None


def _split(path: str) -> tuple[str, str]:
    """Folder and name of a path inside the image; the name of the root is empty."""
    return posixpath.split(posixpath.normpath(f"/{path.lstrip('/')}"))


def _made(root: _Folder, path: str) -> _Folder:
    folder = _walk(root, path, make=True)
    assert folder
    return folder


def _walk(root: _Folder, path: str, *, make: bool) -> _Folder | None:
    """The folder at a path, through symbolic links, which stay inside the image. make: what is missing is made."""
    way, todo, links = [root], path.split("/")[::-1], 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            way = way[:-1] or [root]
            continue
        node = way[-1].below.get(part)
        if isinstance(node, _Link):
            links += 1
            if links > _MOST_LINKS:
                raise InputError(
                    f"The symbolic links in {path} of the image lead in a circle.", hint="No engine can unpack it."
                )
            if node.target.startswith("/"):
                del way[1:]
            todo += node.target.split("/")[::-1]
            continue
        if not isinstance(node, _Folder):
            if not make:
                return None
            node = way[-1].below[part] = _Folder()
        way.append(node)
    return way[-1]


def _contents(root: _Folder) -> Iterator[tuple[str, _Content]]:
    """By all of their names."""
    todo = [("", root)]
    while todo:
        above, here = todo.pop()
        for name, node in here.below.items():
            if isinstance(node, _Folder):
                todo.append((f"{above}/{name}", node))
            elif isinstance(node, _Content):
                yield f"{above}/{name}", node
