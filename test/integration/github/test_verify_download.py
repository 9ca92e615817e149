"""``dss verify-download`` and ``--sign-key`` with the real GnuPG."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.checksums import write_sha256sums
from exasol_like_dss.lib.publishing.signing import PASSPHRASE, SIGNATURE, check_signing, write_signature
from test.integration.github.conftest import SigningKey
from test.support.planted_assets import Commands


def make_download(folder: Path) -> Path:
    folder.mkdir()
    for name in ("a.ova", "b.vmdk", "manifest.json"):
        (folder / name).write_bytes(name.encode() * 1000)
    write_sha256sums(sorted(folder.iterdir()), folder / "SHA256SUMS")
    return folder


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Three files and their sums."""
    return make_download(tmp_path / "download")


@pytest.fixture(scope="session")
def signed_once(tmp_path_factory: pytest.TempPathFactory, signing_key: SigningKey) -> Path:
    """A key with a passphrase takes GnuPG a second."""
    folder = make_download(tmp_path_factory.mktemp("signed") / "download")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSPHRASE, signing_key.passphrase)
        write_signature(folder / "SHA256SUMS", str(signing_key.secret), programs=Programs(), progress=Progress())
    return folder


@pytest.fixture
def signed(tmp_path: Path, signed_once: Path) -> Path:
    return shutil.copytree(signed_once, tmp_path / "signed")


@pytest.fixture
def dss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """With an empty keyring of the user's own."""
    home = tmp_path / "keys"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    made = Commands(aws=None, folder=tmp_path)  # type: ignore[arg-type]
    monkeypatch.setattr(Commands, "environment", {})
    return made


def leftovers() -> list[str]:
    """Folders of keys in memory, and agents that serve them."""
    base = Path(f"/dev/shm/dss-gpg-{os.getuid()}")
    running = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    agents = [line for line in running.splitlines() if "gpg-agent" in line and "dss-gpg-" in line]
    return [str(path) for path in base.glob("*")] + agents


def test_a_signed_download_passes_with_gnupg_itself_too(dss: Commands, signed: Path, signing_key: SigningKey) -> None:
    done = dss.run("verify-download", signed, "--key", signing_key.public)
    assert done.code == 0, done.err
    assert "Signature: good. Signed by Test release <release@example.org>." in done.out
    assert signing_key.fingerprint in done.out
    home = ["gpg", "--homedir", str(signing_key.home), "--batch"]
    subprocess.run([*home, "--verify", SIGNATURE, "SHA256SUMS"], cwd=signed, check=True, capture_output=True)
    subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=signed, check=True, capture_output=True)
    assert leftovers() == []


def test_the_keyring_of_the_user_does_as_well(dss: Commands, signed: Path, signing_key: SigningKey) -> None:
    done = dss.run("verify-download", signed)
    assert done.code == 1
    assert "unknown key" in done.out
    assert "gpg --import" in done.out
    subprocess.run(["gpg", "--batch", "--import", str(signing_key.public)], check=True, capture_output=True)
    assert dss.run("verify-download", signed).code == 0


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("damaged", 1, ["a.ova", "DIFFERS", "FAILED"]),
        ("missing", 1, ["b.vmdk", "MISSING"]),
        ("extra", 0, ["notes.txt", "not in SHA256SUMS", "Passed."]),
        ("changed sums", 1, ["Signature: bad.", "these were changed"]),
        ("damaged signature", 1, ["Signature: unreadable."]),
        ("no signature", 1, ["Signature: absent."]),
        ("another key", 1, ["Signature: unknown key.", "another key than the one that you gave"]),
    ],
)
def test_what_is_wrong_is_named(
    dss: Commands, signed: Path, signing_key: SigningKey, other_key: SigningKey, what: str, code: int, words: list[str]
) -> None:
    key = signing_key.public
    if what == "damaged":
        (signed / "a.ova").write_bytes(b"x")
    elif what == "missing":
        (signed / "b.vmdk").unlink()
    elif what == "extra":
        (signed / "notes.txt").touch()
    elif what == "changed sums":
        (signed / "a.ova").write_bytes(b"x")
        write_sha256sums([signed / name for name in ("a.ova", "b.vmdk", "manifest.json")], signed / "SHA256SUMS")
    elif what == "damaged signature":
        (signed / SIGNATURE).write_text("-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n")
    elif what == "no signature":
        (signed / SIGNATURE).unlink()
    elif what == "another key":
        key = other_key.public
    done = dss.run("verify-download", signed, "--key", key)
    assert done.code == code, done.out + done.err
    assert all(word in done.out for word in words), done.out
    assert leftovers() == []


def test_a_key_that_has_expired(dss: Commands, download: Path, gpg_home: Path) -> None:
    gpg = ["gpg", "--homedir", str(gpg_home), "--batch", "--no-tty", "--faked-system-time", "20200101T000000"]
    expired = gpg_home / "expired-now.asc"
    subprocess.run(
        [*gpg, "--ignore-time-conflict", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key",
         "Old <old@example.org>", "ed25519", "sign", "seconds=86400"],
        check=True, capture_output=True,
    )  # fmt: skip
    expired.write_bytes(
        subprocess.run([*gpg, "--armor", "--export", "old@example.org"], check=True, capture_output=True).stdout
    )
    with (download / SIGNATURE).open("wb") as file:
        subprocess.run(
            [*gpg, "--pinentry-mode", "loopback", "--passphrase", "", "--local-user", "old@example.org", "--armor",
             "--detach-sign", "--output", "-", str(download / "SHA256SUMS")],
            check=True, stdout=file, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    done = dss.run("verify-download", download, "--key", expired)
    assert done.code == 1
    assert "Signature: expired key. The key of Old <old@example.org> expired on 2020-01-02" in done.out


def test_unsigned_files_pass_unless_a_key_is_given_and_json_says_all(dss: Commands, download: Path) -> None:
    (download / "b.vmdk").unlink()
    done = dss.run("verify-download", download, "--ignore-missing", "--output", "json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["passed"] is True
    assert [(one["name"], one["result"]) for one in result["files"]] == [
        ("a.ova", "ok"), ("b.vmdk", "missing"), ("manifest.json", "ok"),
    ]  # fmt: skip
    assert result["signature"]["result"] == "absent"
    for path in download.iterdir():
        if path.name != "SHA256SUMS":
            path.unlink()
    assert dss.run("verify-download", download, "--ignore-missing").code == 1  # nothing is there: nothing is proved


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (shutil.rmtree, "is no folder"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "can't be read"),
        (lambda folder: (folder / "SHA256SUMS").write_text(""), "is empty"),
        (lambda folder: (folder / "SHA256SUMS").write_text("0" * 64 + "  ../../etc/passwd\n"), "no list of"),
        (lambda folder: (folder / "SHA256SUMS").write_text(f"{'0' * 64}  a\n{'1' * 64}  a\n"), "two different sums"),
    ],
    ids=["no folder", "no sums", "empty", "other folders", "twice"],
)  # fmt: skip
def test_wrong_input(dss: Commands, download: Path, make: object, words: str) -> None:
    make(download)  # type: ignore[operator]
    done = dss.run("verify-download", download)
    assert done.code == 2
    assert words in done.err


def test_a_key_file_that_is_none(dss: Commands, signed: Path) -> None:
    for file, words in ((signed / "nowhere.asc", "There is no key file"), (signed / "a.ova", "holds no public key")):
        done = dss.run("verify-download", signed, "--key", file)
        assert done.code == 2
        assert words in done.err


@pytest.mark.parametrize("passphrase", [None, "wrong"])
def test_without_the_passphrase_nothing_is_signed(
    signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch, passphrase: str | None
) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    if passphrase:
        monkeypatch.setenv(PASSPHRASE, passphrase)
    with pytest.raises(DssError, match="can't sign: its passphrase is missing or wrong") as caught:
        check_signing(str(signing_key.secret), programs=Programs(), progress=Progress())
    assert PASSPHRASE in caught.value.hint
    assert leftovers() == []


def test_keys_that_can_not_sign(signing_key: SigningKey, other_key: SigningKey, tmp_path: Path) -> None:
    both = tmp_path / "both.asc"
    both.write_bytes(signing_key.secret.read_bytes() + other_key.secret.read_bytes())
    for source, words in (
        (str(signing_key.public), "no secret key in .* that can sign"),
        (str(both), "names several keys"),
        (f"file:{tmp_path / 'missing'}", "can't be read"),
        ("env:DSS_NO_SUCH_KEY", "DSS_NO_SUCH_KEY .* is not set"),
        ("/no/such/file", "no file, and no key"),
    ):
        with pytest.raises(InputError, match=words):
            check_signing(source, programs=Programs(), progress=Progress())
    assert leftovers() == []


def test_a_key_of_the_users_own(
    other_key: SigningKey, download: Path, dss: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(other_key.home))
    for name in (other_key.fingerprint, "other@example.org"):
        write_signature(download / "SHA256SUMS", name, programs=Programs(), progress=Progress())
        assert dss.run("verify-download", download, "--key", other_key.public).code == 0
