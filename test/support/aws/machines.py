"""Containers with systemd and sshd behind the stand-in's instances: each at an address of its own, at port 22.

    with real_machines(engine, base_tar, folder) as machines:
        with running_aws(**machines.callbacks()) as aws: …

An image that is made of an instance keeps the instance's files (``docker commit``): an instance of that image has
them. What differs from EC2: cloud-init itself does not run in a container. A script in its place answers
``cloud-init status [--wait] [--long] [--format json]``, see ``set_cloud_init``; user data is not looked at; and what
cloud-init would do at the first boot (host keys, the key of the pair for the image's user) is done from outside.
"""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from test.support.aws.rules import Imaged, Machine, Started
from test.support.docker_engine import CLIENT, Engine
from test.support.ssh_machine import _MASKED

_PREFIX = "aws-standin"
_CLOUD_INIT = """\
#!/usr/bin/env python3
# Stands in for cloud-init, which does not run in a container: tells what /run/cloud-init/standin says.
import json, os, pathlib, sys, time
def state():
    file = pathlib.Path("/run/cloud-init/standin")
    return json.loads(file.read_text()) if file.exists() else {"status": "done", "errors": []}
if sys.argv[1:2] != ["status"]:
    os.execv("/usr/bin/cloud-init", sys.argv)
while "--wait" in sys.argv and state()["status"] in ("running", "not started"):
    time.sleep(0.2)
now = state()
if "--format" in sys.argv or "--format=json" in sys.argv:
    print(json.dumps({"status": now["status"], "extended_status": now["status"], "errors": now["errors"],
                      "detail": "", "recoverable_errors": {}, "stage": None}, indent=1))
else:
    print("status:", now["status"])
    if "--long" in sys.argv:
        print("detail:", *now["errors"], sep="\\n")
sys.exit(1 if now["status"] == "error" else 0)
"""
_SETUP = f"""\
set -e
if ! id {{user}} >/dev/null 2>&1; then
    groupadd --gid 900 {{user}}
    useradd --uid 900 --gid 900 --create-home --shell /bin/bash {{user}}
fi
echo '{{user}} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-cloud-init-users
cat > /usr/local/bin/cloud-init
chmod 755 /usr/local/bin/cloud-init
for unit in {_MASKED} ssh.service ssh.socket; do ln -sf /dev/null /etc/systemd/system/$unit; done
rm -f /etc/ssh/ssh_host_*
: > /etc/machine-id
"""
#: At the first start, in cloud-init's place; sshd comes last: who gets in finds all done.
_FIRST_BOOT = """\
set -e
home=$(getent passwd {user} | cut -d: -f6)
install -d -m 700 -o {user} -g $(id -gn {user}) "$home/.ssh"
cat > "$home/.ssh/authorized_keys"
chown {user}: "$home/.ssh/authorized_keys"
chmod 600 "$home/.ssh/authorized_keys"
mkdir -p /run/sshd /run/cloud-init /var/lib/cloud/instance
touch /var/lib/cloud/instance/boot-finished
echo '{{"v1": {{"errors": []}}}}' > /run/cloud-init/result.json
ssh-keygen -A >/dev/null
rm -f /etc/systemd/system/ssh.service
systemctl daemon-reload
systemctl start ssh.service
cat /etc/ssh/ssh_host_*_key.pub
"""
_RUN = (
    *("--stop-signal", "SIGRTMIN+3", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),
    *("--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cap-add", "SYS_ADMIN"),
    *("--security-opt", "seccomp=unconfined"),
)


class Machines:
    """The machines of one stand-in. disk: see ``on_image`` of ``running_aws``; gets the container's name."""

    def __init__(self, engine: Engine, user: str, disk: Callable[[str], Path | None] | None) -> None:
        self.engine = engine
        self.user = user
        self._disk = disk
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._images: dict[str, str] = {}
        #: What the next instances' cloud-init says; see ``set_cloud_init``.
        self.cloud_init: dict[str, Any] = {"status": "done", "errors": []}

    def callbacks(self) -> dict[str, Any]:
        """For ``running_aws``."""
        return {"on_instance": self.start, "on_termination": self.stop, "on_image": self.keep}

    @staticmethod
    def container(instance_id: str) -> str:
        return f"{_PREFIX}-{instance_id}"

    def run(self, instance_id: str, script: str, *, stdin: bytes = b"") -> str:
        """Runs a shell script in a machine as root."""
        return self.engine.docker("exec", "-i", self.container(instance_id), "sh", "-ec", script, stdin=stdin)

    def set_cloud_init(self, instance_id: str, status: str, errors: tuple[str, ...] = ()) -> None:
        """status: running, done, error, degraded …"""
        state = json.dumps({"status": status, "errors": list(errors)}).encode()
        self.run(instance_id, "mkdir -p /run/cloud-init; cat > /run/cloud-init/standin", stdin=state)

    def start(self, started: Started) -> Machine:
        """A container at the next address of 127.88.0.0/16."""
        with self._lock:
            number = next(self._numbers)
            image = self._images.get(started.image_id, f"{_PREFIX}-machine")
        address = f"127.88.{number // 250}.{number % 250 + 1}"
        name = self.container(started.instance_id)
        self.engine.docker("run", "--detach", "--name", name, *_RUN, "--publish", f"{address}:22:22", image)
        self.run(
            started.instance_id,
            "until systemctl is-system-running 2>/dev/null | grep -Eq 'run|degr'; do sleep 0.1; done",
        )
        if self.cloud_init != {"status": "done", "errors": []}:
            self.set_cloud_init(started.instance_id, self.cloud_init["status"], tuple(self.cloud_init["errors"]))
        key = f"{started.public_key}\n".encode()
        keys = self.run(started.instance_id, _FIRST_BOOT.format(user=self.user), stdin=key)
        _wait_for_ssh(address)
        return Machine(address, tuple(" ".join(line.split()[:2]) for line in keys.splitlines() if line))

    def keep(self, imaged: Imaged) -> Path | None:
        """An image of the container's files. The first boot is to come again: sshd waits for it."""
        name = f"{_PREFIX}-{imaged.image_id}"
        container = self.container(imaged.instance_id)
        change = "RUN ln -sf /dev/null /etc/systemd/system/ssh.service && rm -f /etc/ssh/ssh_host_*"
        self.engine.docker("commit", container, f"{name}-raw")
        self.engine.docker("build", "--tag", name, "-", stdin=f"FROM {name}-raw\n{change}\n".encode())
        with self._lock:
            self._images[imaged.image_id] = name
        return self._disk(container) if self._disk else None

    def stop(self, instance_id: str) -> None:
        self.engine.docker("rm", "--force", "--volumes", self.container(instance_id), check=False)

    def containers(self) -> list[str]:
        """Names of those behind instances."""
        names = self.engine.docker("ps", "--all", "--format", "{{.Names}}").split()
        return [name for name in names if name.startswith(f"{_PREFIX}-i-")]

    def clean(self) -> None:
        """Removes what is ours in the engine."""
        for name in (*self.containers(), f"{_PREFIX}-prepared"):
            self.engine.docker("rm", "--force", "--volumes", name, check=False)
        images = self.engine.docker("images", "--format", "{{.Repository}}").split()
        for name in images:
            if name.startswith(f"{_PREFIX}-"):
                self.engine.docker("rmi", "--force", name, check=False)


@contextmanager
def real_machines(
    engine: Engine,
    base_tar: Path,
    *,
    user: str = "admin",
    disk: Callable[[str], Path | None] | None = None,
) -> Iterator[Machines]:
    """base_tar: a root file system with systemd, openssh-server, sudo and Python. user: the image's, for the key.

    Containers and images are named aws-standin-…; those of an earlier run in the same engine go first.
    """
    machines = Machines(engine, user, disk)
    machines.clean()
    try:
        with base_tar.open("rb") as tar:
            command = [CLIENT, "-H", f"unix://{engine.socket}", "import", "-", f"{_PREFIX}-base"]
            done = subprocess.run(command, stdin=tar, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        prepared = f"{_PREFIX}-prepared"
        script = _SETUP.format(user=user)
        engine.docker(
            "run", "--name", prepared, "-i", f"{_PREFIX}-base", "sh", "-c", script, stdin=_CLOUD_INIT.encode()
        )
        engine.docker("commit", "--change", 'CMD ["/sbin/init"]', prepared, f"{_PREFIX}-machine")
        engine.docker("rm", prepared)
        yield machines
    finally:
        machines.clean()


def _wait_for_ssh(address: str) -> None:
    for _ in range(100):
        with socket.socket() as tried:
            tried.settimeout(2)
            try:
                tried.connect((address, 22))
                if tried.recv(4) == b"SSH-":
                    return
            except OSError:
                pass
        time.sleep(0.1)
    raise AssertionError(f"no ssh server at {address}")
