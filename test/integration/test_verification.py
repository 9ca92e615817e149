"""The finished image in real virtual machines: what ``create-vm`` verified, planted violations, ``run-vm``, signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification import acceleration
from exasol_like_dss.lib.verification.guest import make_overlay
from exasol_like_dss.lib.verification.trees import root_file_system_offset
from test.integration.conftest import BuiltImage
from test.support.command import DSS, dss, started
from test.support.file_bucket import served_bucket

DEBUGFS = shutil.which("debugfs", path="/usr/sbin:/sbin:/usr/bin") or "debugfs"


def qemus(words: str) -> list[int]:
    """The running virtual machines that have ``words`` in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in line.split(b"\0")[0] and words.encode() in line:
            found.append(int(process.name))
    return found


def wait_for(what: str, condition: object, *, deadline_s: float) -> None:
    assert callable(condition)
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"no {what} within {deadline_s} s"
        time.sleep(0.1)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where our machines work, so that other tests' ones are not taken for them."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "exasol-like-dss"


def test_the_exported_vmdk_was_verified_under_both_firmwares(built_image: BuiltImage) -> None:
    """``create-vm`` did the expensive part, with the same function as ``verify-vm``."""
    report = json.loads((built_image.directory / "verification.json").read_text())
    assert report["passed"], [check for check in report["checks"] if not check["passed"]]
    assert built_image.path("VMDK").name in report["image"]
    assert report["asset_id"] == built_image.asset_id
    assert report["firmwares"] == ["bios", "uefi"]
    assert report["left_out"] == []
    made = {(check["name"], check["boot"]) for check in report["checks"]}
    assert {
        ("boots to the login prompt", "bios"),
        ("boots to the login prompt", "uefi"),
        ("login forces a new password", "bios"),
        ("default password is refused afterwards", "bios"),
        ("new password works", "uefi"),
        ("a notebook cell runs", "bios"),
        ("welcome notebook runs", "bios"),
        ("JupyterLab refuses without a token", "bios"),
        ("docker runs a container without sudo", "bios"),
        ("poetry", "bios"),
        ("script-languages clone at its tag", "bios"),
        ("network through netplan", "bios"),
        ("network through netplan", "uefi"),
        ("root file system fills the disk", "bios"),
        ("only ssh and Jupyter listen", "bios"),
        ("changing the Jupyter secret ends the banner", "bios"),
        ("two boots have different ssh host keys", "uefi"),
        ("two boots have different machine-ids", "uefi"),
        ("hygiene: no ssh host keys", "at rest"),
    } <= made
    text = json.dumps(report)
    assert built_image.default_password not in text
    assert not re.search(r"token=[0-9a-f]", text)


@pytest.mark.parametrize("image_format", ["VMDK", "OVA", "VHD", "QCOW2"])
def test_every_format_is_clean_at_rest(built_image: BuiltImage, image_format: str, tmp_path: Path) -> None:
    done = dss("verify-vm", built_image.path(image_format), "--at-rest", "--output", "json", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    report = json.loads(done.out)
    assert len(report["checks"]) >= 15
    assert report["left_out"] == ["everything that needs a boot: not asked for"]


def test_planted_violations_are_named_and_nothing_else(built_image: BuiltImage, tmp_path: Path, scratch: Path) -> None:
    disk = tmp_path / "planted.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", built_image.path("QCOW2"), disk], check=True)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    planting = tmp_path / "planting"
    planting.write_text(
        f"write {key} /etc/ssh/ssh_host_ed25519_key\n"
        "mkdir /home/ubuntu/.ssh\n"
        f"write {key}.pub /home/ubuntu/.ssh/authorized_keys\n"
        f"write {planting} /var/log/dpkg.log\n"
    )
    device = f"{disk}?offset={root_file_system_offset(disk)}"
    subprocess.run([DEBUGFS, "-w", "-f", planting, device], check=True, capture_output=True)
    before = disk.stat().st_mtime_ns
    done = dss("verify-vm", disk, "--at-rest", "--format-report", tmp_path / "report.json", cwd=tmp_path)
    assert done.code == 1
    checks = json.loads((tmp_path / "report.json").read_text())["checks"]
    assert {check["name"]: check["seen"] for check in checks if not check["passed"]} == {
        "hygiene: no ssh folder of any user": "/home/ubuntu/.ssh",
        "hygiene: no ssh host keys": "/etc/ssh/ssh_host_ed25519_key",
        "hygiene: no logs": "/var/log/dpkg.log",
    }
    assert "FAILED" in done.out
    assert disk.stat().st_mtime_ns == before, "the image is only read"
    assert not list(scratch.iterdir()), "nothing is left"


def test_an_image_that_is_cut_is_refused(built_image: BuiltImage, tmp_path: Path) -> None:
    cut = tmp_path / "cut.vmdk"
    shutil.copyfile(built_image.path("VMDK"), cut)
    os.truncate(cut, cut.stat().st_size // 2)
    for command in ("verify-vm", "run-vm"):
        done = dss(command, cut, cwd=tmp_path, env={"DSS_DEFAULT_PASSWORD": built_image.default_password})
        assert done.code == 2, done.err
        assert "is cut short" in done.err
        assert done.out == ""


def test_the_acceleration_is_chosen_in_time_with_the_real_image(built_image: BuiltImage, tmp_path: Path) -> None:
    """Whatever this machine has: the answer comes within seconds, and the second time from memory."""
    programs = Programs()
    overlay = tmp_path / "overlay.qcow2"
    make_overlay(overlay, backing=str(built_image.path("QCOW2")), backing_format="qcow2", programs=programs)
    answers = []
    for limit_s in (25.0, 5.0):
        begin = time.monotonic()
        answers.append(
            acceleration.choose(
                "auto",
                disk=overlay,
                programs=programs,
                progress=Progress(),
                cancellation=Cancellation(),
                cache=tmp_path / "cache.json",
            )
        )
        assert time.monotonic() - begin < limit_s
    assert answers[0] is answers[1]
    assert qemus(str(overlay)) == []


@pytest.mark.parametrize(("number", "in_s3"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_signal_ends_a_verification_and_leaves_nothing(
    built_image: BuiltImage, tmp_path: Path, scratch: Path, number: signal.Signals, in_s3: bool
) -> None:
    """Also of an image that was fetched from S3, and compared with its sum."""
    file = built_image.path("VMDK")
    with served_bucket(file.parent, bucket="images") as bucket:
        image = f"s3://images/{file.name}" if in_s3 else file
        env = {"DSS_DEFAULT_PASSWORD": built_image.default_password, **bucket}
        arguments: list[str | Path] = ["verify-vm", image, "--acceleration", "tcg"]
        with started(arguments, cwd=tmp_path, env=env) as running:
            wait_for("two machines", lambda: running.process.poll() or len(qemus(str(scratch))) == 2, deadline_s=120)
            fetched = [found for found in scratch.rglob("*.vmdk") if found.stat().st_size == file.stat().st_size]
            assert len(fetched) == in_s3, running.text
            assert "can't be compared" not in running.text
            running.signal(number)
            assert running.end(deadline_s=30) == 130, running.text
    assert qemus(str(scratch)) == []
    assert not list(scratch.iterdir())


class Vm:
    """A running ``dss run-vm``, and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def end(self) -> None:
        """Reads what a process that has ended has left to say."""
        self._reader.join(10)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, words: str, *, deadline_s: float) -> None:
        end = time.monotonic() + deadline_s
        while words not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.2)


@contextmanager
def run_vm(image: Path, *options: str | Path, cwd: Path) -> Iterator[Vm]:
    arguments = [*DSS, "run-vm", image, "--ssh-port", "42122", "--jupyter-port", "42188", "--memory", "1536", *options]
    process = subprocess.Popen(
        [str(argument) for argument in arguments], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    vm = Vm(process)
    try:
        yield vm
    finally:
        process.kill()
        process.wait()
        vm.end()
        if process.stdout:
            process.stdout.close()


def status(url: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=30) as answer:
            return int(answer.status)
    except OSError as error:
        return int(getattr(error, "code", 0))


def test_run_vm_says_how_to_log_in_and_shuts_down_on_sigterm(
    built_image: BuiltImage, tmp_path: Path, scratch: Path
) -> None:
    disk = tmp_path / "my.qcow2"
    with run_vm(built_image.path("OVA"), "--disk", disk, cwd=tmp_path) as vm:
        vm.wait_for("Ctrl-C shuts it down.", deadline_s=600)
        assert "ssh -p 42122 ubuntu@127.0.0.1" in vm.text
        found = re.search(r"http://127\.0\.0\.1:42188/lab\?token=\w+", vm.text)
        assert found, vm.text
        token = found.group().partition("=")[2]
        address = "http://127.0.0.1:42188/api/kernels"
        wait_for("answer of JupyterLab", lambda: status(f"{address}?token={token}") == 200, deadline_s=300)
        assert status(address) == 403
        vm.process.send_signal(signal.SIGTERM)
        assert vm.process.wait(timeout=120) == 0, vm.text
        vm.end()
        assert "The virtual machine is off." in vm.text
    assert qemus(str(scratch)) == []
    assert not list(scratch.iterdir())
    assert disk.stat().st_size > 1 << 20, "the work is kept"
    # The disk belongs to that image, and to no other.
    done = dss("run-vm", built_image.path("VMDK"), "--disk", disk, "--ssh-port", "42122", "--jupyter-port", "42188",
               cwd=tmp_path)  # fmt: skip
    assert done.code == 2
    assert "is no disk that was made for" in done.err


def test_killing_run_vm_kills_its_machine_and_the_next_run_cleans_up(
    built_image: BuiltImage, tmp_path: Path, scratch: Path
) -> None:
    with run_vm(built_image.path("VMDK"), "--acceleration", "tcg", cwd=tmp_path) as vm:
        wait_for("machine", lambda: qemus(str(scratch)), deadline_s=60)
        vm.process.kill()
        vm.process.wait()
        wait_for("end of the machine", lambda: not qemus(str(scratch)), deadline_s=10)
    assert len(list(scratch.iterdir())) == 1, "its folder is left"
    with run_vm(built_image.path("VMDK"), "--acceleration", "tcg", cwd=tmp_path) as vm:
        wait_for("machine", lambda: qemus(str(scratch)), deadline_s=60)
        assert len(list(scratch.iterdir())) == 1, "the old folder has gone"
        vm.process.send_signal(signal.SIGINT)
        assert vm.process.wait(timeout=60) == 130
    assert not list(scratch.iterdir())


def test_help_of_the_commands_stays_cheap(tmp_path: Path) -> None:
    for command in ("verify-vm", "run-vm"):
        script = (
            "import sys\nfrom exasol_like_dss.cli.main import main\n"
            f"try:\n    main([{command!r}, '--help'])\n"
            "except SystemExit:\n    print([n for n in ('requests', 'pexpect', 'websockets') if n in sys.modules])\n"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"
