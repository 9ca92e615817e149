"""Hygiene in a machine that runs: what is older than its boot was in the image."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from exasol_like_dss.lib.verification import probe
from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.instance import _hygiene
from test.unit.verification.test_hygiene import FACTS

SHADOW = "root:*:20000:\nubuntu:$:20500:\n"


def listed(root: Path, before: float) -> dict[str, Any]:
    folders: dict[str, list[list[Any]]] = {}
    for folder in ("/etc", "/etc/ssh", "/var/log", "/tmp", "/home/ubuntu", "/home/ubuntu/.ssh", "/root"):
        probe._old(f"{root}{folder}", before, folders, deep=folder != "/etc")
    texts = {"/etc/shadow": SHADOW, "/etc/passwd": "ubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n"}
    return {"before_boot": {"folders": {k.removeprefix(str(root)): v for k, v in folders.items()}, "texts": texts}}


def write(file: Path, *, age_s: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    for path in (file, file.parent):
        os.utime(path, (time.time() - age_s,) * 2)


def failed(found: dict[str, Any], facts: ImageFacts) -> dict[str, str]:
    return {result.name: result.seen for result in _hygiene(found, facts) if not result.passed}


def test_what_the_boot_made_is_no_fault(tmp_path: Path) -> None:
    for name in ("etc/machine-id", "etc/ssh/ssh_host_rsa_key", "var/log/syslog", "tmp/socket/x", "etc/shadow-"):
        write(tmp_path / name, age_s=0)
    assert failed(listed(tmp_path, time.time() - 100), FACTS) == {}


def test_what_was_there_before_is_named(tmp_path: Path) -> None:
    for name in ("etc/machine-id", "etc/ssh/ssh_host_rsa_key", "var/log/apt/history.log", "tmp/build/x",
                 "home/ubuntu/.ssh/authorized_keys"):  # fmt: skip
        write(tmp_path / name, age_s=1000)
    assert failed(listed(tmp_path, time.time() - 100), FACTS) == {
        "hygiene: no ssh folder of any user": "/home/ubuntu/.ssh",
        "hygiene: no ssh host keys": "/etc/ssh/ssh_host_rsa_key",
        "hygiene: machine-id is empty": "/etc/machine-id is older than the boot",
        "hygiene: no logs": "/var/log/apt/history.log",
        "hygiene: nothing in /tmp and /var/tmp": "/tmp/build",
    }


def test_on_this_machine_no_hash_is_read() -> None:
    found = probe.before_boot()
    assert probe._boot_time() < time.time()
    hashes = [line.split(":")[1] for line in found["texts"]["/etc/shadow"].splitlines()]
    assert all(len(value) <= 1 for value in hashes)
    assert "/etc/ssh" in found["folders"] or not Path("/etc/ssh").exists()
