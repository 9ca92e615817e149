"""Ansible connection to anything that a command can enter: a chroot in its own namespaces, a container.

ansible-core brings `local` and `ssh`. The chroot and docker connections live in collections that come only with the
`ansible` package (480 MB). What the two of them do is the same: put a command in front of `/bin/sh -c …`. So does this
one, and which command that is, the inventory says.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

DOCUMENTATION = """
name: enter
short_description: Run commands behind an enter command such as nsenter, chroot or docker exec
description:
  - Runs each command as C(<enter command> /bin/sh -c COMMAND).
  - Files go through the standard input and output of C(cat), so nothing but a shell and C(cat) is needed inside,
    until the first module wants Python.
author: exasol-like-dss
version_added: "2.19"
options:
  enter_command:
    description:
      - The program and the arguments that enter the target.
      - A list is taken as it is. A string is split like a shell would split it.
    type: raw
    required: true
    vars:
      - name: ansible_enter_command
  remote_addr:
    description: Name of the target, for messages only.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
extends_documentation_fragment:
  - connection_pipelining
"""

EXAMPLES = """
# inventory variables of a host
#   ansible_connection: enter
#   ansible_enter_command: [nsenter, --target, "4711", --mount, --pid, --, chroot, /build/root]
#   ansible_enter_command: docker exec --interactive 0123456789ab
"""

display = Display()


def enter_argv(value: object) -> list[str]:
    """The value of `ansible_enter_command` as a list of arguments.

    Raises AnsibleError when it is neither a list of strings nor a string, or when it is empty.
    """
    if isinstance(value, str):
        argv = shlex.split(value)
    elif isinstance(value, list):
        argv = [str(argument) for argument in value]
    else:
        raise AnsibleError(f"ansible_enter_command is a {type(value).__name__}: give a list, or a string")
    if not argv:
        raise AnsibleError("ansible_enter_command is empty: give the command that enters the target")
    return argv


class Connection(ConnectionBase):  # type: ignore[misc]
    """Commands and files through one command in front."""

    transport = "enter"
    has_pipelining = True
    # One is root inside, so Ansible leaves out the step from root to root.
    default_user = "root"
    _connected: bool

    def _connect(self) -> Connection:
        """Proves that the target can be entered: otherwise every failure looks like one of the module."""
        if not self._connected:
            code, _, errors = self._run("true")
            if code != 0:
                reason = errors.decode(errors="replace").strip() or f"exit code {code}"
                raise AnsibleConnectionFailure(f"cannot enter with `{shlex.join(self._argv())}`: {reason}")
            self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Runs a shell command inside; returns exit code, stdout, stderr."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"ENTER {cmd}", host=self.get_option("remote_addr"))
        return self._run(cmd, in_data)

    def put_file(self, in_path: str, out_path: str) -> None:
        """Streams a local file to a path inside."""
        super().put_file(in_path, out_path)
        source = Path(in_path)
        if not source.is_file():
            raise AnsibleFileNotFound(f"there is no file {in_path}")
        code, _, errors = self._run(f"cat > {shlex.quote(out_path)}", source.read_bytes())
        if code != 0:
            raise AnsibleError(f"cannot write {out_path}: {errors.decode(errors='replace').strip()}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Streams a file inside to a local path."""
        super().fetch_file(in_path, out_path)
        code, content, errors = self._run(f"cat {shlex.quote(in_path)}")
        if code != 0:
            raise AnsibleError(f"cannot read {in_path}: {errors.decode(errors='replace').strip()}")
        Path(out_path).write_bytes(content)

    def close(self) -> None:
        """Nothing stays open between two commands."""
        self._connected = False

    def _argv(self) -> list[str]:
        return enter_argv(self.get_option("enter_command"))

    def _run(self, command: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
        argv = self._argv()
        if shutil.which(argv[0]) is None:
            raise AnsibleConnectionFailure(f"there is no program {argv[0]}: ansible_enter_command begins with it")
        # Without input a command gets an empty one: `docker exec --interactive` would otherwise eat the terminal's.
        done = subprocess.run([*argv, "/bin/sh", "-c", command], input=stdin or b"", capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr
