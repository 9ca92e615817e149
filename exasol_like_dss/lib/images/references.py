"""Names of container images, as the distribution specification has them
(github.com/distribution/reference: ``[HOST[:PORT]/]PATH[:TAG][@DIGEST]``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exasol_like_dss.lib.errors import InputError

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = re.compile(
    r"(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
    r"(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
)
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME_MAX = 255
_EXAMPLE = "For example exasol/data-science-sandbox or registry.example.org:5000/team/sandbox."
#: The registry of names without a host. It is the engine's default, and only shown.
DEFAULT_REGISTRY = "docker.io"

#: semver.org, "Is there a suggested regular expression": version core and pre-release.
_RELEASE = re.compile(r"v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Repository:
    """A name without a tag. host: empty for the engine's default registry."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}/{self.path}" if self.host else self.path

    @property
    def registry(self) -> str:
        return self.host or DEFAULT_REGISTRY


def parse_repository(text: str) -> Repository:
    """``[HOST[:PORT]/]ORG/NAME``. Raises ``InputError`` for anything else, also for a name with a tag or digest."""
    if "@" in text or ":" in text.rpartition("/")[2]:
        raise InputError(
            f"The repository {text!r} has a tag or a digest.", hint="Give the tag with --version, the name without it."
        )
    first, slash, rest = text.partition("/")
    # What comes before the first slash is a host if it looks like one. (The engine takes a word with capital letters
    # for a host, too. That is hardly ever meant: here it is refused.)
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, rest) if is_host else ("", text)
    if host and not _HOST.fullmatch(host):
        raise InputError(f"{host!r} in the repository {text!r} is no name of a host.", hint=_EXAMPLE)
    if host and ":" in host and not 0 < int(host.rpartition(":")[2].rstrip("]") or 0) < 65536:
        raise InputError(f"{host!r} in the repository {text!r} has no valid port.", hint=_EXAMPLE)
    if not _PATH.fullmatch(path) or len(text) > _NAME_MAX:
        hint = _EXAMPLE if path == path.lower() else f"Names are in lower case. {_EXAMPLE}"
        raise InputError(f"{text!r} is no valid name of a repository.", hint=hint)
    return Repository(host, path)


def check_tag(text: str) -> str:
    """``text``, if it can be a tag. Raises ``InputError``."""
    if not _TAG.fullmatch(text):
        hint = "1 to 128 letters, digits, '_', '.', '-', the first no '.' or '-'."
        if "+" in text:
            hint = f"A tag can't hold '+'; the usual replacement is {text.replace('+', '_')!r}."
        raise InputError(f"The version {text!r} can't be the tag of an image.", hint=hint)
    return text


def is_release(version: str) -> bool:
    """Whether a version is a SemVer release: three numbers, nothing after them."""
    return bool(_RELEASE.fullmatch(version))


@dataclass(frozen=True)
class Reference:
    """A name with a tag or a digest, as users give it."""

    repository: Repository
    tag: str
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """``NAME[:TAG][@DIGEST]``; the tag is ``latest`` unless given. Raises ``InputError``."""
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InputError(f"{digest!r} in {text!r} is no digest.", hint="sha256: and 64 hexadecimal digits.")
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InputError(f"{tag!r} in {text!r} is no tag.", hint="Letters, digits, '_', '.', '-'.")
    return Reference(parse_repository(f"{head}{slash}{last}"), tag or "latest", digest)
