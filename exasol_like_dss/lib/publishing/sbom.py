"""``sbom.cdx.json``: every Debian and every Python package of a root file system, as CycloneDX 1.6 (ECMA-424) JSON.

The packages are read from the files that dpkg and pip keep; nothing inside the root is run. Identical input gives the
identical file: components are sorted, and the serial number is made from the content.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss import __version__
from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.files import write_text_atomically

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

#: Not part of the image: kernel file systems, and what is empty after a boot.
_SKIPPED_TOP = frozenset({"proc", "sys", "dev", "run", "tmp"})
_DEBIAN_PYTHON = "usr/lib/python3/dist-packages"
_ENVIRONMENT = re.compile(r"^(?P<environment>.*?)/?lib(64)?/python3[^/]*/site-packages(/|$)")


@dataclass(frozen=True, order=True)
class DebianPackage:
    """An installed package, as dpkg-query(1) names its fields. source: the source package's name."""

    name: str
    version: str
    architecture: str
    source: str


@dataclass(frozen=True, order=True)
class PythonPackage:
    """An installed distribution. environment: the folder above ``lib/pythonX.Y``, seen from inside the root."""

    name: str
    version: str
    environment: str
    location: str


def write_sbom(*, root: Path, target: Path, name: str, version: str, timestamp: datetime) -> int:
    """Writes the bill of materials of the file system below ``root``. Returns the number of components.

    name, version: of the image. timestamp: aware; stands in the file.
    Raises ``InputError`` when ``root`` is no Debian or Ubuntu file system, ``ValueError`` for a naive timestamp, and
    ``OSError`` when ``target`` can't be written.
    """
    if timestamp.tzinfo is None:
        raise ValueError("the timestamp needs a time zone")
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.dependency import Dependency
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    distribution = read_os_release(root)
    components = [_debian_component(package, distribution) for package in debian_packages(root)]
    components += [_python_component(package) for package in python_packages(root)]
    references = sorted(component.bom_ref.value or "" for component in components)
    seed = "\n".join([name, version, timestamp.astimezone(UTC).isoformat(), __version__, *references])
    # CycloneDX counts a virtual machine image among the containers (specification, component type).
    image = Component(name=name, version=version, type=ComponentType.CONTAINER, bom_ref="image")
    bom = Bom(
        components=components,
        # Given here, since Bom.register_dependency takes quadratic time.
        dependencies=[Dependency(image.bom_ref, dependencies=[Dependency(part.bom_ref) for part in components])],
        # RFC 9562, version 8: bits of our own choice, here of a SHA-256.
        serial_number=_uuid8(hashlib.sha256(seed.encode()).digest()),
        metadata=BomMetaData(
            timestamp=timestamp,
            component=image,
            tools=ToolRepository(
                components=[
                    Component(name=PRODUCT, version=__version__, type=ComponentType.APPLICATION, bom_ref="tool"),
                ]
            ),
        ),
    )
    write_text_atomically(target, JsonV1Dot6(bom).output_as_string(indent=1) + "\n")
    return len(components)


#: The files that the packages are read from, as a compressed tar in text.
_COLLECT = """\
cd / && { ls -d usr/lib/os-release etc/os-release var/lib/dpkg/status 2> /dev/null
find opt usr home root -xdev -type f -path '*.dist-info/METADATA'; } | sort -u | tar -czhf - -T - | base64"""


def write_container_sbom(
    *, read: Callable[[str], str], target: Path, name: str, version: str, timestamp: datetime
) -> int:
    """The same of a container. read: what a shell command in it prints. Raises as ``write_sbom``."""
    import base64
    import io
    import tarfile
    import tempfile

    content = base64.b64decode(read(_COLLECT))
    with tempfile.TemporaryDirectory(prefix="dss-") as folder, tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, filter="data")
        return write_sbom(root=Path(folder), target=target, name=name, version=version, timestamp=timestamp)


def read_os_release(root: Path) -> dict[str, str]:
    """The fields of ``/etc/os-release`` (os-release(5)). Raises ``InputError`` when they are missing.

    The usual symbolic link to ``/usr/lib`` is followed by name, so that an absolute one does not lead out of the root.
    """
    for path in (root / "usr/lib/os-release", root / "etc/os-release"):
        if path.is_file():
            rows = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
            fields = {key: value.strip().strip("\"'") for key, separator, value in rows if separator}
            if fields.get("ID"):
                return fields
    raise InputError(f"{root} is no root file system: it has no os-release.", hint="Give a Debian or Ubuntu root.")


def debian_packages(root: Path) -> list[DebianPackage]:
    """The installed packages in dpkg's status file, sorted (deb-control(5): paragraphs of ``Field: value``).

    Raises ``InputError`` when there is no status file.
    """
    status = root / "var/lib/dpkg/status"
    if not status.is_file():
        raise InputError(
            f"{root} has no packages: var/lib/dpkg/status is missing.", hint="Give a Debian or Ubuntu root."
        )
    packages = set()
    for paragraph in re.split(r"\n\s*\n", status.read_text(encoding="utf-8", errors="replace")):
        fields: dict[str, str] = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*?)[ \t]*$", paragraph, re.MULTILINE))
        # "want flag status": a removed package with configuration files left is not installed.
        if fields.get("Status", "").split()[-1:] == ["installed"]:
            source = fields.get("Source", fields["Package"]).split(" ")[0]
            packages.add(DebianPackage(fields["Package"], fields["Version"], fields["Architecture"], source))
    return sorted(packages)


def python_packages(root: Path) -> list[PythonPackage]:
    """Every ``*.dist-info/METADATA`` below the root but Debian's own (those are Debian packages), sorted.

    Symbolic links are not followed: they could lead out of the root, and the target is found anyway.
    """
    packages = []
    for metadata in _metadata_files(root):
        folder = metadata.parent.relative_to(root)
        fields = _metadata_fields(metadata)
        stem_name, _, stem_version = folder.name.removesuffix(".dist-info").partition("-")
        location = "/" + folder.parent.as_posix()
        packages.append(
            PythonPackage(
                name=fields.get("Name") or stem_name,
                version=fields.get("Version") or stem_version,
                environment=_environment(location),
                location=location,
            )
        )
    return sorted(packages)


def _metadata_files(root: Path) -> Iterator[Path]:
    debian = root / _DEBIAN_PYTHON
    for folder, names, _files in os.walk(root):
        here = Path(folder)
        if here == root:
            names[:] = [name for name in names if name not in _SKIPPED_TOP]
        elif here == debian:
            names.clear()
        for name in [name for name in names if name.endswith(".dist-info")]:
            metadata = here / name / "METADATA"
            if metadata.is_file() and not metadata.is_symlink() and not metadata.parent.is_symlink():
                yield metadata
            names.remove(name)


def _metadata_fields(metadata: Path) -> dict[str, str]:
    """Name and version from the head of the file (core metadata specification: RFC 822 headers, then a blank line)."""
    fields: dict[str, str] = {}
    with metadata.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip() or {"Name", "Version"} <= fields.keys():
                break
            key, separator, value = line.partition(":")
            if separator and key in ("Name", "Version"):
                fields.setdefault(key, value.strip())
    return fields


def _environment(location: str) -> str:
    found = _ENVIRONMENT.match(location)
    return (found["environment"] or "/") if found else location


def _debian_component(package: DebianPackage, distribution: Mapping[str, str]) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    distro = "-".join(part for part in (distribution["ID"], distribution.get("VERSION_ID", "")) if part)
    purl = PackageURL(
        type="deb",
        namespace=distribution["ID"],
        name=package.name,
        version=package.version,
        qualifiers={"arch": package.architecture, "distro": distro},
    )
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=purl.to_string(),
        properties=[Property(name="dss:debian:source", value=package.source)],
    )


def _python_component(package: PythonPackage) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    purl = PackageURL(type="pypi", name=package.name, version=package.version)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        # One distribution may be in several environments: the reference has to tell them apart.
        bom_ref=f"{purl.to_string()}#{package.location}",
        properties=[Property(name="dss:python:environment", value=package.environment)],
    )


def _uuid8(digest: bytes) -> uuid.UUID:
    bits = bytearray(digest[:16])
    bits[6] = bits[6] & 0x0F | 0x80
    bits[8] = bits[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(bits))
