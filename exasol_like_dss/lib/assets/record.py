"""One thing in the cloud that costs money or stands in the way, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


class AssetKind(StrEnum):
    """In the order in which they are shown."""

    STACK = "stack"
    STACK_RESOURCE = "stack-resource"
    INSTANCE = "instance"
    VOLUME = "volume"
    KEY_PAIR = "key-pair"
    SECURITY_GROUP = "security-group"
    AMI = "ami"
    SNAPSHOT = "snapshot"
    EXPORT_TASK = "export-task"
    S3_OBJECT = "s3-object"
    MULTIPART_UPLOAD = "multipart-upload"
    LOG_GROUP = "log-group"

    @property
    def order(self) -> int:
        return list(AssetKind).index(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """id: what AWS calls it; of an object ``s3://bucket/key``, with ``?versionId=…`` if it is no current version; of an
    upload its upload id, with ``s3://bucket/key`` as the name.

    created: ``None`` where AWS doesn't tell. size_bytes: ``None`` where it has none, or it is not known.
    usd_per_month: an estimate; 0.0 where it costs nothing by itself, ``None`` where the price is not known.
    tagged: ``False`` for what has no asset-id of its own, and is listed because something with one refers to it.
    stack: the name of the stack that it belongs to. references: the ids of what it is made of or attached to.
    marks: why it seems to be left over. version: of an object.
    """

    kind: AssetKind
    region: str
    id: str
    name: str
    state: str
    asset_id: str
    created: datetime | None = None
    size_bytes: int | None = None
    usd_per_month: float | None = 0.0
    owner: str = ""
    expires: date | None = None
    tagged: bool = True
    stack: str = ""
    references: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    version: str = ""

    def __str__(self) -> str:
        shown = self.id if self.name in ("", self.id) else f"{self.id} ({self.name})"
        if self.kind == AssetKind.STACK:
            shown = self.name  # its id is an ARN
        return f"{self.kind} {shown} in {self.region}"


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something about the listing as a whole. incomplete: there may be more assets than are listed."""

    text: str
    incomplete: bool
    kind: AssetKind | None = None
    region: str = ""
