from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.releases.versions import is_newest, parse_version

Numbers = tuple[int, int, int]
_numbers = st.tuples(*[st.integers(0, 30)] * 3)


@given(_numbers, st.lists(_numbers))
def test_releases_are_compared_by_their_numbers(
    version: tuple[int, int, int], others: list[tuple[int, int, int]]
) -> None:
    def text(numbers: Numbers) -> str:
        return ".".join(map(str, numbers))

    assert is_newest(text(version), map(text, others)) is all(other <= version for other in others)


@pytest.mark.parametrize(
    ("version", "others", "newest"),
    [
        ("1.10.0", ["1.9.0"], True),
        ("1.9.0", ["1.10.0"], False),
        ("v1.10.0", ["v1.9.0", "nightly", ""], True),
        ("1.10.0", ["2.0.0-rc1"], True),
        ("1.10.0-rc1", [], False),
        ("1.10.0", ["1.10.0"], True),
    ],
)
def test_newest(version: str, others: list[str], newest: bool) -> None:
    assert is_newest(version, others) is newest


@pytest.mark.parametrize("text", ["", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "latest", "1.2.3 ", "1.2.3+1", "vv1.2.3"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(InputError, match="The tag"):
        parse_version(text, what="The tag")
