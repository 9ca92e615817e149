"""The EBS direct APIs: snapshots written and read by blocks, without a volume and without an instance.

Source: Amazon EBS API Reference. Every method is one request, which is not repeated here: how many go at once, and when
one goes again, is decided by ``lib.pace``. Every method raises ``AwsError`` and its kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from exasol_like_dss.access.aws.errors import aws_errors
from exasol_like_dss.access.aws.lean import LeanRequests

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mypy_boto3_ebs import EBSClient

#: The one size of a block that there is ("PutSnapshotBlock", DataLength).
BLOCK_BYTES = 512 << 10
#: "ListSnapshotBlocks", MaxResults.
_BLOCKS_PER_PAGE = 10_000


@dataclass(frozen=True)
class StartedSnapshot:
    """started: when AWS made it; of an earlier call, when that had the same token."""

    id: str
    state: str
    started: datetime


@dataclass(frozen=True)
class ListedBlock:
    """token: what the block is asked for with; it expires."""

    index: int
    token: str


@dataclass(frozen=True)
class BlockPage:
    """blocks: by index; may be none although others follow. volume_gib: of the whole disk. following: ``None`` at the
    end."""

    blocks: tuple[ListedBlock, ...]
    volume_gib: int
    block_bytes: int
    following: str | None


@dataclass(frozen=True)
class Block:
    """checksum: SHA-256 in base64, as AWS has it."""

    data: bytes
    checksum: str


class Ebs:
    def __init__(self, client: EBSClient, region: str) -> None:
        self._client = client
        self._requests = LeanRequests(client)
        self.region = region

    # --- writing ---

    def start_snapshot(
        self, *, volume_gib: int, description: str, tags: Mapping[str, str], token: str, timeout_minutes: int
    ) -> StartedSnapshot:
        """A pending snapshot. The same token and parameters give the same one; with other parameters the code is
        ``ConflictException``. timeout_minutes: without a block written AWS gives it up then; 10 to 4320."""
        with self._errors():
            made = self._client.start_snapshot(
                VolumeSize=volume_gib,
                Description=description,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                ClientToken=token,
                Timeout=timeout_minutes,
            )
        return StartedSnapshot(made["SnapshotId"], made["Status"], made["StartTime"])

    def put_block(self, snapshot_id: str, index: int, *, data: bytes, checksum: str, percent: int) -> None:
        """Writes a block; one that is there is overwritten. checksum: SHA-256 in base64. percent: how far all is."""
        with self._errors():
            self._client.put_snapshot_block(
                SnapshotId=snapshot_id,
                BlockIndex=index,
                BlockData=data,
                DataLength=len(data),
                Checksum=checksum,
                ChecksumAlgorithm="SHA256",
                Progress=percent,
            )

    def complete_snapshot(self, snapshot_id: str, *, blocks: int, checksum: str) -> None:
        """Ends the writing: no block can follow. checksum: SHA-256, in base64, of all blocks' SHA-256 by their index
        ("LINEAR")."""
        with self._errors():
            self._client.complete_snapshot(
                SnapshotId=snapshot_id,
                ChangedBlocksCount=blocks,
                Checksum=checksum,
                ChecksumAlgorithm="SHA256",
                ChecksumAggregationMethod="LINEAR",
            )

    # --- reading, of completed snapshots only ---

    def blocks(self, snapshot_id: str, *, start: int = 0, following: str | None = None) -> BlockPage:
        """A page of what has been written. following: of the page before; start: an index, for the first one."""
        with self._errors():
            if following:
                found = self._client.list_snapshot_blocks(
                    SnapshotId=snapshot_id, NextToken=following, MaxResults=_BLOCKS_PER_PAGE
                )
            else:
                found = self._client.list_snapshot_blocks(
                    SnapshotId=snapshot_id, StartingBlockIndex=start, MaxResults=_BLOCKS_PER_PAGE
                )
        return BlockPage(
            tuple(ListedBlock(one["BlockIndex"], one["BlockToken"]) for one in found.get("Blocks", [])),
            found["VolumeSize"],
            found["BlockSize"],
            found.get("NextToken") or None,
        )

    def block(self, snapshot_id: str, block: ListedBlock) -> Block:
        """Code ``ValidationException`` when the token has expired."""
        path = f"/snapshots/{snapshot_id}/blocks/{block.index}?blockToken={quote(block.token, safe='')}"
        with self._errors():
            data, headers = self._requests.get("GetSnapshotBlock", path)
        return Block(data, headers["x-amz-Checksum"])

    def _errors(self) -> AbstractContextManager[None]:
        return aws_errors("ebs", region=self.region)
