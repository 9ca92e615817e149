from __future__ import annotations

import pytest

from exasol_like_dss.lib.images.identity import DiskIdentity, build_timestamp


def test_same_seed_same_identity_and_nothing_twice() -> None:
    one, two, other = DiskIdentity("a", 1), DiskIdentity("a", 1), DiskIdentity("b", 1)
    names = ("disk_guid", "bios_boot_guid", "esp_guid", "root_guid", "root_uuid", "hash_seed", "fat_volume_id")
    assert [getattr(one, name) for name in names] == [getattr(two, name) for name in names]
    values = [getattr(identity, name) for identity in (one, other) for name in names]
    assert len(set(values)) == 2 * len(names)


def test_fat_uuid_as_linux_shows_it() -> None:
    identity = DiskIdentity("a")
    assert identity.fat_uuid.replace("-", "") == f"{identity.fat_volume_id:08X}"
    assert identity.fat_uuid[4] == "-"


def test_timestamp_from_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert DiskIdentity("a").timestamp == 1700000000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert build_timestamp() > 1700000000
