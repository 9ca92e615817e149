"""What the deployed distribution and its web ACL let through: with curl, at a distribution on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from exasol_like_dss.lib.stacks.download_keys import SECRET
from test.integration.aws_stacks.conftest import Deployments, result
from test.support.aws import Aws
from test.support.aws.cdn import Cdn, running_cdn
from test.support.aws.waf import TOKEN

FOLDER = "data_science_sandbox/1.0.0"
PATH = f"/{FOLDER}/exasol-like-dss-1.0.0.vmdk"
CONTENT = os.urandom(300_000)
#: A loopback address of its own for whom no CAPTCHA waits.
ALLOWED = "127.0.0.2"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Downloads:
    dss: Deployments
    cdn: Cdn
    folder: Path

    def get(self, url: str, *options: str, address: str = "127.0.0.1") -> Answer:
        head, body = self.folder / "head", self.folder / "body"
        body.write_bytes(b"")
        command = ["curl", "--silent", "--noproxy", "*", "--path-as-is", "--interface", address, "--max-time", "20"]
        command += ["--dump-header", str(head), "--output", str(body), *options, url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.returncode, done.stderr)
        first, *lines = head.read_text().splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        return Answer(int(first.split()[1]), headers, body.read_bytes())

    def signed(self, *options: str) -> str:
        """Of ``dss download-url``, as it is here."""
        shown = result(
            self.dss.run("download-url", "--asset-id", "1.0.0", "--file", "*.vmdk", "--output", "json", *options)
        )
        (found,) = [each["url"] for each in shown["urls"]]
        return self.cdn.located(found)

    def refused_without_content(self, url: str, *options: str, status: int = 403, address: str = "127.0.0.1") -> None:
        before = list(self.cdn.asked)
        answer = self.get(url, *options, address=address)
        assert answer.status == status
        assert CONTENT[:64] not in answer.body
        assert self.cdn.asked == before, "the bucket was asked"


@pytest.fixture(scope="module")
def deployed(standing: Aws, tmp_path_factory: pytest.TempPathFactory) -> Deployments:
    """Both stacks, and one object."""
    standing.reset()
    made = Deployments(standing, tmp_path_factory.mktemp("deployed"))
    made.both(ALLOWED)
    s3, bucket = standing.client("s3"), made.outputs()["VMBucketId"]
    s3.put_object(Bucket=bucket, Key=PATH.lstrip("/"), Body=CONTENT)
    s3.put_object(Bucket=bucket, Key="elsewhere/secret", Body=CONTENT)
    return made


@pytest.fixture
def downloads(deployed: Deployments, tmp_path: Path) -> Iterator[Downloads]:
    """Another distribution each time: the rate limit begins anew."""
    with running_cdn(deployed.aws, deployed.outputs()["VMBucketDistributionId"]) as cdn:
        yield Downloads(deployed, cdn, tmp_path)


def test_everybody_meets_the_captcha(downloads: Downloads) -> None:
    answer = downloads.get(downloads.cdn.url(PATH))
    assert (answer.status, answer.headers["x-amzn-waf-action"]) == (405, "captcha")
    assert downloads.cdn.asked == []
    solved = downloads.get(downloads.cdn.url(PATH), "--cookie", TOKEN)
    assert (solved.status, solved.body) == (200, CONTENT)
    assert solved.headers["x-content-type-options"] == "nosniff"
    assert solved.headers["strict-transport-security"].startswith("max-age=31536000")
    assert solved.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_an_allowed_address_meets_none(downloads: Downloads) -> None:
    assert downloads.get(downloads.cdn.url(PATH), address=ALLOWED).body == CONTENT
    head = downloads.get(downloads.cdn.url(PATH), "--head", address=ALLOWED)
    assert (head.status, head.headers["content-length"]) == (200, str(len(CONTENT)))
    for path in ("/elsewhere/secret", "/data_science_sandbox/none", "/"):
        answer = downloads.get(downloads.cdn.url(path), address=ALLOWED)
        assert answer.status == 403, path


def test_only_get_and_head(downloads: Downloads) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        downloads.refused_without_content(downloads.cdn.url(PATH), "--request", method, address=ALLOWED)
        downloads.refused_without_content(downloads.signed(), "--request", method)


def test_a_signed_url_works_without_a_browser_and_is_resumed(downloads: Downloads) -> None:
    url = downloads.signed()
    assert "/signed/data_science_sandbox/1.0.0/" in url
    assert downloads.get(url).body == CONTENT
    part = downloads.get(url, "--range", "1000-1999")
    assert (part.status, part.body) == (206, CONTENT[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
    resumed = downloads.folder / "image.vmdk"
    resumed.write_bytes(CONTENT[:123_456])
    subprocess.run(
        ["curl", "--silent", "--fail", "--noproxy", "*", "--continue-at", "-", "--output", str(resumed), url],
        check=True,
    )
    assert resumed.read_bytes() == CONTENT
    assert set(downloads.cdn.asked) == {PATH.lstrip("/")}


def _forged(url: str) -> dict[str, str]:
    base, _, query = url.partition("?")
    given = dict(each.partition("=")[::2] for each in query.split("&"))

    def with_(**changed: str) -> str:
        return base + "?" + "&".join(f"{key}={value}" for key, value in {**given, **changed}.items())

    signature = given["Signature"]
    flipped = signature[:40] + ("A" if signature[40] != "A" else "B") + signature[41:]
    return {
        "none": base,
        "another signature": with_(Signature=flipped),
        "no base64": with_(Signature="!"),
        "a later end": with_(Expires=str(int(given["Expires"]) + 1)),
        "an unknown key": with_(**{"Key-Pair-Id": "K2JCJMDEHXQW5F"}),
        "another object": url.replace("1.0.0.vmdk", "1.0.0.ova"),
        "another build": url.replace("/1.0.0/", "/1.0.1/"),
    }


def test_a_forged_signature_gets_nothing(downloads: Downloads) -> None:
    for url in _forged(downloads.signed()).values():
        downloads.refused_without_content(url)


def test_a_signature_of_another_key_or_for_another_time_gets_nothing(
    downloads: Downloads, deployed: Deployments
) -> None:
    secret = deployed.aws.client("secretsmanager").get_secret_value(SecretId=SECRET)["SecretString"]
    right = load_pem_private_key(secret.encode(), password=None)
    assert isinstance(right, rsa.RSAPrivateKey)
    strange = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    hashed = hashes.SHA1()  # noqa: S303 - what CloudFront takes when the URL names no other
    for key, year, status in ((strange, 2999, 403), (right, 2001, 403), (right, 2999, 200)):
        signer = CloudFrontSigner(
            deployed.outputs()["DownloadKeyId"], partial(key.sign, padding=padding.PKCS1v15(), algorithm=hashed)
        )
        url = signer.generate_presigned_url(
            f"https://{downloads.cdn.domain}/signed{PATH}", date_less_than=datetime(year, 1, 1, tzinfo=UTC)
        )
        assert downloads.get(downloads.cdn.located(url)).status == status


@pytest.mark.parametrize(
    "path",
    [
        "/signed/../data_science_sandbox/1.0.0/exasol-like-dss-1.0.0.vmdk",
        "/signed/data_science_sandbox/../../data_science_sandbox/1.0.0/exasol-like-dss-1.0.0.vmdk",
        "/signed/%2e%2e/data_science_sandbox/1.0.0/exasol-like-dss-1.0.0.vmdk",
        "/signed/data_science_sandbox/1.0.0/..%2f..%2f..%2fdata_science_sandbox/1.0.0/exasol-like-dss-1.0.0.vmdk",
        "/Signed/data_science_sandbox/1.0.0/exasol-like-dss-1.0.0.vmdk",
        "/signed//data_science_sandbox/1.0.0/exasol-like-dss-1.0.0.vmdk",
        "/data_science_sandbox/1.0.0/exasol-like-dss-1.0.0.vmdk?Signature=A&Key-Pair-Id=B&Expires=9999999999",
        "/data_science_sandbox/1.0.0/exasol-like-dss-1.0.0.vmdk?/signed/data_science_sandbox/1.0.0/x",
    ],
)
def test_no_way_around_the_captcha_by_the_path(downloads: Downloads, path: str) -> None:
    downloads.refused_without_content(downloads.cdn.url(path), status=405)


def test_old_tls_gets_nothing(downloads: Downloads) -> None:
    url = downloads.cdn.url(PATH)
    for version, status in (("SSLv3", 403), ("TLSv1", 403), ("TLSv1.1", 403), ("TLSv1.2", 200), ("TLSv1.3", 200)):
        header = f"CloudFront-Viewer-TLS: {version}:SUITE:fullHandshake"
        assert downloads.get(url, "--header", header, address=ALLOWED).status == status, version


def test_more_than_a_hundred_requests_are_too_many_even_signed(downloads: Downloads) -> None:
    headers = {"cookie": ""}
    target = downloads.signed().removeprefix(downloads.cdn.origin)
    seen = [downloads.cdn.answer("HEAD", target, headers, "192.0.2.9").status for _ in range(101)]
    assert seen == [200] * 100 + [403]
    assert downloads.cdn.answer("HEAD", target, headers, "192.0.2.10").status == 200
    assert downloads.cdn.answer("HEAD", PATH, headers, ALLOWED).status == 200
