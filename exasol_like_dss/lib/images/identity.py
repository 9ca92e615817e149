"""Every identifier of a disk, derived from one seed: the same seed gives the same disk."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/exasol-like-dss/disk")


def build_timestamp() -> int:
    """Seconds since 1970: ``SOURCE_DATE_EPOCH`` (reproducible-builds.org) where it is set, otherwise now."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) if text.isdecimal() else int(time.time())


def reproducible() -> bool:
    """Whether a fixed time was asked for: then the same input gives the same bytes."""
    return os.environ.get("SOURCE_DATE_EPOCH", "").isdecimal()


def identity_time() -> int | None:
    """The fixed time, or ``None`` for now."""
    return build_timestamp() if reproducible() else None


@dataclass(frozen=True)
class DiskIdentity:
    """The identifiers of one disk (UUID version 5, RFC 4122 section 4.3).

    seed: any text, for example the asset-id with the hash of the build's inputs.
    timestamp: seconds since 1970, written wherever a format wants a time.
    """

    seed: str
    timestamp: int = field(default_factory=build_timestamp)

    def _uuid(self, what: str) -> uuid.UUID:
        return uuid.uuid5(_NAMESPACE, f"{self.seed}/{what}")

    @property
    def disk_guid(self) -> uuid.UUID:
        return self._uuid("disk")

    @property
    def bios_boot_guid(self) -> uuid.UUID:
        return self._uuid("partition/bios-boot")

    @property
    def esp_guid(self) -> uuid.UUID:
        return self._uuid("partition/esp")

    @property
    def root_guid(self) -> uuid.UUID:
        return self._uuid("partition/root")

    @property
    def root_uuid(self) -> uuid.UUID:
        """The UUID of the root file system: the kernel command line, fstab and GRUB search for it."""
        return self._uuid("root")

    @property
    def hash_seed(self) -> uuid.UUID:
        """Seed of the ext4 directory hashes."""
        return self._uuid("root/hash-seed")

    @property
    def fat_volume_id(self) -> int:
        """32 bits: what FAT has instead of a UUID."""
        return int.from_bytes(self._uuid("esp").bytes[:4], "big")

    @property
    def fat_uuid(self) -> str:
        """The volume id as Linux shows it and fstab wants it: ``1A2B-3C4D``."""
        return f"{self.fat_volume_id >> 16:04X}-{self.fat_volume_id & 0xFFFF:04X}"


def password_salt(identity: DiskIdentity) -> str:
    """The salt of the default password of a reproducible image, as crypt(5) takes it (yescrypt, 96 bits).

    From the seed and the time, never from the password: a fast hash of that would make guessing it fast. Images of one
    asset-id and one time share the salt. Theirs is one password, too, and it expires at the first login.
    """
    import hashlib

    digits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number = hashlib.sha256(f"{identity.seed}/password/{identity.timestamp}".encode()).digest()
    return "$y$j9T$" + "".join(digits[byte % 64] for byte in number[:16])
