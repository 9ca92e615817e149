"""JupyterLab's password: given, set by the user, or made at this start.

JupyterLab gets its hash in a file of its own, which only the user can read; the password itself is in the environment
of no process that stays.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import identity
from settings import SETTINGS, Stop

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
#: The key that JupyterLab 4 writes, and those that older servers wrote and newer ones still read.
_KEYS = (
    ("IdentityProvider", "hashed_password"),
    ("PasswordIdentityProvider", "hashed_password"),
    ("ServerApp", "password"),
)
_FILE = "jupyter_server_config.json"
#: The command line of the program that watches over JupyterLab; it is also found by it.
WATCHING = [sys.executable, "-IBS", str(Path(__file__).resolve().parent), "serve"]


def given() -> str | None:
    """The password in ``JUPYTER_PASSWORD``, or in the file that ``JUPYTER_PASSWORD_FILE`` names."""
    value, file = os.environ.get("JUPYTER_PASSWORD"), os.environ.get("JUPYTER_PASSWORD_FILE")
    if value and file:
        raise Stop("JUPYTER_PASSWORD and JUPYTER_PASSWORD_FILE are both set; give one of them", 2)
    if file:
        try:
            value = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Stop(f"the file {file} of JUPYTER_PASSWORD_FILE can't be read: {error}", 2) from None
    if value is not None and not value.strip():
        if not file and "JUPYTER_PASSWORD" in os.environ and not value:
            return None  # `-e JUPYTER_PASSWORD` of a variable that is not set
        raise Stop("the password is empty: JupyterLab would be open to everybody", 2)
    return value


def folder() -> Path:
    """Where the hash of a given or a made password is: on Jupyter's search path before the user's own settings."""
    return Path(os.environ["HOME"]) / ".local/share/jupyter/dss"


def prepare(password: str | None) -> None:
    """Leaves the hash where JupyterLab finds it, and says how to log in. Called as the user."""
    made = None
    if password is None and not _has_password(Path(os.environ["HOME"]) / ".jupyter" / _FILE):
        made = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))
    hidden = folder() / _FILE
    try:
        hidden.unlink(missing_ok=True)
        if password or made:
            _write_hash(hidden, password or made or "")
    except OSError as error:
        raise Stop(f"{hidden} can't be written: {error.strerror}; JupyterLab needs a home directory") from None
    print(f"JupyterLab:  http://localhost:{SETTINGS.port}/lab", flush=True)
    if made:
        print(f"Password:    {made}", flush=True)
        print("             Made at this start; JUPYTER_PASSWORD, or dss-jupyter-password in here, sets another.",
              flush=True)  # fmt: skip


def change() -> None:
    """Sets the user's own password, and lets the running JupyterLab start again with it."""
    pid = running()
    if os.geteuid() == 0 and pid:
        status = Path(f"/proc/{pid}").stat()
        identity.become(identity.Identity(status.st_uid, status.st_gid, (status.st_gid, 0)))
    elif os.geteuid() == 0:
        raise Stop("JupyterLab does not run in this container")
    os.environ["HOME"] = str(identity.home_of(os.geteuid()))
    if sys.stdin.isatty():
        password = getpass.getpass("Enter password: ")
        if password != getpass.getpass("Verify password: "):
            raise Stop("the two passwords differ; nothing has changed")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password.strip():
        raise Stop("an empty password would leave JupyterLab open to everybody; nothing has changed")
    try:
        _write_hash(Path(os.environ["HOME"]) / ".jupyter" / _FILE, password)
        (folder() / _FILE).unlink(missing_ok=True)
    except OSError as error:
        raise Stop(f"the password can't be stored: {error}") from None
    if pid:
        os.kill(pid, signal.SIGHUP)
    print("JupyterLab now asks for this password; it starts again, so running kernels end.")


def running() -> int | None:
    """The process id of the program that watches over JupyterLab."""
    marker = [word.encode() for word in WATCHING[1:]]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[1:4] == marker:
            return int(entry.name)
    return None


def _has_password(file: Path) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return any(content.get(section, {}).get(key) for section, key in _KEYS)
    except (OSError, ValueError, AttributeError):
        return False


def _write_hash(file: Path, password: str) -> None:
    """Puts the hash into a settings file of Jupyter's, and keeps what else is there."""
    done = subprocess.run(
        [str(SETTINGS.venv / "bin/python"), "-I", "-c",
         "import sys; from jupyter_server.auth.security import passwd; print(passwd(sys.stdin.read()))"],
        input=password, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Stop("JupyterLab's own Python could not make a hash of the password")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            content = {}
    except (OSError, ValueError):
        content = {}
    for section, key in _KEYS:
        if isinstance(content.get(section), dict):
            content[section].pop(key, None)
    content.setdefault("IdentityProvider", {})["hashed_password"] = done.stdout.strip()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = file.with_name(file.name + ".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1)
    unfinished.replace(file)
