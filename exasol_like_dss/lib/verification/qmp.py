"""Talks to a running QEMU over its standard streams (QEMU Machine Protocol: qemu.org, "QMP Reference Manual").

Over the streams, since they need no port, no path (a UNIX socket's has at most 107 bytes), and end with the process.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from typing import Any

from exasol_like_dss.lib.errors import DssError

_ANSWER_S = 30.0


class Qmp:
    """process: a QEMU that was started with ``-qmp stdio``, its streams piped."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        self._input = process.stdin
        self._output = process.stdout.fileno()
        self._read = b""
        self._next()  # the greeting
        self.execute("qmp_capabilities")

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _ANSWER_S
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._output], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._output, 65536) if ready else b""
            if not chunk:
                raise DssError("QEMU ended, or does not answer.", hint="Its own message is in the lines above, if any.")
            self._read += chunk
        line, self._read = self._read.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def execute(self, command: str, **arguments: Any) -> Any:
        """Raises ``DssError`` when QEMU has gone, or refuses."""
        try:
            self._input.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            self._input.flush()
        except OSError as error:
            raise DssError(f"QEMU has ended: {error}.") from None
        while True:
            answer = self._next()  # events come in between
            if "error" in answer:
                raise DssError(f"QEMU refused {command}: {answer['error'].get('desc', answer['error'])}")
            if "return" in answer:
                return answer["return"]

    def monitor(self, line: str) -> str:
        """A line for the human monitor, which knows what the protocol does not: user networking."""
        answer = self.execute("human-monitor-command", **{"command-line": line})
        return str(answer)

    def forwards(self) -> dict[int, int]:
        """Guest port to port on 127.0.0.1, of the network ``net0``."""
        found = re.findall(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)", self.monitor("info usernet"))
        return {int(guest): int(host) for host, guest in found}

    def forward(self, guest_port: int, *, host_port: int = 0) -> int:
        """The port of 127.0.0.1 that from now on leads to the guest's; 0: a free one (the kernel's choice: no race)."""
        said = self.monitor(f"hostfwd_add net0 tcp:127.0.0.1:{host_port}-:{guest_port}").strip()
        ports = self.forwards()
        if guest_port not in ports:
            raise DssError(f"QEMU could not forward a port to port {guest_port} of the guest. {said}".strip())
        return ports[guest_port]
