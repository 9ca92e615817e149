"""Names of container images: what the reference grammar takes, and nothing else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.references import check_tag, is_release, parse_reference, parse_repository

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("exasol/data-science-sandbox", "", "exasol/data-science-sandbox"),
        ("sandbox", "", "sandbox"),
        ("localhost/x", "localhost", "x"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "a/b/c"),
        ("registry.example.org/a__b/c.d", "registry.example.org", "a__b/c.d"),
        ("[::1]:5000/x", "[::1]:5000", "x"),
        ("a---b/c", "", "a---b/c"),
    ],
)
def test_names_of_repositories(text: str, host: str, path: str) -> None:
    found = parse_repository(text)
    assert (found.host, found.path, str(found)) == (host, path, text)


@pytest.mark.parametrize(
    "text",
    ["", "/", "a/", "/a", "A/b", "a/B", "a:1", "a/b:1", f"a@{DIGEST}", "a//b", "a_-b", "-a", "a b", "http://a/b",
     "host:x/a", "host:99999/a", "a/" + "b" * 255, "a.b.c:5000", "ä/b", "a/b\n"],
)  # fmt: skip
def test_what_is_no_repository(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_repository(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["1.0.0", "latest", "_x", "1.0.0-rc1", "a" * 128])
def test_tags(text: str) -> None:
    assert check_tag(text) == text


@pytest.mark.parametrize("text", ["", "-1", ".1", "1+2", "a b", "a/b", "a" * 129, "1.0\n", "ä"])
def test_what_is_no_tag(text: str) -> None:
    with pytest.raises(InputError):
        check_tag(text)


@pytest.mark.parametrize(("version", "release"), [
    ("1.2.3", True), ("v1.2.3", True), ("0.1.0", True), ("1.2.3-rc1", False), ("1.2", False), ("1.2.3.dev1", False),
    ("01.2.3", False), ("latest", False), ("1.2.3+build", False), ("1.2.3rc1", False),
])  # fmt: skip
def test_what_latest_may_mean(version: str, release: bool) -> None:
    assert is_release(version) is release


def test_references_with_tag_and_digest() -> None:
    assert str(parse_reference("debian")) == "debian:latest"
    assert str(parse_reference("localhost:5000/a:1")) == "localhost:5000/a:1"
    assert str(parse_reference(f"a/b@{DIGEST}")) == f"a/b@{DIGEST}"
    for wrong in ("a:", "a@sha256:1", "a:b:c", "A"):
        with pytest.raises(InputError):
            parse_reference(wrong)


@given(st.text(max_size=30))
def test_any_text_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert str(parse_repository(text)) == text
