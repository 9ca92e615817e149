"""The files of a root file system, wherever it is: in a folder, in a tar, in a disk image, or in a container image."""

from __future__ import annotations

import io
import posixpath
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from exasol_like_dss.access.docker import Docker, EngineRefused
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.container_archive import Layer, begins_archive, is_layout, read_layout, read_tar
from exasol_like_dss.lib.images.container_layers import merge
from exasol_like_dss.lib.images.formats.reader import inspect_image
from exasol_like_dss.lib.images.raw_source import raw_source
from exasol_like_dss.lib.images.usage import File, LayerShare, Usage, is_package_list, usage_of
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification.trees import root_file_system_offset

_MOST_TEXT_BYTES = 16 << 20
#: Before the name of an image that the engine has.
ENGINE = "docker://"
_GZIP, _USTAR_AT = b"\x1f\x8b", 257
_DEADLINE_S = 300.0
_PIECE = 1 << 20
_UNREADABLE = (tarfile.TarError, OSError, EOFError, zlib.error)


def image_usage(
    image: Path, *, work_directory: Path, programs: Programs, progress: Progress, cancellation: Cancellation
) -> Usage:
    """image: of any format, a folder with a root file system, a tar of one (``create-vm --keep-rootfs``), or a
    container image as ``docker save`` or an OCI image layout has it.

    work_directory: for a sparse raw copy, where a format needs one. Raises ``InputError``, ``DssError``.
    """
    if image.is_dir():
        if is_layout(image):
            with progress.step("read the layers"):
                return _of_layers(read_layout(image, wanted=is_package_list, check=cancellation.check))
        if not (image / "usr").is_dir():
            raise InputError(f"The folder {image} holds no root file system.", hint="Give an image itself.")
        with progress.step("read the folder"):
            return usage_of(_in_folder(image, cancellation), read=lambda paths: _texts_of_folder(image, paths))
    if _is_tar(image):
        with progress.step("read the tar"):
            return _of_tar(image, cancellation)
    if not image.exists():
        raise InputError(
            f"There is no file {image}.", hint=f"Check the name. An image of the Docker engine is {ENGINE}NAME:TAG."
        )
    info = inspect_image(image, programs)
    with (
        raw_source(info, work_directory=work_directory, programs=programs, progress=progress) as source,
        progress.step("read the file system"),
    ):
        device = f"{source.path}?offset={root_file_system_offset(source.path)}"
        found = _Debugfs(device, programs, cancellation)
        return usage_of(found.files(), read=found.texts)


def docker_image_usage(reference: str, *, docker: Docker, progress: Progress, cancellation: Cancellation) -> Usage:
    """reference: name or id of an image that the engine has. It is read on its way: nothing is written to the disk.

    Raises ``InputError`` when there is no engine or no such image, ``DssError`` when the engine breaks off.
    """
    if not reference:
        raise InputError(f"{ENGINE} names no image.", hint=f"Give {ENGINE}NAME:TAG, or an id.")
    docker.check()
    try:
        image = docker.image(reference)
    except EngineRefused as error:
        raise InputError(f"{reference!r} is no image: {error.said}.", hint="Give NAME:TAG or an id.") from error
    if image is None:
        raise InputError(f"The Docker engine has no image {reference!r}.", hint=f"docker pull {reference}")
    with progress.step(f"read {reference}") as step:

        def pieces() -> Iterator[bytes]:
            done = 0
            for piece in docker.save(image.image_id):  # the name may move while we look at it
                done += len(piece)
                progress.bytes(step, done, max(done, image.size_bytes))
                yield piece

        stream = io.BufferedReader(_Pieces(pieces()), _PIECE)
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_PIECE) as tar:
                return _of_layers(read_tar(tar, what=reference, wanted=is_package_list, check=cancellation.check))
        except _UNREADABLE as error:
            raise DssError(f"The engine did not send all of {reference}: {error}.", hint="Try it again.") from error


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file that is read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _of_layers(layers: tuple[Layer, ...]) -> Usage:
    merged = merge([layer.entries for layer in layers])
    usage = usage_of(merged.files, read=lambda paths: {path: merged.texts.get(path, "") for path in paths})
    shares = (
        LayerShare(layer.digest, brought, brought - seen, layer.made_by)
        for layer, brought, seen in zip(layers, merged.brought_bytes, merged.seen_bytes, strict=True)
    )
    return replace(usage, layers=tuple(shares))


def _in_folder(root: Path, cancellation: Cancellation) -> Iterator[File]:
    folders = [root]
    while folders:
        cancellation.check()
        for entry in folders.pop().iterdir():
            status = entry.lstat()
            if stat.S_ISDIR(status.st_mode):
                folders.append(entry)
            elif stat.S_ISREG(status.st_mode):
                yield File(f"/{entry.relative_to(root)}", status.st_size, status.st_ino)


def _texts_of_folder(root: Path, paths: Iterable[str]) -> dict[str, str]:
    return {path: (root / path[1:]).read_text(errors="replace") for path in paths}


def _is_tar(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(512)
    # An OVA is a tar, too: that is for ``inspect_image``.
    return head.startswith(_GZIP) or (head[_USTAR_AT : _USTAR_AT + 5] == b"ustar" and b".ovf" not in head[:100])


def _of_tar(path: Path, cancellation: Cancellation) -> Usage:
    files: list[File] = []
    texts: dict[str, str] = {}
    try:
        with tarfile.open(path, "r|*", bufsize=_PIECE) as tar:
            first = True
            for number, member in enumerate(tar):
                cancellation.check()
                if first and begins_archive(member.name):
                    return _of_layers(read_tar(tar, what=str(path), wanted=is_package_list, check=cancellation.check))
                first = first and posixpath.normpath(member.name) == "."
                if not member.isreg():
                    continue
                name = "/" + member.name.removeprefix("./").lstrip("/")
                files.append(File(name, member.size, number))
                if is_package_list(name):
                    content = tar.extractfile(member)
                    texts[name] = content.read().decode(errors="replace") if content else ""
    except _UNREADABLE as error:
        raise InputError(f"{path} can't be read as a tar: {error}.", hint="Is it whole? Make it again.") from None
    if not any(file.path.startswith("/usr/") for file in files):
        raise InputError(f"{path} holds no root file system.", hint="Give the image, or what --keep-rootfs left.")
    return usage_of(files, read=lambda paths: {each: texts[each] for each in paths})


class _Debugfs:
    """An ext4 read by debugfs (e2fsprogs), which opens it read-only: one call for each level of folders."""

    def __init__(self, device: str, programs: Programs, cancellation: Cancellation) -> None:
        self._device = device
        self._programs = programs
        self._cancellation = cancellation

    def files(self) -> Iterator[File]:
        folders = ["/"]
        while folders:
            below: list[str] = []
            for folder, lines in self._answers([f"ls -p {_quoted(folder)}" for folder in folders], folders).items():
                for line in lines.splitlines():
                    # /inode/mode/uid/gid/name/size/, with an empty size for directories.
                    fields = line.split("/")
                    if len(fields) != 8 or fields[1] == "0" or fields[5] in (".", ".."):
                        continue
                    path, mode = f"{folder.rstrip('/')}/{fields[5]}", int(fields[2], 8)
                    if stat.S_ISDIR(mode):
                        below.append(path)
                    elif stat.S_ISREG(mode):
                        yield File(path, int(fields[6] or 0), int(fields[1]))
            folders = below

    def texts(self, paths: list[str]) -> Mapping[str, str]:
        return self._answers([f"cat {_quoted(path)}" for path in paths], paths)

    def _answers(self, requests: list[str], keys: list[str]) -> dict[str, str]:
        """What debugfs says to each request; it repeats that before its answer."""
        if not requests:
            return {}
        with tempfile.NamedTemporaryFile("w", prefix="dss-debugfs-") as script:
            script.write("\n".join(requests) + "\n")
            script.flush()
            output = self._programs.run(
                ["debugfs", "-f", script.name, self._device], what="reading the image's file system",
                deadline_s=_DEADLINE_S, cancelled=lambda: self._cancellation.cancelled,
            )  # fmt: skip
        answers: dict[str, str] = {}
        rest = output
        for number, (request, key) in enumerate(zip(requests, keys, strict=True)):
            _, _, rest = rest.partition(f"debugfs: {request}\n")
            answer = rest
            if number + 1 < len(requests):
                answer = rest.partition(f"debugfs: {requests[number + 1]}\n")[0]
            answers[key] = answer
            rest = rest[len(answer) :]
        return answers


def _quoted(path: str) -> str:
    return '"' + path.replace('"', '""') + '"'
