"""GitHub releases (docs.github.com/en/rest/releases), by way of PyGithub, which is imported when GitHub is asked.

Which GitHub: ``GITHUB_API_URL`` (as GitHub Actions sets it), else the public one. The token is in ``GITHUB_TOKEN``, and
nowhere else. Every method raises ``GitHubError``.
"""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from exasol_like_dss.lib.errors import DssError, ExitCode, InputError

if TYPE_CHECKING:
    from github import Github
    from github.GithubException import GithubException
    from github.GitRelease import GitRelease
    from github.GitReleaseAsset import GitReleaseAsset

TOKEN = "GITHUB_TOKEN"
API_URL = "GITHUB_API_URL"
PUBLIC_API = "https://api.github.com"
_TIMEOUT_S = 30
#: A file of a release, at most some MiB. PyGithub gives uploads no time-out of their own.
_UPLOAD_S = 600.0
#: Of reading, changing and deleting, with a growing pause. What makes something is not repeated here: see below.
_RETRIES = 3
_BACKOFF_S = 0.5
_PAGE = 100
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+")
T = TypeVar("T")


class GitHubError(DssError):
    """GitHub answered with an error, or not at all.

    status: of HTTP, 0 without an answer. codes: what GitHub calls the errors of a request that it can't process (422),
    for example ``already_exists``.
    """

    def __init__(
        self, message: str, *, hint: str = "", status: int = 0, codes: tuple[str, ...] = (), wrong_input: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.codes = codes
        if wrong_input:
            self.exit_code = ExitCode.WRONG_INPUT

    @property
    def not_found(self) -> bool:
        """It is not there, or the token may not see it: GitHub does not tell which."""
        return self.status == 404

    @property
    def passes(self) -> bool:
        """The same request may succeed later."""
        return not self.status or self.status >= 500


@dataclass(frozen=True)
class Asset:
    """A file of a release. state: ``uploaded``, or ``starter`` for an upload that never ended.

    sha256: 64 hexadecimal digits; empty where GitHub does not know it (old assets, old servers).
    """

    id: int
    name: str
    size_bytes: int
    state: str
    sha256: str
    url: str


@dataclass(frozen=True)
class Release:
    """url: the page for people. target: the branch or commit that the tag is made of when a draft is published."""

    id: int
    tag: str
    title: str
    body: str
    draft: bool
    prerelease: bool
    target: str
    url: str


def check_repository(name: str) -> str:
    """``OWNER/NAME``. Raises ``InputError`` for anything else."""
    if not _NAME.fullmatch(name) or name.endswith((".git", "/.", "/..")):
        raise InputError(f"{name!r} is no repository on GitHub.", hint="Give it as OWNER/NAME with --repository.")
    return name


class GitHub:
    """One repository, and its releases."""

    def __init__(self, repository: str, *, token: str, api_url: str = PUBLIC_API) -> None:
        """Makes no request. Raises ``InputError`` for a repository or address that can't be one."""
        self.repository = check_repository(repository)
        self._token = token
        self._api_url = api_url.rstrip("/")
        self._connected: Github | None = None
        parts = urlsplit(self._api_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{API_URL} is no address of the web: {api_url!r}.", hint=f"Unset it for {PUBLIC_API}.")

    @classmethod
    def of_environment(cls, repository: str) -> GitHub:
        """With the token in ``GITHUB_TOKEN``. Raises ``InputError`` without one."""
        token = os.environ.get(TOKEN, "").strip()
        if not token:
            raise InputError(
                f"There is no token for GitHub: {TOKEN} is not set.",
                hint=f"export {TOKEN}=…; it needs the permission contents=write for {repository}.",
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise InputError(f"{TOKEN} is no token: it has characters that none has.", hint="Was it copied whole?")
        return cls(repository, token=token, api_url=os.environ.get(API_URL) or PUBLIC_API)

    def close(self) -> None:
        if self._connected:
            self._connected.close()
            self._connected = None

    def check(self) -> None:
        """Whether the token is accepted, and the repository is there for it."""
        with self._asked(f"the repository {self.repository}") as github:
            github.get_repo(self.repository).complete()

    def has_branch(self, name: str) -> bool:
        try:
            with self._asked(f"the branch {name}") as github:
                github.get_repo(self.repository).get_branch(name)
        except GitHubError as error:
            if error.not_found:
                return False
            raise
        return True

    def release(self, release_id: int) -> Release:
        """By its number; also a draft."""
        with self._asked(f"the release {release_id}") as github:
            return _release(github.get_repo(self.repository).get_release(release_id).complete())

    def releases(self) -> Iterator[Release]:
        """All, the newest first; drafts too, if the token may write."""
        with self._asked("the list of releases") as github:
            for found in github.get_repo(self.repository).get_releases():
                yield _release(found)

    def published_release(self, tag: str) -> Release | None:
        """By its tag; a draft is never found."""
        try:
            with self._asked(f"the release of the tag {tag}") as github:
                return _release(github.get_repo(self.repository).get_release(tag).complete())
        except GitHubError as error:
            if error.not_found:
                return None
            raise

    def create_draft(self, *, tag: str, title: str, body: str, target: str, prerelease: bool = False) -> Release:
        """Is not repeated when its answer is lost: there would be two. Look for one with ``releases``."""
        with self._asked(f"a draft {title!r}") as github:
            return _release(
                github.get_repo(self.repository).create_git_release(
                    tag, name=title, message=body, draft=True, prerelease=prerelease, target_commitish=target
                )
            )

    def update_body(self, release_id: int, body: str) -> Release:
        """Changes the notes, and nothing else. (PyGithub's own method would send the draft state along.)"""
        return self._patch(release_id, {"body": body})

    def publish(self, release_id: int, *, latest: bool) -> Release:
        """Makes a draft public, and its tag. latest: whether GitHub shows it as the latest one."""
        return self._patch(release_id, {"draft": False, "make_latest": "true" if latest else "false"})

    def delete_release(self, release_id: int) -> None:
        """The tag stays. No error when it is gone."""
        with self._gone_is_fine(), self._asked(f"the release {release_id}") as github:
            github.get_repo(self.repository).get_release(release_id).delete_release()

    def assets(self, release_id: int) -> list[Asset]:
        with self._asked(f"the files of the release {release_id}") as github:
            found = github.get_repo(self.repository).get_release(release_id)
            return [_asset(one) for one in found.get_assets()]

    def upload(self, release_id: int, *, name: str, data: bytes, content_type: str) -> Asset:
        """Is not repeated when it breaks off: GitHub keeps a file in the state ``starter`` then, which has to go first.

        Raises ``GitHubError`` with the code ``already_exists`` when a file of this name is there.
        """
        with self._asked(f"the file {name} of the release {release_id}") as github:
            release = github.get_repo(self.repository).get_release(release_id)
            release.upload_url  # noqa: B018  (gets it; not in the thread, whose end would come too late)
            return _asset(
                _within(
                    _UPLOAD_S,
                    lambda: release.upload_asset_from_memory(
                        io.BytesIO(data), len(data), name=name, content_type=content_type
                    ),
                )
            )

    def rename_asset(self, asset_id: int, name: str) -> Asset:
        with self._asked(f"the file {asset_id} of a release") as github:
            found = github.get_repo(self.repository).get_release_asset(asset_id)
            return _asset(found.update_asset(name))

    def delete_asset(self, asset_id: int) -> None:
        """No error when it is gone."""
        with self._gone_is_fine(), self._asked(f"the file {asset_id} of a release") as github:
            github.get_repo(self.repository).get_release_asset(asset_id).delete_asset()

    def _patch(self, release_id: int, content: Mapping[str, Any]) -> Release:
        with self._asked(f"the release {release_id}") as github:
            release = github.get_repo(self.repository).get_release(release_id)
            headers, data = release.requester.requestJsonAndCheck("PATCH", release.url, input=dict(content))
            return _release(type(release)(release.requester, headers, data, completed=True))

    @contextmanager
    def _gone_is_fine(self) -> Iterator[None]:
        try:
            yield
        except GitHubError as error:
            if not error.not_found:
                raise

    @contextmanager
    def _asked(self, what: str) -> Iterator[Github]:
        """The connection, with errors in our words."""
        import requests
        from github.GithubException import GithubException
        from requests.exceptions import RetryError

        try:
            if self._connected is None:
                self._connected = self._connect()
            yield self._connected
        except GithubException as error:
            raise self._of_answer(error, what) from error
        except (TimeoutError, requests.Timeout) as error:
            raise GitHubError(
                f"GitHub does not answer in time at {self._api_url} ({what}).", hint="Run the same command again."
            ) from error
        except RetryError as error:
            raise GitHubError(
                f"GitHub fails at {self._api_url} ({what}): {_RETRIES + 1} answers were errors of the server.",
                hint="See www.githubstatus.com, and run the same command again later: it goes on where it was.",
                status=500,
            ) from error
        except requests.RequestException as error:
            raise GitHubError(
                f"GitHub does not answer at {self._api_url} ({what}).",
                hint=f"Is the network there? Is {API_URL} what it should be? Then run the same command again.",
            ) from error

    def _connect(self) -> Github:
        from github import Auth, Github
        from urllib3.util.retry import Retry

        # PyGithub's own way of retrying waits until a used-up rate is renewed: up to an hour, without a word.
        retry = Retry(
            total=_RETRIES,
            backoff_factor=_BACKOFF_S,
            status_forcelist=(500, 502, 503, 504),
            allowed_methods=("GET", "HEAD", "PATCH", "DELETE"),
        )
        # A second between two writes is what the public GitHub asks for ("Best practices for using the REST API").
        pause_s = 1.0 if self._api_url == PUBLIC_API else None
        return Github(
            auth=Auth.Token(self._token),
            base_url=self._api_url,
            timeout=_TIMEOUT_S,
            per_page=_PAGE,
            retry=retry,
            user_agent="exasol-like-dss",
            lazy=True,  # nothing is asked for but what we say
            seconds_between_requests=None,
            seconds_between_writes=pause_s,
        )

    def _of_answer(self, error: GithubException, what: str) -> GitHubError:
        data: Mapping[str, Any] = error.data if isinstance(error.data, dict) else {}
        headers = {name.lower(): str(value) for name, value in (error.headers or {}).items()}
        said = str(data.get("message") or error.message or "").strip().rstrip(".")
        status = error.status
        if status == 401:
            return GitHubError(
                f"GitHub does not accept the token in {TOKEN}.",
                hint="Has it expired, or been taken back? Make a new one with the permission contents=write.",
                status=status,
                wrong_input=True,
            )
        if status == 429 or (status == 403 and ("rate limit" in said.lower() or "retry-after" in headers)):
            return GitHubError(
                f"GitHub refuses more requests with this token{_until(headers)}: {said}.",
                hint="Run the same command again then: it goes on where it was.",
                status=status,
            )
        if status == 403:
            needed = headers.get("x-accepted-github-permissions") or headers.get("x-accepted-oauth-scopes")
            return GitHubError(
                f"The token in {TOKEN} may not do this to {what}: {said}.",
                hint=f"It needs the permission {needed or 'contents=write'}. Organisations may have to approve it.",
                status=status,
            )
        if status == 404:
            where = "" if self.repository in what else f" in {self.repository}"
            return GitHubError(
                f"{what[0].upper()}{what[1:]} is not there{where}, or this token may not see it.",
                hint=f"Check the number, the name (--repository), and that {TOKEN} has the permission contents=write.",
                status=status,
                wrong_input=True,
            )
        errors = [one for one in data.get("errors") or () if isinstance(one, dict)]
        codes = tuple(str(one["code"]) for one in errors if one.get("code"))
        details = "; ".join(
            str(one.get("message") or " ".join(str(one[key]) for key in ("field", "code") if one.get(key)))
            for one in errors
        )
        return GitHubError(
            f"GitHub refuses {what}: {said or status}{f' ({details})' if details else ''}."
            if status < 500
            else f"GitHub fails at {what}: {said or 'no reason given'} ({status}).",
            hint="" if status < 500 else "Run the same command again: it goes on where it was.",
            status=status,
            codes=codes,
        )


def _until(headers: Mapping[str, str]) -> str:
    """When a limit ends ("Rate limits for the REST API"): seconds, or seconds since 1970."""
    if headers.get("retry-after", "").isdigit():
        return f" for {headers['retry-after']} s"
    if headers.get("x-ratelimit-reset", "").isdigit():
        return f" until {datetime.fromtimestamp(int(headers['x-ratelimit-reset']), UTC):%H:%M} UTC"
    return ""


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Runs ``work`` in a thread of its own. Raises ``TimeoutError`` when it takes too long; the thread is left."""
    result: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True, name="upload")
    thread.start()
    for _ in range(max(1, int(seconds * 5))):  # in slices: signals are handled between them
        thread.join(0.2)
        if not thread.is_alive():
            break
    if failed:
        raise failed[0]
    if not result:
        raise TimeoutError
    return result[0]


def _release(found: GitRelease) -> Release:
    return Release(
        id=found.id,
        tag=found.tag_name,
        title=found.name or "",
        body=found.body or "",
        draft=found.draft,
        prerelease=found.prerelease,
        target=found.target_commitish,
        url=found.html_url,
    )


def _asset(found: GitReleaseAsset) -> Asset:
    kind, _, digest = (found.digest or "").partition(":")
    return Asset(
        id=found.id,
        name=found.name,
        size_bytes=found.size,
        state=found.state,
        sha256=digest if kind == "sha256" else "",
        url=found.browser_download_url,
    )
