"""What a container of the data science sandbox starts with.

    start [COMMAND …]   prepares volume, user and password, then runs JupyterLab, or COMMAND as the user
    start --OPTION …    the same with options for JupyterLab
    health              exit code 0 when JupyterLab answers
    password            sets the password of the running JupyterLab (asks, or takes the first line of its input)

Started by root, it prepares what only root can, and goes on as the user: JupyterLab never runs as root. Started as
anybody else, it does what it may, and warns of the rest. Only the Python of the distribution is used, 3.9 or newer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import docker_socket
import identity
import notebooks
import secret
import server
from settings import SETTINGS, Stop, warn

_TINI = Path("/usr/bin/tini")


def start(arguments: list[str]) -> None:
    """Ends in the program that it starts."""
    password = secret.given()
    user = identity.Identity.of_process()
    socket = docker_socket.path()
    if os.geteuid() == 0:
        user = identity.of_volume(SETTINGS.notebooks)
        notebooks.give_root_owned(SETTINGS.notebooks, user)
        group = docker_socket.group(socket)
        if group is not None:
            user = user.with_group(group)
        identity.record(user)
        identity.become(user)
    environment = identity.environment(user)
    docker_socket.check(socket)
    if arguments and not arguments[0].startswith("-"):
        _execute(arguments, environment)
    os.environ.clear()
    os.environ.update(environment)
    notebooks.bring_defaults(SETTINGS.defaults, SETTINGS.notebooks, SETTINGS.version)
    secret.prepare(password)
    _execute([*secret.WATCHING, *arguments], environment)


def _execute(argv: list[str], environment: dict[str, str]) -> None:
    """Replaces this process, so that no environment with a password in it is left."""
    if os.getpid() == 1 and _TINI.exists():
        argv = [str(_TINI), "--", *argv]
    try:
        os.chdir(SETTINGS.notebooks)
    except OSError:
        os.chdir("/")
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        raise Stop(f"{argv[0]} can't be started: {error.strerror}", 127) from None


def main() -> None:
    command, arguments = (sys.argv[1:2] or ["start"])[0], sys.argv[2:]
    try:
        if command == "start":
            start(arguments)
        elif command == "serve":
            sys.exit(server.serve(arguments))
        elif command == "health":
            sys.exit(server.health())
        elif command == "password":
            secret.change()
        else:
            raise Stop(f"there is no command {command!r}", 2)
    except Stop as stop:
        warn(f"{stop.message}.", prefix="Error")
        sys.exit(stop.code)


if __name__ == "__main__":
    main()
