"""Verifies one image: at rest, and in two boots."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.formats.protocol import VmImageFormat
from exasol_like_dss.lib.images.formats.reader import ImageInfo, inspect_image, qemu_source
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress, Step
from exasol_like_dss.lib.verification import acceleration as accelerations
from exasol_like_dss.lib.verification import hygiene
from exasol_like_dss.lib.verification.boots import Outcome, Tools, compare, first_boot, second_boot
from exasol_like_dss.lib.verification.facts import FILE, ImageFacts, parse_facts
from exasol_like_dss.lib.verification.guest import (
    Acceleration,
    Firmware,
    GuestPlan,
    make_overlay,
    scratch_folder,
    uefi_firmware,
)
from exasol_like_dss.lib.verification.report import CheckResult, VerificationReport
from exasol_like_dss.lib.verification.trees import DebugfsTree, root_file_system_offset
from exasol_like_dss.lib.waiting import awaited
from exasol_like_dss.lib.workspace import workspace

#: How much larger the first machine's disk is than the image: the root file system has to grow, whatever its size is.
_GROWTH_BYTES = 1 << 30
_MIB = 1 << 20
#: What is left out together with a role.
_CHECKS_OF_ROLES = {
    "poetry": "poetry",
    "jupyter": "JupyterLab, its notebooks, URL and secret",
    "docker": "docker runs a container",
    "script_languages": "the clone of script-languages-release",
    "netplan": "network through netplan",
    "password": "everything that needs a login",
    "seal": "hygiene",
}


@dataclass(frozen=True)
class _Work:
    """One verification while it runs."""

    directory: Path
    info: ImageInfo
    tools: Tools
    step: Step

    def overlay(self, name: str, *, growth_bytes: int = 0) -> Path:
        """A fresh one; the image is never written."""
        path = self.directory / f"{name}.qcow2"
        programs = self.tools.programs
        make_overlay(path, backing=qemu_source(self.info), backing_format=self.info.qemu_driver, programs=programs,
                     size_bytes=self.info.virtual_bytes + growth_bytes)  # fmt: skip
        return path


def verify_image(
    *,
    image: Path,
    firmwares: Sequence[Firmware] = tuple(Firmware),
    default_password: str,
    memory_mib: int = 2048,
    acceleration: str = "auto",
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
) -> VerificationReport:
    """Judges an image as its user would: hygiene at rest, a first boot with every check, a second one to compare.

    image: any format that ``dss create-vm`` writes; it is only read.
    firmwares: one (both boots use it), two, or none (only the image at rest is judged).
    default_password: the one that expires at the first login. memory_mib: of each of the two machines.
    What the image does wrong is in the report. Raises ``InputError`` for what is no image, and for lack of a program,
    memory or disk space; ``Interrupted`` when the work is called off.
    """
    begin = time.monotonic()
    if Firmware.UEFI in firmwares:
        uefi_firmware()
    for program in ("debugfs", "qemu-img", *(("qemu-system-x86_64", "ssh", "ssh-keyscan") if firmwares else ())):
        programs.find(program)
    info = inspect_image(image, programs)
    tools = Tools(programs=programs, progress=progress, cancellation=cancellation, password=default_password)
    facts: Future[ImageFacts] = Future()
    with workspace(scratch_folder(), progress=progress) as directory, progress.step(f"Verifying {image.name}") as step:
        _check_room(directory, image, memory_mib if firmwares else 0)
        work = _Work(directory, info, tools, step)
        names: list[str] = [str(firmware) for firmware in (firmwares[0], firmwares[-1])] if firmwares else []
        if len(set(names)) == 1:
            names[1] += " again"
        with ThreadPoolExecutor(3, thread_name_prefix="verify") as pool:
            try:
                rest = pool.submit(_at_rest, work, facts)
                used = _acceleration(work, acceleration) if firmwares else None
                boots = [
                    pool.submit(
                        _boot,
                        work,
                        _plan(work, number, (firmwares[0], firmwares[-1])[number], used, memory_mib),
                        name,
                        facts,
                    )
                    for number, name in enumerate(names)
                    if used
                ]
                results, outcomes = awaited(rest), [awaited(boot) for boot in boots]
            except BaseException:
                cancellation.cancel()  # the threads look at it, and their programs end
                programs.end_all()
                raise
    known = facts.result()
    if outcomes:
        compare(outcomes[0], outcomes[1], known)
    left_out = [f"{text}: role {role} is left out" for role, text in _CHECKS_OF_ROLES.items() if not known.has(role)]
    if not outcomes:
        left_out.append("everything that needs a boot: not asked for")
    return VerificationReport(
        image=image.name,
        asset_id=known.asset_id,
        acceleration=str(used or ""),
        firmwares=tuple(dict.fromkeys(str(firmware) for firmware in firmwares)),
        results=(*results, *(result for outcome in outcomes for result in outcome.checks.results)),
        left_out=tuple(left_out),
        seconds={
            **{f"{name}: to the login prompt": outcome.login_s for name, outcome in zip(names, outcomes, strict=True)},
            "total": round(time.monotonic() - begin, 1),
        },
    )


def _at_rest(work: _Work, facts: Future[ImageFacts]) -> list[CheckResult]:
    """Hygiene. The boots wait for ``facts``, which are read here: they are set or failed in any case."""
    programs, progress = work.tools.programs, work.tools.progress
    try:
        with progress.step("Looking at the image at rest", under=work.step):
            disk = work.info.path
            if work.info.format is not VmImageFormat.RAW:
                disk = work.directory / "rest.raw"
                overlay = work.overlay("rest")
                with progress.step("Unpacking the disk"):
                    programs.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(overlay), str(disk)],
                                 what="unpacking the disk")  # fmt: skip
            tree = DebugfsTree(disk, root_file_system_offset(disk), programs, check=work.tools.cancellation.check)
            known = parse_facts(tree.read(FILE))
            facts.set_result(known)
            with progress.step("Judging its hygiene"):
                return hygiene.judge(tree, known) if known.has("seal") else []
    except BaseException as error:
        if not facts.done():
            facts.set_exception(error)
        raise


def _acceleration(work: _Work, requested: str) -> Acceleration:
    overlay = work.overlay("kvm")
    tools = work.tools
    try:
        return accelerations.choose(
            requested, disk=overlay, programs=tools.programs, progress=tools.progress, cancellation=tools.cancellation
        )
    finally:
        overlay.unlink()


def _plan(work: _Work, number: int, firmware: Firmware, acceleration: Acceleration, memory_mib: int) -> GuestPlan:
    """The two machines differ in what users' hypervisors differ in: firmware and network card."""
    return GuestPlan(
        disk=work.overlay(f"boot{number}", growth_bytes=(_GROWTH_BYTES, 0)[number]),
        directory=work.directory / f"boot{number}",
        firmware=firmware,
        acceleration=acceleration,
        card=("e1000", "virtio-net-pci")[number],
        memory_mib=memory_mib,
        cpus=(2, 1)[number],
    )


def _boot(work: _Work, plan: GuestPlan, name: str, facts: Future[ImageFacts]) -> Outcome:
    first = plan.directory.name == "boot0"
    with work.tools.progress.step(f"{'First' if first else 'Second'} boot ({name})", under=work.step):
        return (first_boot if first else second_boot)(plan, name, facts, work.tools)


def _check_room(directory: Path, image: Path, memory_mib: int) -> None:
    """Raises ``InputError`` when two machines don't fit into this one."""
    free = shutil.disk_usage(directory).free
    # The unpacked disk (compressed to a third or a fourth), and what two boots write.
    needed = 4 * image.stat().st_blocks * 512 + 1024 * _MIB
    if free < needed:
        raise InputError(
            f"Too little disk space in {directory.parent}: {free // _MIB} MiB are free, {needed // _MIB} MiB needed.",
            hint="Free some, or set TMPDIR to another directory.",
        )
    with open("/proc/meminfo") as lines:  # noqa: PTH123
        available = next((int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable")), None)
    if available is not None and available < 2 * memory_mib + 256:
        raise InputError(
            f"Too little memory: {available} MiB are available, two virtual machines of {memory_mib} MiB are needed.",
            hint="Give --memory less (1536 is enough to try), or end other programs.",
        )


def write_report(report: VerificationReport, file: Path) -> None:
    """As JSON, all or nothing."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(json.dumps(report.to_json(), indent=2) + "\n")
    new.replace(file)
