"""Where an image is made. A machine knows how Ansible reaches it, and nothing of what gets installed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

#: Variables by which programs find a CA bundle: OpenSSL, curl, git, Python's requests and pip, Node.js.
CA_VARIABLES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "PIP_CERT")


class Machine(Protocol):
    """A place that playbooks can run on."""

    @property
    def is_live(self) -> bool:
        """Whether it runs: services can be started on it. An image that is being built does not."""

    def started(self) -> AbstractContextManager[None]:
        """Brings it up for the time of the block."""

    def connection_variables(self) -> Mapping[str, Any]:
        """Ansible's host variables for reaching it. Only while it is started."""

    def build_environment(self) -> Mapping[str, str]:
        """Environment variables that programs on it need for the time of the build (proxies, CA bundle)."""
