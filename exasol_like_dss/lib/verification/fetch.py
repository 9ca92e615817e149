"""An image in S3, on this machine for the time of its verification: QEMU needs a file."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import PermissionMissing
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.publishing.checksums import parse_sha256sums
from exasol_like_dss.lib.publishing.s3_objects import read_pieces, read_range
from exasol_like_dss.lib.publishing.s3_release import SUMS
from exasol_like_dss.lib.verification.guest import scratch_folder
from exasol_like_dss.lib.workspace import workspace

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.s3_build import S3Builds
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

#: More is no list of a build's files.
_SUMS_BYTES = 1 << 20


@contextmanager
def fetched_image(uri: str, *, s3: S3Builds, progress: Progress, cancellation: Cancellation) -> Iterator[Path]:
    """uri: ``s3://bucket/key``. It is compared with its sum in the ``SHA256SUMS`` beside it, when that is there.

    Raises ``InputError`` when it is not there or does not fit, ``DssError`` when it differs, ``AwsError``,
    ``Interrupted``.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket or not key or key.endswith("/"):
        raise InputError(f"{uri!r} is no object in S3.", hint="For example s3://bucket/folder/image.vmdk")
    try:
        found = s3.facts(bucket, key)
    except PermissionMissing as error:
        raise InputError(f"{uri} can't be read: {error.message}", hint="Is the bucket's name right?") from error
    if found is None:
        raise InputError(f"There is no object {uri}.", hint="See: dss show-aws-assets --asset-type s3-object")
    size = found.size_bytes
    expected = _expected_sum(s3, bucket=bucket, key=key)
    if not expected:
        progress.note(f"{uri} has no sum in a {SUMS} beside it: what is fetched can't be compared.")
    with workspace(scratch_folder(), progress=progress) as folder:
        free = shutil.disk_usage(folder).free
        if free < size:
            raise InputError(
                f"Too little disk space in {folder.parent}: {free >> 20} MiB are free, {size >> 20} MiB needed.",
                hint="Free some, or set TMPDIR to another directory.",
            )
        file = folder / Path(key).name
        with progress.step(f"fetch {uri}") as step, file.open("wb") as target:
            done, digest = 0, hashlib.sha256()
            for piece in read_pieces(s3, bucket=bucket, key=key, size_bytes=size, cancellation=cancellation):
                target.write(piece)
                digest.update(piece)
                done += len(piece)
                progress.bytes(step, done, size)
        if expected and digest.hexdigest() != expected:
            raise DssError(
                f"{uri} is not what {SUMS} says of it: its SHA-256 is {digest.hexdigest()}, not {expected}.",
                hint="It was changed after the build, or damaged on the way: fetch it again, or build it anew.",
            )
        yield file


def _expected_sum(s3: S3Builds, *, bucket: str, key: str) -> str | None:
    folder, slash, name = key.rpartition("/")
    sums = f"{folder}{slash}{SUMS}"
    try:
        found = s3.facts(bucket, sums)
    except PermissionMissing:
        return None
    if found is None or not 0 < found.size_bytes <= _SUMS_BYTES:
        return None
    text = read_range(s3, bucket=bucket, key=sums, start=0, length=found.size_bytes)
    return parse_sha256sums(text.decode(errors="replace"), f"s3://{bucket}/{sums}").get(name)
