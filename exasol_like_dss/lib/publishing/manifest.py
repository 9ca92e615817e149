"""``manifest.json``: what a build was made from, what it left, how long each step took, and whether it was verified."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.files import write_text_atomically

#: Goes up when a reader of an older version would misread the file. New optional fields don't count.
SCHEMA_VERSION = 1


class Verification(StrEnum):
    """What became of the check of the image."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Artifact:
    """One file of a build.

    name: the file's name, without a folder. format: ``VMDK``, ``OVA`` …
    sha256: of the file, 64 hexadecimal digits. virtual_bytes: the size that the guest sees, where there is one.
    """

    name: str
    format: str
    size_bytes: int
    sha256: str
    virtual_bytes: int | None = None


@dataclass(frozen=True)
class ContainerImage:
    """A container image of a build.

    references: its names with tags. image_id: ``sha256:…`` of its configuration. digest: of its manifest in the
    registry; ``None`` where it was not pushed. size_bytes: unpacked. layers: diff-ids, the lowest first.
    """

    references: tuple[str, ...]
    image_id: str
    digest: str | None
    size_bytes: int
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of ``manifest.json``.

    base: for example ``debian-13``. inputs: the options of the build, no secrets. versions: of programs and of what was
    installed. seconds_per_step: by the step's path (``Progress.seconds``). created: aware.
    """

    asset_id: str
    tool_version: str
    edition: str
    base: str
    created: datetime
    verification: Verification
    artifacts: tuple[Artifact, ...]
    inputs: Mapping[str, Any]
    versions: Mapping[str, str]
    seconds_per_step: Mapping[str, float]
    container_image: ContainerImage | None = None
    product: str = PRODUCT
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.created.tzinfo is None:
            raise ValueError("Manifest.created needs a time zone")


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Writes the manifest as JSON, keys in the order of the dataclass. Raises ``OSError``."""
    content = {
        **asdict(manifest),
        "created": manifest.created.isoformat(),
        "verification": Verification(manifest.verification).value,
    }
    head = {key: content.pop(key) for key in ("schema_version", "product")}
    write_text_atomically(path, json.dumps({**head, **content}, indent=2, ensure_ascii=False) + "\n")


def read_manifest(path: Path) -> Manifest:
    """Reads what ``write_manifest`` wrote. Unknown keys are passed over: a newer tool may have written them.

    Raises ``InputError`` when the file can't be read, or is no manifest.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as a manifest: {error}.", hint="Give a manifest.json of dss.") from None
    return parse_manifest(content, path)


def parse_manifest(content: object, path: object = "manifest.json") -> Manifest:
    """As ``read_manifest``, of what was read already. path: for the error."""
    if not isinstance(content, dict) or content.get("product") != PRODUCT:
        raise InputError(f"{path} is no manifest of {PRODUCT}.", hint="Give a manifest.json that dss create-vm wrote.")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {content.get('schema_version')!r}; this dss reads {SCHEMA_VERSION}.",
            hint="Read it with the version of dss that wrote it (tool_version in the file).",
        )
    try:
        return _from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is a damaged manifest: {type(error).__name__}: {error}.") from None


def _from_json(content: Mapping[str, Any]) -> Manifest:
    known = {field.name for field in fields(Manifest)}
    plain = {key: value for key, value in content.items() if key in known}
    for name in ("asset_id", "tool_version", "edition", "base"):
        _expect(plain[name], str, name)
    for name in ("inputs", "versions", "seconds_per_step"):
        _expect(plain[name], dict, name)
    _expect(plain["artifacts"], list, "artifacts")
    plain["artifacts"] = tuple(_artifact(row) for row in plain["artifacts"])
    if plain.get("container_image") is not None:
        plain["container_image"] = _container_image(plain["container_image"])
    plain["created"] = datetime.fromisoformat(plain["created"])
    plain["verification"] = Verification(plain["verification"])
    plain["seconds_per_step"] = {step: float(seconds) for step, seconds in plain["seconds_per_step"].items()}
    return Manifest(**plain)


def _artifact(row: Mapping[str, Any]) -> Artifact:
    _expect(row, dict, "artifact")
    for name, kind in (("name", str), ("format", str), ("size_bytes", int), ("sha256", str)):
        _expect(row[name], kind, name)
    virtual_bytes = row.get("virtual_bytes")
    if virtual_bytes is not None:
        _expect(virtual_bytes, int, "virtual_bytes")
    return Artifact(row["name"], row["format"], row["size_bytes"], row["sha256"], virtual_bytes)


def _container_image(row: Mapping[str, Any]) -> ContainerImage:
    _expect(row, dict, "container_image")
    for name, kind in (("references", list), ("image_id", str), ("size_bytes", int), ("layers", list)):
        _expect(row[name], kind, name)
    return ContainerImage(
        tuple(row["references"]), row["image_id"], row.get("digest"), row["size_bytes"], tuple(row["layers"])
    )


def _expect(value: object, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {type(value).__name__}, not {kind.__name__}")
