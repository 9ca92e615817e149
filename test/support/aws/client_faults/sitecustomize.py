"""Faults on the side of the client, in an unchanged Python program: this folder comes first on its PYTHONPATH.

``DSS_TEST_CLIENT_FAULTS`` is a JSON list of ``{"action": "CreateImage" | "*", "nth": 1, "do": …}``; ``do`` is
``kill-before`` or ``kill-after`` (SIGKILL before the request leaves, or after its answer has come), or ``reset``
(the connection breaks, the request never leaves). ``DSS_TEST_CLIENT_JOURNAL`` names a file to which each request is
added as a line, "ec2:CreateImage". Retries count: botocore's ``before-send`` lies inside its retry loop.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

_FAULTS: list[dict[str, Any]] = json.loads(os.environ.get("DSS_TEST_CLIENT_FAULTS", "[]"))
_JOURNAL = os.environ.get("DSS_TEST_CLIENT_JOURNAL", "")
_lock = threading.Lock()
_seen: dict[int, int] = {}


def _hit(action: str, kinds: tuple[str, ...]) -> str:
    """What is to be done now: counts every rule of these kinds that matches."""
    found = ""
    with _lock:
        for index, fault in enumerate(_FAULTS):
            if fault["do"] not in kinds or fault.get("action", "*") not in ("*", action):
                continue
            _seen[index] = _seen.get(index, 0) + 1
            if _seen[index] == fault.get("nth", 1):
                found = str(fault["do"])
    return found


def _before_send(request: Any, event_name: str, **_: Any) -> None:
    service, action = event_name.split(".")[1:]
    if _JOURNAL:
        with Path(_JOURNAL).open("a") as journal:
            journal.write(f"{service}:{action}\n")
    do = _hit(action, ("kill-before", "reset"))
    if do == "kill-before":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "reset":
        from botocore.exceptions import ConnectionClosedError

        raise ConnectionClosedError(endpoint_url=request.url)


def _response_received(event_name: str, **_: Any) -> None:
    if _hit(event_name.split(".")[-1], ("kill-after",)):
        os.kill(os.getpid(), signal.SIGKILL)


def _install() -> None:
    """botocore may be imported late, or never: waits for ``botocore.handlers``, so that ``dss --help`` stays cheap."""
    import importlib.abc
    import importlib.util
    import sys

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: Any) -> Any:
            if name != "botocore.handlers":
                return None
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            assert spec and spec.loader
            run = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                run(module)
                module.BUILTIN_HANDLERS += [
                    ("before-send", _before_send),
                    ("response-received", _response_received),
                ]

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
            return spec

    sys.meta_path.insert(0, Finder())


if _FAULTS or _JOURNAL:
    _install()
