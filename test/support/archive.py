"""The Release files of a package archive, served on loopback with validators (RFC 9110, section 13)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

RELEASE = b"Origin: Debian\nDate: Sat, 21 Nov 2026 08:00:00 UTC\nCodename: trixie\n"


@dataclass
class Archive:
    """content: of every file; empty for none. seen: path, validator sent, and status of each request, in order."""

    content: bytes = RELEASE
    seen: list[tuple[str, str | None, int]] = field(default_factory=list)
    address: str = ""


@contextmanager
def served_archive() -> Iterator[Archive]:
    archive = Archive()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tag = f'"{hash(archive.content)}"'
            sent = self.headers.get("If-None-Match")
            code = 404 if not archive.content else 304 if sent == tag else 200
            archive.seen.append((self.path, sent, code))
            self.send_response(code)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(archive.content) if code == 200 else 0))
            self.end_headers()
            if code == 200:
                self.wfile.write(archive.content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    archive.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
