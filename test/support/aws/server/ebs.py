"""The EBS direct APIs: snapshots written and read by blocks of 512 KiB, with checksums, tokens, and limits.

AWS: "EBS direct APIs" in the Amazon EBS User Guide, and its API Reference. These requests go past the parsing of the
other services, and hash outside of the lock: hundreds a second, with half a megabyte each.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto.ec2.models.elastic_block_store import Volume
from moto.ec2.utils import random_snapshot_id, random_volume_id

from test.support.aws.server.ec2_common import ClientTokens, backend_of
from test.support.aws.server.ec2_exports import made_up_disk
from test.support.aws.server.ec2_images import OwnSnapshot
from test.support.aws.server.front import RAW_SERVICES, Environ
from test.support.aws.server.protocol import ApiError, Reply
from test.support.aws.server.world import ACCOUNT, Request, World

BLOCK_BYTES = 512 << 10
_BLOCKS_PER_GIB = (1 << 30) // BLOCK_BYTES
_NEW_VOLUME: Any = Volume  # mypy takes it for abstract
_MOST_PER_PAGE = 10_000  # ListSnapshotBlocks, "MaxResults"
_ROUTES = (
    ("POST", re.compile(r"/snapshots"), "StartSnapshot"),
    ("POST", re.compile(r"/snapshots/completion/(?P<SnapshotId>[^/]+)"), "CompleteSnapshot"),
    ("GET", re.compile(r"/snapshots/(?P<SnapshotId>[^/]+)/blocks"), "ListSnapshotBlocks"),
    ("GET", re.compile(r"/snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>\d+)"), "GetSnapshotBlock"),
    ("PUT", re.compile(r"/snapshots/(?P<SnapshotId>[^/]+)/blocks/(?P<BlockIndex>\d+)"), "PutSnapshotBlock"),
)
_HEADERS = {
    "HTTP_X_AMZ_DATA_LENGTH": "DataLength",
    "HTTP_X_AMZ_CHECKSUM": "Checksum",
    "HTTP_X_AMZ_CHECKSUM_ALGORITHM": "ChecksumAlgorithm",
    "HTTP_X_AMZ_CHECKSUM_AGGREGATION_METHOD": "ChecksumAggregationMethod",
    "HTTP_X_AMZ_CHANGEDBLOCKSCOUNT": "ChangedBlocksCount",
    "HTTP_X_AMZ_PROGRESS": "Progress",
}
_QUERY = {
    "maxResults": "MaxResults",
    "pageToken": "NextToken",
    "startingBlockIndex": "StartingBlockIndex",
    "blockToken": "BlockToken",
}


@dataclass
class Content:
    """What a snapshot holds. blocks, digests: by index. path: of a raw disk instead, with the indexes that it has."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    digests: dict[int, bytes] = field(default_factory=dict)
    path: str = ""
    indexes: list[int] = field(default_factory=list)

    def listed(self) -> list[int]:
        return self.indexes if self.path else sorted(self.blocks)

    def block(self, index: int) -> tuple[bytes, bytes]:
        """Data and digest. Raises ``KeyError``."""
        if self.path and index not in self.blocks:
            with Path(self.path).open("rb") as file:
                data = os.pread(file.fileno(), BLOCK_BYTES, index * BLOCK_BYTES).ljust(BLOCK_BYTES, b"\0")
            return data, hashlib.sha256(data).digest()
        data = self.blocks[index]
        if index not in self.digests:
            self.digests[index] = hashlib.sha256(data).digest()
        return data, self.digests[index]


@dataclass
class Direct:
    """Of a world: contents by snapshot, how often a new one is not found yet, and when calls were served."""

    contents: dict[str, Content] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)
    pages: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    reads: int = 0
    numbers: Any = field(default_factory=itertools.count)
    running: int = 0
    most_running: int = 0
    allowance: float = 0.0
    seen_at: float = 0.0


def content_of(world: World, snapshot: OwnSnapshot) -> Content:
    """Also of a snapshot that CreateImage made: that of the disk behind the AMI."""
    known = world.part(Direct).contents
    if snapshot.id not in known:
        path = getattr(snapshot, "disk_file", "") or world.settings.disk_file
        if path:
            known[snapshot.id] = Content(path=path, indexes=_data_blocks(path))
        else:
            disk = made_up_disk()
            pieces = {at // BLOCK_BYTES: disk[at : at + BLOCK_BYTES] for at in range(0, len(disk), BLOCK_BYTES)}
            known[snapshot.id] = Content(blocks={at: data for at, data in pieces.items() if any(data)})
    return known[snapshot.id]


def _data_blocks(path: str) -> list[int]:
    """Those of a sparse file that are not holes (lseek(2))."""
    found: set[int] = set()
    with Path(path).open("rb") as file:
        end, at = os.fstat(file.fileno()).st_size, 0
        while at < end:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.update(range(start // BLOCK_BYTES, -(-at // BLOCK_BYTES)))
    return sorted(found)


def call_of(environ: Environ) -> tuple[str, dict[str, Any]]:
    """The operation and its parameters, but for the block's data."""
    method, path = str(environ["REQUEST_METHOD"]), str(environ["PATH_INFO"])
    for verb, pattern, action in _ROUTES:
        if verb == method and (found := pattern.fullmatch(path)):
            parameters: dict[str, Any] = dict(found.groupdict())
            parameters |= {name: environ[header] for header, name in _HEADERS.items() if header in environ}
            if asked := str(environ.get("QUERY_STRING", "")):
                query = parse_qs(asked)
                parameters |= {name: query[key][0] for key, name in _QUERY.items() if key in query}
            if action == "StartSnapshot":
                parameters |= json.loads(environ["wsgi.input"].read() or b"{}")
                environ["wsgi.input"].seek(0)
            return action, parameters
    return f"{method} {path}", {}


def perform(world: World, action: str, region: str, parameters: dict[str, Any], environ: Environ) -> Reply:
    """Not under the lock. Raises ``ApiError``."""
    part = world.part(Direct)
    with world.lock:
        world.touch(region)
        number = next(part.numbers)
        part.running += 1
        part.most_running = max(part.most_running, part.running)
        refused = _throttled(world, part)
    try:
        if refused:
            wait = world.settings.ebs_retry_after_s
            headers = {"Retry-After": f"{wait:g}"} if wait else {}
            raise ApiError("RequestThrottledException", "The number of API requests has exceeded", 429, headers)
        settings = world.settings
        if settings.ebs_slow_every and number % settings.ebs_slow_every == settings.ebs_slow_every - 1:
            time.sleep(settings.ebs_slow_s)
        return _ACTIONS[action](world, region, parameters, environ)
    except KeyError as missing:
        raise _invalid(f"The request is malformed: {missing}") from None
    finally:
        with world.lock:
            part.running -= 1


def _throttled(world: World, part: Direct) -> bool:
    """More at once, or more a second, than the account may."""
    settings = world.settings
    if settings.ebs_at_once and part.running > settings.ebs_at_once:
        return True
    if not settings.ebs_per_second:
        return False
    now = time.monotonic()
    gained = (now - part.seen_at) * settings.ebs_per_second if part.seen_at else settings.ebs_per_second
    part.allowance, part.seen_at = min(settings.ebs_per_second, part.allowance + gained), now
    if part.allowance < 1:
        return True
    part.allowance -= 1
    return False


def _start(world: World, region: str, parameters: dict[str, Any], _environ: Environ) -> Reply:
    tags = {str(tag["Key"]): str(tag.get("Value", "")) for tag in parameters.get("Tags", [])}
    if any(key.lower().startswith("aws:") for key in tags) or len(tags) > 50:
        raise _invalid("The tags are not valid.")
    size = int(parameters["VolumeSize"])
    if not 1 <= size <= 65536:
        raise _invalid("The volume size is not valid.")
    if not 10 <= int(parameters.get("Timeout", 60)) <= 4320:
        raise _invalid("The timeout is not valid.")
    with world.lock:
        tokens = world.part(ClientTokens)
        request = Request(world, "ebs", "StartSnapshot", region, parameters)
        try:
            known = tokens.before(request) if parameters.get("ClientToken") else None
        except ApiError as error:
            raise ApiError("ConflictException", error.message, 409) from None
        if known is None:
            known = _make(world, region, size, parameters, tags)
            tokens.remember(request, known)
    return _json(201, known)


def _make(
    world: World, region: str, size: int, parameters: Mapping[str, Any], tags: Mapping[str, str]
) -> dict[str, Any]:
    backend = backend_of(region)
    volume = _NEW_VOLUME(backend, random_volume_id(), size, backend.get_zone_by_name(f"{region}a"))
    description = str(parameters.get("Description", ""))
    snapshot = OwnSnapshot(backend, random_snapshot_id(), volume, description, owner_id=ACCOUNT)
    snapshot.status, snapshot.percent = "pending", 0
    backend.snapshots[snapshot.id] = snapshot
    if tags:
        snapshot.add_tags(dict(tags))
    part = world.part(Direct)
    part.contents[snapshot.id] = Content()
    part.unseen[snapshot.id] = world.settings.ebs_unseen_puts
    return {
        "SnapshotId": snapshot.id,
        "OwnerId": ACCOUNT,
        "Status": "pending",
        "StartTime": datetime.now(UTC).timestamp(),
        "VolumeSize": size,
        "BlockSize": BLOCK_BYTES,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        "Description": description,
    }


def _find(region: str, parameters: Mapping[str, Any], *, state: str) -> OwnSnapshot:
    snapshot = backend_of(region).snapshots.get(str(parameters["SnapshotId"]))
    if not isinstance(snapshot, OwnSnapshot) or snapshot.owner_id != ACCOUNT:
        raise _not_found(str(parameters["SnapshotId"]))
    if snapshot.status != state:
        raise _invalid(f"The snapshot {snapshot.id} is {snapshot.status}, not {state}.")
    return snapshot


def _put(world: World, region: str, parameters: dict[str, Any], environ: Environ) -> Reply:
    index, data = int(parameters["BlockIndex"]), environ["wsgi.input"].read()
    digest = hashlib.sha256(data).digest()
    if int(parameters["DataLength"]) != BLOCK_BYTES or len(data) != BLOCK_BYTES:
        raise _invalid("The data length is not 524288.")
    if parameters["ChecksumAlgorithm"] != "SHA256" or parameters["Checksum"] != _base64(digest):
        raise _invalid("The checksum does not match the data.")
    with world.lock:
        snapshot = _find(region, parameters, state="pending")
        part = world.part(Direct)
        if part.unseen.get(snapshot.id, 0) > 0:
            part.unseen[snapshot.id] -= 1
            raise _not_found(snapshot.id)
        if index >= snapshot.volume.size * _BLOCKS_PER_GIB:
            raise _invalid(f"The block {index} is not within the volume.")
        content = part.contents[snapshot.id]
        content.blocks[index], content.digests[index] = data, digest
        snapshot.percent = int(parameters.get("Progress", snapshot.percent))
    headers = [("x-amz-Checksum", _base64(digest)), ("x-amz-Checksum-Algorithm", "SHA256"), ("Content-Length", "0")]
    return Reply(201, headers, [b""])


def _complete(world: World, region: str, parameters: dict[str, Any], _environ: Environ) -> Reply:
    with world.lock:
        snapshot = _find(region, parameters, state="pending")
        content = world.part(Direct).contents[snapshot.id]
        if int(parameters["ChangedBlocksCount"]) != len(content.blocks):
            raise _invalid(f"The snapshot has {len(content.blocks)} blocks, not {parameters['ChangedBlocksCount']}.")
        if checksum := parameters.get("Checksum"):
            if (parameters["ChecksumAlgorithm"], parameters["ChecksumAggregationMethod"]) != ("SHA256", "LINEAR"):
                raise _invalid("The checksum is of an unknown kind.")
            joined = b"".join(content.digests[index] for index in sorted(content.blocks))
            if checksum != _base64(hashlib.sha256(joined).digest()):
                raise _invalid("The aggregated checksum does not match the blocks.")

        def end() -> None:
            if snapshot.status == "pending":
                snapshot.status, snapshot.percent = "completed", 100

        world.after(world.settings.image_pending_s, "snapshots", end)
    return _json(202, {"Status": "pending"})


def _list(world: World, region: str, parameters: dict[str, Any], _environ: Environ) -> Reply:
    settings = world.settings
    with world.lock:
        snapshot = _find(region, parameters, state="completed")
        part = world.part(Direct)
        start = int(parameters.get("StartingBlockIndex", 0))
        if token := parameters.get("NextToken"):
            of, start, era = part.pages.get(token, ("", 0, -1))
            if of != snapshot.id or era != _era(world):
                raise _invalid("The page token is not valid.")
        indexes = [index for index in content_of(world, snapshot).listed() if index >= start]
        count = min(int(parameters.get("MaxResults", _MOST_PER_PAGE)), settings.ebs_page or _MOST_PER_PAGE)
        shown: dict[str, Any] = {
            "Blocks": [
                {"BlockIndex": index, "BlockToken": f"{snapshot.id}:{index}:{_era(world)}"} for index in indexes[:count]
            ],
            "BlockSize": BLOCK_BYTES,
            "VolumeSize": snapshot.volume.size,
            "ExpiryTime": time.time() + 3600,
        }
        if len(indexes) > count:
            key = base64.b64encode(f"page-{len(part.pages)}".encode()).decode()
            part.pages[key] = (snapshot.id, indexes[count], _era(world))
            shown["NextToken"] = key
    return _json(200, shown)


def _get(world: World, region: str, parameters: dict[str, Any], _environ: Environ) -> Reply:
    index = int(parameters["BlockIndex"])
    with world.lock:
        snapshot = _find(region, parameters, state="completed")
        if parameters["BlockToken"] != f"{snapshot.id}:{index}:{_era(world)}":
            raise _invalid("The block token is not valid.")
        world.part(Direct).reads += 1
        content = content_of(world, snapshot)
        damaged = world.settings.ebs_damaged_blocks > 0
        world.settings.ebs_damaged_blocks -= damaged
    data, digest = content.block(index)
    if damaged:
        data = data[:-1] + bytes([data[-1] ^ 1])
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", str(len(data))),
        ("x-amz-Data-Length", str(len(data))),
        ("x-amz-Checksum", _base64(digest)),
        ("x-amz-Checksum-Algorithm", "SHA256"),
    ]
    return Reply(200, headers, [data])


def _era(world: World) -> int:
    """Tokens of one era are good until the next."""
    return world.part(Direct).reads // (world.settings.ebs_token_reads or 1 << 62)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _json(status: int, shown: Mapping[str, Any]) -> Reply:
    data = json.dumps(shown).encode()
    return Reply(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))], [data])


def _invalid(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def _not_found(snapshot_id: str) -> ApiError:
    return ApiError("ResourceNotFoundException", f"The snapshot '{snapshot_id}' does not exist.", 404)


_ACTIONS = {
    "StartSnapshot": _start,
    "PutSnapshotBlock": _put,
    "CompleteSnapshot": _complete,
    "ListSnapshotBlocks": _list,
    "GetSnapshotBlock": _get,
}
RAW_SERVICES["ebs"] = (call_of, perform)
