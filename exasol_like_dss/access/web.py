"""HTTP: does an address answer, and with which address do we get there?"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from exasol_like_dss.lib.errors import InputError

#: Answers with the caller's address (docs.aws.amazon.com, VPC User Guide, "Security group rules").
_CHECK_ADDRESS = "https://checkip.amazonaws.com"


@dataclass(frozen=True)
class Fetched:
    """An answer. status: of HTTP; 304 has no body. etag, modified: its validators, empty where there are none."""

    status: int
    body: bytes
    etag: str = ""
    modified: str = ""


class Web:
    """Asks web servers, with the CA bundle of the user's choice."""

    def __init__(self, *, ca_bundle: Path | None = None, timeout_s: float = 20.0) -> None:
        self._ca_bundle = ca_bundle
        self._timeout_s = timeout_s

    def exists(self, url: str) -> bool:
        """Whether the file at ``url`` can be had (http, https, file and copy addresses). Never raises."""
        parts = urlsplit(url)
        if parts.scheme in ("file", "copy"):
            return Path(parts.path).exists()
        import requests

        try:
            with requests.get(
                url, stream=True, timeout=self._timeout_s, verify=str(self._ca_bundle) if self._ca_bundle else True
            ) as answer:
                return answer.status_code < 400
        except (requests.RequestException, ValueError):
            return False

    def fetch(self, url: str, *, headers: Mapping[str, str]) -> Fetched | None:
        """A small file at ``url`` (http, https, file and copy addresses); ``None`` when nobody answers."""
        parts = urlsplit(url)
        if parts.scheme in ("file", "copy"):
            try:
                return Fetched(200, Path(parts.path).read_bytes())
            except OSError:
                return Fetched(404, b"")
        import requests

        verify = str(self._ca_bundle) if self._ca_bundle else True
        try:
            with requests.get(url, headers=dict(headers), timeout=self._timeout_s, verify=verify) as answer:
                return Fetched(
                    answer.status_code,
                    answer.content,
                    answer.headers.get("ETag", ""),
                    answer.headers.get("Last-Modified", ""),
                )
        except (requests.RequestException, ValueError):
            return None

    def own_address(self) -> str:
        """The IPv4 address by which the world sees this machine. DSS_CHECK_IP_URL: another place to ask.

        Raises ``InputError``.
        """
        import requests

        url = os.environ.get("DSS_CHECK_IP_URL") or _CHECK_ADDRESS
        try:
            with requests.get(
                url, timeout=self._timeout_s, verify=str(self._ca_bundle) if self._ca_bundle else True
            ) as answer:
                answer.raise_for_status()
                return str(ipaddress.IPv4Address(answer.text.strip()))
        except (requests.RequestException, ValueError) as error:
            raise InputError(
                f"The address of this machine can't be found out from {url}.",
                hint="Say where ssh may come from: --ssh-cidr 203.0.113.7/32",
            ) from error
