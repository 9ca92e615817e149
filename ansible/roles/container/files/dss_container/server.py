"""Watches over JupyterLab: ends it in time, starts it again after a change of the password, asks whether it answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

import secret
from settings import SETTINGS, warn

#: ``docker stop`` kills after ten seconds.
_STOP_S = 7.0
_ANSWER_S = 5.0


def serve(options: list[str]) -> int:
    """Runs JupyterLab until it ends or a signal ends it. Returns the exit code."""
    wanted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        wanted.append(number)
        raise InterruptedError  # out of the wait below

    argv = [str(SETTINGS.venv / "bin/jupyter"), "lab", "--no-browser", *options]
    # Before the user's own settings on Jupyter's search path.
    environment = {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(
        filter(None, (str(secret.folder()), os.environ.get("JUPYTER_CONFIG_PATH"))))}  # fmt: skip
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    while True:
        try:
            # A session of its own: Ctrl-C at a terminal is for us, JupyterLab would ask whether it is meant.
            process = subprocess.Popen(argv, env=environment, start_new_session=True)
        except OSError as error:
            warn(f"JupyterLab can't be started: {error}.", prefix="Error")
            return 1
        try:
            for number in watched:
                signal.signal(number, note)
            if wanted:
                raise InterruptedError
            code = process.wait()
        except InterruptedError:
            for number in watched:
                signal.signal(number, lambda number, _frame: wanted.append(number))
            _end(process)
            if any(number != signal.SIGHUP for number in wanted):
                return 0
            wanted.clear()
            continue
        return code if code >= 0 else 128 - code


def health() -> int:
    """0 if JupyterLab answers. It says itself where it listens (options may have changed that)."""
    if secret.running() is None:
        return 1
    for home in (SETTINGS.home, *Path("/tmp").glob("dss-home-*")):
        for file in (home / ".local/share/jupyter/runtime").glob("jpserver-*.json"):
            try:
                address = json.loads(file.read_text(encoding="utf-8"))
                url = f"http{'s' * bool(address['secure'])}://127.0.0.1:{address['port']}{address['base_url']}api"
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if _answers(url):
                return 0
    return 0 if _answers(f"http://127.0.0.1:{SETTINGS.port}/api") else 1


def _answers(url: str) -> bool:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is this container's own
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=_ANSWER_S) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # it answers
    except (OSError, ValueError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
