"""A Docker engine of the tests' own, on a machine without an init system (Debian's docker.io and iptables).

It leaves the machine as it was: the bridge, the policy of the FORWARD chain, ip_forward and its mounts are put back.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
#: A newer client than the engine may come first on PATH.
CLIENT = "/usr/bin/docker"


@dataclass(frozen=True)
class Engine:
    """A running engine. socket: its API."""

    socket: Path

    @property
    def host(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.socket}"

    @property
    def gateway(self) -> str:
        """The address of this machine on the engine's own network: the first of its subnet, or what it says."""
        shown = self.docker("network", "inspect", "bridge", "--format", "{{json (index .IPAM.Config 0)}}")
        found = json.loads(shown)
        return str(found.get("Gateway") or next(ipaddress.ip_network(found["Subnet"]).hosts()))

    def leftovers(self) -> tuple[list[str], list[str]]:
        """Names of containers that a command of ours made, and ids of images without a name that nothing needs.

        Other tests may have left some of the latter: compare with what was there before.
        """
        names = set(self.docker("ps", "--all", "--format", "{{.Names}}", "--filter", "name=^dss-(build|kept)_").split())
        names |= set(
            self.docker("ps", "--all", "--format", "{{.Names}}", "--filter", "label=exasol-like-dss.process").split()
        )
        dangling = self.docker("images", "--quiet", "--filter", "dangling=true").split()
        return sorted(names), sorted(dangling)

    def docker(self, *arguments: str | Path, stdin: bytes | None = None, check: bool = True) -> str:
        """Runs the client; returns what it printed. Raises ``AssertionError`` with its errors."""
        done = subprocess.run(
            [CLIENT, "-H", f"unix://{self.socket}", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"docker {arguments}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode(errors="replace")


@contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    """Starts an engine whose data are in ``folder``, and stops it. ``DSS_TEST_DOCKER_SOCKET`` names one that runs
    already: there can be only one with a bridge, and starting it for each run takes a developer's time."""
    if os.environ.get("DSS_TEST_DOCKER_SOCKET"):
        yield Engine(Path(os.environ["DSS_TEST_DOCKER_SOCKET"]))
        return
    forward = _IP_FORWARD.read_text()
    policy = _forward_policy()
    had_bridge = Path("/sys/class/net/docker0").exists()
    log = (folder / "dockerd.log").open("wb")
    process = subprocess.Popen(
        [
            _program("dockerd"),
            *("--data-root", folder / "data", "--exec-root", folder / "exec"),
            *("--pidfile", folder / "dockerd.pid", "--host", f"unix://{folder / 'docker.sock'}"),
            *("--log-level", "warn"),
        ],
        stdout=log,
        stderr=log,
        start_new_session=True,
        env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
    )
    engine = Engine(folder / "docker.sock")
    try:
        for _ in range(200):
            assert process.poll() is None, (folder / "dockerd.log").read_text()
            if engine.docker("version", check=False).count("Version:") > 1:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("the Docker engine did not answer: " + (folder / "dockerd.log").read_text())
        yield engine
    finally:
        with contextlib.suppress(AssertionError):
            for container in engine.docker("ps", "--all", "--quiet").split():
                engine.docker("rm", "--force", "--volumes", container, check=False)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()
        log.close()
        _unmount_below(folder)
        if not had_bridge:
            subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
        if policy:
            subprocess.run(["iptables", "-P", "FORWARD", policy], capture_output=True, check=False)
        _IP_FORWARD.write_text(forward)
        shutil.rmtree(folder / "data", ignore_errors=True)


def _program(name: str) -> str:
    """Debian's engine is in /usr/sbin, Docker's own in /usr/bin."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin")
    assert found, f"{name} is not installed; scripts/test does it"
    return found


def _forward_policy() -> str:
    done = subprocess.run(["iptables", "-S", "FORWARD"], capture_output=True, text=True, check=False)
    first = done.stdout.splitlines()[:1]
    return first[0].split()[-1] if first and first[0].startswith("-P FORWARD") else ""


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((path for path in mounts if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False)
