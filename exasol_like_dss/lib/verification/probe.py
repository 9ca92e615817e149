"""Runs *inside* the guest, sent over ssh to ``python3 -``: standard library only, prints one line of JSON.

One program collects all facts, since each ssh login takes seconds where QEMU translates. It judges nothing. Called
with ``root`` and ``before-boot`` (by sudo), and with ``user`` (as the login user). A part that fails leaves
``{"error": …}`` as its fact.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "dss-probe:"


def run(*argv: str, seconds: float = 60, data: bytes | None = None) -> tuple[int, str]:
    """Exit code and both streams."""
    try:
        done = subprocess.run(
            argv, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {seconds:.0f} s"
    except OSError as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode(errors="replace").strip()


def text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def system() -> dict[str, Any]:
    state = run("systemctl", "is-system-running", "--wait", seconds=240)[1]
    failed = run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")[1]
    return {"state": state, "failed": [line.split()[0] for line in failed.splitlines() if line.strip()]}


def boot_seconds() -> dict[str, float]:
    """Seconds that the units took that could have waited for a cloud or for a network."""
    units = ["cloud-init-local.service", "cloud-init-main.service", "cloud-init.service", "cloud-init-network.service",
             "cloud-config.service", "cloud-final.service", "systemd-networkd-wait-online.service"]  # fmt: skip
    shown = run("systemctl", "show", "-p", "Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic", *units)[1]
    found = {}
    for block in shown.split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        start, end = (int(fields.get(f"{name}TimestampMonotonic") or 0) for name in ("InactiveExit", "ActiveEnter"))
        if start and end >= start:
            found[fields["Id"]] = round((end - start) / 1e6, 1)
    return found


def cloud_init() -> dict[str, Any]:
    installed = Path("/usr/bin/cloud-init").exists()
    disabled = Path("/run/cloud-init/disabled").exists() or Path("/etc/cloud/cloud-init.disabled").exists()
    result = json.loads(text("/run/cloud-init/result.json") or "{}").get("v1", {})
    log = text("/var/log/cloud-init.log")
    return {
        "installed": installed,
        "disabled": disabled,
        "done": bool(result),
        "datasource": result.get("datasource") or "",
        "errors": result.get("errors") or [],
        "metadata_attempts": len(re.findall(r"169\.254\.169\.254|fd00:ec2::254", log)),
    }


def sockets() -> list[dict[str, Any]]:
    found = []
    for line in run("ss", "-H", "-tulnp")[1].splitlines():
        fields = line.split()
        if len(fields) >= 5:
            address, _, port = fields[4].rpartition(":")
            process = re.search(r'\(\("([^"]+)"', line)
            found.append(
                {
                    "protocol": fields[0],
                    "address": address,
                    "port": port,
                    "process": process.group(1) if process else "",
                }
            )
    return found


def network() -> dict[str, Any]:
    cards = []
    for card in sorted(Path("/sys/class/net").iterdir()):
        if not (card / "device").exists():
            continue  # loopback, docker0
        index = text(f"{card}/ifindex").strip()
        link = text(f"/run/systemd/netif/links/{index}")
        file = re.search(r"^NETWORK_FILE=(.*)$", link, re.M)
        addresses = run("ip", "-4", "-o", "addr", "show", "dev", card.name, "scope", "global")[1]
        cards.append(
            {
                "name": card.name,
                "driver": (card / "device" / "driver").resolve().name,
                "addresses": re.findall(r"inet (\S+)", addresses),
                "network_file": file.group(1) if file else "",
            }
        )
    code, said = run("netplan", "get")
    return {"cards": cards, "netplan_get": {"code": code, "said": said[:500]}}


def disk() -> dict[str, Any]:
    source = run("findmnt", "-n", "-o", "SOURCE", "/")[1]
    block = Path("/sys/class/block") / Path(source).resolve().name
    described = run("dumpe2fs", "-h", source)[1]
    size = {key: int(value) for key, value in re.findall(r"^Block (count|size):\s+(\d+)$", described, re.M)}
    return {
        "partition": source,
        "disk_bytes": 512 * int(text(f"{block.resolve().parent}/size")),
        "partition_end_bytes": 512 * (int(text(f"{block}/start")) + int(text(f"{block}/size"))),
        "partition_bytes": 512 * int(text(f"{block}/size")),
        "file_system_bytes": size.get("count", 0) * size.get("size", 0),
    }


def sshd() -> dict[str, str]:
    Path("/run/sshd").mkdir(exist_ok=True)
    code, said = run("sshd", "-T") if Path("/usr/bin/sshd").exists() else run("/usr/sbin/sshd", "-T")
    settings = dict(line.split(None, 1) for line in said.splitlines() if " " in line) if code == 0 else {"error": said}
    return {key: settings[key] for key in ("passwordauthentication", "permitrootlogin", "error") if key in settings}


def image() -> Any:
    return json.loads(text("/etc/exasol-like-dss/image.json"))


def poetry() -> dict[str, Any]:
    # As in a login shell: there it has to be on the PATH.
    code, said = run("bash", "-lc", "poetry --version")
    return {"code": code, "said": said}


def clone() -> dict[str, Any]:
    wanted = image().get("script_languages") or {}
    directory = wanted.get("directory", "")
    code, head = run("git", "-C", directory, "rev-parse", "HEAD")
    tagged = run("git", "-C", directory, "rev-parse", f"refs/tags/{wanted.get('tag', '')}^{{commit}}")[1]
    changed = run("git", "-C", directory, "status", "--porcelain")[1]
    return {"code": code, "head": head, "tagged": tagged, "changed": changed[:300], "wanted": wanted.get("tag", "")}


def docker() -> dict[str, Any]:
    """Runs a container of an image made here: the guest reaches no registry."""
    program = os.path.realpath("/bin/true")
    libraries = re.findall(r"(/\S+) \(0x", run("ldd", program)[1])
    tree = io.BytesIO()
    with tarfile.open(fileobj=tree, mode="w") as archive:
        archive.add(program, "bin/true")
        for library in libraries:
            archive.add(os.path.realpath(library), library.lstrip("/"))
    name = "dss-probe:latest"
    code, said = run("docker", "import", "-", name, data=tree.getvalue(), seconds=120)
    if code == 0:
        code, said = run("docker", "run", "--rm", "--network", "none", name, "/bin/true", seconds=120)
        run("docker", "rmi", name)
    return {"code": code, "said": said[-300:], "user_id": os.getuid(), "version": run("docker", "--version")[1]}


def host_keys() -> dict[str, str]:
    keys = [file.read_text().split() for file in sorted(Path("/etc/ssh").glob("ssh_host_*_key.pub"))]
    return {fields[0]: fields[1] for fields in keys}


def container() -> str:
    """Empty for a machine with a disk and a kernel of its own."""
    said = run("systemd-detect-virt", "--container")[1]
    return "" if said == "none" else said


#: Where the rules of ``hygiene`` look: folders with all below, folders alone, and folders of each home with all below.
_JUDGED = ("/etc/ssh", "/etc/apt", "/var/log", "/var/cache/apt", "/var/lib/apt/lists", "/var/lib/cloud", "/tmp",
           "/var/tmp", "/usr/local/share/ca-certificates", "/usr/share/ca-certificates")  # fmt: skip
_LISTED = ("/etc", "/home", "/usr/sbin", "/var/lib/dbus", "/var/lib/systemd", "/var/lib/urandom", "/var/lib/docker")
_IN_HOMES = (".ssh", ".cache", ".pip", ".config/pip", ".jupyter", ".local/share/jupyter/runtime",
             ".ipython/profile_default")  # fmt: skip
_TEXTS = ("/etc/passwd", "/etc/environment", "/etc/ssl/certs/ca-certificates.crt")
_TEXTS_BELOW = ("/etc/apt", "/usr/share/ca-certificates")


def _boot_time() -> float:
    """When the first process began: in a container not the kernel's boot. proc(5): field 22, in clock ticks."""
    ticks = int(text("/proc/1/stat").rpartition(")")[2].split()[19])
    uptime = float(text("/proc/uptime").split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def _old(folder: str, before: float, found: dict[str, list[list[Any]]], *, deep: bool) -> bool:
    """Notes what in ``folder`` is older. Folders without anything old inside count by their own age."""
    listed: list[list[Any]] = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return False
    for entry in entries:
        facts = entry.stat(follow_symlinks=False)
        is_old = facts.st_mtime < before
        if stat.S_ISDIR(facts.st_mode):
            is_old = (deep and _old(entry.path, before, found, deep=True)) or is_old
            kind = "directory"
        else:
            kind = "symlink" if stat.S_ISLNK(facts.st_mode) else "file" if stat.S_ISREG(facts.st_mode) else "other"
        if is_old:
            listed.append([entry.name, kind, facts.st_size])
    found[folder] = listed
    return bool(listed)


def before_boot() -> dict[str, Any]:
    """What was there when the machine started, where nothing ought to be: by the time of the last change.

    folders: ``{path: [[name, kind, bytes], …]}``. texts: of some files as they are now; no hash of a password.
    """
    before = _boot_time() - 1  # clocks of file systems tick more slowly
    folders: dict[str, list[list[Any]]] = {}
    homes = {line.split(":")[5].rstrip("/") for line in text("/etc/passwd").splitlines() if line.count(":") == 6}
    homes |= {"/etc/skel", *(str(path) for path in Path("/home").glob("*"))}
    for home in sorted(
        home for home in homes if home and not home.startswith(("/usr", "/proc", "/run", "/dev", "/bin"))
    ):
        _old(home, before, folders, deep=False)
        for name in _IN_HOMES:
            _old(f"{home}/{name}", before, folders, deep=True)
    for folder in _LISTED:
        _old(folder, before, folders, deep=False)
    for folder in _JUDGED:
        _old(folder, before, folders, deep=True)
    texts = {path: text(path) for path in _TEXTS}
    texts |= {str(path): text(str(path)) for top in _TEXTS_BELOW for path in Path(top).rglob("*") if path.is_file()}
    fields = [line.split(":") for line in text("/etc/shadow").splitlines()]
    texts["/etc/shadow"] = "\n".join(":".join([one[0], one[1][:1], *one[2:]]) for one in fields if len(one) > 1)
    return {"folders": folders, "texts": texts}


PARTS: dict[str, dict[str, Callable[[], Any]]] = {
    "root": {
        "machine_id": lambda: text("/etc/machine-id").strip(),
        "host_keys": host_keys,
        "system": system,
        "boot_seconds": boot_seconds,
        "cloud_init": cloud_init,
        "sockets": sockets,
        "network": network,
        "disk": disk,
        "sshd": sshd,
        "container": container,
        "image": image,
    },
    "before-boot": {"before_boot": before_boot},
    "user": {"poetry": poetry, "clone": clone, "docker": docker},
}


def main(parts: dict[str, Callable[[], Any]]) -> None:
    facts: dict[str, Any] = {}
    for name, part in parts.items():
        try:
            facts[name] = part()
        except Exception as error:  # the other facts are wanted all the same
            facts[name] = {"error": f"{type(error).__name__}: {error}"}
    print(MARK + json.dumps(facts), flush=True)


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.environ["LC_ALL"] = "C.UTF-8"
    _kind, *_names = sys.argv[1:]
    main({name: part for name, part in PARTS[_kind].items() if not _names or name in _names})
