"""The real PyGithub against the stand-in, over HTTP: what our proxy makes of GitHub's answers."""

from __future__ import annotations

import pytest

from exasol_like_dss.access.github import GitHub, GitHubError
from exasol_like_dss.lib.errors import DssError, ExitCode
from test.support.github import READ_TOKEN, REPOSITORY, TOKEN, Fault, GitHubStandIn


def test_a_release_is_found_by_number_tag_and_in_lists_of_several_pages(access: GitHub, github: GitHubStandIn) -> None:
    made = [github.add_release(tag=f"1.{number}.0", draft=number > 1) for number in range(130)]
    assert access.release(made[7].id).tag == "1.7.0"
    published = access.published_release("1.1.0")
    assert published
    assert (published.id, published.draft) == (made[1].id, False)
    assert access.published_release("1.2.0") is None
    assert [one.tag for one in access.releases()] == [one.tag for one in reversed(made)]
    assert sum(call == "GET /repos/octo/sandbox/releases" for call in github.calls) == 2


def test_a_draft_is_made_and_keeps_its_state_when_its_notes_change(access: GitHub, github: GitHubStandIn) -> None:
    draft = access.create_draft(tag="2.0.0-rc1", title="Two", body="old", target="main", prerelease=True)
    changed = access.update_body(draft.id, "new")
    assert (changed.body, changed.title, changed.draft, changed.prerelease) == ("new", "Two", True, True)
    # Somebody publishes it between two calls of ours: it stays published.
    github.releases[draft.id].draft = False
    assert not access.update_body(draft.id, "newer").draft
    assert access.publish(draft.id, latest=True).draft is False
    assert github.releases[draft.id].latest


def test_files_are_uploaded_listed_renamed_and_deleted(access: GitHub, github: GitHubStandIn) -> None:
    release = github.add_release()
    made = access.upload(release.id, name="SHA256SUMS.new", data=b"sums", content_type="text/plain")
    assert made.state == "uploaded"
    assert access.rename_asset(made.id, "SHA256SUMS").name == "SHA256SUMS"
    (found,) = access.assets(release.id)
    assert (found.name, found.size_bytes, len(found.sha256)) == ("SHA256SUMS", 4, 64)
    assert github.asset(release.id, "SHA256SUMS").data == b"sums"
    with pytest.raises(GitHubError) as refused:
        access.upload(release.id, name="SHA256SUMS", data=b"other", content_type="text/plain")
    assert (refused.value.status, refused.value.codes) == (422, ("already_exists",))
    access.delete_asset(made.id)
    access.delete_asset(made.id)  # gone is fine
    assert access.assets(release.id) == []


def test_an_upload_that_breaks_off_is_told_and_leaves_what_github_leaves(access: GitHub, github: GitHubStandIn) -> None:
    release = github.add_release()
    github.inject(Fault("POST", "/assets", effect="drop in the middle"))
    with pytest.raises(GitHubError) as broken:
        access.upload(release.id, name="sbom.cdx.json", data=b"{}" * 500_000, content_type="application/json")
    assert broken.value.passes
    (left,) = access.assets(release.id)
    assert (left.name, left.state) == ("sbom.cdx.json", "starter")
    assert sum(call.startswith("POST") for call in github.calls) == 1


@pytest.mark.parametrize("effect", ["status", "drop before", "drop after"])
def test_what_can_be_repeated_is_repeated(access: GitHub, github: GitHubStandIn, effect: str) -> None:
    release = github.add_release(body="old")
    github.inject(Fault("PATCH", "/releases/", effect=effect, status=502, times=2))  # type: ignore[arg-type]
    assert access.update_body(release.id, "new").body == "new"
    assert github.releases[release.id].body == "new"


def test_what_makes_something_is_not_repeated(access: GitHub, github: GitHubStandIn) -> None:
    github.inject(Fault("POST", "/releases", effect="drop after"))
    with pytest.raises(GitHubError) as broken:
        access.create_draft(tag="1.0.0", title="One", body="", target="main")
    assert broken.value.passes
    assert len(github.releases) == 1


@pytest.mark.parametrize(
    ("fault", "words", "code"),
    [
        (Fault.throttled(reset=1_900_000_000), ["refuses", "until 17:46 UTC", "goes on"], ExitCode.FAILED),
        (
            Fault(".*", ".*", status=403, message="You have exceeded a secondary rate limit.",
                  headers=(("Retry-After", "60"),)),
            ["for 60 s", "secondary rate limit"],
            ExitCode.FAILED,
        ),
        (
            Fault(".*", ".*", status=403, message="Resource not accessible by personal access token",
                  headers=(("X-Accepted-GitHub-Permissions", "contents=write"),)),
            ["GITHUB_TOKEN may not", "contents=write"],
            ExitCode.FAILED,
        ),
        (Fault(".*", ".*", status=401, message="Bad credentials"), ["does not accept the token"], ExitCode.WRONG_INPUT),
        (Fault(".*", ".*", status=503, times=9), ["fails", "4 answers", "again"], ExitCode.FAILED),
        (Fault(".*", ".*", effect="drop before", times=9), ["does not answer", "GITHUB_API_URL"], ExitCode.FAILED),
    ],
    ids=["rate limit", "secondary limit", "missing permission", "wrong token", "5xx", "dropped"],
)  # fmt: skip
def test_errors_are_for_people(
    access: GitHub, github: GitHubStandIn, fault: Fault, words: list[str], code: ExitCode
) -> None:
    github.inject(fault)
    with pytest.raises(GitHubError) as caught:
        access.release(4711)
    said = f"{caught.value.message} {caught.value.hint}"
    assert all(word in said for word in words), said
    assert caught.value.exit_code == code


def test_a_release_that_is_not_there_and_one_that_the_token_may_not_see(github: GitHubStandIn) -> None:
    draft = github.add_release()
    reader = GitHub(REPOSITORY, token=READ_TOKEN, api_url=github.environment()["GITHUB_API_URL"])
    with pytest.raises(
        GitHubError, match=f"The release {draft.id} is not there in octo/sandbox, or this token may not"
    ):
        reader.release(draft.id)
    draft.draft = False
    assert reader.release(draft.id).tag == "1.2.3"
    with pytest.raises(GitHubError, match="may not do this to the release"):
        reader.update_body(draft.id, "x")
    with pytest.raises(GitHubError, match="The repository octo/other is not there"):
        GitHub("octo/other", token=READ_TOKEN, api_url=github.environment()["GITHUB_API_URL"]).check()
    reader.close()


def test_branches(access: GitHub, github: GitHubStandIn) -> None:
    github.branches.append("feature/one")
    assert access.has_branch("feature/one")
    assert not access.has_branch("feature/two")


@pytest.mark.parametrize(
    ("repository", "environment", "words"),
    [
        ("octo/sandbox", {}, "GITHUB_TOKEN is not set"),
        ("octo/sandbox", {"GITHUB_TOKEN": "a\nb"}, "no token"),
        ("octo", {"GITHUB_TOKEN": "t"}, "no repository"),
        ("https://example.org/octo/sandbox", {"GITHUB_TOKEN": "t"}, "no repository"),
        ("octo/sandbox", {"GITHUB_TOKEN": "t", "GITHUB_API_URL": "ftp://example.org"}, "no address"),
    ],
)
def test_wrong_settings(
    monkeypatch: pytest.MonkeyPatch, repository: str, environment: dict[str, str], words: str
) -> None:
    for name in ("GITHUB_TOKEN", "GITHUB_API_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(DssError, match=words) as caught:
        GitHub.of_environment(repository)
    assert caught.value.exit_code == ExitCode.WRONG_INPUT


def test_nobody_listens() -> None:
    nobody = GitHub(REPOSITORY, token=TOKEN, api_url="http://127.0.0.1:9/api/v3")
    with pytest.raises(GitHubError, match=r"does not answer at http://127\.0\.0\.1:9"):
        nobody.check()
    nobody.close()
