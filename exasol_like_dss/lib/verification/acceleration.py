"""KVM where a guest really runs under it, otherwise TCG.

That /dev/kvm opens proves nothing: in nested virtual machines QEMU may stop at an assertion (a model-specific register
that the outer hypervisor refuses), report "KVM internal error" (an instruction that KVM can't emulate), or run a guest
that hangs in its first output. Only a guest whose kernel has got beyond that proves KVM; so the image itself is booted,
on a throw-away overlay, until its console shows it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DeadlinePassed, DssError, InputError
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification.banner import plain
from exasol_like_dss.lib.verification.guest import Acceleration, Firmware, Guest, GuestPlan, started
from exasol_like_dss.lib.waiting import wait_until

DEVICE = Path("/dev/kvm")
_PROOF_S = 15.0
# What a kernel prints after its decompression, its memory and its devices: the start of its first program, what that
# prints (initramfs-tools, systemd, getty), or the panic for lack of a root. "Linux version" would be too early.
_PROOF = re.compile(
    r"Run /\S*init\b|Loading, please wait|Begin: |systemd\[1\]|Welcome to |Kernel panic| login:|Freeing unused kernel"
)


def choose(
    requested: str,
    *,
    disk: Path,
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
    device: Path = DEVICE,
    cache: Path | None = None,
    proof_s: float = _PROOF_S,
) -> Acceleration:
    """Turns ``auto``, ``kvm`` or ``tcg`` into what is used.

    disk: a qcow2 overlay for the test boot; it is spoiled by that (no other boot may use it), and may be removed.
    cache: where answers are remembered (default: $XDG_CACHE_HOME/exasol-like-dss/acceleration.json).
    Raises ``InputError`` for ``kvm`` where there is no usable /dev/kvm.
    """
    if requested == Acceleration.TCG:
        return Acceleration.TCG
    usable = os.access(device, os.R_OK | os.W_OK)
    if requested == Acceleration.KVM:
        if not usable:
            raise InputError(f"{device} is missing or may not be used.", hint="Give --acceleration auto or tcg.")
        return Acceleration.KVM
    if requested != "auto":
        raise InputError(f"Unknown acceleration {requested!r}.", hint="auto, kvm or tcg")
    if not usable:
        return Acceleration.TCG
    cache = cache or _cache_file()
    key = _machine_key(programs)
    remembered = _read(cache).get(key, {}).get("acceleration")
    if remembered in set(Acceleration):
        return Acceleration(remembered)
    with progress.step("Trying KVM"):
        works, why = _try(disk, programs, progress, cancellation, proof_s)
        progress.status(why)
    chosen = Acceleration.KVM if works else Acceleration.TCG
    if not works:
        progress.note(f"KVM is there, but no guest runs under it ({why}): QEMU translates (TCG), which is slower.")
    _remember(cache, key, chosen, why)
    return chosen


def _try(
    disk: Path, programs: Programs, progress: Progress, cancellation: Cancellation, proof_s: float
) -> tuple[bool, str]:
    """Whether a guest's kernel gets going under KVM within ``proof_s`` seconds, and what was seen."""
    plan = GuestPlan(
        disk=disk,
        directory=disk.parent / "kvm",
        firmware=Firmware.BIOS,
        acceleration=Acceleration.KVM,
        memory_mib=1024,
        forwards={},
    )
    try:
        with started(plan, programs=programs, cancellation=cancellation) as guest:
            return wait_until(
                "a guest to run under KVM",
                lambda: _evidence(guest),
                deadline_s=proof_s,
                progress=progress,
                hint="",
                interval_s=0.2,
            )
    except DeadlinePassed:
        return False, f"a guest hung for {proof_s:.0f} s"
    except DssError as error:
        return False, error.message.splitlines()[-1][:200]


def _evidence(guest: Guest) -> tuple[bool, str] | None:
    if _PROOF.search(plain(guest.console())):
        return True, "a guest's kernel started its first program"
    errors = guest.plan.errors.read_text(errors="replace")
    # After these QEMU lives on, with a guest that stands still.
    if "KVM internal error" in errors or "kvm run failed" in errors.lower():
        return False, errors.strip().splitlines()[0][:200]
    if not guest.running:
        return False, (errors.strip().splitlines() or ["QEMU ended"])[-1][:200]
    guest.check()
    return None


def _cache_file() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(base) / "exasol-like-dss" / "acceleration.json"


def _machine_key(programs: Programs) -> str:
    """Changes with whatever may change the answer: kernel, QEMU, processor, and each start of the machine."""
    qemu = programs.run(["qemu-system-x86_64", "--version"], deadline_s=30).splitlines()[:1]
    model = next((line for line in _text(Path("/proc/cpuinfo")).splitlines() if line.startswith("model name")), "")
    boot = _text(Path("/proc/sys/kernel/random/boot_id")).strip()
    return hashlib.sha256(json.dumps([platform.release(), qemu, model, boot]).encode()).hexdigest()[:32]


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""


def _read(cache: Path) -> dict[str, dict[str, str]]:
    with suppress(OSError, ValueError):
        found = json.loads(cache.read_text())
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if isinstance(value, dict)}
    return {}


def _remember(cache: Path, key: str, chosen: Acceleration, why: str) -> None:
    # A cache that can't be written costs 15 seconds each time, no more.
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        entry = {"acceleration": str(chosen), "why": why, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        new = cache.with_name(f"{cache.name}.{os.getpid()}")
        new.write_text(json.dumps({key: entry}, indent=1))
        shutil.move(new, cache)
