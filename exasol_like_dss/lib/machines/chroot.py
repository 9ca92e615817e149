"""A root file system on this machine, entered with chroot(2) from namespaces of its own.

A holder process (``sh``, waiting for its standard input to end) is the first process of a PID namespace, and owns a
mount namespace with what a build needs below the root: /proc, /sys, a small /dev, and fresh tmpfs on /run, /tmp and
/var/tmp. Ansible's commands enter through nsenter(1). The holder ends with us, however we end; the kernel then kills
all that runs inside and drops the mounts. So there is nothing to unmount, on no way out.

What only the build may see (CA bundle, apt's proxy, name servers) is on the tmpfs, and thus never in the image.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.machines.environment import (
    FIXED_ORDER,
    POLICY,
    POLICY_TEXT,
    UNSAFE_IO,
    UNSAFE_IO_TEXT,
    apt_configuration,
    pip_settings,
    proxies,
)
from exasol_like_dss.lib.machines.protocol import CA_VARIABLES

_BUILD = "/run/dss-build"
_CA = f"{_BUILD}/ca.crt"
_APT = f"{_BUILD}/apt.conf"
#: A folder inside, for the time of the build, where dpkg's maintainer scripts look first for programs.
FIRST_IN_PATH = f"{_BUILD}/first"
_POLICY = POLICY.lstrip("/")
_UNSAFE_IO = UNSAFE_IO.lstrip("/")
#: What is in the root as long as the machine is started, and not what was made there.
BUILD_FILES = (_POLICY, _UNSAFE_IO)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# /dev: what programs may expect, without the disks of this machine. The nodes are bind mounts: mknod(2) is not allowed
# everywhere. stub-resolv.conf: systemd-resolved's package makes /etc/resolv.conf a link to it.
_MOUNTS = f"""\
set -eu
root=$1 resolv=$2 ca=$3 apt=$4
export LC_ALL=C.UTF-8
hostname localhost  # known to the image's /etc/hosts, or to nobody: sudo asks
mount -t proc proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o mode=755,nosuid,size=1M dev "$root/dev"
for name in null zero full random urandom tty; do
    : > "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/var/tmp"
mkdir -p "$root/run/lock" "$root/run/systemd/resolve" "$root{FIRST_IN_PATH}"
cp "$resolv" "$root/run/systemd/resolve/stub-resolv.conf"
cp "$resolv" "$root/run/systemd/resolve/resolv.conf"
cp "$apt" "$root{_APT}"
if [ -n "$ca" ]; then cp "$ca" "$root{_CA}"; fi
echo ready
while read -r _; do :; done
"""


class ChrootMachine:
    """The root file system in ``root``, as a machine. ca_bundle: for https from inside, while it is built."""

    is_live = False

    def __init__(self, *, root: Path, work_directory: Path, programs: Programs, ca_bundle: Path | None) -> None:
        self._root = root
        self._work_directory = work_directory
        self._programs = programs
        self._ca_bundle = ca_bundle
        self._holder: int | None = None

    @contextmanager
    def started(self) -> Iterator[None]:
        """Raises ``DssError`` when the namespaces or mounts can't be made (in most containers, for example)."""
        apt = self._work_directory / "apt.conf"
        settings = apt_configuration(self._programs, ca_bundle=_CA if self._ca_bundle else None)
        apt.write_text(f'{settings}DPkg::Path "{FIRST_IN_PATH}:/usr/sbin:/usr/bin:/sbin:/bin";\n')
        resolv = self._root / "etc/resolv.conf"
        if not resolv.is_symlink():
            resolv.unlink(missing_ok=True)
            resolv.symlink_to("../run/systemd/resolve/stub-resolv.conf")
        argv = ["sh", "-c", _MOUNTS, "sh", str(self._root), "/etc/resolv.conf", str(self._ca_bundle or ""), str(apt)]
        process = self._programs.start(argv, contained=True, stdin=subprocess.PIPE)
        with self._programs.ended(process), self._kept_quiet():
            assert process.stdout and process.stderr
            if process.stdout.readline().strip() != b"ready":
                seen = process.stderr.read().decode(errors="replace").strip()
                raise DssError(
                    f"The build's namespaces and mounts can't be made: {seen}",
                    hint="Run dss on a machine (or in a container) where root may mount and make namespaces.",
                )
            self._holder = _child_of(process.pid)
            try:
                yield
            finally:
                self._holder = None

    def connection_variables(self) -> Mapping[str, Any]:
        return {"ansible_connection": "enter", "ansible_enter_command": self.enter_command()}

    def enter_command(self) -> list[str]:
        """The words that go before a command, to run it inside."""
        assert self._holder is not None, "the machine is not started"
        environment = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}
        return [
            self._programs.find("nsenter"),
            *("--target", str(self._holder), "--mount", "--uts", "--pid", "--"),
            *(self._programs.find("chroot"), str(self._root), "/usr/bin/env", "-i"),
            *(f"{name}={value}" for name, value in environment.items()),
        ]

    def build_environment(self) -> Mapping[str, str]:
        result = {"APT_CONFIG": _APT, "DEBIAN_FRONTEND": "noninteractive", **FIXED_ORDER, **pip_settings(), **proxies()}
        if self._ca_bundle:
            result |= dict.fromkeys(CA_VARIABLES, _CA)
        return result

    @contextmanager
    def _kept_quiet(self) -> Iterator[None]:
        """Packages start no services, and dpkg need not wait for the disk."""
        policy, unsafe_io = self._root / _POLICY, self._root / _UNSAFE_IO
        policy.write_text(POLICY_TEXT)
        policy.chmod(0o755)
        unsafe_io.parent.mkdir(parents=True, exist_ok=True)
        unsafe_io.write_text(UNSAFE_IO_TEXT)
        try:
            yield
        finally:
            policy.unlink(missing_ok=True)
            unsafe_io.unlink(missing_ok=True)


def _child_of(parent: int) -> int:
    """The process id of unshare's child, as this PID namespace numbers it."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields.get("PPid", "").strip() == str(parent):
            return int(status.parent.name)
    raise DssError("The build's namespace has ended already.", hint="Look into the system's log (out of memory?).")
