"""Blocks are asked for without most of botocore: errors, credentials and hooks are those of all other calls."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from exasol_like_dss.access.aws.ebs import BLOCK_BYTES, Ebs, ListedBlock
from exasol_like_dss.access.aws.errors import (
    AwsError,
    ExpiredCredentials,
    PermissionMissing,
    Throttled,
    Unreachable,
    WrongCredentials,
)
from exasol_like_dss.access.aws.session import AwsSession
from test.support.aws import DENIED, EXPIRED, THROTTLED, Fault
from test.support.planted_assets import ID, Commands
from test.support.small_disk import small_disk


@pytest.fixture
def snapshot(commands: Commands) -> str:
    done = commands.run("import-ami", small_disk(commands.folder), "--asset-id", ID, "--output", "json")
    assert done.code == 0, done.err
    commands.aws.clear()
    return str(json.loads(done.out)["snapshot_id"])


@pytest.fixture
def ebs(commands: Commands) -> Iterator[Ebs]:
    with mock.patch.dict("os.environ", {**commands.aws.environment(), "AWS_SESSION_TOKEN": "a token"}):
        yield AwsSession().ebs()


def test_a_block_comes_with_its_checksum(ebs: Ebs, snapshot: str) -> None:
    first = ebs.blocks(snapshot).blocks[0]
    block = ebs.block(snapshot, first)
    assert len(block.data) == BLOCK_BYTES
    assert block.checksum == base64.b64encode(hashlib.sha256(block.data).digest()).decode()


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault(action="GetSnapshotBlock", code=THROTTLED), Throttled, "RequestThrottledException"),
        (Fault(action="GetSnapshotBlock", code=DENIED), PermissionMissing, "AccessDeniedException"),
        (Fault(action="GetSnapshotBlock", code=EXPIRED), ExpiredCredentials, "ExpiredTokenException"),
        (Fault(action="GetSnapshotBlock", code="UnrecognizedClientException"), WrongCredentials, ""),
        (Fault(action="GetSnapshotBlock", effect="drop"), Unreachable, ""),
    ],
)
def test_errors_are_those_of_other_calls(
    commands: Commands, ebs: Ebs, snapshot: str, fault: Fault, kind: type[AwsError], code: str
) -> None:
    first = ebs.blocks(snapshot).blocks[0]
    commands.aws.inject(fault)
    with pytest.raises(kind) as caught:
        ebs.block(snapshot, first)
    assert not code or (caught.value.code, caught.value.action) == (code, "ebs:GetSnapshotBlock")
    calls = [call for call in commands.aws.calls if call.name == "ebs:GetSnapshotBlock"]
    assert len(calls) == 1, "it is sent once: lib.pace repeats it"


def test_a_wrong_token_and_a_pause(commands: Commands, ebs: Ebs, snapshot: str) -> None:
    first = ebs.blocks(snapshot).blocks[0]
    with pytest.raises(AwsError) as caught:
        ebs.block(snapshot, ListedBlock(first.index, "a=wrong&one/"))
    assert caught.value.code == "ValidationException"
    commands.aws.change(ebs_per_second=0.001, ebs_retry_after_s=3.0)
    with pytest.raises(Throttled) as throttled:
        for _ in range(3):
            ebs.block(snapshot, first)
    assert throttled.value.retry_after_s == 3.0


def test_all_see_the_request(ebs: Ebs, snapshot: str) -> None:
    """Whoever hooks into botocore: with the same events, and a request that is signed with the session's token."""
    seen: list[Any] = []
    events = ebs._client.meta.events
    events.register_first("before-send.ebs.GetSnapshotBlock", lambda request, **_: seen.append(request))
    events.register("response-received.ebs.GetSnapshotBlock", lambda **_: seen.append("answered"))
    ebs.block(snapshot, ebs.blocks(snapshot).blocks[0])
    request, answered = seen
    assert answered == "answered"
    assert request.headers["X-Amz-Security-Token"] == "a token"
    signed = request.headers["Authorization"]
    assert "/eu-central-1/ebs/aws4_request" in signed and "x-amz-security-token" in signed
