"""Where the stand-in asks the test back: faults with a hook, instances that come up and end, images of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from test.support.aws.rules import Call, Imaged, Machine, Started, call_of


class Callbacks:
    """What the test wants to hear of. errors: what its functions raised."""

    def __init__(
        self,
        on_instance: Callable[[Started], Machine] | None,
        on_termination: Callable[[str], None] | None,
        on_image: Callable[[Imaged], Path | None] | None,
    ) -> None:
        self.on_instance = on_instance
        self.on_termination = on_termination
        self.on_image = on_image
        self.hooks: list[Callable[[Call], None] | None] = []
        self.errors: list[BaseException] = []
        self.url = ""

    def answer(self, what: str, data: dict[str, Any]) -> dict[str, Any]:
        if what == "hook":
            hook = self.hooks[data["fault"]]
            assert hook, "a fault with the effect 'hook' needs one"
            hook(call_of(data["call"]))
        elif what == "started" and self.on_instance:
            return asdict(self.on_instance(Started(**data)))
        elif what == "imaged" and self.on_image:
            disk = self.on_image(Imaged(**data))
            return {"disk": str(disk or "")}
        elif what == "terminated" and self.on_termination:
            self.on_termination(data["instance_id"])
        return {}


@contextmanager
def serving_callbacks(
    on_instance: Callable[[Started], Machine] | None,
    on_termination: Callable[[str], None] | None,
    on_image: Callable[[Imaged], Path | None] | None,
) -> Iterator[Callbacks]:
    """Serves them on a free port of loopback. What a callback raised is raised again at the end of the block."""
    callbacks = Callbacks(on_instance, on_termination, on_image)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = 200
            try:
                body = json.dumps(callbacks.answer(self.path.strip("/"), data)).encode()
            except BaseException as error:
                callbacks.errors.append(error)
                status, body = 500, repr(error).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        callbacks.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield callbacks
        finally:
            server.shutdown()
            thread.join()
    if callbacks.errors:
        raise AssertionError(f"a callback of the test failed: {callbacks.errors[0]!r}") from callbacks.errors[0]
