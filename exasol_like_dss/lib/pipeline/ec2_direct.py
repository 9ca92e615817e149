"""``--export-method direct``: the AMI's snapshot is read once, and every format goes to S3 while it is being read.

              ┌─> VMDK encoder ──> upload ──> OVA (put together inside S3 from the VMDK)
one reader ───┼─> RAW (or VHD)  ──> upload ──> VHD (inside S3 from the RAW, where both are wanted)
              └─> SHA-256 of the disk
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exasol_like_dss.lib.errors import DssError, Interrupted
from exasol_like_dss.lib.images.formats.broadcast import Broadcast
from exasol_like_dss.lib.images.formats.protocol import ImageDescription
from exasol_like_dss.lib.images.formats.source import VmdkFacts
from exasol_like_dss.lib.images.formats.sparse import GRAIN_BYTES, Block, hash_zeros
from exasol_like_dss.lib.images.formats.vhd import vhd_footer
from exasol_like_dss.lib.images.formats.vmdk import Extent, vmdk_stream
from exasol_like_dss.lib.images.formats.writing import LinkedCancellation
from exasol_like_dss.lib.images.snapshot_reading import SnapshotDisk
from exasol_like_dss.lib.pace import Pace
from exasol_like_dss.lib.publishing import s3_release
from exasol_like_dss.lib.publishing.manifest import Artifact
from exasol_like_dss.lib.publishing.s3_objects import PART_BYTES, Part, assemble, copy_parts
from exasol_like_dss.lib.publishing.s3_ova import assemble_ova
from exasol_like_dss.lib.publishing.s3_streams import Zeros, disk_parts, part_size, stream_parts

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.pipeline.ec2_plan import Ec2World
    from exasol_like_dss.lib.progress import Step
    from exasol_like_dss.lib.publishing.s3_release import ReleasePlace

_SHOWN_BYTES = 64 << 20
#: That are made between two collections, see ``gc.set_threshold``.
_OBJECTS = 50_000


@dataclass(frozen=True, kw_only=True)
class DirectExport:
    """What is to be made. formats: ``VMDK``, ``VHD``, ``RAW``, ``OVA``."""

    snapshot_id: str
    formats: tuple[str, ...]
    release: ReleasePlace
    description: ImageDescription


def the_snapshot(snapshot_ids: Sequence[str], *, image_id: str) -> str:
    """Raises ``DssError`` when an AMI has not just one disk."""
    if len(snapshot_ids) != 1:
        raise DssError(
            f"The AMI {image_id} has {len(snapshot_ids)} disks; only one can be exported directly.",
            hint="Give --export-method vm-export.",
        )
    return snapshot_ids[0]


def export_directly(order: DirectExport, *, world: Ec2World) -> tuple[Artifact, ...]:
    """Makes what is not there of this very AMI, and describes all. Raises ``DssError``, ``AwsError``, ``Interrupted``.

    Nothing of what was not finished is left, and after a kill the next run removes it.
    """
    s3, progress = world.aws.s3_builds(), world.progress
    release = order.release
    zeros_key = f"{release.prefix}{release.stem}.zeros"
    s3.delete(release.bucket, zeros_key)  # of a run that was killed
    there = {
        name for name in ("VMDK", "VHD", "RAW", "OVA") if s3_release.is_there(release, release.image_key(name), s3=s3)
    }
    made: dict[str, Artifact] = {}
    if set(order.formats) - there:
        stop = LinkedCancellation(world.cancellation)
        pace = Pace(cancellation=stop)
        with progress.step("read the snapshot"), _few_collections():
            disk = SnapshotDisk(world.aws.ebs(), order.snapshot_id, pace=pace, cancellation=stop)
            zeros = Zeros(
                s3,
                bucket=release.bucket,
                key=zeros_key,
                part_bytes=part_size(disk.size_bytes),
                cancellation=stop,
            )
            try:
                run = _Run(order, disk, zeros, there, world=world, stop=stop)
                made = run.all_formats()
            finally:
                s3.delete(release.bucket, zeros_key)
            prices = world.prices.of(world.aws.region)
            progress.note(
                f"{disk.read} blocks of 512 KiB were read with {pace.requests} requests: about "
                f"{prices.blocks_read(disk.read, lists=disk.lists):.4f} USD."
            )
    size_bytes = 0
    for name in order.formats:
        if name not in made:
            with progress.step(f"SHA-256 of {name}"):
                size_bytes = size_bytes or SnapshotDisk(
                    world.aws.ebs(), order.snapshot_id, pace=Pace(cancellation=world.cancellation),
                    cancellation=world.cancellation,
                ).size_bytes  # fmt: skip
                made[name] = s3_release.described(
                    release, name, virtual_bytes=size_bytes, s3=s3, progress=progress, cancellation=world.cancellation
                )
    return tuple(made[name] for name in order.formats)


@contextmanager
def _few_collections() -> Iterator[None]:
    """Hundreds of requests a second leave so many objects that Python's cyclic garbage collector would go through
    botocore's models several times a second: a twentieth of all time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@dataclass
class _Run:
    """One reading of the snapshot. there: formats that need not be made."""

    order: DirectExport
    disk: SnapshotDisk
    zeros: Zeros
    there: set[str]
    world: Ec2World = field(kw_only=True)
    stop: Cancellation = field(kw_only=True)

    def all_formats(self) -> dict[str, Artifact]:
        """Side by side; when one fails the others are stopped. Those that were made."""
        wanted = set(self.order.formats) - self.there
        under = self.world.progress.current()
        vmdk = "VMDK" if wanted & {"VMDK", "OVA"} else ""
        flat = [name for name in ("RAW", "VHD") if name in wanted]
        digest: Future[Hash] = Future()
        tasks: list[Callable[[], list[Artifact]]] = []
        broadcast = Broadcast[Block](consumers=bool(vmdk) + 2 * bool(flat), cancellation=self.stop)

        def read() -> list[Artifact]:
            with closing(self._shown(under)) as blocks:
                broadcast.send(blocks)
            return []

        def write_hash() -> list[Artifact]:
            digest.set_result(self._hash(broadcast.items()))
            return []

        def write_flat() -> list[Artifact]:
            with self.world.progress.step(flat[0], under=under):
                return self._flat(flat, broadcast.items(), digest)

        def write_vmdk() -> list[Artifact]:
            with self.world.progress.step(vmdk, under=under):
                if flat:
                    facts = self._vmdk(broadcast.items())
                else:  # one thread less that every block passes through
                    with closing(self._shown(under)) as blocks:
                        facts = self._vmdk(blocks)
                return self._compressed(facts, wanted)

        tasks += [read, write_hash, write_flat] if flat else []
        tasks += [write_vmdk] if vmdk else []
        return {one.format: one for one in self._together(tasks)}

    def _together(self, tasks: Sequence[Callable[[], list[Artifact]]]) -> list[Artifact]:
        with ThreadPoolExecutor(len(tasks), thread_name_prefix="direct") as pool:
            futures = [pool.submit(task) for task in tasks]
            try:
                # In slices: the main thread handles signals only between them.
                while not all(future.done() for future in futures):
                    done, _ = wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION)
                    if any(future.exception() for future in done):
                        self.stop.cancel()
            except BaseException:
                self.stop.cancel()
                raise
        errors = [error for future in futures if (error := future.exception())]
        for error in errors:
            if not isinstance(error, Interrupted):
                raise error
        if errors:
            raise errors[0]
        return [artifact for future in futures for artifact in future.result()]

    def _shown(self, under: Step | None) -> Generator[Block, None, None]:
        shown = 0
        for offset, data in self.disk.blocks():
            yield offset, data
            if under and offset - shown >= _SHOWN_BYTES:
                shown = offset
                self.world.progress.bytes(under, offset, self.disk.size_bytes)

    def _hash(self, blocks: Iterator[Block]) -> Hash:
        digest, at = hashlib.sha256(), 0
        for offset, data in blocks:
            hash_zeros(digest, offset - at, cancellation=self.stop)
            digest.update(data)
            at = offset + len(data)
        hash_zeros(digest, self.disk.size_bytes - at, cancellation=self.stop)
        return digest

    def _flat(self, names: Sequence[str], blocks: Iterator[Block], digest: Future[Hash]) -> list[Artifact]:
        """RAW, VHD, or both: the same bytes, but for the VHD's end."""
        release, size = self.order.release, self.disk.size_bytes
        footer = vhd_footer(size, unique_id=self.disk.content_id, timestamp=self.order.description.timestamp)
        endings = {"RAW": b"", "VHD": footer}
        parts = disk_parts(
            blocks, disk_bytes=size, ending=endings[names[0]], part_bytes=part_size(size), zeros=self.zeros
        )
        self._upload(names[0], parts)
        if len(names) == 2:
            copied = copy_parts(release.image_key("RAW"), start=0, end=size, part_bytes=PART_BYTES)
            self._upload("VHD", iter([*copied, Part(data=footer)]))
        made = []
        for name in names:
            found = self._awaited(digest).copy()
            found.update(endings[name])
            made.append(self._artifact(name, size + len(endings[name]), found.hexdigest()))
        return made

    def _vmdk(self, blocks: Iterator[Block]) -> VmdkFacts:
        digest, size_bytes, grains = hashlib.sha256(), 0, 0
        extent = Extent(self.disk.size_bytes, self.disk.content_id, f"{self.order.release.stem}.vmdk")

        def count(more: int) -> None:
            nonlocal grains
            grains += more

        def hashed() -> Iterator[bytes]:
            nonlocal size_bytes
            with closing(vmdk_stream(blocks, extent=extent, on_grains=count)) as pieces:
                for piece in pieces:
                    digest.update(piece)
                    size_bytes += len(piece)
                    yield piece

        self._upload("VMDK", stream_parts(hashed(), part_bytes=part_size(self.disk.size_bytes)))
        return VmdkFacts(size_bytes, digest.hexdigest(), grains * GRAIN_BYTES)

    def _compressed(self, facts: VmdkFacts, wanted: set[str]) -> list[Artifact]:
        """The VMDK, and the OVA that is made of it."""
        s3, release, progress = self.world.aws.s3_builds(), self.order.release, self.world.progress
        made = [self._artifact("VMDK", facts.size_bytes, facts.sha256)] if "VMDK" in self.order.formats else []
        if "OVA" in wanted:
            with progress.step("OVA") as step:
                ova = assemble_ova(
                    s3,
                    bucket=release.bucket,
                    vmdk=release.image_key("VMDK"),
                    facts=facts,
                    disk_bytes=self.disk.size_bytes,
                    key=release.image_key("OVA"),
                    stem=release.stem,
                    description=self.order.description,
                    metadata=release.metadata,
                    cancellation=self.stop,
                    on_bytes=lambda done: progress.bytes(step, done, facts.size_bytes),
                )
            made.append(self._artifact("OVA", ova.size_bytes, ova.sha256))
        return made

    def _upload(self, name: str, parts: Iterator[Part]) -> None:
        release = self.order.release
        assemble(
            self.world.aws.s3_builds(),
            bucket=release.bucket,
            key=release.image_key(name),
            parts=parts,
            metadata=release.metadata,
            cancellation=self.stop,
        )

    def _artifact(self, name: str, size_bytes: int, sha256: str) -> Artifact:
        key = self.order.release.image_key(name)
        return Artifact(key.rpartition("/")[2], name, size_bytes, sha256, self.disk.size_bytes)

    def _awaited(self, digest: Future[Hash]) -> Hash:
        while True:
            self.stop.check()
            try:
                return digest.result(timeout=0.2)
            except TimeoutError:
                continue
