"""Containers as users set them up: their own password, volumes of all kinds, a Docker socket, restricted rights."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass

from exasol_like_dss.access.jupyter import Jupyter
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.verification.container.bench import Bench, Container, judged
from exasol_like_dss.lib.verification.container.configuration import NOTEBOOKS
from exasol_like_dss.lib.verification.container.processes import Process, below, server, show_settings, started
from exasol_like_dss.lib.verification.container.usual import WELCOME
from exasol_like_dss.lib.verification.report import Checks

#: A user and a group that no image knows.
_OTHER_UID, _SOCKET_GROUP, _ANY_UID = 1234, 4711, 4712
_SOCKET = "/var/run/docker.sock"
_SECRET_FILE = "/run/secrets/jupyter-password"
_OWN_NOTEBOOK = json.dumps({"cells": [], "metadata": {"mine": True}, "nbformat": 4, "nbformat_minor": 5})
_WARNING = re.compile(r"^Warning: .*\S", re.MULTILINE)
#: Two listening sockets: one for a group, the other for root alone.
_SERVE = """
import contextlib, os, socket, threading
def serve(name, mode):
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(name + ".new")
    os.chown(name + ".new", 0, {group})
    os.chmod(name + ".new", mode)
    listening.listen()
    os.rename(name + ".new", name)
    while True:
        connection, _ = listening.accept()
        with contextlib.suppress(OSError), connection:  # whoever only tries is gone by now
            connection.sendall(b"reached")
threading.Thread(target=serve, args=("/dss/sockets/open.sock", 0o660)).start()
serve("/dss/sockets/closed.sock", 0o600)
"""
_CONNECT = """
import socket
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(10)
    connection.connect({path!r})
    print(connection.recv(7).decode())
"""
_FILL = """
set -eu
umask 022
cat > /dss/secret/jupyter-password
chmod 0400 /dss/secret/jupyter-password
printf %s "$OWN" > /dss/own/welcome.ipynb
chown -R "$LOGIN_USER:" /dss/own
echo 1,2 > /dss/root/data.csv
echo 1,2 > /dss/other/data.csv
chown -R "$OTHER:$OTHER" /dss/other
setsid "$PYTHON" -c "$SERVE" > /tmp/serve.log 2>&1 < /dev/null &
for i in $(seq 100); do
    [ -S /dss/sockets/closed.sock ] && [ -S /dss/sockets/open.sock ] && exit
    sleep 0.1
done
cat /tmp/serve.log
exit 1
"""


@dataclass(frozen=True)
class Prepared:
    """Volumes, filled. None is empty: the engine would fill that with what the image has there, owner and all."""

    password: str
    secret: str
    own: str
    root: str
    other: str
    sockets: str


def prepare(bench: Bench) -> Prepared:
    """The helper goes on, for the sockets. Raises ``DssError``."""
    volumes = {name: bench.volume() for name in ("secret", "own", "root", "other", "sockets")}
    prepared = Prepared(password=secrets.token_urlsafe(18), **volumes)
    helper = bench.helper({volume: f"/dss/{name}" for name, volume in volumes.items()})
    settings = {
        "OWN": _OWN_NOTEBOOK,
        "LOGIN_USER": bench.facts.login_user,
        "OTHER": str(_OTHER_UID),
        "PYTHON": bench.python,
        "SERVE": _SERVE.format(group=_SOCKET_GROUP),
    }
    done = bench.docker.execute(
        helper.id, ["/bin/sh", "-c", _FILL], user="0", environment=settings, stdin=prepared.password.encode()
    )
    if done.exit_code:
        raise DssError(f"The volumes for the checks could not be filled: {done.output.strip()[-300:]}")
    return prepared


def check_own_notebooks(checks: Checks, bench: Bench, prepared: Prepared) -> None:
    """A password from a file, and a volume with notebooks of the user's."""
    volumes = {prepared.secret: "/run/secrets:ro", prepared.own: NOTEBOOKS}
    name = "takes the password of JUPYTER_PASSWORD_FILE"
    with judged(checks, name):
        container = bench.start(environment={"JUPYTER_PASSWORD_FILE": _SECRET_FILE}, volumes=volumes)
        container.wait_for_answer()
        visitor = container.visitor(prepared.password)
        checks.add(name, not container.password(), f"taken, {_printed(container)}")
    _check_settings(checks, "password of the file is in no process", container, visitor, prepared.password)
    name = "user's own notebook is left alone"
    with judged(checks, name, goes_on=True):
        found = container.ran("cat", f"{NOTEBOOKS}/{WELCOME}")
        checks.add(name, found == _OWN_NOTEBOOK, "as it was" if found == _OWN_NOTEBOOK else f"changed: {found[:80]}")
    _check_writing(checks, "user writes in a volume with notebooks", container, visitor)
    container.remove()


def check_roots_volume(checks: Checks, bench: Bench, prepared: Prepared) -> None:
    """A password from the environment, a volume that root owns, and a Docker socket in the usual place."""
    socket = f"{bench.docker.volume_folder(prepared.sockets)}/open.sock"
    name = "takes the password of JUPYTER_PASSWORD"
    with judged(checks, name):
        container = bench.start(
            environment={"JUPYTER_PASSWORD": prepared.password}, volumes={prepared.root: NOTEBOOKS, socket: _SOCKET}
        )
        container.wait_for_answer()
        visitor = container.visitor(prepared.password)
        checks.add(name, not container.password(), f"taken, {_printed(container)}")
    _check_settings(checks, "password of the environment is in no process", container, visitor, prepared.password)
    _check_writing(checks, "user writes in a volume of root's", container, visitor)
    name = "Docker socket of a group is reached"
    with judged(checks, name, goes_on=True):
        warned, reached = _WARNING.search(container.output()), _reaches(visitor, _SOCKET)
        seen = f"group {_SOCKET_GROUP}: {reached}" + (f"; {warned.group()}" if warned else "")
        checks.add(name, reached == "reached" and not warned, seen)
    container.remove()


def check_other_uid(checks: Checks, bench: Bench, prepared: Prepared) -> None:
    """A volume of a user whom the image does not know, and a Docker socket for root alone, in another place."""
    name = "runs as the owner of the volume"
    with judged(checks, name):
        container = bench.start(
            environment={"DOCKER_HOST": "unix:///sockets/closed.sock"},
            volumes={prepared.other: NOTEBOOKS, prepared.sockets: "/sockets"},
        )
        container.wait_for_answer()
        _check_uid(checks, name, container, _OTHER_UID)
    name = f"user writes in a volume of uid {_OTHER_UID}"
    with judged(checks, name, goes_on=True):
        _check_writing(checks, name, container, container.visitor(container.password()))
    warned = _WARNING.search(container.output())
    name = "Docker socket without rights is warned of"
    checks.add(name, bool(warned), warned.group() if warned else "no line that begins with Warning:")
    container.remove()


def check_restricted(checks: Checks, bench: Bench) -> None:
    """As Kubernetes' profile "restricted" demands, and as OpenShift does it: any uid with group 0."""
    home = bench.facts.text("login_user_home", default="/home/jupyter")
    name = "restricted: becomes healthy"
    with judged(checks, name):
        container = bench.start(
            user=f"{_ANY_UID}:0",
            read_only=True,
            # The engine gives it the mode of the image's folder, whatever is asked for.
            tmpfs={home: f"rw,uid={_ANY_UID},gid=0"},
            cap_drop=["ALL"],
            security_options=["no-new-privileges"],
        )
        checks.add(name, True, container.wait_for_health())
    name = "restricted: runs as any uid"
    with judged(checks, name, goes_on=True):
        _check_uid(checks, name, container, _ANY_UID)
    name = "restricted: user writes notebooks"
    with judged(checks, name, goes_on=True):
        _check_writing(checks, name, container, container.visitor(container.password()))
    container.remove()


def _printed(container: Container) -> str:
    return "a password is printed all the same" if container.password() else "no password is printed"


def _check_uid(checks: Checks, name: str, container: Container, uid: int) -> None:
    jupyter = server(container.processes())
    checks.add(name, jupyter is not None and jupyter.uid == uid,
               f"JupyterLab as uid {jupyter.uid}" if jupyter else "no process of JupyterLab")  # fmt: skip


def _check_writing(checks: Checks, name: str, container: Container, visitor: Jupyter) -> None:
    """As JupyterLab saves a notebook."""
    with judged(checks, name, goes_on=True):
        path = "made-by-the-check.ipynb"
        answer = visitor.put(
            f"/api/contents/{path}", {"type": "notebook", "format": "json", "content": json.loads(_OWN_NOTEBOOK)}
        )
        if answer.status != 201:
            checks.add(name, False, f"HTTP {answer.status} {answer.text[:200]}")
            return
        owner = container.ran("stat", "-c", "%u:%g", f"{NOTEBOOKS}/{path}").strip()
        checks.add(name, True, f"a notebook of {owner}")


def _check_settings(checks: Checks, name: str, container: Container, visitor: Jupyter, password: str) -> None:
    """Neither password nor variable in what JupyterLab, its kernels and terminals were started with, and no password in
    any other process of the container's own. (What is run in it from outside gets the variables from the engine.)"""
    with judged(checks, name, goes_on=True):
        visitor.start_kernel("python3", timeout_s=60)
        visitor.start_terminal(timeout_s=60)
        listed = container.processes()
        jupyter = server(listed)
        if jupyter is None:
            raise DssError("no process of JupyterLab")
        inner = below(listed, jupyter)
        shown = _settings_of(container, inner)
        wrong = []
        if "PATH=" not in shown:
            wrong.append("the environment of JupyterLab can't be read")
        if password in shown or "JUPYTER_PASSWORD" in shown:
            wrong.append("JupyterLab or what it started has it")
        outer = [process for process in started(listed) if process not in inner]
        if password in _settings_of(container, outer):
            wrong.append("a process above JupyterLab has it")
        checks.add(name, not wrong, "; ".join(wrong) or f"{len(inner) + len(outer)} looked at")


def _settings_of(container: Container, processes: list[Process]) -> str:
    users: dict[str, list[int]] = {}
    for process in processes:
        users.setdefault(f"{process.uid}:{process.gid}", []).append(process.pid)
    return "\n".join(container.ran(*show_settings(pids), user=user) for user, pids in users.items())


def _reaches(visitor: Jupyter, path: str) -> str:
    """What a notebook of the user's reads from a socket."""
    kernel = visitor.start_kernel("python3", timeout_s=60)
    done = visitor.execute(kernel, [_CONNECT.format(path=path)], deadline_s=60)
    visitor.stop_kernel(kernel, timeout_s=30)
    return done[0].error or done[0].text
