"""The base root file system: a minimal distribution that boots, made by mmdebstrap."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache.packages import PackageCache
from exasol_like_dss.lib.errors import DssError, InputError, ProgramFailed
from exasol_like_dss.lib.images import maintainer_scripts
from exasol_like_dss.lib.images.bases import Base, Mirror
from exasol_like_dss.lib.images.boot_files import MAKE_BOOT_FILES, index_modules
from exasol_like_dss.lib.images.packages_ahead import PackagesAhead
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress

#: mmdebstrap's announcements that are worth a status line.
_ANNOUNCED = re.compile(r"^I: (.+?)\.*$")
_NOT_REACHED = re.compile(
    r"^(?:E|Err|W): ?(.*(?:Failed to fetch|Could not resolve|Could not connect|Unable to connect).*)$"
)


#: What dpkg leaves out, now and at every later upgrade of the image: manual pages (there is no program to read them),
#: translations and documentation, but for the copyright files, which the licences ask for. A twentieth of the image.
#: Also what a virtual machine with a container engine has no use for (``dss image-size`` measures it; another
#: twentieth): drivers of sound cards, cameras, WLAN, Bluetooth and graphics processors, names and quirks of hardware,
#: the debugging client of containerd, and its shims for versions before 2.0. /lib: in packages made before /usr was
#: merged.
_NO_HARDWARE = ("drivers/bluetooth", "drivers/gpu/drm/amd", "drivers/gpu/drm/i915", "drivers/gpu/drm/nouveau",
                "drivers/gpu/drm/radeon", "drivers/gpu/drm/xe", "drivers/media", "drivers/net/wireless",
                "net/bluetooth", "net/mac80211", "net/wireless", "sound")  # fmt: skip
_EXCLUDED = """\
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/bin/ctr
path-exclude=/usr/bin/containerd-shim
path-exclude=/usr/bin/containerd-shim-runc-v1
path-exclude=/usr/lib/udev/hwdb.d/*
path-exclude=/lib/udev/hwdb.d/*
""" + "".join(
    f"path-exclude={top}/modules/*/kernel/{below}/*\n" for below in _NO_HARDWARE for top in ("/usr/lib", "/lib")
)
#: Takes the same away from the essential packages, which are unpacked without dpkg. mmdebstrap could leave it out as it
#: unpacks them, but does that with a Python program per package: a fifth of the whole time.
_EXCLUDE = """\
set -eu
mkdir -p "$1/etc/dpkg/dpkg.cfg.d"
cp "$EXCLUDES" "$1/etc/dpkg/dpkg.cfg.d/exasol-like-dss"
for folder in man info; do rm -rf "$1/usr/share/$folder"/*; done
find "$1/usr/share/locale" -mindepth 1 -maxdepth 1 ! -name locale.alias -exec rm -rf {} +
find "$1/usr/share/doc" ! -type d ! -name copyright -delete
"""


def check_keyring(base: Base) -> None:
    """Raises ``InputError`` when this machine lacks the keys that sign the base's packages."""
    if not base.keyring.is_file():
        raise InputError(
            f"The archive keys of {base.title} ({base.keyring}) are not on this machine.",
            hint=f"apt-get install {base.keyring_package} (where your distribution has it), or choose another --base.",
        )


def build_root_file_system(
    root: Path,
    *,
    base: Base,
    mirror: Mirror,
    packages: Sequence[str] | None = None,
    ca_bundle: Path | None,
    boot_files: bool = True,
    package_cache: Path | None = None,
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
) -> None:
    """Unpacks and configures packages of ``base`` in ``root`` (made when missing, must be empty).

    packages: besides the essential ones; those of a machine that boots unless given. boot_files: whether the index of
    the kernel's modules and the initial RAM disk are made; else ``BootFiles`` does it later. package_cache: the folder
    of the cache whose packages are used. ``root`` has a folder of the build's own around it.

    The package lists stay there, so that provisioning need not fetch them again. Raises ``DssError`` when a package or
    the mirror can't be had.
    """
    options = ["Acquire::Languages none", "Acquire::Retries 3",
               f"DPkg::Path {maintainer_scripts.FOLDER}:/usr/sbin:/usr/bin:/sbin:/bin"]  # fmt: skip
    if ca_bundle:
        options.append(f'Acquire::https::CAInfo "{ca_bundle}"')
    excluded = root.parent / "dpkg-excludes"
    excluded.write_text(_EXCLUDED)
    exclude = root.parent / "dpkg-exclude-now"
    exclude.write_text(_EXCLUDE + maintainer_scripts.BEGIN)
    end = root.parent / "maintainer-scripts-end"
    end.write_text("set -eu\n" + maintainer_scripts.END)
    wanted = packages if packages is not None else base.packages

    def cancelled() -> bool:
        return cancellation.cancelled

    ahead = PackagesAhead(
        root, root.parent / "packages-ahead", wanted, programs=programs, cancelled=cancelled,
        cache=PackageCache(package_cache, [base.name, *mirror.sources(base)]) if package_cache else None,
        afterwards=lambda ended: index_modules(root, programs=programs, ended=ended, cancelled=cancelled),
    )  # fmt: skip
    argv = [
        # The user's own fixed time is for the disk.
        *("env", "--unset=SOURCE_DATE_EPOCH", "mmdebstrap"),
        "--mode=root",
        "--format=directory",
        "--variant=minbase",
        f"--include={','.join(wanted)}",
        *(f"--aptopt={option}" for option in options),
        # A build that is killed starts anew: there is nothing to protect with fsync(2).
        "--dpkgopt=force-unsafe-io",
        "--skip=cleanup/apt/lists",
        f'--extract-hook=sh {shlex.quote(str(exclude))} "$1"',
        # What these options left belongs to the build, not to the image.
        '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"',
        *ahead.options(),
        f'--customize-hook=sh {shlex.quote(str(end))} "$1"',
        *(['--customize-hook=chroot "$1" sh -c "$MAKE_BOOT_FILES"'] if boot_files else ()),
        base.suite,
        str(root),
        *mirror.sources(base),
    ]

    def show(line: str) -> None:
        ahead.heard(line)
        found = _ANNOUNCED.match(line)
        if found:
            progress.status(found[1])

    try:
        with ahead:
            programs.run(
                argv,
                what=f"building the root file system of {base.title}",
                contained=True,
                env={
                    # Python orders what it compiles by the hashes of strings, which are random otherwise.
                    "PYTHONHASHSEED": "0",
                    # Byte code is what py_compile makes of a package's files, never what an import leaves meanwhile.
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "EXCLUDES": str(excluded),
                    "MAKE_BOOT_FILES": MAKE_BOOT_FILES,
                },
                on_line=show,
                cancelled=cancelled,
            )
    except ProgramFailed as failed:
        missed = [found[1] for line in failed.output.splitlines() if (found := _NOT_REACHED.match(line))]
        if missed:
            raise DssError(
                f"Packages of {base.title} can't be fetched from {mirror.archive or mirror.source}: {missed[-1]}",
                hint="Check the network, or give another mirror with --mirror. (Step: root file system)",
            ) from failed
        raise
