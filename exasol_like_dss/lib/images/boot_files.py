"""What a kernel needs besides its package: the index of its modules, and the initial RAM disk.

Maintainer scripts would make both while packages are configured, and the initial RAM disk twice: when the kernel is
configured, and at the end. The build makes them once, beside Ansible.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.waiting import awaited

#: For every kernel that has no initial RAM disk yet. Runs inside of the root file system.
MAKE_BOOT_FILES = """\
set -eu
for kernel in /boot/vmlinuz-*; do
    [ -e "$kernel" ] || continue
    version=${kernel#/boot/vmlinuz-}
    [ ! -e "/boot/initrd.img-$version" ] || continue
    index=/lib/modules/$version/modules.dep.bin
    # It may have been made before the last package with modules came.
    if [ ! -e "$index" ] || [ -n "$(find "/lib/modules/$version" -name '*.ko*' -cnewer "$index" -print -quit)" ]; then
        depmod "$version"
    fi
    update-initramfs -c -k "$version"
done
"""

#: Runs inside of the root file system. $1: a folder where maintainer scripts look first for programs. $2: the script
#: above. A package that a role brings may want to update the RAM disk: it waits until the first one is there.
_MAKE_BESIDE = """\
set -eu
printf '#!/bin/sh\\nexec flock %s /usr/sbin/update-initramfs "$@"\\n' "$1" > "$1/update-initramfs"
chmod 755 "$1/update-initramfs"
exec flock "$1" sh -c "$2"
"""
#: Lists of the files of packages: the modules are in linux-image-VERSION (Debian) or linux-modules-VERSION (Ubuntu).
_KERNEL_LISTS = "var/lib/dpkg/info/linux-*.list"
_MODULES = re.compile(r"^(?:/usr)?/lib/modules/([^/\n]+)/modules\.order$", re.MULTILINE)
_POLL_S = 0.1


def index_modules(root: Path, *, programs: Programs, ended: Callable[[], bool], cancelled: Callable[[], bool]) -> None:
    """Makes the index of a kernel's modules as soon as dpkg has unpacked them, unless that has ``ended`` before.

    It takes some seconds and needs nothing but the modules; and dpkg has one processor's work to do.
    """
    while not ended():
        # dpkg writes the list of a package's files when all of them have their names.
        for listed in root.glob(_KERNEL_LISTS):
            if found := _MODULES.search(listed.read_text()):
                programs.run(["chroot", str(root), "depmod", found[1]], what="indexing kernel modules",
                             cancelled=cancelled)  # fmt: skip
                return
        time.sleep(_POLL_S)


class BootFiles:
    """Makes them for the time of the block, in a thread, for every kernel that has none.

    enter: the words before a command that runs inside the root file system. first_in_path: a folder there, where
    maintainer scripts look first for programs. timestamp: seconds since 1970, for what is in the RAM disk; 0 for now.
    An error in the block, or ``cancelled``, ends it.
    """

    def __init__(
        self,
        enter: Sequence[str],
        *,
        first_in_path: str,
        timestamp: int,
        programs: Programs,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> None:
        # Only for mkinitramfs(8). In the environment of all programs it would make Python compile files that are
        # compared with their sources at each import.
        fixed = [f"SOURCE_DATE_EPOCH={timestamp}"] if timestamp else []
        self._argv = [*enter, "/usr/bin/env", *fixed, "sh", "-c", _MAKE_BESIDE, "sh", first_in_path, MAKE_BOOT_FILES]
        self._programs = programs
        self._progress = progress
        self._cancelled = cancelled
        self._under = progress.current()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="boot-files")
        self._made: Future[None]

    def __enter__(self) -> BootFiles:
        self._made = self._pool.submit(self._make)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stop.set()
        self._pool.shutdown(wait=True)

    def finish(self) -> None:
        """Waits until they are there. Raises ``DssError`` when they can't be made, and ``Interrupted``."""
        awaited(self._made)

    def _make(self) -> None:
        with self._progress.step("modules' index and initial RAM disk", under=self._under):
            self._programs.run(
                self._argv,
                what="making the initial RAM disk",
                cancelled=lambda: self._stop.is_set() or self._cancelled(),
            )
