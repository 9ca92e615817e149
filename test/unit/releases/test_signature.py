"""What GnuPG's status lines mean for people; the lines are those of GnuPG 2.2."""

from __future__ import annotations

import pytest

from exasol_like_dss.lib.publishing.download_check import SignatureResult, judge

KEY, PRIMARY = "A" * 40, "B" * 40
SHORT = KEY[-16:]
VALID = f"VALIDSIG {KEY} 2026-01-01 1767225600 0 4 0 22 8 00 {PRIMARY}"


@pytest.mark.parametrize(
    ("lines", "given", "result", "key", "seen"),
    [
        (["NEWSIG", f"GOODSIG {SHORT} Ada <a@b>", VALID, "TRUST_UNDEFINED 0"], True, "good", PRIMARY, "Signed by Ada"),
        ([f"BADSIG {SHORT} Ada <a@b>"], True, "bad", SHORT, "were changed"),
        ([f"GOODSIG {SHORT} Ada"], True, "unreadable", "", "no signature"),
        ([f"EXPKEYSIG {SHORT} Ada", VALID, "KEYEXPIRED 1577923200"], True, "expired key", PRIMARY, "on 2020-01-02"),
        ([f"REVKEYSIG {SHORT} Ada", VALID], True, "revoked key", PRIMARY, "revoked"),
        ([f"EXPSIG {SHORT} Ada", VALID], True, "bad", PRIMARY, "signature of Ada has expired"),
        ([f"ERRSIG {SHORT} 22 8 00 1 9", f"NO_PUBKEY {SHORT}"], True, "unknown key", SHORT, "another key"),
        ([f"ERRSIG {SHORT} 22 8 00 1 9", f"NO_PUBKEY {SHORT}"], False, "unknown key", SHORT, "gpg --import"),
        (["NODATA 4"], True, "unreadable", "", "no signature"),
        ([], False, "unreadable", "", "no signature"),
        # Two signatures, one of them bad: not good.
        ([f"GOODSIG {SHORT} Ada", VALID, "BADSIG 0 Eve"], False, "bad", "0", "were changed"),
    ],
)  # fmt: skip
def test_judgement(lines: list[str], given: bool, result: str, key: str, seen: str) -> None:
    found = judge(lines, given=given)
    assert (found.result, found.key) == (SignatureResult(result), key)
    assert seen in found.seen
