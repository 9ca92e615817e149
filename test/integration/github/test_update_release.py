"""``dss update-release`` over HTTP against both stand-ins: notes, files, and everything that stops it."""

from __future__ import annotations

import hashlib
import json

import pytest

from exasol_like_dss.lib.publishing.manifest import Verification
from exasol_like_dss.lib.releases.notes import BEGIN, END
from test.integration.github.conftest import NOTES, VERSION, Releases, SigningKey
from test.support.github import READ_TOKEN, Fault
from test.support.planted_release import BUCKET, DIGEST, DOCKER_REPOSITORY, DOMAIN, docker_folder, plant_build

FILES = ["SHA256SUMS", "docker-manifest.json", "docker-sbom.cdx.json", "docker-verification.json", "manifest.json",
         "sbom.cdx.json", "verification.json"]  # fmt: skip


def test_notes_and_files_are_written_and_a_second_run_changes_nothing(releases: Releases) -> None:
    github, build = releases.github, releases.build
    plant_build(releases.aws, f"{VERSION}-rc1")
    release = github.add_release(tag=f"v{VERSION}", body=NOTES)
    done = releases.update(release.id, "--docker-manifest", releases.docker)
    assert done.code == 0, done.err
    body = release.body
    assert body.startswith(NOTES)
    own = body.removeprefix(NOTES)
    for words in (
        f"| eu-central-1 | `{build.image_id}` |",
        f"https://{DOMAIN}/data_science_sandbox/{VERSION}/exasol-like-dss-{VERSION}.ova",
        hashlib.sha256(build.read(f"exasol-like-dss-{VERSION}.vmdk")).hexdigest(),
        f"docker pull {DOCKER_REPOSITORY}@{DIGEST}",
        "sha256sum --check --ignore-missing SHA256SUMS",
        "is not signed",
    ):
        assert words in own
    assert "rc1" not in own
    assert release.draft
    assert github.names(release.id) == FILES
    sums = github.asset(release.id, "SHA256SUMS").data
    assert sums == build.read("SHA256SUMS")
    listed = {line.split("  ")[1]: line.split("  ")[0] for line in sums.decode().splitlines()}
    assert set(listed) == set(build.names()) - {"SHA256SUMS"}
    assert all(hashlib.sha256(build.read(name)).hexdigest() == digest for name, digest in listed.items())

    github.clear()
    releases.aws.clear()
    again = releases.update(release.id)  # from anywhere: what Docker's build left is in S3 by now
    assert again.code == 0, again.err
    assert release.body == body
    assert github.writes() == []
    assert "PutObject" not in releases.aws.actions()
    assert "was there" in again.out


def test_what_people_wrote_stays_and_a_published_release_stays_published(releases: Releases) -> None:
    github = releases.github
    body = f"before  \r\n{BEGIN} old\r\nparts {END}after\r\n\r\n"
    release = github.add_release(tag=VERSION, body=body, draft=False)
    github.add_asset(release.id, "users.txt", b"mine")
    stale = github.add_asset(release.id, "manifest.json", b"{}")
    done = releases.update(release.id, "--output", "json")
    assert done.code == 0, done.err
    assert release.body.startswith("before  \r\n<!--")
    assert release.body.endswith("-->after\r\n\r\n")
    assert "old\r\nparts" not in release.body
    assert not release.draft
    assert github.asset(release.id, "users.txt").data == b"mine"
    assert stale.id not in release.assets
    result = json.loads(done.out)
    assert result["files"]["replaced"] == ["manifest.json"]
    assert "No" not in release.body or "docker pull" not in release.body
    # Never a moment without: the new one is whole before the old one loses its name, and that goes last.
    writes = [call for call in github.writes() if "manifest" not in call]
    first = writes.index(f"PATCH /repos/octo/sandbox/releases/assets/{stale.id}")
    assert writes[first - 1] == f"POST /repos/octo/sandbox/releases/{release.id}/assets"
    assert writes[first + 1].startswith("PATCH /repos/octo/sandbox/releases/assets/")
    assert writes[first + 2] == f"DELETE /repos/octo/sandbox/releases/assets/{stale.id}"


@pytest.mark.parametrize("body", [BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}", f"{BEGIN}{BEGIN}{END}"])
def test_damaged_markers_stop_it_before_anything_is_written(releases: Releases, body: str) -> None:
    github = releases.github
    release = github.add_release(tag=VERSION, body=body)
    done = releases.update(release.id, "--docker-manifest", releases.docker)
    assert done.code == 2
    assert "not one of each in order" in done.err
    assert release.body == body
    assert github.writes() == []
    assert "PutObject" not in releases.aws.actions()


def test_a_dry_run_prints_the_notes_and_changes_nothing(releases: Releases) -> None:
    github = releases.github
    release = github.add_release(tag=VERSION, body=NOTES)
    done = releases.update(release.id, "--dry-run", "--docker-manifest", releases.docker)
    assert done.code == 0, done.err
    assert "## Docker image" in done.out
    assert release.body == NOTES
    assert github.writes() == []
    assert "PutObject" not in releases.aws.actions()


def test_the_sums_are_signed_and_signed_again_only_when_they_change(
    releases: Releases, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    github, build = releases.github, releases.build
    release = github.add_release(tag=VERSION, body=NOTES)
    monkeypatch.setenv("DSS_SIGNING_PASSPHRASE", signing_key.passphrase)
    monkeypatch.setenv("RELEASE_KEY", signing_key.secret.read_text())
    done = releases.update(release.id, "--sign-key", "env:RELEASE_KEY")
    assert done.code == 0, done.err
    signature = github.asset(release.id, "SHA256SUMS.gpg").data
    assert signature.startswith(b"-----BEGIN PGP SIGNATURE-----")
    assert signature == build.read("SHA256SUMS.gpg")
    assert signing_key.fingerprint in release.body
    folder = releases.folder / "download"
    folder.mkdir()
    for name in build.names():
        (folder / name).write_bytes(build.read(name))
    assert releases.run("verify-download", folder, "--key", signing_key.public).code == 0
    # Without a key later on: it still fits, and stays. With the key: no new one, as its time would differ.
    for more in ((), ("--sign-key", str(signing_key.secret))):
        github.clear()
        assert releases.update(release.id, *more).code == 0
        assert github.writes() == []
    # Other sums, and no key: a signature that does not fit would make every check fail.
    github.clear()
    assert releases.update(release.id, "--docker-manifest", releases.docker).code == 0
    assert "SHA256SUMS.gpg" not in github.names(release.id)
    assert "SHA256SUMS.gpg" not in build.names()
    assert "is not signed" in release.body


@pytest.mark.parametrize(
    ("path", "effect"),
    [("/assets", "drop in the middle"), ("/assets", "drop after"), ("/assets", "status"), ("/assets", "drop before")],
)
def test_an_upload_that_breaks_off_is_repeated_and_leaves_nothing(releases: Releases, path: str, effect: str) -> None:
    github = releases.github
    release = github.add_release(tag=VERSION)
    github.inject(Fault("POST", path, effect=effect, status=502))  # type: ignore[arg-type]
    done = releases.update(release.id, "--docker-manifest", releases.docker)
    assert done.code == 0, done.err
    assert github.names(release.id) == FILES
    assert all(asset.state == "uploaded" for asset in release.assets.values())


@pytest.mark.parametrize("calls", range(1, 6))
def test_a_replacement_that_was_killed_anywhere_is_finished_by_the_next_run(releases: Releases, calls: int) -> None:
    """Every write after the ``calls``-th is refused in the first run."""
    github = releases.github
    release = github.add_release(tag=VERSION)
    old = github.add_asset(release.id, "manifest.json", b"{}")
    left = [calls]
    original = github.fault

    def fault(method: str, path: str) -> Fault | None:
        if method != "GET":
            left[0] -= 1
            if left[0] < 0:
                return Fault(method, path, status=403, message="no more")
        return original(method, path)

    github.fault = fault  # type: ignore[method-assign]
    assert releases.update(release.id).code == 1
    # At any time there is the old or the new one, under some name.
    assert [name for name in github.names(release.id) if name.startswith("manifest.json")]
    github.fault = original  # type: ignore[method-assign]
    done = releases.update(release.id)
    assert done.code == 0, done.err
    assert old.id not in release.assets
    assert github.names(release.id) == ["SHA256SUMS", "manifest.json", "sbom.cdx.json", "verification.json"]
    assert BEGIN in release.body


def _wrong(releases: Releases, what: str) -> tuple[str, ...]:
    """Makes something wrong; options for the command."""
    build, folder = releases.build, releases.folder
    s3 = releases.aws.client("s3")
    ova = f"exasol-like-dss-{VERSION}.ova"
    if what in ("manifest.json", "SHA256SUMS", "verification.json", "sbom.cdx.json", ova):
        build.delete(what)
    elif what == "short image":
        build.put(ova, b"short", dss_image_id=build.image_id)
    elif what == "image of another AMI":
        data = build.read(ova)
        build.put(ova, data, dss_image_id="ami-other")
    elif what == "other sums":
        build.put("SHA256SUMS", build.read("SHA256SUMS").replace(b"0", b"1"))
    elif what == "manifest is no JSON":
        build.put("manifest.json", b"{")
    elif what == "AMI gone":
        releases.aws.client("ec2").deregister_image(ImageId=build.image_id)
    elif what == "AMI not verified":
        build.untag("dss-verified")
    elif what in ("skipped", "failed", "report says no"):
        for row in s3.list_objects_v2(Bucket=BUCKET, Prefix=build.key(""))["Contents"]:
            s3.delete_object(Bucket=BUCKET, Key=row["Key"])
        releases.aws.client("ec2").deregister_image(ImageId=build.image_id)
        verification = {"skipped": Verification.SKIPPED, "failed": Verification.FAILED}.get(what, Verification.PASSED)
        plant_build(releases.aws, VERSION, verification=verification, passed=what == "skipped")
    elif what == "docker not pushed":
        return ("--docker-manifest", str(docker_folder(folder / "d", VERSION, digest=None)))
    elif what == "docker not verified":
        return ("--docker-manifest", str(docker_folder(folder / "d", VERSION, verification=Verification.SKIPPED)))
    elif what == "docker of another version":
        return ("--docker-manifest", str(docker_folder(folder / "d", "5.0.1")))
    elif what == "docker folder is empty":
        (folder / "d").mkdir()
        return ("--docker-manifest", str(folder / "d"))
    elif what == "docker folder is none":
        return ("--docker-manifest", str(folder / "missing"))
    return ()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("manifest.json", "manifest.json is missing"),
        ("SHA256SUMS", "SHA256SUMS is missing"),
        ("verification.json", "verification.json is missing"),
        ("sbom.cdx.json", "sbom.cdx.json is missing"),
        (f"exasol-like-dss-{VERSION}.ova", ".ova is missing"),
        ("short image", "has 5 bytes"),
        ("image of another AMI", "is not of the AMI"),
        ("other sums", "differ"),
        ("manifest is no JSON", "s3://dss-vm-images/data_science_sandbox/5.0.0/manifest.json can't be read"),
        ("AMI gone", "is not in eu-central-1"),
        ("AMI not verified", "was not verified"),
        ("skipped", "was not verified"),
        ("failed", "did not pass its verification: network"),
        ("report says no", "did not pass its verification: network"),
        ("docker not pushed", "was not pushed"),
        ("docker not verified", "was not verified"),
        ("docker of another version", "is of 5.0.1, not of 5.0.0"),
        ("docker folder is empty", "has no manifest.json"),
        ("docker folder is none", "is no folder"),
    ],
)  # fmt: skip
def test_what_is_missing_or_not_verified_stops_it(releases: Releases, what: str, words: str) -> None:
    github = releases.github
    release = github.add_release(tag=VERSION, body=NOTES)
    options = _wrong(releases, what)
    releases.aws.clear()
    done = releases.update(release.id, *options)
    assert done.code == 2, done.err
    assert words in done.err
    assert "Hint: " in done.err
    assert release.body == NOTES
    assert github.writes() == []
    assert "PutObject" not in releases.aws.actions()


@pytest.mark.parametrize(
    ("arguments", "environment", "tag", "code", "words"),
    [
        (("--release-id", "4711"), {}, VERSION, 2, "The release 4711 is not there"),
        ((), {"GITHUB_TOKEN": ""}, VERSION, 2, "GITHUB_TOKEN is not set"),
        ((), {"GITHUB_TOKEN": "wrong"}, VERSION, 2, "does not accept the token"),
        ((), {"GITHUB_TOKEN": READ_TOKEN}, VERSION, 2, "may not see it"),
        (("--repository", "octo"), {}, VERSION, 2, "no repository"),
        (("--repository", "octo/other"), {}, VERSION, 2, "octo/other is not there"),
        (("--asset-id", "5.0.1"), {}, VERSION, 2, "has the tag 5.0.0, and the asset-id is 5.0.1"),
        ((), {}, "next version", 2, "'next version' is no version"),
        ((), {}, "5.0.0+build", 2, "build metadata"),
        ((), {}, "5.0.1", 2, "no finished build 5.0.1"),
        (("--sign-key", "nobody@example.org"), {}, VERSION, 2, "no secret key nobody@example.org"),
        (("--sign-key", "env:UNSET"), {}, VERSION, 2, "UNSET"),
        (("--release-id", "0"), {}, VERSION, 2, "0"),
    ],
)  # fmt: skip
def test_wrong_input_changes_nothing(
    releases: Releases, arguments: tuple[str, ...], environment: dict[str, str], tag: str, code: int, words: str
) -> None:
    github = releases.github
    release = github.add_release(tag=tag, body=NOTES)
    releases.more |= environment
    done = releases.update(release.id, *arguments)
    assert (done.code, release.body) == (code, NOTES), done.err
    assert words in done.err
    assert github.writes() == []


def test_without_the_stack_the_command_that_makes_it_is_named(releases: Releases) -> None:
    github = releases.github
    release = github.add_release(tag=VERSION)
    releases.aws.reset()
    done = releases.update(release.id)
    assert done.code == 2
    assert "dss setup-vm-bucket" in done.err


def test_the_folder_may_be_given_by_its_manifest(releases: Releases) -> None:
    github = releases.github
    release = github.add_release(tag=VERSION)
    done = releases.update(release.id, "--docker-manifest", releases.docker / "manifest.json", "--dry-run")
    assert done.code == 0, done.err
    assert "docker pull" in done.out
