"""KVM or TCG: a fake QEMU on PATH that behaves as real ones do where KVM is there and useless."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification.acceleration import choose
from exasol_like_dss.lib.verification.guest import Acceleration

FAKE = """#!{python}
import json, sys, time
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
if arguments == ["--version"]:
    print("QEMU emulator version " + {version!r})
    sys.exit()
console = open(arguments[arguments.index("-serial") + 1].removeprefix("file:"), "w", buffering=1)
behaviour = {behaviour!r}
if behaviour == "assertion":
    print("qemu-system-x86_64: ../kvm.c:1: kvm_buf_set_msrs: Assertion `ret == n' failed.", file=sys.stderr)
    sys.exit(134)
print(json.dumps({{"QMP": {{}}}}), flush=True)
sys.stdin.readline()
print(json.dumps({{"return": {{}}}}), flush=True)
console.write("Booting `Linux'\\nLinux version 6.12\\n")
if behaviour == "internal error":
    print("KVM internal error. Suberror: 1", file=sys.stderr, flush=True)
if behaviour == "works":
    console.write("[    1.2] Run /init as init process\\n")
time.sleep(60)
"""


class Machine:
    """A PATH with a fake QEMU, a /dev/kvm that opens, and a cache."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.cache = folder / "cache" / "acceleration.json"
        self.kvm = folder / "kvm-device"
        self.kvm.touch()
        (folder / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")

    def behaves(self, behaviour: str, *, version: str = "9") -> None:
        program = self.folder / "bin" / "qemu-system-x86_64"
        program.write_text(FAKE.format(python=sys.executable, log=str(self.log), behaviour=behaviour, version=version))
        program.chmod(0o755)

    def choose(self, requested: str = "auto", *, proof_s: float = 10.0) -> Acceleration:
        return choose(
            requested,
            disk=self.folder / "overlay.qcow2",
            programs=Programs(),
            progress=Progress(),
            cancellation=Cancellation(),
            device=self.kvm,
            cache=self.cache,
            proof_s=proof_s,
        )

    def boots(self) -> int:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return sum(json.loads(line) != ["--version"] for line in lines)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize("behaviour", ["assertion", "internal error"])
def test_a_qemu_that_fails_is_noticed_at_once(machine: Machine, behaviour: str) -> None:
    machine.behaves(behaviour)
    begin = time.monotonic()
    assert machine.choose() is Acceleration.TCG
    assert time.monotonic() - begin < 5
    assert behaviour.split()[0] in machine.cache.read_text().lower()


def test_a_guest_that_hangs_is_noticed_in_time_and_leaves_no_process(machine: Machine) -> None:
    machine.behaves("hang")
    begin = time.monotonic()
    assert machine.choose(proof_s=1.0) is Acceleration.TCG
    assert time.monotonic() - begin < 5
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        assert str(machine.folder / "overlay.qcow2").encode() not in _read(process)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_a_guest_that_runs_proves_kvm(machine: Machine) -> None:
    machine.behaves("works")
    assert machine.choose() is Acceleration.KVM


@pytest.mark.parametrize(("behaviour", "answer"), [("works", "kvm"), ("assertion", "tcg")])
def test_the_answer_is_remembered(machine: Machine, behaviour: str, answer: str) -> None:
    machine.behaves(behaviour)
    assert [machine.choose(), machine.choose()] == [answer, answer]
    assert machine.boots() == 1


def test_another_qemu_is_tried_again(machine: Machine) -> None:
    machine.behaves("assertion")
    assert machine.choose() is Acceleration.TCG
    machine.behaves("works", version="10")
    assert machine.choose() is Acceleration.KVM


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"x": 1}'])
def test_a_damaged_memory_is_no_answer(machine: Machine, content: str) -> None:
    machine.cache.parent.mkdir()
    machine.cache.write_text(content)
    machine.behaves("works")
    assert machine.choose() is Acceleration.KVM


def test_a_memory_that_can_not_be_written_does_no_harm(machine: Machine) -> None:
    machine.cache.parent.write_text("a file where the folder should be")
    machine.behaves("works")
    assert machine.choose() is Acceleration.KVM


def test_without_the_device_nothing_is_tried(machine: Machine) -> None:
    machine.kvm.unlink()
    machine.behaves("works")
    assert machine.choose() is Acceleration.TCG
    assert machine.boots() == 0
    with pytest.raises(InputError, match="missing or may not be used"):
        machine.choose("kvm")


def test_who_asks_for_one_gets_it(machine: Machine) -> None:
    machine.behaves("assertion")
    assert machine.choose("tcg") is Acceleration.TCG
    assert machine.choose("kvm") is Acceleration.KVM
    assert machine.boots() == 0
    with pytest.raises(InputError, match="Unknown acceleration"):
        machine.choose("xen")
