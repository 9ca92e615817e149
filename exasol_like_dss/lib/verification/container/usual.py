"""The container that a user starts first: nothing set, a new volume, a browser."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from pathlib import Path

from exasol_like_dss.access.browser import Page, browser
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.verification.container import page as lab
from exasol_like_dss.lib.verification.container.bench import Bench, Container, PartEnds, judged
from exasol_like_dss.lib.verification.container.configuration import NOTEBOOKS
from exasol_like_dss.lib.verification.container.processes import judge_users
from exasol_like_dss.lib.verification.report import Checks

WELCOME = "welcome.ipynb"
#: ``docker stop`` waits 10 s before it kills.
_STOP_S = 10
#: 128 + SIGTERM: the program left it to the signal's default.
_STOPPED = (0, 143)
_CHANGE = "dss-jupyter-password"


def check(checks: Checks, bench: Bench, screenshot: Path | None) -> None:
    """From the start to the stop. screenshot: where a picture of the notebook goes that has run."""
    name = "starts and becomes healthy"
    with judged(checks, name):
        container = bench.start(volumes={bench.volume(): NOTEBOOKS})
        checks.add(name, True, container.wait_for_health())
    address, password = container.printed_address(), container.password()
    printed = f"{address or 'no address'}, {'a password' if password else 'no password'}"
    checks.add("prints address and generated password", bool(address and password), printed)
    _refusals(checks, container)
    name = "JupyterLab does not run as root"
    if password:
        with suppress(PartEnds), judged(checks, "page: a browser opens it"):
            _in_browser(checks, bench, container, password, screenshot)
    with judged(checks, name, goes_on=True):
        if password:
            visitor = container.visitor(password)
            visitor.start_terminal(timeout_s=60)  # its shell is judged too; a kernel is left of the notebook
        checks.add(name, *judge_users(container.processes()))
    if password:
        _change(checks, container, password)
    _stop(checks, container)
    if not password:
        raise PartEnds("without a password nothing can be done in JupyterLab")


def _refusals(checks: Checks, container: Container) -> None:
    name = "refuses without a password"
    with judged(checks, name, goes_on=True):
        lab_answer, api = container.stranger().get("/lab"), container.stranger().get("/api/kernels")
        to_login = lab_answer.status == 302 and "/login" in lab_answer.location
        seen = f"/lab: HTTP {lab_answer.status}{' to the login' if to_login else ''}, /api/kernels: HTTP {api.status}"
        checks.add(name, to_login and api.status == 403, seen)


def _in_browser(checks: Checks, bench: Bench, container: Container, password: str, screenshot: Path | None) -> None:
    with bench.progress.step("Using JupyterLab in the browser"), browser(bench.programs, bench.folder) as page:
        page.open(f"{container.address}/lab")
        checks.add("page: shows the login", lab.at_login(page), "the login" if lab.at_login(page) else page.url)
        name = "page: refuses a wrong password"
        with judged(checks, name):
            seen = lab.log_in(page, "not-" + secrets.token_hex(8), bench.wait)
            checks.add(name, seen.startswith("refused"), seen)
        name = "page: takes the password"
        with judged(checks, name):
            seen = lab.log_in(page, password, bench.wait)
            checks.add(name, seen == "accepted", seen)
        _notebook(checks, bench, container, page, password)
        if screenshot:
            screenshot.write_bytes(lab.screenshot(page, bench.wait))


def _notebook(checks: Checks, bench: Bench, container: Container, page: Page, password: str) -> None:
    name = "welcome notebook runs"
    with judged(checks, name):
        jupyter = container.visitor(password)
        shown, saved = lab.run_notebook(page, container.address, WELCOME, jupyter, bench.wait)
        good = shown.good and saved.good and shown.total >= saved.total
        checks.add(name, good, f"{saved}" if shown.good == saved.good else f"in the page: {shown}; saved: {saved}")


def _change(checks: Checks, container: Container, old: str) -> None:
    """In the running container. Its JupyterLab starts again; the container goes on."""
    name = "changes the password"
    new = secrets.token_urlsafe(18)

    def changed() -> bool | None:
        container.check()
        try:
            return container.stranger().log_in(new) or None
        except DssError:
            return None  # it is starting again

    with judged(checks, name, goes_on=True):
        begin = time.monotonic()
        container.ran(_CHANGE, stdin=f"{new}\n".encode())
        container.bench.wait("the new password to be taken", changed)
        taken_s = time.monotonic() - begin
        refused = not container.stranger().log_in(old)
        seen = f"the new one is taken after {taken_s:.0f} s, the old one is {'refused' if refused else 'taken too'}"
        checks.add(name, refused, seen)


def _stop(checks: Checks, container: Container) -> None:
    name = "SIGTERM ends it in time"
    with judged(checks, name, goes_on=True):
        begin = time.monotonic()
        container.bench.docker.stop(container.id, timeout_s=_STOP_S)
        seconds, code = time.monotonic() - begin, container.bench.docker.state(container.id).exit_code
        killed = "killed, " if code == 137 else ""
        checks.add(name, code in _STOPPED, f"{killed}exit code {code} after {seconds:.1f} s")
