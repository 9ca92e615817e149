"""A virtual machine in QEMU: how it is started, watched through its serial console, and ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DeadlinePassed, DssError, InputError, tail
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification.banner import at_login, plain
from exasol_like_dss.lib.verification.qmp import Qmp
from exasol_like_dss.lib.waiting import wait_until

CONSOLE_LINES = 15
_NOTICE_S = 0.2
_FIRMWARE_FOLDERS = ("/usr/share/OVMF", "/usr/share/edk2/x64", "/usr/share/edk2/ovmf", "/usr/share/qemu")


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"


class Acceleration(StrEnum):
    """kvm: by the processor. tcg: QEMU translates every instruction, ten to twenty times slower."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True)
class GuestPlan:
    """disk: a qcow2 that may be written. directory: a private one, for the console and the firmware's variables.

    card: QEMU's name of the network card. isolated: nothing but the forwarded ports connects guest and world.
    forwards: guest port to port on 127.0.0.1; 0 is any free one. durable: what the guest writes must outlive us.
    """

    disk: Path
    directory: Path
    firmware: Firmware
    acceleration: Acceleration
    card: str = "virtio-net-pci"
    memory_mib: int = 2048
    cpus: int = 1
    isolated: bool = True
    forwards: Mapping[int, int] = field(default_factory=lambda: {22: 0})
    durable: bool = False

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def errors(self) -> Path:
        return self.directory / "qemu.log"

    def argv(self) -> list[str]:
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in self.forwards.items())
        disk = str(self.disk).replace(",", ",,")
        return [
            "qemu-system-x86_64", "-no-user-config", "-display", "none", "-qmp", "stdio",
            "-machine", f"q35,accel={self.acceleration}",
            # "host" is all that the processor has, "max" all that QEMU can translate. Without erms, Linux and the C
            # library copy by words, which translate better than bytes; without la57, page tables are less deep. A tenth
            # of the time to the login.
            "-cpu", "host" if self.acceleration is Acceleration.KVM else "max,-erms,-la57",
            "-smp", str(self.cpus), "-m", str(self.memory_mib),
            *self._firmware(),
            # q35 has an AHCI controller, what VirtualBox and VMware give to an OVA of ours too.
            "-drive", f"if=none,id=disk,format=qcow2,discard=unmap,cache={'writeback' if self.durable else 'unsafe'},"
                      f"file={disk}",
            "-device", "ide-hd,drive=disk,bus=ide.0",
            "-netdev", f"user,id=net0,restrict={'on' if self.isolated else 'off'}{forwards}",
            "-device", f"{self.card},netdev=net0,romfile=",  # without its ROM, nothing waits for a network boot
            "-serial", f"file:{str(self.console).replace(',', ',,')}",
        ]  # fmt: skip

    def _firmware(self) -> list[str]:
        if self.firmware is Firmware.BIOS:
            return []  # SeaBIOS is part of QEMU
        code, variables = uefi_firmware()
        own = self.directory / "uefi-variables.fd"
        own.write_bytes(variables.read_bytes())
        escaped = str(own).replace(",", ",,")
        return ["-drive", f"if=pflash,format=raw,readonly=on,file={code}",
                "-drive", f"if=pflash,format=raw,file={escaped}"]  # fmt: skip


def uefi_firmware() -> tuple[Path, Path]:
    """OVMF's code and its empty variables. Raises ``InputError`` when it is not installed."""
    for folder in map(Path, _FIRMWARE_FOLDERS):
        for suffix in ("_4M.fd", ".fd", ".4m.fd"):
            code, variables = folder / f"OVMF_CODE{suffix}", folder / f"OVMF_VARS{suffix}"
            if code.is_file() and variables.is_file():
                return code, variables
    raise InputError("The UEFI firmware for QEMU is not installed.", hint="Install it: apt-get install ovmf")


class Guest:
    """A running one."""

    def __init__(
        self, plan: GuestPlan, process: subprocess.Popen[bytes], programs: Programs, cancellation: Cancellation
    ) -> None:
        self.plan = plan
        self._process = process
        self._programs = programs
        self._cancellation = cancellation
        self._ports: dict[int, int] = {}
        try:
            self.qmp = Qmp(process)
        except DssError:
            raise DssError(f"QEMU did not start.\n{self._said()}".strip()) from None

    def port(self, guest_port: int) -> int:
        """The port of 127.0.0.1 that leads to a port of the guest; made when it is missing."""
        if guest_port not in self._ports:
            self._ports[guest_port] = self.qmp.forwards().get(guest_port) or self.qmp.forward(guest_port)
        return self._ports[guest_port]

    @property
    def ssh_port(self) -> int:
        return self.port(22)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def console(self) -> str:
        """What the guest has written to its serial console."""
        with suppress(FileNotFoundError):
            return self.plan.console.read_text(errors="replace")
        return ""

    def last_lines(self) -> str:
        """The end of the console, for errors."""
        return tail(plain(self.console()), lines=CONSOLE_LINES) or "(the console is empty)"

    def _said(self) -> str:
        with suppress(FileNotFoundError):
            return tail(self.plan.errors.read_text(errors="replace"), lines=5)
        return ""

    def check(self) -> None:
        """Raises ``Interrupted`` when the work is off, ``DssError`` when the machine has ended."""
        self._cancellation.check()
        if not self.running:
            raise DssError(f"The virtual machine ended by itself.\n{self._said()}\n{self.last_lines()}")

    def wait_for_login(self, *, deadline_s: float, progress: Progress) -> str:
        """Waits until the console asks for a login; returns its text.

        Raises ``DeadlinePassed`` with the last lines of the console.
        """

        def probe() -> str | None:
            self.check()
            text = self.console()
            return text if at_login(text) else None

        try:
            return wait_until(
                "the login prompt",
                probe,
                deadline_s=deadline_s,
                progress=progress,
                hint="Start it by hand to see its console: dss run-vm IMAGE",
                interval_s=0.3,
                detail=lambda: tail(plain(self.console()), lines=1)[:100],
            )
        except DeadlinePassed as error:
            raise DeadlinePassed(f"{error.message}\n{self.last_lines()}", hint=error.hint) from None

    def wait(self) -> None:
        """Returns when the guest has gone off. In slices, so that a signal is never late."""
        while self.running:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_NOTICE_S)

    def shut_down(self, *, deadline_s: float, progress: Progress) -> bool:
        """Presses the power button. Returns whether the guest went off in time; if not it is killed.

        Does not look at the cancellation: this is clean-up.
        """
        with suppress(DssError):
            self.qmp.execute("system_powerdown")
            with suppress(DeadlinePassed):
                wait_until(
                    "the guest to shut down",
                    lambda: not self.running or None,
                    deadline_s=deadline_s,
                    progress=progress,
                    hint="",
                )
        clean = not self.running
        self._programs.end(self._process)
        return clean


@contextmanager
def started(plan: GuestPlan, *, programs: Programs, cancellation: Cancellation) -> Iterator[Guest]:
    """A guest for the time of the block. To be called in the thread that lives as long as the guest."""
    plan.directory.mkdir(mode=0o700, exist_ok=True)
    with plan.errors.open("wb") as errors:
        process = programs.start(plan.argv(), stdin=subprocess.PIPE, stderr=errors)
    with programs.ended(process):
        yield Guest(plan, process, programs, cancellation)


def scratch_folder() -> Path:
    """Where machines keep their overlays. Disks are large: /tmp is often in memory, /var/tmp is not (hier(7))."""
    name = "exasol-like-dss" if os.geteuid() == 0 else f"exasol-like-dss-{os.geteuid()}"
    return Path(os.environ.get("TMPDIR") or "/var/tmp") / name


def make_overlay(
    overlay: Path, *, backing: str, backing_format: str, programs: Programs, size_bytes: int | None = None
) -> None:
    """A qcow2 that takes all writes. size_bytes: its size, when larger than what it stands on."""
    size = [str(size_bytes)] if size_bytes else []
    programs.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", backing_format, str(overlay), *size],
        what="making a throw-away overlay of the image",
    )
