"""What programs on a machine that becomes an image get from this machine, for the time of the build."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from exasol_like_dss.access.programs import Programs

#: Packages start no services while this is there (invoke-rc.d(8): 101 means "action forbidden").
POLICY = "/usr/sbin/policy-rc.d"
POLICY_TEXT = "#!/bin/sh\nexit 101\n"
#: dpkg need not wait for the disk: a build that is killed starts anew.
UNSAFE_IO = "/etc/dpkg/dpkg.cfg.d/dss-build"
UNSAFE_IO_TEXT = "force-unsafe-io\n"
#: Python orders what it compiles, and what it writes of sets, by the hashes of strings, which are random otherwise.
FIXED_ORDER = {"PYTHONHASHSEED": "0"}


def apt_configuration(programs: Programs, *, ca_bundle: str | None) -> str:
    """For APT_CONFIG. ca_bundle: where the machine has it. The proxies are those of this machine's apt."""
    lines = ['Acquire::Languages "none";', 'Acquire::Retries "3";']
    if ca_bundle:
        lines.append(f'Acquire::https::CAInfo "{ca_bundle}";')
    if shutil.which("apt-config"):
        variables = [f"{kind}=Acquire::{kind}::Proxy" for kind in ("http", "https")]
        shown = programs.run(["apt-config", "shell", *(w for v in variables for w in v.split("=", 1))])
        for word in shlex.split(shown):
            kind, _, address = word.partition("=")
            lines.append(f'Acquire::{kind}::Proxy "{address}";')
    return "\n".join(lines) + "\n"


def proxies() -> dict[str, str]:
    """The proxy variables of this process, in both spellings."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.lower() in ("http_proxy", "https_proxy", "no_proxy", "ftp_proxy") and value
    }


def pip_settings() -> dict[str, str]:
    """Where this machine's pip gets packages, as far as that can be reached from inside (web addresses)."""
    result = {name: os.environ[name] for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if os.environ.get(name)}
    if "PIP_INDEX_URL" not in result:
        address = _pip_configured("index-url")
        if address and urlsplit(address).scheme in ("http", "https"):
            result["PIP_INDEX_URL"] = address
    return result


def _pip_configured(key: str) -> str | None:
    """A setting of pip's configuration files, in pip's own order (the later file wins)."""
    import configparser

    found: str | None = None
    home = Path.home()
    for path in (Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)
        except configparser.Error:
            continue
        found = parser.get("global", key, fallback=found)
    return found
