"""EC2's instance metadata service, version 2, as far as cloud-init asks it (AWS: "Use IMDS")."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_TOKEN = "a-session-token"
_MAC = "52:54:00:12:34:56"


def _tree(public_key: str) -> dict[str, Any]:
    return {
        "meta-data": {
            "ami-id": "ami-0123456789abcdef0",
            "hostname": "ip-169-254-169-9.test.internal",
            "instance-id": "i-0123456789abcdef0",
            "instance-type": "t3.medium",
            "local-hostname": "ip-169-254-169-9.test.internal",
            "local-ipv4": "169.254.169.9",
            "mac": _MAC,
            "placement": {"availability-zone": "test-1a", "region": "test-1"},
            "public-keys": {"0": {"openssh-key": public_key}},
            "network": {"interfaces": {"macs": {_MAC: {"device-number": "0", "local-ipv4s": "169.254.169.9"}}}},
        },
        "dynamic": {
            "instance-identity": {"document": json.dumps({"instanceId": "i-0123456789abcdef0", "region": "test-1"})}
        },
        "user-data": "#cloud-config\nwrite_files:\n- path: /run/user-data-was-here\n  content: yes\n",
    }


@dataclass
class Metadata:
    """A running service. asked: the paths that were asked for, with a token."""

    port: int
    asked: list[str] = field(default_factory=list)


@contextmanager
def metadata_server(public_key: str) -> Iterator[Metadata]:
    """Serves on a free port of 127.0.0.1."""
    tree = _tree(public_key)

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._answer(200 if self.path == "/latest/api/token" else 404, _TOKEN)

        def do_GET(self) -> None:
            if self.headers.get("X-aws-ec2-metadata-token") != _TOKEN:
                self._answer(401, "")
                return
            metadata.asked.append(self.path)
            parts = [part for part in self.path.split("/") if part][1:]  # the first one is the version
            found: Any = tree
            for part in parts:
                found = found.get(part.split("=")[0]) if isinstance(found, dict) else None
                if found is None:
                    self._answer(404, "")
                    return
            if isinstance(found, dict):
                names = [f"{name}/" if isinstance(value, dict) else name for name, value in found.items()]
                if parts[-1:] == ["public-keys"]:
                    names = ["0=test-key"]
                found = "\n".join(names)
            self._answer(200, found)

        def _answer(self, code: int, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        metadata = Metadata(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield metadata
        finally:
            server.shutdown()
            thread.join()
