"""The processes of a container, as ``/proc`` shows them (proc(5)): the commands to be run there, and the judgement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: To be run in the container. Only a shell and coreutils are needed; a process may end while it is looked at.
LIST = (
    "/bin/sh",
    "-c",
    'for p in /proc/[0-9]*; do echo "pid ${p#/proc/}"; grep -E "^(PPid|Uid|Gid|Groups):" $p/status; '
    'printf "argv "; tr "\\0\\n" "  " < $p/cmdline; echo; done 2>/dev/null; true',
)
_SERVER = re.compile(r"\bjupyter[-_ ]?lab\b|\bjupyter-server\b|-m jupyter", re.I)


def show_settings(pids: Iterable[int]) -> tuple[str, ...]:
    """The command that shows what processes were started with: environments and arguments, a line each. Only its
    own user and group may read a process' environment (ptrace(2)); root lacks the capability for it in a container."""
    files = " ".join(f"/proc/{pid}/environ /proc/{pid}/cmdline" for pid in pids)
    return ("/bin/sh", "-c", f"cat {files} 2>/dev/null | tr '\\0' '\\n'; true")


@dataclass(frozen=True)
class Process:
    """uid, gid: the effective ones. groups: the supplementary ones."""

    pid: int
    parent: int
    uid: int
    gid: int
    groups: frozenset[int]
    argv: str


def parse(text: str) -> list[Process]:
    """The output of ``LIST``. What ended meanwhile is left out."""
    found: list[Process] = []
    for block in re.split(r"^pid ", text, flags=re.MULTILINE)[1:]:
        lines = block.splitlines()
        fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines[1:])}
        argv = next((line.removeprefix("argv ").strip() for line in lines if line.startswith("argv ")), "")
        uids, gids, parents = fields.get("Uid", []), fields.get("Gid", []), fields.get("PPid", [])
        if len(uids) >= 2 and len(gids) >= 2 and parents and lines[0].strip().isdecimal():
            groups = frozenset(int(group) for group in fields.get("Groups", []) if group.isdecimal())
            found.append(Process(int(lines[0]), int(parents[0]), int(uids[1]), int(gids[1]), groups, argv))
    return found


def started(processes: Sequence[Process]) -> list[Process]:
    """What the container started by itself: process 1 and all below it, not what was run in it from outside."""
    parents: Mapping[int, int] = {process.pid: process.parent for process in processes}

    def top(pid: int) -> int:
        seen: set[int] = set()
        while pid != 1 and pid in parents and pid not in seen:
            seen.add(pid)
            pid = parents[pid]
        return pid

    return [process for process in processes if top(process.pid) == 1]


def server(processes: Sequence[Process]) -> Process | None:
    """JupyterLab. Where a program that starts it has its name among the arguments too, the lowest is it."""
    found = [process for process in started(processes) if _SERVER.search(process.argv)]
    parents = {process.parent for process in found}
    return next((process for process in found if process.pid not in parents), None)


def below(processes: Sequence[Process], top: Process) -> list[Process]:
    """A process, and all that it started."""
    found = [top]
    for process in found:
        found += [child for child in processes if child.parent == process.pid]
    return found


def judge_users(processes: Sequence[Process]) -> tuple[bool, str]:
    """Whether JupyterLab, its kernels and its terminals run as a user who is not root."""
    jupyter = server(processes)
    if jupyter is None:
        return False, "no process of JupyterLab"
    root = [process.argv.split()[0] for process in below(processes, jupyter) if process.uid == 0 and process.argv]
    if root:
        return False, f"as root: {', '.join(sorted(set(root)))}"
    return True, f"JupyterLab as uid {jupyter.uid}"
