"""A folder as a bucket in S3, to be read only: images of gigabytes, which the AWS stand-in would hold in memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_IDENTITY = (
    b"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/test</Arn>"
    b"<UserId>U</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)
_PIECE = 1 << 20


@contextmanager
def served_bucket(folder: Path, *, bucket: str) -> Iterator[dict[str, str]]:
    """Answers HeadObject, GetObject with a range, and GetCallerIdentity. The environment of those who ask."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._head(200, len(_IDENTITY), "text/xml")
            self.wfile.write(_IDENTITY)

        def do_HEAD(self) -> None:
            self._object()

        def do_GET(self) -> None:
            file, start, length = self._object()
            if not file:
                return
            with file.open("rb") as source:
                source.seek(start)
                while length:
                    piece = source.read(min(_PIECE, length))
                    self.wfile.write(piece)
                    length -= len(piece)

        def _object(self) -> tuple[Path | None, int, int]:
            name = self.path.partition("?")[0].removeprefix(f"/{bucket}/")
            file = folder / name
            if "/" in name or not file.is_file():
                self._head(404, 0)
                return None, 0, 0
            size = file.stat().st_size
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            start, end = (int(wanted[1]), int(wanted[2])) if wanted else (0, size - 1)
            self._head(206 if wanted else 200, end - start + 1)
            return file, start, end - start + 1

        def _head(self, status: int, length: int, content_type: str = "application/octet-stream") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.send_header("Content-Type", content_type)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
                "AWS_REGION": "eu-central-1",
                "AWS_ACCESS_KEY_ID": "AKIATHEPRODUCTSKEY00",
                "AWS_SECRET_ACCESS_KEY": "no-secret",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": "/nonexistent/aws-config",
                "NO_PROXY": "127.0.0.0/8,localhost",
                "no_proxy": "127.0.0.0/8,localhost",
            }
        finally:
            server.shutdown()
            thread.join()
