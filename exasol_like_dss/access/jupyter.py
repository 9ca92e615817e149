"""A Jupyter server's REST and websocket interface (jupyter-server.readthedocs.io, "REST API"; jupyter-client,
"Messaging in Jupyter", version 5)."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

from exasol_like_dss.lib.errors import DssError


@dataclass(frozen=True)
class Answer:
    """status: the HTTP status. location: where a redirect leads. text: the body."""

    status: int
    location: str
    text: str

    def json(self) -> Any:
        try:
            return json.loads(self.text)
        except ValueError:
            raise DssError(f"Jupyter answered something that is not JSON: {self.text[:80]!r}") from None


@dataclass(frozen=True)
class Execution:
    """What a cell did. text: what it printed, and its last value. error: name and message; empty if none."""

    text: str
    error: str


class Jupyter:
    """One server, and one visitor of it: a stranger, who has a token, or who has logged in.

    The token is sent in a header, so that it is in no log.
    """

    def __init__(self, *, port: int, token: str = "") -> None:
        import requests

        self._address = f"127.0.0.1:{port}"
        self._headers = {"Authorization": f"token {token}"} if token else {}
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of this machine must not see requests to this machine

    def get(self, path: str, *, timeout_s: float = 30.0) -> Answer:
        return self._request("GET", path, None, timeout_s)

    def put(self, path: str, body: Any, *, timeout_s: float = 30.0) -> Answer:
        return self._request("PUT", path, body, timeout_s)

    def log_in(self, password: str, *, timeout_s: float = 30.0) -> bool:
        """As the login page does it. ``True``: this visitor is the user from now on."""
        _, first = self._send("GET", "/login", timeout_s=timeout_s)
        form = {"password": password, "_xsrf": first.get("_xsrf", "")}
        answer, second = self._send(
            "POST", "/login", timeout_s=timeout_s, data=form, headers={"Cookie": _cookie_header(first)}
        )
        if answer.status != 302:
            return False
        cookies = {**first, **second}
        self._headers = {"Cookie": _cookie_header(cookies), "X-XSRFToken": cookies.get("_xsrf", "")}
        return True

    def _request(self, method: str, path: str, body: Any, timeout_s: float) -> Answer:
        return self._send(method, path, timeout_s=timeout_s, json=body, headers=self._headers)[0]

    def _send(self, method: str, path: str, *, timeout_s: float, **more: Any) -> tuple[Answer, dict[str, str]]:
        """The answer, and the cookies that it sets."""
        import requests

        try:
            found = self._session.request(
                method, f"http://{self._address}{path}", timeout=timeout_s, allow_redirects=False, **more
            )
        except requests.RequestException as error:
            raise DssError(f"Jupyter does not answer to {method} {path}: {type(error).__name__}.") from None
        finally:
            self._session.cookies.clear()  # each request proves itself
        cookies = {str(cookie.name): str(cookie.value) for cookie in found.cookies}
        return Answer(found.status_code, found.headers.get("Location", ""), found.text), cookies

    def start_kernel(self, name: str, *, timeout_s: float) -> str:
        """Returns the kernel's id."""
        answer = self._request("POST", "/api/kernels", {"name": name}, timeout_s)
        if answer.status != 201:
            raise DssError(f"Jupyter did not start a kernel {name!r}: HTTP {answer.status} {answer.text[:200]}")
        return str(answer.json()["id"])

    def start_terminal(self, *, timeout_s: float) -> str:
        """Returns the terminal's name."""
        answer = self._request("POST", "/api/terminals", {}, timeout_s)
        if answer.status != 200:
            raise DssError(f"Jupyter did not start a terminal: HTTP {answer.status} {answer.text[:200]}")
        return str(answer.json()["name"])

    def stop_kernel(self, kernel: str, *, timeout_s: float) -> None:
        self._request("DELETE", f"/api/kernels/{kernel}", None, timeout_s)

    def execute(self, kernel: str, cells: list[str], *, deadline_s: float) -> list[Execution]:
        """Runs cells one after the other; stops at the first that fails. Raises ``DssError`` after ``deadline_s``."""
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        end = time.monotonic() + deadline_s
        address = f"ws://{self._address}/api/kernels/{kernel}/channels?session_id={uuid.uuid4().hex}"
        done: list[Execution] = []
        try:
            with connect(
                address,
                additional_headers=self._headers,
                proxy=None,
                open_timeout=deadline_s,
                max_size=None,
                ping_timeout=deadline_s,  # a guest that is translated answers late
                close_timeout=5,
            ) as socket:
                for code in cells:
                    message = _execute_request(code)
                    socket.send(json.dumps(message))
                    done.append(_collect(socket, message["header"]["msg_id"], end))
                    if done[-1].error:
                        break
        except TimeoutError:
            raise DssError(f"A notebook cell took longer than {deadline_s:.0f} s.") from None
        except (OSError, WebSocketException) as error:
            raise DssError(f"The connection to the kernel broke: {error}") from None
        return done


def _cookie_header(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _execute_request(code: str) -> dict[str, Any]:
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3", "session": uuid.uuid4().hex,
              "username": "dss", "date": ""}  # fmt: skip
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False,
               "stop_on_error": True}  # fmt: skip
    return {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }


def _collect(socket: Any, message_id: str, end: float) -> Execution:
    """Reads until the kernel is idle again and has replied."""
    text: list[str] = []
    error = ""
    waiting = {"idle", "reply"}
    while waiting:
        raw = socket.recv(timeout=max(0.1, end - time.monotonic()))
        message = json.loads(raw) if isinstance(raw, str) else {}
        if message.get("parent_header", {}).get("msg_id") != message_id:
            continue
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            text.append(content["text"])
        elif kind in ("execute_result", "display_data"):
            text.append(str(content["data"].get("text/plain", "")))
        elif kind == "error":
            error = f"{content['ename']}: {content['evalue']}"
        elif kind == "execute_reply":
            waiting.discard("reply")
        elif kind == "status" and content["execution_state"] == "idle":
            waiting.discard("idle")
    return Execution("".join(text).strip(), error)
