"""A container registry on loopback (Debian's docker-registry), and a way to it that can break."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from test.support.git_server import free_port

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Registry:
    """address: host and port."""

    port: int
    user: str
    password: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the registry's own interface (below ``/v2/``)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Accept": _MANIFEST}
        if self.user:
            headers["Authorization"] = "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()
        try:
            connection.request("GET", f"/v2/{path}", headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def manifest(self, repository: str, reference: str) -> tuple[str, dict[str, Any]]:
        """Digest and content of a manifest."""
        status, headers, body = self.get(f"{repository}/manifests/{reference}")
        assert status == 200, body
        return headers["Docker-Content-Digest"], json.loads(body)

    def tags(self, repository: str) -> list[str]:
        status, _, body = self.get(f"{repository}/tags/list")
        return sorted(json.loads(body)["tags"] or []) if status == 200 else []


@contextmanager
def running_registry(folder: Path, *, user: str = "", password: str = "") -> Iterator[Registry]:
    """Starts a registry with its data in ``folder``. With a user, it asks for the password."""
    registry = Registry(free_port(), user, password)
    auth = ""
    if user:
        hashed = subprocess.run(
            ["htpasswd", "-Bin", user], input=password, capture_output=True, text=True, check=True
        ).stdout
        (folder / "htpasswd").write_text(hashed.strip() + "\n")
        auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {folder / 'htpasswd'}\n"
    (folder / "config.yml").write_text(
        "version: 0.1\nlog:\n  level: error\n"
        f"storage:\n  filesystem:\n    rootdirectory: {folder / 'data'}\n"
        f"http:\n  addr: {registry.address}\n  secret: test\n{auth}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log, start_new_session=True
        )
        try:
            for _ in range(200):
                assert process.poll() is None, (folder / "log").read_text()
                with contextlib.suppress(OSError):
                    if registry.get("")[0] == 200:
                        break
                time.sleep(0.05)
            else:
                raise AssertionError((folder / "log").read_text())
            yield registry
        finally:
            process.terminate()
            process.wait(20)


class BreakingWay:
    """A TCP proxy before a registry that breaks a connection after so many bytes towards it, so many times.

    dies: it does not answer at all any more after the first time.
    """

    def __init__(self, target: int, *, after_bytes: int, times: int = 1, dies: bool = False) -> None:
        self.port = 0
        self.broken = 0
        self._target = target
        self._after_bytes = after_bytes
        self._times = times
        self._dies = dies
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for open_socket in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)  # wakes who waits in another thread
            with contextlib.suppress(OSError):
                open_socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                upstream = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._sockets += [client, upstream]
            threading.Thread(target=self._forward, args=(client, upstream), daemon=True).start()
            threading.Thread(target=self._back, args=(upstream, client), daemon=True).start()

    def _forward(self, client: socket.socket, upstream: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                passed += len(data)
                if passed > self._after_bytes and self.broken < self._times:
                    self.broken += 1
                    if self._dies:
                        self.close()
                    break
                upstream.sendall(data)
        for end in (client, upstream):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _back(upstream: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(1 << 16):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
