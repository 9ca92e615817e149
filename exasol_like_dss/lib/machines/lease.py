"""One build of an asset-id at a time, anywhere: its key pair in EC2 is the lock.

Names of key pairs are unique, so ``CreateKeyPair`` succeeds for one caller only. Its tags say who holds it, and until
when; the holder renews that. A build that was killed leaves it behind: on the same machine the process is seen to be
gone, elsewhere the lease is watched until it has run out. Who takes over deletes the old key pair by its *id* and
makes a new one: when two try, the second one's ``CreateKeyPair`` fails.

The private key is known only to the run that made the pair. It is in a private temporary folder, and gone with the run,
but for a machine that is kept: then it lies in the user's data folder, called after the id of the pair.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError
from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.assets.record import AssetKind
from exasol_like_dss.lib.assets.tags import ASSET_ID
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.waiting import wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_results import KeyPair
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

HOLDER = "dss-lease-holder"
UNTIL = "dss-lease-until"
LEASE_S = 120.0
_RENEWED_S = 30.0
#: The end of a lease that nobody holds: of a machine that was kept.
_KEPT = "kept"
#: A lease that ended so long ago is nobody's, however much the clocks of two machines differ.
_LONG_AGO = timedelta(minutes=15)


class AlreadyRunning(InputError):
    """Another build of the same asset-id is at work."""


@dataclass
class Lease:
    """The held lock. private_key: of the key pair. adopted: a key that was there, not one that was made now."""

    key_pair_id: str
    key_name: str
    private_key: Path
    holder: str
    adopted: bool = False
    kept: bool = False
    _lost: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises ``DssError`` when somebody else took over, or removed it."""
        if self._lost.is_set():
            raise DssError(
                "The lock of this build (its key pair) was removed or taken over meanwhile.",
                hint="Is another build, or a clean-up, of the same asset-id running?",
            )

    def keep(self) -> Path:
        """The machine outlives the command: so do the key pair, and the private key, whose new place is returned."""
        if not self.kept:
            target = kept_key(self.key_pair_id)
            if self.private_key != target:
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                shutil.move(self.private_key, target)
                self.private_key = target
            self.kept = True
        return self.private_key


def kept_key(key_pair_id: str) -> Path:
    """Where the private key of a machine that was kept is (XDG Base Directory Specification)."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data) / PRODUCT / "keys" / f"{key_pair_id}.pem"


@contextmanager
def held(
    aws: AwsSession,
    *,
    name: str,
    tags: Mapping[str, str],
    left: dict[str, AssetKind],
    progress: Progress,
    cancellation: Cancellation,
) -> Iterator[Lease]:
    """Holds the lock for the time of the block. name: of the key pair; ``left`` gets it when it can't be removed.

    Raises ``AlreadyRunning``, ``InputError`` when a key pair of this name is not ours, ``AwsError``.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="dss-key-")))
        with progress.step("lock the asset-id"):
            lease = _acquire(aws, name=name, tags=tags, folder=folder, progress=progress, cancellation=cancellation)
        stack.callback(_release, aws, lease, left, progress)
        stop = threading.Event()
        renewing = threading.Thread(target=_renew, args=(aws, lease, stop), name="lease", daemon=True)
        renewing.start()
        stack.callback(renewing.join)
        stack.callback(stop.set)
        yield lease


def check_free(aws: AwsSession, name: str, *, progress: Progress, cancellation: Cancellation) -> None:
    """Whether nobody holds another lock. Who takes its own first and then looks at the other's never meets anybody:
    at worst both give up. Raises ``AlreadyRunning``."""
    found = next(aws.ec2().key_pairs({"key-name": [name]}), None)
    if found and ASSET_ID in found.tags:
        _wait_until_free(aws, found, progress=progress, cancellation=cancellation)


def _acquire(
    aws: AwsSession,
    *,
    name: str,
    tags: Mapping[str, str],
    folder: Path,
    progress: Progress,
    cancellation: Cancellation,
) -> Lease:
    builds, holder = aws.ec2_builds(), our_name()
    while True:
        cancellation.check()
        try:
            made = builds.create_key_pair(name, tags={**tags, HOLDER: holder, UNTIL: _end()})
        except AwsError as error:
            if error.code != "InvalidKeyPair.Duplicate":
                raise
        else:
            key = folder / "key"
            with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(made.material.strip() + "\n")
            return Lease(made.id, name, key, holder)
        found = next(aws.ec2().key_pairs({"key-name": [name]}), None)
        if found is None:
            continue  # it has gone meanwhile
        if found.tags.get(ASSET_ID) != tags[ASSET_ID]:
            raise InputError(
                f"There is a key pair {name} that does not belong to the asset-id {tags[ASSET_ID]}.",
                hint="Choose another --asset-id.",
            )
        # Ours: the answer to our own call was lost, and with it the private key.
        if found.tags.get(HOLDER) != holder:
            _wait_until_free(aws, found, progress=progress, cancellation=cancellation)
            if kept_key(found.id).exists():
                builds.tag([found.id], {HOLDER: holder, UNTIL: _end()})
                return Lease(found.id, name, kept_key(found.id), holder, adopted=True)
        aws.ec2().delete_key_pair(found.id)


def _wait_until_free(aws: AwsSession, found: KeyPair, *, progress: Progress, cancellation: Cancellation) -> None:
    """Returns when nobody holds the key pair any more. Raises ``AlreadyRunning``."""
    holder, end = found.tags.get(HOLDER, ""), found.tags.get(UNTIL, "")
    running = AlreadyRunning(
        f"A build of the asset-id {found.tags[ASSET_ID]} is running ({_shown(holder)}).",
        hint="Wait until it has ended, or choose another --asset-id.",
    )
    alive = is_alive(holder)
    if end == _KEPT or alive is False or _is_long_ago(end):
        return
    if alive:
        raise running

    def free() -> bool:
        cancellation.check()
        now = next(aws.ec2().key_pairs({"key-name": [found.name]}), None)
        if now is None or now.tags.get(UNTIL) == _KEPT:
            return True
        if now.id != found.id or now.tags.get(UNTIL) != end:
            raise running
        return False

    progress.note(f"A build of this asset-id began elsewhere ({_shown(holder)}): is it still running?")
    waited = _Patience(LEASE_S)
    wait_until(
        "its lock to run out",
        lambda: free() or waited.over,
        deadline_s=2 * LEASE_S,
        interval_s=5.0,
        progress=progress,
        hint="",
    )


class _Patience:
    """Our own clock only: those of two machines may differ."""

    def __init__(self, seconds: float) -> None:
        self._end = datetime.now(UTC) + timedelta(seconds=seconds)

    @property
    def over(self) -> bool:
        return datetime.now(UTC) >= self._end


def _renew(aws: AwsSession, lease: Lease, stop: threading.Event) -> None:
    while not stop.wait(_RENEWED_S):
        try:
            found = next(aws.ec2().key_pairs({"key-pair-id": [lease.key_pair_id]}), None)
            if found is None or found.tags.get(HOLDER) != lease.holder:
                lease._lost.set()
                return
            aws.ec2_builds().tag([lease.key_pair_id], {UNTIL: _end()})
        except DssError:
            continue  # the build itself meets the same error, and explains it


def _release(aws: AwsSession, lease: Lease, left: dict[str, AssetKind], progress: Progress) -> None:
    try:
        if lease.kept:
            aws.ec2_builds().tag([lease.key_pair_id], {UNTIL: _KEPT})
            return
        if lease._lost.is_set():
            progress.note(f"The key pair {lease.key_name} was removed, or taken over, by another run.")
            return
        aws.ec2().delete_key_pair(lease.key_pair_id)
        if lease.adopted:
            lease.private_key.unlink(missing_ok=True)
    except DssError as error:
        progress.note(f"The key pair {lease.key_name} stays: {error.message}")
        left[lease.key_name] = AssetKind.KEY_PAIR


def _end() -> str:
    return (datetime.now(UTC) + timedelta(seconds=LEASE_S)).isoformat(timespec="seconds")


def _is_long_ago(end: str) -> bool:
    try:
        return datetime.fromisoformat(end) + _LONG_AGO < datetime.now(UTC)
    except (ValueError, TypeError):
        return True


def our_name() -> str:
    """Host, boot, PID namespace, process id, start of the process: no other process ever has the same."""
    return f"{_here()}:{os.getpid()}:{_start_of(os.getpid())}"


def _here() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    namespace = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    return f"{socket.gethostname()}:{boot}:{namespace}"


def _start_of(process: int) -> str:
    """In clock ticks since the boot (proc(5), stat, field 22); empty when there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def is_alive(holder: str, *, start_of: Callable[[int], str] = _start_of) -> bool | None:
    """Whether the process of this name runs; ``None`` when it is not one of this machine."""
    place, _, rest = holder.rpartition(":")
    place, _, process = place.rpartition(":")
    if place != _here() or not process.isdigit():
        return None
    return bool(rest) and start_of(int(process)) == rest


def _shown(holder: str) -> str:
    """For people."""
    parts = holder.split(":")
    return f"on {parts[0]}, process {parts[3]}" if len(parts) == 5 else holder or "by whom is not known"
