"""Where the default password of the image comes from. Never from the command line itself: others can see that."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exasol_like_dss.lib.errors import InputError

if TYPE_CHECKING:
    from exasol_like_dss.access.docker import RegistryLogin

VARIABLE = "DSS_DEFAULT_PASSWORD"
REGISTRY_PASSWORD = "DOCKER_REGISTRY_PASSWORD"
#: Without what people confuse when they type it from a screen (0/O, 1/l/I).
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

default_password_option = click.option(
    "--default-password",
    metavar="env:NAME|file:PATH|generate",
    default=None,
    help=f"Where the password of the first login comes from. [default: env:{VARIABLE} if that is set, else generate]",
)
known_password_option = click.option(
    "--default-password",
    metavar="env:NAME|file:PATH",
    default=None,
    help=f"Where the image's password of the first login is. [default: env:{VARIABLE}]",
)


@dataclass(frozen=True)
class DefaultPassword:
    """generated: nobody knows it yet, so it has to be shown once."""

    value: str
    generated: bool

    def __repr__(self) -> str:
        return f"DefaultPassword(generated={self.generated})"


def read_default_password(source: str | None, *, may_generate: bool = True) -> DefaultPassword:
    """Follows ``env:NAME``, ``file:PATH`` or ``generate``. Raises ``InputError`` for anything else."""
    if source is None:
        if os.environ.get(VARIABLE):
            source = f"env:{VARIABLE}"
        elif may_generate:
            source = "generate"
        else:
            raise InputError(
                "The image's default password is needed.",
                hint=f"Set {VARIABLE}, or give --default-password file:PATH.",
            )
    kind, _, name = source.partition(":")
    if source == "generate" and may_generate:
        return DefaultPassword("-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4)), True)
    if source == "generate":
        raise InputError(
            "No default password is generated here.",
            hint=f"Whoever goes on with it has to know it: set {VARIABLE}, or give --default-password file:PATH.",
        )
    if kind == "env" and name:
        if name not in os.environ:
            raise InputError(f"The environment variable {name} is not set.", hint=f"export {name}=…")
        return DefaultPassword(_checked(os.environ[name], f"the environment variable {name}"), False)
    if kind == "file" and name:
        try:
            text = Path(name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"The password file {name} can't be read: {error}.", hint="Give a readable text file."
            ) from None
        return DefaultPassword(_checked(text.rstrip("\r\n"), name), False)
    raise InputError(
        "--default-password takes the place where the password is, not the password.",
        hint=f"env:NAME, file:PATH or generate; or set {VARIABLE}.",
    )


def read_registry_login(user: str | None) -> RegistryLogin | None:
    """``None``: the Docker client's own login is used. Raises ``InputError`` for a password without a user."""
    from exasol_like_dss.access.docker import RegistryLogin

    password = os.environ.get(REGISTRY_PASSWORD)
    if password and not user:
        raise InputError(f"{REGISTRY_PASSWORD} is set, but no user.", hint="Give --registry-user, or unset it.")
    return RegistryLogin(user, password) if user and password else None


def _checked(password: str, source: str) -> str:
    # chpasswd(8) reads lines of user:password; a control character can't be typed at a login.
    if not password or len(password) > 128 or any(ord(char) < 32 or ord(char) == 127 for char in password):
        raise InputError(
            f"The default password in {source} is empty, longer than 128 characters, or has control characters."
        )
    return password
