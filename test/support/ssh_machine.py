"""A machine that behaves like a cloud instance: systemd, sshd, sudo, a user with a key. A container of our own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from test.support.docker_engine import CLIENT, Engine
from test.support.git_server import free_port

#: Units that want hardware, or a console, which a container has not.
_MASKED = (
    "systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service "
    "systemd-modules-load.service systemd-networkd.service systemd-networkd.socket "
    "systemd-networkd-wait-online.service "
    "systemd-resolved.service systemd-timesyncd.service getty@.service serial-getty@.service console-getty.service "
    "cloud-init-local.service cloud-init.service cloud-config.service cloud-final.service"
)
_SETUP = f"""\
set -e
groupadd --gid 900 admin
useradd --uid 900 --gid 900 --create-home --shell /bin/bash admin
echo 'admin ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/admin
install -d -m 700 -o admin -g admin /home/admin/.ssh
cat > /home/admin/.ssh/authorized_keys
chown admin:admin /home/admin/.ssh/authorized_keys
chmod 600 /home/admin/.ssh/authorized_keys
for unit in {_MASKED}; do ln -sf /dev/null /etc/systemd/system/$unit; done
: > /etc/machine-id
ssh-keygen -A  # cloud-init would, at the first boot
"""


@dataclass(frozen=True)
class SshMachine:
    """Where it listens, and how one gets in."""

    engine: Engine
    container: str
    host: str
    port: int
    user: str
    private_key: Path

    def run(self, script: str) -> str:
        """Runs a shell script in it as root."""
        return self.engine.docker("exec", "--interactive", self.container, "sh", "-ec", script)


@contextmanager
def ssh_machine(engine: Engine, base_tar: Path, folder: Path) -> Iterator[SshMachine]:
    """Starts a machine from a base root file system (a tar, or a folder of mmdebstrap's)."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with base_tar.open("rb") as tar:
        done = subprocess.run(
            [CLIENT, "-H", f"unix://{engine.socket}", "import", "-", "dss-test-base"],
            stdin=tar,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    engine.docker("run", "--name", "prepared", "--interactive", "dss-test-base", "sh", "-c", _SETUP,
                  stdin=key.with_suffix(".pub").read_bytes())  # fmt: skip
    engine.docker("commit", "--change", 'CMD ["/sbin/init"]', "prepared", "machine")
    engine.docker("rm", "--force", "prepared")
    port = free_port()
    container = engine.docker(
        *(
            "run",
            "--detach",
            "--stop-signal",
            "SIGRTMIN+3",
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/run/lock",
            "--tmpfs",
            "/tmp:exec",
        ),
        *("--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cap-add", "SYS_ADMIN"),
        *("--security-opt", "seccomp=unconfined", "--publish", f"127.0.0.1:{port}:22", "machine"),
    ).strip()
    machine = SshMachine(engine, container, "127.0.0.1", port, "admin", key)
    for _ in range(120):
        with socket.socket() as tried:
            tried.settimeout(2)
            try:
                tried.connect(("127.0.0.1", port))
                if tried.recv(4) == b"SSH-":
                    break
            except OSError:
                pass
        time.sleep(0.25)
    else:
        raise AssertionError("no ssh server: " + engine.docker("logs", container, check=False))
    try:
        yield machine
    finally:
        engine.docker("rm", "--force", "--volumes", container)
