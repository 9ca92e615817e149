"""Finds the disk inside an OVA, and compares the files with the manifest. Nothing is unpacked."""

from __future__ import annotations

import hashlib
import re
import tarfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from exasol_like_dss.lib.images.formats.ovf import NAMESPACE
from exasol_like_dss.lib.images.formats.vmdk_reader import Damaged

_MOST_TEXT_BYTES = 4 << 20
_MANIFEST_LINE = re.compile(r"(SHA1|SHA256|SHA512)\s*\((.+)\)\s*=\s*([0-9a-fA-F]+)\s*")


class NoAppliance(Exception):
    """A tar, but no OVA."""


@dataclass(frozen=True)
class Member:
    """A file in the tar; ``offset`` in bytes from the tar's beginning."""

    name: str
    offset: int
    size_bytes: int


class OvaReader:
    """The table of contents of an OVA. Raises ``NoAppliance`` or ``Damaged``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        file_bytes = path.stat().st_size
        try:
            with tarfile.open(path, "r:") as tar:
                members = [Member(each.name, each.offset_data, each.size) for each in tar if each.isfile()]
        except (tarfile.TarError, OSError):
            raise Damaged("is cut short or damaged: the tar can't be read to its end") from None
        self.members = {member.name: member for member in members}
        # The tar itself ends with two blocks of zeros.
        end = max((member.offset + member.size_bytes for member in members), default=0)
        if end + 1024 > file_bytes:
            raise Damaged("is cut short")
        descriptors = [member for member in members if member.name.lower().endswith(".ovf")]
        if not descriptors:
            raise NoAppliance
        self.descriptor = descriptors[0]
        self.disk = self._find_disk()

    def _find_disk(self) -> Member:
        """The first disk of the descriptor."""
        try:
            envelope = ET.fromstring(self.read(self.descriptor))
        except ET.ParseError as error:
            raise Damaged(f"has a descriptor that is no XML ({error})") from None
        files = {
            each.get(f"{{{NAMESPACE}}}id"): each.get(f"{{{NAMESPACE}}}href")
            for each in envelope.iter(f"{{{NAMESPACE}}}File")
        }
        for disk in envelope.iter(f"{{{NAMESPACE}}}Disk"):
            name = files.get(disk.get(f"{{{NAMESPACE}}}fileRef"))
            if name:
                if name not in self.members:
                    raise Damaged(f"lacks the disk {name!r} that its descriptor names")
                return self.members[name]
        raise Damaged("has a descriptor without a disk")

    def read(self, member: Member) -> bytes:
        """The content of a small member."""
        if member.size_bytes > _MOST_TEXT_BYTES:
            raise Damaged(f"has a {member.name!r} of {member.size_bytes} bytes")
        with self._path.open("rb") as file:
            file.seek(member.offset)
            return file.read(member.size_bytes)

    def check_manifest(self) -> None:
        """Compares every file with the manifest, where there is one."""
        for manifest in (each for each in self.members.values() if each.name.lower().endswith(".mf")):
            for line in self.read(manifest).decode(errors="replace").splitlines():
                match = _MANIFEST_LINE.fullmatch(line)
                if not line.strip():
                    continue
                if not match or match[2] not in self.members:
                    raise Damaged(f"has a manifest that says {line!r}")
                if self._digest(self.members[match[2]], match[1]) != match[3].lower():
                    raise Damaged(f"holds a {match[2]!r} that differs from its manifest")

    def _digest(self, member: Member, algorithm: str) -> str:
        digest = hashlib.new(algorithm.lower())
        with self._path.open("rb") as file:
            file.seek(member.offset)
            left = member.size_bytes
            while left and (data := file.read(min(left, 1 << 20))):
                digest.update(data)
                left -= len(data)
        return digest.hexdigest()
