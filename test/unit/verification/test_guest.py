"""The virtual machine as a process: its command line, what it says when it fails, and how it is ended."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DeadlinePassed, DssError, Interrupted
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification.guest import Acceleration, Firmware, GuestPlan, started, uefi_firmware

FAKE = """#!{python}
import json, os, sys, time
console = open(sys.argv[sys.argv.index("-serial") + 1].removeprefix("file:"), "w", buffering=1)
if {behaviour!r} == "refuses":
    print("qemu: Could not open disk: Permission denied", file=sys.stderr)
    sys.exit(1)
print(json.dumps({{"QMP": {{}}}}), flush=True)
console.write("first line\\nKernel panic - not syncing\\n")
if {behaviour!r} == "boots":
    console.write("sandbox login: ")
    console.flush()
forwards = {{22: 40022}}
for line in sys.stdin:
    request = json.loads(line)
    answer = {{}}
    print(json.dumps({{"event": "NIC_RX_FILTER_CHANGED"}}))
    if request["execute"] == "human-monitor-command":
        words = request["arguments"]["command-line"].split()
        if words[0] == "hostfwd_add":
            forwards[int(words[2].rsplit(":", 1)[1])] = 40088
        answer = "Hub -1 (net0):\\r\\n" + "".join(
            f"  TCP[HOST_FORWARD]  13  127.0.0.1 {{host}}   10.0.2.15  {{guest}}  0  0\\r\\n"
            for guest, host in forwards.items())
    if request["execute"] == "refused":
        print(json.dumps({{"error": {{"desc": "No such command"}}}}), flush=True)
        continue
    print(json.dumps({{"return": answer}}), flush=True)
    if request["execute"] == "system_powerdown" and {behaviour!r} != "stubborn":
        sys.exit()
    if {behaviour!r} == "dies":
        print("qemu: out of memory", file=sys.stderr)
        sys.exit(1)
time.sleep(60)
"""


@pytest.fixture
def plan(tmp_path: Path) -> GuestPlan:
    return GuestPlan(
        disk=tmp_path / "a,b.qcow2",
        directory=tmp_path / "guest",
        firmware=Firmware.BIOS,
        acceleration=Acceleration.TCG,
    )


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    program = tmp_path / "bin" / "qemu-system-x86_64"
    program.parent.mkdir()
    program.write_text(FAKE.format(python=sys.executable, behaviour=behaviour))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_ports_are_looked_up_and_added(plan: GuestPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "boots")
    with started(plan, programs=Programs(), cancellation=Cancellation()) as guest:
        assert guest.ssh_port == 40022
        assert guest.port(8888) == 40088
        assert "login:" in guest.wait_for_login(deadline_s=10, progress=Progress())
        with pytest.raises(DssError, match="QEMU refused refused: No such command"):
            guest.qmp.execute("refused")
        assert guest.shut_down(deadline_s=10, progress=Progress())
        assert not guest.running


def test_a_deadline_shows_the_end_of_the_console(
    plan: GuestPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, "hangs")
    with started(plan, programs=Programs(), cancellation=Cancellation()) as guest:
        with pytest.raises(DeadlinePassed, match=r"(?s)longer than 1 s.*Kernel panic"):
            guest.wait_for_login(deadline_s=1, progress=Progress())


@pytest.mark.parametrize(
    ("behaviour", "said"), [("refuses", "Could not open disk"), ("dies", "ended by itself.*out of memory")]
)
def test_what_qemu_says_is_shown(
    plan: GuestPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, said: str
) -> None:
    fake(tmp_path, monkeypatch, behaviour)
    with pytest.raises(DssError, match=f"(?s){said}"):
        with started(plan, programs=Programs(), cancellation=Cancellation()) as guest:
            guest.wait_for_login(deadline_s=10, progress=Progress())


def test_a_guest_that_does_not_go_off_is_killed(
    plan: GuestPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, "stubborn")
    with started(plan, programs=Programs(), cancellation=Cancellation()) as guest:
        assert not guest.shut_down(deadline_s=0.5, progress=Progress())
        assert not guest.running


def test_called_off_work_stops_waiting_and_ends_the_machine(
    plan: GuestPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, "hangs")
    cancellation = Cancellation()
    with pytest.raises(Interrupted):
        with started(plan, programs=Programs(), cancellation=cancellation) as guest:
            cancellation.cancel()
            guest.wait_for_login(deadline_s=60, progress=Progress())
    assert not guest.running


def test_the_command_line(plan: GuestPlan) -> None:
    words = plan.argv()
    assert f"if=none,id=disk,format=qcow2,discard=unmap,cache=unsafe,file={str(plan.disk).replace(',', ',,')}" in words
    assert "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22" in words
    assert not any("pflash" in word for word in words)


def test_uefi_gets_variables_of_its_own(tmp_path: Path) -> None:
    plan = GuestPlan(
        disk=tmp_path / "d", directory=tmp_path, firmware=Firmware.UEFI, acceleration=Acceleration.TCG, isolated=False
    )
    words = " ".join(plan.argv())
    assert f"if=pflash,format=raw,file={tmp_path}/uefi-variables.fd" in words
    assert "readonly=on" in words
    assert "restrict=off" in words
    assert (tmp_path / "uefi-variables.fd").stat().st_size == uefi_firmware()[1].stat().st_size
