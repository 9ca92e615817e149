"""``dss publish-release`` over HTTP against both stand-ins: nothing becomes public before all is there."""

from __future__ import annotations

import json

import pytest

from test.integration.github.conftest import VERSION, Releases
from test.support.aws import DENIED, Fault
from test.support.github import Fault as GitHubFault


def staged(releases: Releases, tag: str = VERSION) -> int:
    """A draft that is up to date, without a Docker image."""
    release = releases.github.add_release(tag=tag, body="Hello")
    done = releases.update(release.id)
    assert done.code == 0, done.err
    releases.github.clear()
    releases.aws.clear()
    return release.id


def test_everything_becomes_public_the_release_last_and_again_is_no_harm(releases: Releases) -> None:
    number = staged(releases)
    releases.github.add_release(tag="4.10.0", draft=False)
    done = releases.publish(number, "--no-docker", "--output", "json")
    assert done.code == 0, done.err
    assert releases.build.public
    release = releases.github.releases[number]
    assert (release.draft, release.latest, release.body[:5]) == (False, True, "Hello")
    assert json.loads(done.out)["newest"] is True
    releases.github.clear()
    releases.aws.clear()
    assert releases.publish(number, "--no-docker").code == 0
    assert releases.github.writes() == []
    assert "ModifyImageAttribute" not in releases.aws.actions()


@pytest.mark.parametrize(
    ("tag", "published", "prerelease", "latest"),
    [
        (VERSION, "10.0.0", False, False),  # as text, "10.0.0" comes before "5.0.0"
        (VERSION, "4.10.0", False, True),
        (VERSION, "v6.0.0-rc1", False, True),
        (VERSION, "nightly", False, True),
        (VERSION, "4.0.0", True, False),
    ],
)
def test_latest_moves_only_forward(
    releases: Releases, tag: str, published: str, prerelease: bool, latest: bool
) -> None:
    number = staged(releases, tag)
    releases.github.releases[number].prerelease = prerelease
    before = releases.github.add_release(tag=published, draft=False)
    before.latest = True
    assert releases.publish(number, "--no-docker").code == 0
    assert releases.github.releases[number].latest is latest
    assert before.latest is not latest


def test_a_dry_run_shows_the_steps(releases: Releases) -> None:
    number = staged(releases)
    done = releases.publish(number, "--no-docker", "--dry-run")
    assert done.code == 0, done.err
    assert f"make {releases.build.image_id} in eu-central-1 public" in done.out
    assert f"publish the release {VERSION}" in done.out
    assert releases.github.writes() == []
    assert not releases.build.public


def test_a_failure_between_the_steps_is_gone_on_from(releases: Releases) -> None:
    number = staged(releases)
    releases.aws.inject(Fault(action="ModifyImageAttribute", code=DENIED))
    done = releases.publish(number, "--no-docker")
    assert done.code == 1
    assert "ec2:ModifyImageAttribute" in done.err
    assert releases.github.releases[number].draft
    releases.github.inject(GitHubFault("PATCH", "/releases/", status=403, message="no"))
    done = releases.publish(number, "--no-docker")
    assert done.code == 1
    assert "it goes on here" in done.err
    assert releases.build.public
    assert releases.github.releases[number].draft
    assert releases.publish(number, "--no-docker").code == 0
    assert not releases.github.releases[number].draft


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no notes", "are not those of 5.0.0"),
        ("changed notes", "are not those of 5.0.0"),
        ("file gone", "missing or others: manifest.json"),
        ("file changed", "missing or others: SHA256SUMS"),
        ("image gone", ".vmdk is missing"),
        ("not verified", "was not verified"),
        ("no signature", "are not signed"),
        ("other tag", "has the tag 5.0.1"),
    ],
)
def test_nothing_becomes_public_before_all_is_there(releases: Releases, what: str, words: str) -> None:
    number = staged(releases)
    github, release = releases.github, releases.github.releases[number]
    options: tuple[str, ...] = ("--no-docker",)
    if what == "no notes":
        release.body = "Hello"
    elif what == "changed notes":
        release.body = release.body.replace("SHA-256", "MD5")
    elif what == "file gone":
        del release.assets[github.asset(number, "manifest.json").id]
    elif what == "file changed":
        github.asset(number, "SHA256SUMS").data += b" "
    elif what == "image gone":
        releases.build.delete(f"exasol-like-dss-{VERSION}.vmdk")
    elif what == "not verified":
        releases.build.untag("dss-verified")
    elif what == "no signature":
        options += ("--require-signature",)
    elif what == "other tag":
        release.tag = "5.0.1"
        options += ("--asset-id", VERSION)
    done = releases.publish(number, *options)
    assert done.code == 2, done.err
    assert words in done.err
    assert github.writes() == []
    assert release.draft
    assert not releases.build.public


def test_without_a_terminal_it_wants_to_be_told(releases: Releases) -> None:
    number = staged(releases)
    done = releases.run("publish-release", "--release-id", str(number), "--repository", "octo/sandbox", "--no-docker")
    assert done.code == 2
    assert "--yes" in done.err
    assert releases.github.releases[number].draft
