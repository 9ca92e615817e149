"""The distributions that a sandbox can be based on, and where their packages come from.

No host name of a mirror stands here: packages come from ``--mirror``, else from where this machine's own apt gets them
when it runs the same distribution, else from mmdebstrap's default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError

#: What makes a root file system a machine that boots, reachable over ssh. What a user works with is Ansible's.
_MACHINE = (
    "apt",  # not in Ubuntu's minimal set
    "ca-certificates",
    "cloud-guest-utils",
    "cloud-init",
    "dbus",
    "initramfs-tools",
    "iproute2",
    "netplan.io",
    "openssh-server",
    "python3",
    "python3-apt",  # Ansible's module for packages would fetch it, in a transaction of its own
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "zstd",
)


#: How apt is asked where it gets packages from.
INDEX_TARGETS = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
OS_RELEASE = Path("/etc/os-release")


@dataclass(frozen=True)
class Base:
    """One release of one distribution. kernel: the package of a kernel that has every hypervisor's drivers."""

    name: str
    distribution: str
    suite: str
    title: str
    components: tuple[str, ...]
    kernel: str
    keyring: Path
    keyring_package: str

    @property
    def packages(self) -> tuple[str, ...]:
        return (*_MACHINE, self.kernel)


def _debian(version: str, suite: str) -> Base:
    return Base(
        name=f"debian-{version}",
        distribution="debian",
        suite=suite,
        title=f"Debian {version}",
        components=("main",),
        # The smaller "cloud" kernel has no AHCI and no e1000: in VirtualBox and VMware it finds no disk, no network.
        kernel="linux-image-amd64",
        keyring=Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
        keyring_package="debian-archive-keyring",
    )


BASES: dict[str, Base] = {
    base.name: base
    for base in (
        _debian("13", "trixie"),
        _debian("12", "bookworm"),
        Base(
            name="ubuntu-24.04",
            distribution="ubuntu",
            suite="noble",
            title="Ubuntu 24.04 LTS",
            components=("main", "universe"),
            # "generic" brings half a gigabyte of firmware for real hardware.
            kernel="linux-image-virtual",
            keyring=Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
            keyring_package="ubuntu-keyring",
        ),
    )
}


@dataclass(frozen=True)
class Mirror:
    """Where packages come from. ``None``: mmdebstrap's own default (for security: no security updates)."""

    archive: str | None
    security: str | None
    source: str

    def sources(self, base: Base) -> list[str]:
        """One-line entries of sources.list(5); empty for mmdebstrap's default."""
        if self.archive is None:
            return []
        components = " ".join(base.components)
        lines = [f"deb {self.archive} {suite} {components}" for suite in (base.suite, f"{base.suite}-updates")]
        if self.security:
            lines.append(f"deb {self.security} {base.suite}-security {components}")
        return lines


@dataclass(frozen=True)
class HostArchive:
    """What this machine's apt uses: the distribution's archive and its security archive."""

    distribution: str
    archive: str | None
    security: str | None


def host_archive(programs: Programs, *, os_release: Path = OS_RELEASE) -> HostArchive:
    """Asks apt (which reads every kind of sources file) where it gets this distribution's packages."""
    fields = dict(line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
    distribution = fields.get("ID", "").strip('"')
    codename = fields.get("VERSION_CODENAME", "").strip('"')
    listed = programs.run(INDEX_TARGETS, what="asking apt for its sources")
    rows = [line.split() for line in listed.splitlines() if line.count(" ") == 2]

    def first(suites: tuple[str, ...]) -> str | None:
        return next(
            (uri.rstrip("/") for uri, suite, component in rows if suite in suites and component == "main"), None
        )

    return HostArchive(distribution, first((codename,)), first((f"{codename}-security", f"{codename}/updates")))


def choose_mirror(
    base: Base, *, mirror: str | None, host: Callable[[], HostArchive], reachable: Callable[[str], bool]
) -> Mirror:
    """Decides where the packages of ``base`` come from.

    reachable: whether the file at an address can be had. Raises ``InputError`` when the mirror does not answer, or does
    not hold this release.
    """
    if mirror is None:
        found = host()
        if found.distribution != base.distribution or not found.archive:
            return Mirror(None, None, "mmdebstrap's default")
        chosen = Mirror(found.archive, found.security, "this machine's apt")
    else:
        mirror = mirror.rstrip("/")
        # Debian's security archive is a folder beside, Ubuntu's mirrors have it inside.
        beside = next(
            (url for url in (mirror, f"{mirror}-security") if reachable(_release(url, f"{base.suite}-security"))), None
        )
        chosen = Mirror(mirror, beside, "--mirror")
    assert chosen.archive
    if not reachable(_release(chosen.archive, base.suite)):
        raise InputError(
            f"The package mirror {chosen.archive} can't be reached, or does not hold {base.title} ({base.suite}).",
            hint="Check the address and the network, or give another one with --mirror. (Step: root file system)",
        )
    return chosen


def _release(url: str, suite: str) -> str:
    return f"{url}/dists/{suite}/InRelease"
