from __future__ import annotations

from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.checkout import Checkout, checkout, public_address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://git.example.org/a/b.git", "https://git.example.org/a/b"),
        ("https://user:secret@git.example.org:8443/a/b", "https://git.example.org:8443/a/b"),
        ("git@git.example.org:a/b.git", "https://git.example.org/a/b"),
        ("ssh://git@git.example.org:22/a/b.git", "https://git.example.org/a/b"),
        ("/srv/git/b.git", ""),
        ("file:///srv/git/b.git", ""),
        ("", ""),
    ],
)
def test_an_address_for_everybody(url: str, expected: str) -> None:
    assert public_address(url) == expected


def test_an_installed_wheel_has_no_checkout(tmp_path: Path) -> None:
    assert checkout(Programs(), folder=tmp_path) == Checkout("", "")
