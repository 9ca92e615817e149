"""``verify-vm s3://…``: what is fetched, compared, repeated, called off. That it boots is in ``test_verification``."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exasol_like_dss.access.aws.session import AwsSession
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification.fetch import fetched_image
from test.integration.aws_ec2.conftest import BUCKET, Commands
from test.support.aws import Fault

KEY = "data_science_sandbox/7.0.0/exasol-like-dss-7.0.0.raw"
URI = f"s3://{BUCKET}/{KEY}"
#: Two whole parts and a piece of one.
CONTENT = os.urandom(1 << 20) * 40


@pytest.fixture
def stored(commands: Commands) -> Commands:
    s3 = commands.aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=CONTENT)
    put_sum(commands, CONTENT)
    commands.aws.clear()
    return commands


def put_sum(commands: Commands, content: bytes) -> None:
    line = f"{hashlib.sha256(content).hexdigest()}  {Path(KEY).name}\n"
    commands.aws.client("s3").put_object(
        Bucket=BUCKET, Key=f"{Path(KEY).parent}/SHA256SUMS", Body=line.encode()
    )  # fmt: skip


@contextmanager
def fetched(commands: Commands, monkeypatch: pytest.MonkeyPatch, progress: Progress | None = None) -> Iterator[Path]:
    for name, value in commands.environment.items():
        monkeypatch.setenv(name, value)
    with fetched_image(
        URI, s3=AwsSession().s3_builds(), progress=progress or Progress(), cancellation=Cancellation()
    ) as file:
        yield file


def left(commands: Commands) -> list[Path]:
    return [found for found in commands.folder.rglob("*") if found.is_file()]


def test_part_by_part_and_gone_afterwards(stored: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    with fetched(stored, monkeypatch) as file:
        assert file.name == Path(KEY).name
        assert file.read_bytes() == CONTENT
    parts = [call for call in stored.aws.calls if call.action == "GetObject" and call.parameters["Key"] == KEY]
    assert len(parts) == 3
    assert left(stored) == []


def test_a_part_whose_connection_breaks_is_fetched_again(stored: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """More often than botocore repeats; the other parts are not fetched anew."""
    stored.aws.inject(Fault(action="GetObject", nth=2, times=5, moment="after", effect="drop"))
    with fetched(stored, monkeypatch) as file:
        assert file.read_bytes() == CONTENT
    assert sum(call.action == "GetObject" for call in stored.aws.calls) == 4 + 5


def test_what_differs_from_its_sum_is_refused(stored: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    put_sum(stored, b"another")
    with (
        pytest.raises(DssError, match="is not what SHA256SUMS says of it"),
        fetched(stored, monkeypatch),
    ):
        raise AssertionError
    assert left(stored) == []


def test_without_a_sum_it_is_said(stored: Commands) -> None:
    stored.aws.client("s3").delete_object(Bucket=BUCKET, Key=f"{Path(KEY).parent}/SHA256SUMS")
    done = stored.run("verify-vm", "--at-rest", URI)
    assert "what is fetched can't be compared" in done.err
    assert done.code != 0, "these are random bytes"
    assert "internal error" not in done.err
    assert left(stored) == []


def test_ctrl_c_while_s3_does_not_answer(stored: Commands) -> None:
    """The answer comes when the command has ended: longer than any patience."""
    asked, over = threading.Event(), threading.Event()

    def stall(_: object) -> None:
        asked.set()
        over.wait(120)

    stored.aws.inject(Fault(action="GetObject", nth=3, times=99, effect="hook", hook=stall))
    with stored.started("verify-vm", "--at-rest", URI) as running:
        try:
            assert asked.wait(60), running.text
            running.signal(signal.SIGINT)
            assert running.end(deadline_s=25) == 130, running.text
        finally:
            over.set()
    assert "Interrupted (SIGINT); cleaned up." in running.text
    assert left(stored) == []
