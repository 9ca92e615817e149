"""The root file system as ext4, filled by ``mke2fs -d`` straight into its place in the disk file."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.images.identity import DiskIdentity
from exasol_like_dss.lib.images.partitions import MIB, Partition

_BLOCK_BYTES = 4096
_INODE_BYTES = 256
_JOURNAL_BYTES = 64 * MIB
#: What ext4 grows to at first boot keeps this ratio: one inode for so many bytes.
_BYTES_PER_INODE = 16384
#: Up to this length a link's target is inside its inode (ext4 documentation, "Symbolic Links").
_SHORT_LINK_BYTES = 59
#: Named one by one, so that the host's /etc/mke2fs.conf changes nothing. Without metadata_csum_seed and orphan_file:
#: GRUB 2.06 refuses the first, and e2fsprogs before 1.47 (guests that check or grow the disk) both.
_FEATURES = ("none", "has_journal", "ext_attr", "resize_inode", "dir_index", "filetype", "extent", "64bit", "flex_bg",
             "sparse_super", "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum")  # fmt: skip


@dataclass(frozen=True)
class ContentSize:
    """What a directory takes in an ext4 file system. ``content_bytes``: its blocks; ``files``: its inodes."""

    content_bytes: int
    files: int

    @property
    def partition_bytes(self) -> int:
        """Content, journal and inodes, with 15 % and 512 MiB to work in until it has grown; whole MiB."""
        used = self.content_bytes + _JOURNAL_BYTES + self.files * _INODE_BYTES
        return -(-(used * 115 // 100 + 512 * MIB) // MIB) * MIB

    @property
    def bytes_per_inode(self) -> int:
        """Usually ext4's own ratio; denser where the content has many small files, with a third of the inodes free."""
        return max(1024, min(_BYTES_PER_INODE, self.partition_bytes // (self.files * 3 // 2 + 1024)))


def measure(root: Path) -> ContentSize:
    """Adds up the blocks of everything below ``root``; a file with several names counts once."""
    content_bytes = _BLOCK_BYTES
    files = 16
    seen: set[tuple[int, int]] = set()
    folders = [os.fspath(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                files += 1
                if stat.S_ISDIR(status.st_mode):
                    folders.append(entry.path)
                    # Not the host's figure: tmpfs counts a directory as a few bytes. An entry has 8 bytes and its name.
                    content_bytes += max(_BLOCK_BYTES, _whole_blocks(status.st_size))
                elif stat.S_ISREG(status.st_mode):
                    # Holes stay holes; a compressing host file system must not make it look smaller than it is.
                    content_bytes += _whole_blocks(status.st_size)
                elif stat.S_ISLNK(status.st_mode) and status.st_size > _SHORT_LINK_BYTES:
                    content_bytes += _BLOCK_BYTES
    return ContentSize(content_bytes, files)


def make_ext4(
    disk: Path,
    *,
    root: Path,
    partition: Partition,
    content: ContentSize,
    identity: DiskIdentity,
    programs: Programs,
) -> None:
    """Makes the file system in ``partition`` of the sparse file ``disk``, and fills it with the directory ``root``.

    Owners, modes, modification times, hard links, links, device nodes and extended attributes (file capabilities) are
    kept. Times of access and change, which depend on how and when the directory was made, become the identity's.
    The file must be all zeros there: nothing is zeroed again, neither here nor by the guest's kernel later.
    """
    options = (
        f"offset={partition.start_bytes},hash_seed={identity.hash_seed},root_owner=0:0,nodiscard,"
        "lazy_itable_init=0,lazy_journal_init=0,assume_storage_prezeroed=1"
    )
    programs.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(_BLOCK_BYTES), "-I", str(_INODE_BYTES),
         "-O", ",".join(_FEATURES), "-E", options, "-U", str(identity.root_uuid), "-L", "root", "-m", "1",
         "-J", f"size={_JOURNAL_BYTES // MIB}", "-i", str(content.bytes_per_inode), "-d", str(root),
         # The exact number: a file system that is larger than its partition does not mount.
         str(disk), str(partition.size_bytes // _BLOCK_BYTES)],
        what="Making the root file system",
        hint="Is there enough room on the disk that holds the image?",
        env={**_fixed_time(identity), "MKE2FS_CONFIG": "/dev/null"},
    )  # fmt: skip
    _settle_times(f"{disk}?offset={partition.start_bytes}", identity=identity, programs=programs)


def _settle_times(device: str, *, identity: DiskIdentity, programs: Programs) -> None:
    """Sets the times of access and change of all inodes: half a second for 25,000.

    A fresh file system has its inodes in use without a gap, from the first one that is not reserved (11).
    """
    header = programs.run(["debugfs", "-R", "stats -h", device])
    count, free = (
        int(line.split(":")[1])
        for name in ("Inode count:", "Free inodes:")
        for line in header.splitlines()
        if line.startswith(name)
    )
    commands = [
        f"sif <{inode}> {field} {value}\n"
        for inode in (2, *range(11, count - free + 1))
        for time in ("atime", "ctime")
        for field, value in ((time, f"@{identity.timestamp}"), (f"{time}_extra", "0"))
    ]
    programs.run(
        ["debugfs", "-w", "-f", "-", device],
        what="Settling the times of the root file system",
        stdin="".join(commands).encode(),
        env=_fixed_time(identity),
    )


def _fixed_time(identity: DiskIdentity) -> dict[str, str]:
    """What makes e2fsprogs stamp with this time (before and from 1.47.1)."""
    return {"E2FSPROGS_FAKE_TIME": str(identity.timestamp), "SOURCE_DATE_EPOCH": str(identity.timestamp)}


def _whole_blocks(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
