"""What takes the room in a root file system: by part, by package, by folder, and what of it nobody would miss.

Sizes are those of the files' contents; a file with several names counts once, under the first in alphabetical order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_PACKAGES_SHOWN = 15
_FOLDERS_SHOWN = 15
_FOLDER_DEPTH = 4
_DPKG_INFO = "/var/lib/dpkg/info/"
#: Of packages made before /usr was merged: dpkg's lists name the links (Debian's UsrMerge).
_MERGED = re.compile(r"^/(bin|sbin|lib|lib32|lib64|libx32)(/|$)")
_SITE_PACKAGES = re.compile(r"^(?P<venv>.*?)/lib(?:64)?/python3[^/]*/(?:site|dist)-packages/(?P<rest>.+)")


@dataclass(frozen=True)
class File:
    """A file of the root file system. path: absolute, seen from inside. inode: the same for all names of one file."""

    path: str
    size_bytes: int
    inode: int


@dataclass(frozen=True)
class Share:
    """name: of a part, a package or a folder."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Avoidable:
    """What could go. how: what takes it away in our images."""

    name: str
    size_bytes: int
    how: str


@dataclass(frozen=True)
class LayerShare:
    """A layer of a container image, the lowest first. digest: of the uncompressed tar. made_by: as the image says.

    size_bytes: of its files. hidden_bytes: of those of them that a later layer replaces or takes away.
    """

    digest: str
    size_bytes: int
    hidden_bytes: int
    made_by: str


@dataclass(frozen=True)
class Usage:
    """parts: cover all, each file once. packages, folders: the largest of them; they overlap with the parts.

    layers: of a container image; their sizes together are those of the parts and what is hidden.
    """

    size_bytes: int
    files: int
    parts: tuple[Share, ...]
    packages: tuple[Share, ...]
    folders: tuple[Share, ...]
    avoidable: tuple[Avoidable, ...]
    layers: tuple[LayerShare, ...] = ()


@dataclass(frozen=True)
class _Rule:
    name: str
    pattern: re.Pattern[str]
    how: str = ""


def _rule(name: str, pattern: str, how: str = "") -> _Rule:
    return _Rule(name, re.compile(pattern), how)


#: The first that fits counts.
_PARTS = (
    _rule("kernel: modules", r"/usr/lib/modules/"),
    _rule("kernel: firmware", r"/usr/lib/firmware/"),
    _rule("kernel: image and initial RAM disk", r"/boot/"),
    _rule("caches and package lists", r"/var/cache/|/var/lib/apt/lists/|.*/\.cache/|.*/pip/http"),
    _rule("logs", r"/var/log/"),
    _rule("documentation", r"/usr/share/(doc|man|info|gtk-doc|help)/"),
    _rule("translations and locales", r"/usr/share/(locale|i18n)/|/usr/lib/locale/"),
    _rule("container engine", r"/usr/s?bin/(dockerd|docker|docker-.*|containerd.*|ctr|runc)$|/usr/libexec/docker/"),
    _rule("byte code of Python", r".*/__pycache__/"),
    _rule("tests of Python packages", r".*/(site|dist)-packages/(.*/)?tests?/"),
    _rule("Python packages of JupyterLab", r"/opt/jupyter/"),
    _rule("Poetry", r"/opt/poetry/"),
    _rule("homes", r"/(home|root)/"),
    _rule("variable data", r"/var/"),
    _rule("programs and libraries of the distribution", r"/usr/|/etc/|/opt/"),
)
_BY_DPKG = "dpkg's path-exclude, in /etc/dpkg/dpkg.cfg.d"
_BY_JUPYTER = "role jupyter, after pip"
_BY_SEAL = "role seal"
#: Largest first, as measured in the sandbox image on Debian 13 (doc/performance.md).
_AVOIDABLE = (
    _rule("tests of Python packages", r".*/site-packages/.*/tests/", _BY_JUPYTER),
    _rule("ctr, a debugging client of containerd", r"/usr/bin/ctr$", _BY_DPKG),
    _rule("hardware database of udev", r"/usr/lib/udev/hwdb(\.d/|\.bin$)", _BY_DPKG),
    _rule("shims of containerd before 2.0", r"/usr/bin/containerd-shim(-runc-v1)?$", _BY_DPKG),
    _rule("C code that Python packages were made from", r".*/site-packages/.*\.(c|cpp)$", _BY_JUPYTER),
    _rule("modules for WLAN and Bluetooth",
          r"/usr/lib/modules/[^/]+/kernel/(drivers/(net/wireless|bluetooth)|net/(bluetooth|mac80211|wireless))/",
          _BY_DPKG),
    _rule("modules for cameras and television", r"/usr/lib/modules/[^/]+/kernel/drivers/media/", _BY_DPKG),
    _rule("modules for graphics processors",
          r"/usr/lib/modules/[^/]+/kernel/drivers/gpu/drm/(amd|i915|nouveau|radeon|xe)/", _BY_DPKG),
    _rule("modules for sound", r"/usr/lib/modules/[^/]+/kernel/sound/", _BY_DPKG),
    _rule("source maps of JupyterLab", r".*\.(js|css)\.map$", _BY_JUPYTER),
    _rule("firmware", r"/usr/lib/firmware/", "linux-firmware is not installed"),
    _rule("manual pages and documentation", r"/usr/share/(man|info)/|/usr/share/doc/.*(?<!/copyright)$", _BY_DPKG),
    _rule("translations", r"/usr/share/locale/.+/", _BY_DPKG),
    _rule("package lists and archives of apt", r"/var/lib/apt/lists/.|/var/cache/apt/.", _BY_SEAL),
    _rule("caches of pip and Poetry", r".*/\.cache/(pip|pypoetry)/", _BY_SEAL),
)  # fmt: skip


def usage_of(files: Iterable[File], *, read: Callable[[list[str]], Mapping[str, str]]) -> Usage:
    """Adds up. read: the texts of small files, by their paths (dpkg's lists)."""
    once: dict[int, File] = {}
    for file in sorted(files, key=lambda each: each.path):
        once.setdefault(file.inode, file)
    counted = list(once.values())
    owners = _owners(read([file.path for file in counted if is_package_list(file.path)]))
    parts: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    folders: Counter[str] = Counter()
    avoidable: Counter[str] = Counter()
    for file in counted:
        parts[next((rule.name for rule in _PARTS if rule.pattern.match(file.path)), "other files")] += file.size_bytes
        package = owners.get(file.path) or _python_package(file.path)
        if package:
            packages[package] += file.size_bytes
        for folder in list(PurePosixPath(file.path).parents)[:-1][-_FOLDER_DEPTH:]:
            folders[str(folder)] += file.size_bytes
        found = next((rule for rule in _AVOIDABLE if rule.pattern.match(file.path)), None)
        if found:
            avoidable[found.name] += file.size_bytes
    how = {rule.name: rule.how for rule in _AVOIDABLE}
    return Usage(
        size_bytes=sum(file.size_bytes for file in counted),
        files=len(counted),
        parts=_largest(parts, len(parts)),
        packages=_largest(packages, _PACKAGES_SHOWN),
        folders=_largest(folders, _FOLDERS_SHOWN),
        avoidable=tuple(Avoidable(each.name, each.size_bytes, how[each.name]) for each in _largest(avoidable, 99)),
    )


def _largest(sizes: Counter[str], count: int) -> tuple[Share, ...]:
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Share(name, size_bytes) for name, size_bytes in ordered[:count] if size_bytes)


def is_package_list(path: str) -> bool:
    """Whether dpkg keeps the paths of a package there."""
    return path.startswith(_DPKG_INFO) and path.endswith(".list")


def _owners(lists: Mapping[str, str]) -> dict[str, str]:
    """The Debian package of each path (dpkg-query(1), --listfiles)."""
    owners: dict[str, str] = {}
    for path, text in lists.items():
        package = path.removeprefix(_DPKG_INFO).removesuffix(".list").split(":")[0]
        for line in text.splitlines():
            owners[_MERGED.sub(r"/usr/\1\2", line)] = f"Debian: {package}"
    return owners


def _python_package(path: str) -> str | None:
    """What pip installed, by the folder in site-packages; its ``.libs`` (auditwheel) belong to it."""
    found = _SITE_PACKAGES.match(path)
    if not found or not found["venv"].startswith(("/opt/", "/usr/local")):
        return None
    name = re.sub(r"(\.libs|-[^-/]+\.dist-info)$", "", found["rest"].split("/")[0])
    return f"Python: {name} ({found['venv']})"
