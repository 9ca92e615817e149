"""``dss download-url``: which files, which key, for how long. What CloudFront makes of the links: ``aws_stacks``."""

from __future__ import annotations

import base64
import json
import shlex
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from exasol_like_dss.lib.stacks.download_keys import SECRET
from test.integration.github.conftest import VERSION, Releases
from test.support.planted_release import DOMAIN, KEY_ID, bucket_stack, plant_build


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _check(url: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> int:
    """That it is signed by the key for just this; when it ends (seconds since 1970)."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert set(query) == {"Expires", "Signature", "Key-Pair-Id", "Hash-Algorithm"}
    assert (query["Key-Pair-Id"], query["Hash-Algorithm"]) == (KEY_ID, "SHA256")
    resource = f"{parts.scheme}://{parts.netloc}{parts.path}"
    policy = (
        f'{{"Statement":[{{"Resource":"{resource}","Condition":{{"DateLessThan":{{"AWS:EpochTime":'
        f"{query['Expires']}}}}}}}]}}"
    ).encode()
    signature = base64.b64decode(query["Signature"].translate(str.maketrans("-_~", "+=/")))
    if isinstance(key, rsa.RSAPrivateKey):
        key.public_key().verify(signature, policy, padding.PKCS1v15(), hashes.SHA256())
    else:
        key.public_key().verify(signature, policy, ec.ECDSA(hashes.SHA256()))
    return int(query["Expires"])


def test_links_to_the_files_of_just_this_build(releases: Releases, key: rsa.RSAPrivateKey) -> None:
    plant_build(releases.aws, f"{VERSION}-rc1")
    releases.build.put("export-ami-0123.vmdk", b"being exported")
    releases.aws.client("secretsmanager").create_secret(Name=SECRET, SecretString=_pem(key))
    before = time.time()
    done = releases.run("download-url", "--asset-id", VERSION, "--expires", "2h", "--output", "json")
    assert done.code == 0, done.err
    urls = json.loads(done.out)["urls"]
    assert [one["name"] for one in urls] == [name for name in releases.build.names() if "export-ami" not in name]
    for one in urls:
        assert one["url"].startswith(f"https://{DOMAIN}/signed/data_science_sandbox/{VERSION}/{one['name']}?")
        assert before + 7199 <= _check(one["url"], key) <= time.time() + 7201
    done = releases.run("download-url", "--asset-id", VERSION, "--file", "*.ova", "--file", "SHA256SUMS*")
    lines = [shlex.split(line) for line in done.out.splitlines() if not line.startswith("#")]
    assert [line[0] for line in lines] == ["curl", "curl"]
    assert [line[line.index("--output") + 1] for line in lines] == ["SHA256SUMS", f"exasol-like-dss-{VERSION}.ova"]
    assert all(_check(line[-1], key) for line in lines)
    assert "PRIVATE" not in done.out + done.err


def test_a_key_in_a_file_and_one_of_another_kind_and_name(releases: Releases, tmp_path: Path) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "key.pem"
    file.write_text(_pem(curve))
    releases.aws.client("secretsmanager").create_secret(Name="other", SecretString=_pem(curve))
    for options, asked in ((("--key-file", file), False), (("--secret", "other"), True)):
        done = releases.run(
            "download-url", "--asset-id", VERSION, "--file", "manifest.json", "--output", "json", *options
        )
        assert done.code == 0, done.err
        assert _check(json.loads(done.out)["urls"][0]["url"], curve)
        assert any("GetSecretValue" in action for action in releases.aws.actions()) is asked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--asset-id", "4.0.0"), "nothing of 4.0.0"),
        (("--asset-id", "../x"), "no asset-id"),
        (("--file", "*.iso"), "No file fits *.iso"),
        (("--expires", "8d"), "7 days at most"),
        (("--expires", "0h"), "7 days at most"),
        (("--expires", "soon"), "no duration"),
        ((), "no secret exasol-like-dss/download-key"),
        (("--secret", "bad"), "no private key in the secret bad"),
        (("--key-file", "missing.pem"), "missing.pem can't be read"),
        (("--key-file", "public.pem"), "no private key in public.pem"),
        (("--key-file", "ed25519.pem"), "can't use the kind of key"),
        (("--key-file", "public.pem", "--secret", "x"), "exclude each other"),
    ],
)
def test_wrong_input(
    releases: Releases, key: rsa.RSAPrivateKey, arguments: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(releases.folder)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    (releases.folder / "public.pem").write_bytes(public)
    (releases.folder / "ed25519.pem").write_text(_pem(ed25519.Ed25519PrivateKey.generate()))
    releases.aws.client("secretsmanager").create_secret(Name="bad", SecretString="swordfish")
    given = arguments if "--asset-id" in arguments else ("--asset-id", VERSION, *arguments)
    done = releases.run("download-url", *given)
    assert done.code == 2, done.err
    assert words in done.err
    assert "swordfish" not in done.err
    assert done.out == ""


def test_a_stack_without_a_key(releases: Releases) -> None:
    releases.aws.reset()
    bucket_stack(releases.aws, outputs={"VMBucketDomainName": DOMAIN})
    plant_build(releases.aws, VERSION)
    done = releases.run("download-url", "--asset-id", VERSION)
    assert done.code == 2
    assert "has no key for signed URLs" in done.err
