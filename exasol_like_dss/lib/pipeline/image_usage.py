"""The files of a root file system, wherever it is: in a folder, in a tar, or in a disk image."""

from __future__ import annotations

import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.formats.reader import inspect_image
from exasol_like_dss.lib.images.raw_source import raw_source
from exasol_like_dss.lib.images.usage import File, Usage, usage_of
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification.trees import root_file_system_offset

_MOST_TEXT_BYTES = 16 << 20
_GZIP, _USTAR_AT = b"\x1f\x8b", 257
_DEADLINE_S = 300.0


def image_usage(
    image: Path, *, work_directory: Path, programs: Programs, progress: Progress, cancellation: Cancellation
) -> Usage:
    """image: of any format, a folder with a root file system, or a tar of one (``create-vm --keep-rootfs``).

    work_directory: for a sparse raw copy, where a format needs one. Raises ``InputError``, ``DssError``.
    """
    if image.is_dir():
        if not (image / "usr").is_dir():
            raise InputError(f"The folder {image} holds no root file system.", hint="Give an image itself.")
        with progress.step("read the folder"):
            return usage_of(_in_folder(image, cancellation), read=lambda paths: _texts_of_folder(image, paths))
    if _is_tar(image):
        with progress.step("read the tar"):
            return _of_tar(image, cancellation)
    info = inspect_image(image, programs)
    with (
        raw_source(info, work_directory=work_directory, programs=programs, progress=progress) as source,
        progress.step("read the file system"),
    ):
        device = f"{source.path}?offset={root_file_system_offset(source.path)}"
        found = _Debugfs(device, programs, cancellation)
        return usage_of(found.files(), read=found.texts)


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
        with tarfile.open(path, "r|*") as tar:
            for number, member in enumerate(tar):
                cancellation.check()
                if not member.isreg():
                    continue
                name = "/" + member.name.removeprefix("./").lstrip("/")
                files.append(File(name, member.size, number))
                if name.startswith("/var/lib/dpkg/info/") and name.endswith(".list"):
                    content = tar.extractfile(member)
                    texts[name] = content.read().decode(errors="replace") if content else ""
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
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
