"""The image in a cloud: with a metadata service like EC2's in reach, cloud-init uses it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pexpect

from test.integration.conftest import BuiltImage
from test.support.git_server import free_port
from test.support.metadata_server import metadata_server

# qemu's guestfwd starts a program for each connection that the guest makes to 169.254.169.254:80.
_RELAY = """\
import os, socket, sys, threading
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def up():
    while data := os.read(0, 65536):
        server.sendall(data)
threading.Thread(target=up, daemon=True).start()
while data := server.recv(65536):
    os.write(1, data)
"""
_BOOT_S = 240


def test_on_ec2_the_login_user_gets_the_key_of_the_instance(built_image: BuiltImage, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "relay.py").write_text(_RELAY)
    overlay, serial, port = tmp_path / "overlay.qcow2", tmp_path / "serial.log", free_port()
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "vmdk", "-b", str(built_image.path("VMDK")), str(overlay)],
        check=True,
    )
    with metadata_server(key.with_suffix(".pub").read_text().strip()) as metadata:
        network = (
            "user,id=net,restrict=on,net=169.254.169.0/24,dhcpstart=169.254.169.9,host=169.254.169.2,dns=169.254.169.3,"
            f"hostfwd=tcp:127.0.0.1:{port}-:22,"
            f"guestfwd=tcp:169.254.169.254:80-cmd:{sys.executable} {tmp_path}/relay.py {metadata.port}"
        )
        uuid = "ec2e1916-9099-7caf-fd21-012345abcdef"
        process = subprocess.Popen(
            ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "2048",
             "-display", "none", "-serial", f"file:{serial}", "-drive", f"file={overlay},if=virtio",
             "-netdev", network, "-device", "virtio-net-pci,netdev=net,mac=52:54:00:12:34:56",
             "-smbios", f"type=1,manufacturer=Amazon EC2,product=t3.medium,uuid={uuid},serial={uuid}"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _log_in_with_the_key(key, port, serial)
            assert any(path.endswith("/public-keys/0/openssh-key") for path in metadata.asked)
            assert any(path.endswith("/user-data") for path in metadata.asked)
        finally:
            process.kill()
            process.wait()


def _log_in_with_the_key(key: Path, port: int, serial: Path) -> None:
    """Until the key is accepted. The default password has expired: ssh says at once that it has to be changed."""
    deadline = time.monotonic() + _BOOT_S
    seen = ""
    while time.monotonic() < deadline:
        ssh = pexpect.spawn(
            "ssh",
            ["-i", str(key), "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "PasswordAuthentication=no", "-o", "KbdInteractiveAuthentication=no", "-o", "ConnectTimeout=10",
             "ubuntu@127.0.0.1"],
            timeout=40, encoding="utf-8",
        )  # fmt: skip
        found = ssh.expect(["must change your password|password has expired", pexpect.EOF, pexpect.TIMEOUT])
        seen = str(ssh.before) + str(ssh.after)
        ssh.close(force=True)
        if found == 0:
            return
        time.sleep(3)
    console = "\n".join(serial.read_text(errors="replace").splitlines()[-30:])
    raise AssertionError(f"no login with the instance's key: {seen}\n{console}")
