"""Checks of JupyterLab over its forwarded port, as a browser and a notebook would use it."""

from __future__ import annotations

from typing import Protocol

from exasol_like_dss.access.jupyter import Answer, Jupyter
from exasol_like_dss.access.ssh import Ssh
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification.banner import before_login, change_command, jupyter_url
from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.report import Checks
from exasol_like_dss.lib.waiting import wait_until

_ANSWER_S = 400.0
_CELLS_S = 600.0
_KERNEL = "python3"
_IMPORTS = """import importlib.metadata as m
import numpy, pandas, sklearn, matplotlib, ipywidgets, pyexasol
print("sum", int(numpy.arange(10).sum()), *(f"{n} {m.version(n)}" for n in
      ("numpy", "pandas", "scikit-learn", "matplotlib", "ipywidgets", "pyexasol")))"""
#: Message of the day, and what agetty(8) reads for the console; a folder may be missing.
_SHOW_BANNERS = (
    "run-parts /etc/update-motd.d; cat /etc/issue /etc/issue.d/* /run/issue /run/issue.d/* 2>/dev/null; true"
)
_NEWS = "/lab/api/settings/@jupyterlab/apputils-extension:notification"


class Reachable(Protocol):
    """A machine with JupyterLab on it, wherever it runs."""

    def port(self, guest_port: int) -> int:
        """The port of 127.0.0.1 that leads to one of the machine's."""

    def console(self) -> str:
        """What it showed before or at the login."""

    def check(self) -> None:
        """Raises when the work is off, or the machine has ended."""


def wait_for_answer(checks: Checks, guest: Reachable, image: ImageFacts, progress: Progress) -> Answer:
    """The answer to a visitor without a secret."""
    assert image.jupyter_port
    server = Jupyter(port=guest.port(image.jupyter_port))

    def probe() -> Answer | None:
        guest.check()
        try:
            return server.get("/lab")
        except DssError:
            return None

    with progress.step("Waiting for JupyterLab"):
        answer = wait_until(
            "JupyterLab to answer", probe, deadline_s=_ANSWER_S, progress=progress, interval_s=1.0,
            hint="Look at it in the guest: journalctl -u jupyter",
        )  # fmt: skip
    checks.add("JupyterLab answers", answer.status < 500, f"HTTP {answer.status}")
    return answer


def check(checks: Checks, guest: Reachable, image: ImageFacts, token: str, progress: Progress) -> None:
    """Everything but the change of the secret. Raises ``DssError`` when the server is not to be used at all."""
    assert image.jupyter_port
    answer = wait_for_answer(checks, guest, image, progress)
    refused = answer.status == 302 and "/login" in answer.location
    api = Jupyter(port=guest.port(image.jupyter_port)).get("/api/kernels").status
    checks.add("JupyterLab refuses without a token", refused and api == 403,
               f"/lab: HTTP {answer.status}{' to the login' if refused else ''}, /api/kernels: HTTP {api}")  # fmt: skip
    if not token:
        raise DssError("Without a token from the console, no notebook can be run.")
    server = Jupyter(port=guest.port(image.jupyter_port), token=token)
    specifications = server.get("/api/kernelspecs")
    names = sorted(specifications.json()["kernelspecs"]) if specifications.status == 200 else []
    seen = ", ".join(names) or f"HTTP {specifications.status}"
    checks.add(f"kernel {_KERNEL} is registered", _KERNEL in names, seen)
    _check_news(checks, server)
    _check_notebooks(checks, server, progress)


def _check_news(checks: Checks, server: Jupyter) -> None:
    answer = server.get(_NEWS, timeout_s=60)
    if answer.status != 200:
        checks.add("news pop-up is off", False, f"HTTP {answer.status}")
        return
    found = answer.json()
    default = found.get("schema", {}).get("properties", {}).get("fetchNews", {}).get("default")
    value = found.get("settings", {}).get("fetchNews", default)
    # "none" means: ask at the first start, which is the pop-up.
    checks.add("news pop-up is off", value == "false", f"fetchNews is {value!r}")


def _check_notebooks(checks: Checks, server: Jupyter, progress: Progress) -> None:
    with progress.step("Running notebook cells"):
        notebooks = [item["path"] for item in server.get("/api/contents/").json().get("content") or []
                     if item["type"] == "notebook"]  # fmt: skip
        cells: list[str] = []
        for path in notebooks:
            content = server.get(f"/api/contents/{path}", timeout_s=60).json()["content"]
            cells += ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]
        kernel = server.start_kernel(_KERNEL, timeout_s=300)
        try:
            done = server.execute(kernel, [_IMPORTS, *cells], deadline_s=_CELLS_S)
        finally:
            server.stop_kernel(kernel, timeout_s=60)
    first, rest = done[0], done[1:]
    checks.add("a notebook cell runs", first.text.startswith("sum 45 ") and not first.error, first.error or first.text)
    failed = next((execution.error for execution in rest if execution.error), "")
    good = bool(cells) and len(rest) == len(cells) and not failed
    seen = f"{', '.join(notebooks) or 'no notebook'}: {len(rest)} of {len(cells)} cells ran"
    checks.add("welcome notebook runs", good, f"{seen}{'; ' + failed if failed else ''}")


def check_change(
    checks: Checks, guest: Reachable, ssh: Ssh, image: ImageFacts, token: str, password: str, progress: Progress
) -> None:
    """Changes the secret with the command that the banner names; then old token and banner are to be gone."""
    assert image.jupyter_port
    command = change_command(before_login(guest.console()))
    if not command:
        raise DssError("The banner names no command for it.")
    server = Jupyter(port=guest.port(image.jupyter_port), token=token)

    def refused() -> str | None:
        guest.check()
        try:
            status = server.get("/api/kernels").status
        except DssError:
            return None  # it is starting again
        return f"HTTP {status}" if status == 403 else None

    with progress.step("Changing the Jupyter secret"):
        ssh.converse(command, answer=password, deadline_s=300)
        seen = wait_until(
            "the old token to be refused", refused, deadline_s=_ANSWER_S, progress=progress, interval_s=1.0,
            hint="Look at it in the guest: journalctl -u jupyter",
        )  # fmt: skip
        checks.add("changing the Jupyter secret ends the old token", True, f"{seen} with the old token")
        shown = ssh.run(_SHOW_BANNERS, deadline_s=120,
                        what="reading the banner")  # fmt: skip
    left = jupyter_url(shown)
    checks.add(
        "changing the Jupyter secret ends the banner", left is None, "still a URL" if left else "no URL any more"
    )
