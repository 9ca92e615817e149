"""Runs an image for use, on a throw-away overlay or on a lasting one, until it is asked to end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.access.ssh import Ssh
from exasol_like_dss.lib.errors import DeadlinePassed, InputError, Interrupted
from exasol_like_dss.lib.images.formats.reader import inspect_image, qemu_source
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification import acceleration as accelerations
from exasol_like_dss.lib.verification.banner import before_login, jupyter_url
from exasol_like_dss.lib.verification.guest import Firmware, Guest, GuestPlan, make_overlay, scratch_folder, started
from exasol_like_dss.lib.waiting import wait_until
from exasol_like_dss.lib.workspace import workspace

#: The port of JupyterLab in the guest, until its banner has told another one (variable jupyter_port).
_JUPYTER_PORT = 8888
#: The same on every base (role ``base``).
_LOGIN_USER = "ubuntu"
_LOGIN_S = 600.0
_SSH_S = 300.0
_SHUTDOWN_S = 90.0


@dataclass(frozen=True)
class RunningVm:
    """How to reach it. jupyter_url: with the token; empty when the console shows none (the secret was changed)."""

    login_user: str
    ssh_port: int
    jupyter_port: int
    jupyter_url: str
    console: Path
    acceleration: str


def run_vm(
    *,
    image: Path,
    ssh_port: int,
    jupyter_port: int,
    memory_mib: int,
    cpus: int,
    disk: Path | None,
    firmware: Firmware,
    acceleration: str,
    on_ready: Callable[[RunningVm], None],
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
) -> bool:
    """Starts it, calls ``on_ready`` when ssh answers, and returns when the guest has gone off.

    A signal ends it as the power button would. Returns whether the guest shut itself down in time (else it was killed).
    disk: the overlay that keeps the work, made when it is missing; ``None`` for a throw-away one.
    Raises ``InputError`` for an unusable image or disk and for ports that are taken; ``Interrupted`` when a signal came
    before it was ready.
    """
    info = inspect_image(image, programs)
    for option, port in (("--ssh-port", ssh_port), ("--jupyter-port", jupyter_port)):
        _check_port(option, port)
    if ssh_port == jupyter_port:
        raise InputError("ssh and Jupyter need different ports.")
    with workspace(scratch_folder(), progress=progress) as directory:
        overlay = disk or directory / "disk.qcow2"
        fresh = not overlay.exists()
        if not fresh:
            _check_disk(overlay, image, programs)
        spoiled = directory / "kvm.qcow2"
        for path in (spoiled, *([overlay] if fresh else [])):
            make_overlay(path, backing=qemu_source(info), backing_format=info.qemu_driver, programs=programs)
        used = accelerations.choose(
            acceleration, disk=spoiled, programs=programs, progress=progress, cancellation=cancellation
        )
        plan = GuestPlan(
            disk=overlay, directory=directory / "vm", firmware=firmware, acceleration=used, memory_mib=memory_mib,
            cpus=cpus, isolated=False, forwards={22: ssh_port}, durable=disk is not None,
        )  # fmt: skip
        with started(plan, programs=programs, cancellation=cancellation) as guest:
            ready = False
            try:
                with progress.step("Starting the virtual machine"):
                    found = _started(guest, ssh_port, jupyter_port, programs, progress)
                on_ready(found)
                ready = True
                # Not a wait for something: the user decides how long.
                guest.wait()
                return True
            except Interrupted:
                with progress.step("Shutting the virtual machine down"):
                    clean = guest.shut_down(deadline_s=_SHUTDOWN_S if ready else 5.0, progress=progress)
                if not ready:
                    raise
                return clean


def _started(guest: Guest, ssh_port: int, jupyter_port: int, programs: Programs, progress: Progress) -> RunningVm:
    guest.wait_for_login(deadline_s=_LOGIN_S, progress=progress)
    found = jupyter_url(before_login(guest.console()))
    guest.qmp.forward(found.port if found else _JUPYTER_PORT, host_port=jupyter_port)

    ssh = Ssh(user=_LOGIN_USER, port=ssh_port, directory=guest.plan.directory, programs=programs)

    def probe() -> bool | None:
        guest.check()
        return ssh.answers() or None

    wait_until(
        "ssh to answer", probe, deadline_s=_SSH_S, progress=progress, hint="Look at the console, named above.",
    )  # fmt: skip
    url = f"http://127.0.0.1:{jupyter_port}/lab?token={found.token}" if found else ""
    return RunningVm(_LOGIN_USER, ssh_port, jupyter_port, url, guest.plan.console, str(guest.plan.acceleration))


def _check_port(option: str, port: int) -> None:
    if not 0 < port < 65536:
        raise InputError(f"{option} {port} is no port.", hint="1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as QEMU does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"Port {port} of 127.0.0.1 can't be used: {error.strerror}.", hint=f"Give another {option}."
            ) from None


def _check_disk(disk: Path, image: Path, programs: Programs) -> None:
    """A lasting disk has to be an overlay of the same image: on another one its blocks are garbage."""
    import json

    try:
        found = json.loads(programs.run(["qemu-img", "info", "--output=json", "-U", str(disk)], deadline_s=60))
    except (DeadlinePassed, ValueError):
        found = {}
    backing = str(found.get("backing-filename", ""))
    if found.get("format") != "qcow2" or json.dumps(str(image.resolve())) not in backing:
        raise InputError(
            f"{disk} is there, and is no disk that was made for {image.name}.", hint="Give another --disk FILE."
        )
