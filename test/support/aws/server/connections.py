"""HTTP/1.1 as AWS speaks it: connections stay open for the next request, and bodies are read to their end.

werkzeug's own handler closes each connection after one request, and waits 10 ms for what may still come: it cannot tell
where a request ends that nobody has read. Here one is handed on when its body is there. RFC 9112, sections 6 and 9.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler

_LONGEST_LINE = 64 << 10


class Headers(list[tuple[str, str]]):
    """As far as werkzeug and moto look at them."""

    def items(self) -> list[tuple[str, str]]:
        return self

    def keys(self) -> list[str]:
        return [name for name, _ in self]

    def get(self, wanted: str, default: str = "") -> str:
        return next((value for name, value in self if name.lower() == wanted), default)


class Connection(MotoRequestHandler):
    """All requests of one connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    # Else the end of a request waits for the acknowledgement of its beginning (RFC 896, RFC 1122): 40 ms.
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """As http.server's, but for its parser of headers: that is one for mails, and takes as long as all else."""
        line = str(self.raw_requestline, "iso-8859-1").rstrip("\r\n")
        self.requestline, words = line, line.split(" ")
        self.command, self.request_version, self.close_connection = "", "HTTP/1.1", True
        if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
            self.send_error(400, f"Bad request syntax ({line!r})")
            return False
        self.command, self.path, self.request_version = words
        headers = Headers()
        while (line := str(self.rfile.readline(_LONGEST_LINE), "iso-8859-1").rstrip("\r\n")) and len(headers) < 200:
            name, _, value = line.partition(":")
            headers.append((name, value.strip(" \t")))
        self.headers = headers  # type: ignore[assignment]
        self.close_connection = words[2] == "HTTP/1.0" or headers.get("connection").lower() == "close"
        if headers.get("expect").lower() == "100-continue":
            self.handle_expect_100()
        return True

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        body = self._body(environ)
        if body is None:  # the client is gone: nothing was asked for
            self.close_connection = True
            return
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        try:
            self._answer(environ)
        except ConnectionError:  # by a fault, or by the client
            self.close_connection = True
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self.close_connection = True

    def log_request(self, *_: object) -> None:
        pass

    def _body(self, environ: dict[str, Any]) -> bytes | None:
        """``None`` when it breaks off."""
        if environ.get("wsgi.input_terminated"):  # in chunks
            try:
                return bytes(environ["wsgi.input"].read())
            except OSError:
                return None
        wanted = int(environ.get("CONTENT_LENGTH") or 0)
        data = self.rfile.read(wanted) if wanted else b""
        return data if len(data) == wanted else None

    def _answer(self, environ: dict[str, Any]) -> None:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            started.append((status, headers))

        app: Any = self.server.app
        body: Iterable[bytes] = app(environ, start)
        try:
            data = b"".join(body)
        finally:
            close = getattr(body, "close", None)
            if close:
                close()
        status, headers = started[-1]
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        names = set()
        for name, value in headers:
            self.send_header(name, value)
            names.add(name.lower())
        if "content-length" not in names and int(code) not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self._send_with_head(b"" if environ["REQUEST_METHOD"] == "HEAD" else data)

    def _send_with_head(self, data: bytes) -> None:
        buffer: list[bytes] = vars(self)["_headers_buffer"]  # http.server has no other way to it
        head = b"".join([*buffer, b"\r\n"])
        buffer.clear()
        left = [memoryview(head), memoryview(data)]
        while left := [piece for piece in left if piece]:
            sent = self.connection.sendmsg(left)  # one call: no copy of the body, and the client wakes up once
            for number, piece in enumerate(left):
                left[number], sent = piece[sent:], max(0, sent - len(piece))
