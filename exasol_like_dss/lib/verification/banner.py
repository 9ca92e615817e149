"""Reads the serial console: has the guest reached its login, and what does the banner before it say?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

# Terminal control: CSI (colours, cursor), OSC (titles), and single escapes (ECMA-48).
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_=>]|[\x00-\x08\x0b-\x1f\x7f]")
_LOGIN = re.compile(r"^\S+ login: ?", re.MULTILINE)
_URL = re.compile(r"https?://[^\s\"'<>]+token=[A-Za-z0-9_%.-]+")

_CHANGE = re.compile(r"password:\s+((?:sudo +)?[\w./-]*jupyter[\w-]*(?: [\w-]+)?)\s*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class JupyterUrl:
    """As the banner shows it."""

    url: str
    port: int
    token: str


def plain(text: str) -> str:
    """The text of a terminal without colours and cursor movements."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def at_login(console: str) -> bool:
    """Does the console ask for a user name?"""
    return bool(_LOGIN.search(plain(console)))


def before_login(console: str) -> str:
    """What stands before the last login prompt; all of it where there is none."""
    text = plain(console)
    prompts = list(_LOGIN.finditer(text))
    return text[: prompts[-1].start()] if prompts else text


def jupyter_url(text: str) -> JupyterUrl | None:
    """The last URL with a token in a text (console, message of the day); ``None`` where there is none."""
    for match in reversed(list(_URL.finditer(plain(text)))):
        parts = urlsplit(match.group())
        tokens = parse_qs(parts.query).get("token", [])
        if tokens and tokens[0]:
            return JupyterUrl(match.group(), parts.port or (443 if parts.scheme == "https" else 80), tokens[0])
    return None


def change_command(text: str) -> str:
    """The command that a banner names for setting an own password; empty where it names none."""
    found = _CHANGE.search(plain(text))
    return found.group(1) if found else ""
