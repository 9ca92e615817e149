from __future__ import annotations

from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.bases import BASES, HostArchive, Mirror, choose_mirror, host_archive
from exasol_like_dss.lib.images.rootfs import check_keyring

DEBIAN = BASES["debian-13"]
HOST = HostArchive("debian", "http://archive.test/debian", "http://archive.test/debian-security")


def everything(_url: str) -> bool:
    return True


def test_the_hosts_archive_is_used_when_it_runs_the_same_distribution() -> None:
    mirror = choose_mirror(DEBIAN, mirror=None, host=lambda: HOST, reachable=everything)
    assert mirror.sources(DEBIAN) == [
        "deb http://archive.test/debian trixie main",
        "deb http://archive.test/debian trixie-updates main",
        "deb http://archive.test/debian-security trixie-security main",
    ]


def test_another_distribution_is_left_to_the_tools_default() -> None:
    mirror = choose_mirror(BASES["ubuntu-24.04"], mirror=None, host=lambda: HOST, reachable=everything)
    assert mirror == Mirror(None, None, "mmdebstrap's default")
    assert mirror.sources(BASES["ubuntu-24.04"]) == []


@pytest.mark.parametrize(
    ("base", "security"),
    [("debian-13", "http://mirror.test/debian-security"), ("ubuntu-24.04", "http://mirror.test/ubuntu")],
)
def test_the_security_archive_is_found_beside_or_inside_a_given_mirror(base: str, security: str) -> None:
    chosen = BASES[base]
    url = f"http://mirror.test/{chosen.distribution}/"
    mirror = choose_mirror(
        chosen,
        mirror=url,
        host=lambda: HOST,
        reachable=lambda address: address.startswith(f"{security}/dists/") or "-security" not in address,
    )
    assert mirror.security == security
    assert mirror.archive == url.rstrip("/")


def test_a_mirror_that_does_not_answer_is_named() -> None:
    with pytest.raises(InputError, match=r"http://gone\.test/debian can't be reached.*Debian 13") as caught:
        choose_mirror(DEBIAN, mirror="http://gone.test/debian", host=lambda: HOST, reachable=lambda _: False)
    assert "--mirror" in caught.value.hint


def test_apt_is_asked_for_the_hosts_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "apt-get"
    fake.write_text(
        "#!/bin/sh\n"
        "echo http://archive.test/debian/ bookworm main\n"
        "echo http://archive.test/debian/ bookworm-updates main\n"
        "echo http://other.test/tools/ stable main\n"
        "echo http://archive.test/debian-security/ bookworm-security main\n"
    )
    fake.chmod(0o755)
    release = tmp_path / "os-release"
    release.write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert host_archive(Programs(), os_release=release) == HOST


def test_missing_archive_keys_are_named() -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="archive keys of Ubuntu") as caught:
        check_keyring(replace(BASES["ubuntu-24.04"], keyring=Path("/does/not/exist.gpg")))
    assert "ubuntu-keyring" in caught.value.hint
