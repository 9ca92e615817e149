"""The requests of the stand-in."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from test.support.github.state import READ_TOKEN, REPOSITORY, TOKEN, Asset, GitHubStandIn, Release

_API, _UPLOADS = "/api/v3", "/api/uploads"


class _Answered(Exception):
    """The answer to a request. content: of the body, as JSON."""

    def __init__(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.content = content
        self.headers = headers or {}


def _refused(resource: str, code: str, field: str) -> _Answered:
    error = {"resource": resource, "code": code, "field": field}
    return _Answered(422, {"message": "Validation Failed", "errors": [error]})


_MISSING = 404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    github: ClassVar[GitHubStandIn]

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PATCH = do_DELETE = do_HEAD = do_GET

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix(_API).removeprefix(_UPLOADS)
        self._query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        with self.github.lock:
            self.github.calls.append(f"{self.command} {path}")
        fault = self.github.fault(self.command, path)
        size = int(self.headers.get("Content-Length") or 0)
        if fault and fault.effect == "drop in the middle":
            self._body = self.rfile.read(size // 2)
            release = self.github.releases[int(path.split("/")[-2])]
            self.github.add_asset(release.id, self._query["name"], self._body, state="starter")
            return self._drop()
        self._body = self.rfile.read(size)
        if fault and fault.effect == "drop before":
            return self._drop()
        if fault and fault.effect == "status":
            return self._send(_Answered(fault.status, {"message": fault.message}, dict(fault.headers)))
        try:
            with self.github.lock:
                self._route(path, uploads=parts.path.startswith(_UPLOADS))
            answer = _Answered(*_MISSING)
        except _Answered as found:
            answer = found
        if fault:
            return self._drop()
        return self._send(answer)

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, answer: _Answered) -> None:
        body = b"" if answer.content is None else json.dumps(answer.content).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    # --- what there is ---

    def _route(self, path: str, *, uploads: bool) -> None:
        token = self.headers.get("Authorization", "").partition(" ")[2]
        if token not in (TOKEN, READ_TOKEN):
            raise _Answered(401, {"message": "Bad credentials" if token else "Requires authentication"})
        self._writes = token == TOKEN
        prefix = f"/repos/{REPOSITORY}"
        if not (path == prefix or path.startswith(prefix + "/")):
            return
        rest = path.removeprefix(prefix)
        if self.command not in ("GET", "HEAD") and not self._writes:
            raise _Answered(
                403, {"message": "Resource not accessible by personal access token"},
                {"X-Accepted-GitHub-Permissions": "contents=write"},
            )  # fmt: skip
        routes: list[tuple[str, str, Callable[..., None]]] = [
            ("GET", r"", self._repository),
            ("GET", r"/branches/(.+)", self._branch),
            ("GET", r"/releases", self._list),
            ("POST", r"/releases", self._create),
            ("GET", r"/releases/tags/(.+)", self._by_tag),
            ("GET", r"/releases/(\d+)/assets", self._assets),
            ("POST", r"/releases/(\d+)/assets", self._upload),
            ("GET|PATCH|DELETE", r"/releases/assets/(\d+)", self._asset),
            ("GET|PATCH|DELETE", r"/releases/(\d+)", self._release),
        ]
        for method, pattern, answer in routes:
            found = re.fullmatch(pattern, rest)
            if found and re.fullmatch(method, self.command) and uploads == (answer == self._upload):
                answer(*found.groups())

    def _repository(self) -> None:
        owner, _, name = REPOSITORY.partition("/")
        url = f"{self.github.address}{_API}/repos/{REPOSITORY}"
        content = {"id": 1, "name": name, "full_name": REPOSITORY, "owner": {"login": owner}, "url": url}
        raise _Answered(200, content)

    def _branch(self, name: str) -> None:
        if name in self.github.branches:
            raise _Answered(200, {"name": name, "commit": {"sha": "0" * 40}, "protected": False})

    def _page(self, rows: list[Any]) -> _Answered:
        size, page = min(100, int(self._query.get("per_page", 30))), int(self._query.get("page", 1))
        address = f"{self.github.address}{urlsplit(self.path).path}?per_page={size}&page="
        links = [f'<{address}{page + 1}>; rel="next"'] if len(rows) > size * page else []
        links += [f'<{address}{page - 1}>; rel="prev"'] if page > 1 else []
        return _Answered(200, rows[size * (page - 1) : size * page], {"Link": ", ".join(links)} if links else {})

    def _list(self) -> None:
        rows = [self.github.shown(one) for one in reversed(self.github.releases.values()) if self._sees(one)]
        raise self._page(rows)

    def _create(self) -> None:
        wish = json.loads(self._body)
        target = wish.get("target_commitish", "main")
        if target not in self.github.branches:
            raise _refused("Release", "invalid", "target_commitish")
        tag = wish["tag_name"]
        if any(one.tag == tag and not one.draft for one in self.github.releases.values()):
            raise _refused("Release", "already_exists", "tag_name")
        made = self.github.add_release(
            tag=tag, title=wish.get("name") or "", body=wish.get("body") or "", draft=wish.get("draft", False),
            prerelease=wish.get("prerelease", False),
        )  # fmt: skip
        made.target = target
        raise _Answered(201, self.github.shown(made))

    def _by_tag(self, tag: str) -> None:
        for one in self.github.releases.values():
            if one.tag == tag and not one.draft:
                raise _Answered(200, self.github.shown(one))

    def _sees(self, release: Release) -> bool:
        return self._writes or not release.draft

    def _found(self, number: str) -> Release:
        release = self.github.releases.get(int(number))
        if release is None or not self._sees(release):
            raise _Answered(*_MISSING)
        return release

    def _release(self, number: str) -> None:
        release = self._found(number)
        if self.command == "DELETE":
            del self.github.releases[release.id]
            raise _Answered(204)
        if self.command == "PATCH":
            wish = json.loads(self._body)
            release.body = wish.get("body", release.body)
            release.title = wish.get("name", release.title)
            release.draft = wish.get("draft", release.draft)
            release.prerelease = wish.get("prerelease", release.prerelease)
            if not release.draft and wish.get("make_latest") == "true":
                for one in self.github.releases.values():
                    one.latest = one is release
        raise _Answered(200, self.github.shown(release))

    def _assets(self, number: str) -> None:
        release = self._found(number)
        raise self._page([self.github.shown_asset(release, one) for one in release.assets.values()])

    def _upload(self, number: str) -> None:
        release, name = self._found(number), self._query["name"]
        if any(one.name == name for one in release.assets.values()):
            raise _refused("ReleaseAsset", "already_exists", "name")
        made = self.github.add_asset(release.id, name, self._body, self.headers.get("Content-Type", ""))
        raise _Answered(201, self.github.shown_asset(release, made))

    def _asset(self, number: str) -> None:
        release, asset = self._asset_of(int(number))
        if self.command == "DELETE":
            del release.assets[asset.id]
            raise _Answered(204)
        name = json.loads(self._body or b"{}").get("name", asset.name)
        if any(one.name == name and one is not asset for one in release.assets.values()):
            raise _refused("ReleaseAsset", "already_exists", "name")
        asset.name = name
        raise _Answered(200, self.github.shown_asset(release, asset))

    def _asset_of(self, asset_id: int) -> tuple[Release, Asset]:
        for release in self.github.releases.values():
            if asset_id in release.assets:
                return release, release.assets[asset_id]
        raise _Answered(*_MISSING)


@contextmanager
def running_github() -> Iterator[GitHubStandIn]:
    """A server on a free port of 127.0.0.1, for the time of the block."""

    class Handler(_Handler):
        """Of this server alone."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        github = GitHubStandIn(f"http://127.0.0.1:{server.server_port}")
        Handler.github = github
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield github
        finally:
            server.shutdown()
            thread.join()
