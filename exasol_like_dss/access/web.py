"""HTTP: does an address answer?"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit


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
