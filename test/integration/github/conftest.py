"""A GitHub for each test, and one stand-in for AWS for all. ``dss`` runs in this process: most tests take no second."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import pytest

from exasol_like_dss.access import github as access_github
from exasol_like_dss.access.github import GitHub
from test.support.aws import Aws, running_aws
from test.support.aws_models import share_models
from test.support.command import Done
from test.support.github import REPOSITORY, TOKEN, GitHubStandIn, running_github
from test.support.planted_assets import Commands
from test.support.planted_release import PlantedBuild, bucket_stack, docker_folder, plant_build

VERSION = "5.0.0"
NOTES = "What is new:\r\n\r\n* all of it – ünïcode, and trailing spaces  \r\n"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts, in this process."""
    monkeypatch.setattr(access_github, "_BACKOFF_S", 0.01)
    monkeypatch.setattr("exasol_like_dss.lib.releases.files._PAUSE_S", 0.01)


@pytest.fixture(scope="package", autouse=True)
def models() -> Iterator[None]:
    """Of all commands in this process; else each reads its own."""
    with pytest.MonkeyPatch.context() as patched:
        share_models(patched)
        yield


@pytest.fixture
def github() -> Iterator[GitHubStandIn]:
    with running_github() as found:
        yield found


@pytest.fixture
def access(github: GitHubStandIn) -> Iterator[GitHub]:
    made = GitHub(REPOSITORY, token=TOKEN, api_url=github.environment()["GITHUB_API_URL"])
    yield made
    made.close()


@pytest.fixture(scope="session")
def release_aws() -> Iterator[Aws]:
    with running_aws() as aws:
        yield aws


@dataclass
class Releases(Commands):
    """``dss`` with both stand-ins, a planted build, and a Docker image's description."""

    github: GitHubStandIn = field(kw_only=True)
    build: PlantedBuild = field(kw_only=True)

    def update(self, release_id: int, *arguments: str | Path) -> Done:
        options = ("--release-id", str(release_id), "--repository", REPOSITORY)
        return self.run("update-release", *options, *arguments)

    def publish(self, release_id: int, *arguments: str | Path) -> Done:
        options = ("--release-id", str(release_id), "--repository", REPOSITORY, "--yes")
        return self.run("publish-release", *options, *arguments)

    @property
    def docker(self) -> Path:
        return docker_folder(self.folder / "docker", VERSION)


@pytest.fixture
def releases(release_aws: Aws, github: GitHubStandIn, tmp_path: Path) -> Releases:
    release_aws.reset()
    bucket_stack(release_aws)
    build = plant_build(release_aws, VERSION)
    release_aws.clear()
    return Releases(release_aws, tmp_path, github.environment(), github=github, build=build)


@dataclass(frozen=True)
class SigningKey:
    """A key of the test, in a home of its own. secret, public: files. passphrase: of the secret key."""

    home: Path
    fingerprint: str
    secret: Path
    public: Path
    passphrase: str


def make_key(home: Path, name: str, *, passphrase: str = "", expires: str = "0") -> SigningKey:
    """expires: as GnuPG has it, for example ``seconds=1`` or ``2020-01-01``."""
    gpg = [
        "gpg",
        "--homedir",
        str(home),
        "--batch",
        "--no-tty",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        passphrase,
    ]
    address = f"{name}@example.org"

    def run(*arguments: str) -> bytes:
        return subprocess.run([*gpg, *arguments], check=True, capture_output=True).stdout

    run("--quick-generate-key", f"Test {name} <{address}>", "ed25519", "sign", expires)
    rows = [line.split(":") for line in run("--with-colons", "--list-keys", address).decode().splitlines()]
    fingerprint = next(row[9] for row in rows if row[0] == "fpr")
    secret, public = home / f"{name}.secret.asc", home / f"{name}.asc"
    secret.write_bytes(run("--armor", "--export-secret-keys", fingerprint))
    public.write_bytes(run("--armor", "--export", fingerprint))
    return SigningKey(home, fingerprint, secret, public, passphrase)


@pytest.fixture(scope="session")
def gpg_home() -> Iterator[Path]:
    """The agent's socket needs a short path."""
    home = Path(mkdtemp(prefix="gpg-", dir="/tmp"))
    home.chmod(0o700)
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=False)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def signing_key(gpg_home: Path) -> SigningKey:
    return make_key(gpg_home, "release", passphrase="key pass 4711")  # noqa: S106


@pytest.fixture(scope="session")
def other_key(gpg_home: Path) -> SigningKey:
    return make_key(gpg_home, "other")
