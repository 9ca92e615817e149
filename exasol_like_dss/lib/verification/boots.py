"""What happens in a boot, and which checks it answers. Each boot has its own overlay, thread and QEMU.

The first one is used as a user would use it. The second shows that the image boots with the other firmware and another
network card, and that two machines made from it don't share their secrets.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.access.ssh import Ssh
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress, Step
from exasol_like_dss.lib.verification import jupyter_checks, login_checks
from exasol_like_dss.lib.verification.banner import JupyterUrl, before_login, jupyter_url
from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.guest import Guest, GuestPlan, started
from exasol_like_dss.lib.verification.judgement import judge_network, judge_system, judge_user
from exasol_like_dss.lib.verification.report import Checks
from exasol_like_dss.lib.waiting import wait_until

#: Seconds from the start to the login prompt. Translated, next to a second machine, it takes 60, on a busy machine 200.
LOGIN_S = 600.0
SSH_S = 300.0


@dataclass(frozen=True)
class Tools:
    """What every boot needs. password: the default one of the image."""

    programs: Programs
    progress: Progress
    cancellation: Cancellation
    password: str = field(repr=False)


@dataclass
class Outcome:
    """What one boot showed of the machine's identity, for comparison with the other's."""

    checks: Checks
    host_keys: dict[str, str] = field(default_factory=dict)
    machine_id: str = ""
    token: str = field(default="", repr=False)
    login_s: float = 0.0

    def identify(self, found: Mapping[str, Any]) -> None:
        """Takes what ``probe.py root`` found."""
        self.machine_id = str(found.get("machine_id", ""))
        keys = found.get("host_keys")
        self.host_keys = {} if not isinstance(keys, Mapping) or "error" in keys else dict(keys)


@contextmanager
def attempt(checks: Checks, name: str) -> Iterator[None]:
    """What goes wrong in the block is a result of the image, not a failure of ours."""
    try:
        yield
    except DssError as error:
        checks.add(name, False, error.message)


def first_boot(plan: GuestPlan, boot: str, facts: Future[ImageFacts], tools: Tools) -> Outcome:
    """Every check that needs a running machine."""
    outcome = Outcome(Checks(boot))
    checks = outcome.checks
    with attempt(checks, "boots to the login prompt"), _booted(plan, outcome, tools) as guest:
        image = facts.result()
        _look_at_console(guest, outcome, image)
        with attempt(checks, "login"), _ssh(guest, image, outcome, tools) as ssh:
            if image.can_log_in:
                _use(guest, ssh, outcome, image, tools)
            elif image.has("jupyter"):
                jupyter_checks.check(checks, guest, image, outcome.token, tools.progress)
    return outcome


def second_boot(plan: GuestPlan, boot: str, facts: Future[ImageFacts], tools: Tools) -> Outcome:
    """Reaches its login, answers, and shows its identity."""
    outcome = Outcome(Checks(boot))
    checks = outcome.checks
    with attempt(checks, "boots to the login prompt"), _booted(plan, outcome, tools) as guest:
        image = facts.result()
        _look_at_console(guest, outcome, image)
        with attempt(checks, "login"), _ssh(guest, image, outcome, tools) as ssh:
            if image.can_log_in:
                login_checks.check_forced_change(checks, ssh, tools.password, tools.progress)
                found = login_checks.probe(ssh, "root", tools.progress, only=("machine_id", "host_keys", "network"))
                outcome.identify(found)
                judge_network(checks, found, image=image)
        if image.has("jupyter"):
            with attempt(checks, "JupyterLab answers"):
                jupyter_checks.wait_for_answer(checks, guest, image, tools.progress)
    return outcome


def compare(first: Outcome, second: Outcome, image: ImageFacts) -> None:
    """Two machines made from one image: adds the results to the second's."""
    checks = second.checks
    shared = sorted(kind for kind, key in first.host_keys.items() if second.host_keys.get(kind) == key)
    known = bool(first.host_keys) and bool(second.host_keys)
    seen = f"shared: {', '.join(shared)}" if shared else f"{len(second.host_keys)} keys, none shared"
    checks.add("two boots have different ssh host keys", known and not shared, seen if known else "not all were seen")
    if image.can_log_in:
        ids = (first.machine_id, second.machine_id)
        seen = "the same" if ids[0] == ids[1] else f"{ids[0][:8]}… and {ids[1][:8]}…"
        checks.add(
            "two boots have different machine-ids", all(ids) and ids[0] != ids[1], seen if all(ids) else "unknown"
        )
    if image.has("jupyter"):
        tokens = (first.token, second.token)
        seen = "the same" if tokens[0] == tokens[1] else "they differ"
        checks.add("two boots have different Jupyter tokens", all(tokens) and tokens[0] != tokens[1],
                   seen if all(tokens) else "not all were seen")  # fmt: skip


@contextmanager
def _booted(plan: GuestPlan, outcome: Outcome, tools: Tools) -> Iterator[Guest]:
    begin = time.monotonic()
    with started(plan, programs=tools.programs, cancellation=tools.cancellation) as guest:
        with tools.progress.step("Booting to the login prompt"):
            guest.wait_for_login(deadline_s=LOGIN_S, progress=tools.progress)
        outcome.login_s = round(time.monotonic() - begin, 1)
        outcome.checks.add(
            "boots to the login prompt",
            True,
            f"after {outcome.login_s:.0f} s with {plan.firmware}, {plan.acceleration}, {plan.card}",
        )
        yield guest


def _look_at_console(guest: Guest, outcome: Outcome, image: ImageFacts) -> None:
    if image.has("jupyter"):
        found: JupyterUrl | None = jupyter_url(before_login(guest.console()))
        outcome.token = found.token if found else ""
        right = found is not None and found.port == image.jupyter_port
        outcome.checks.add("console shows the Jupyter URL before the login", right,
                           _without_token(found) if found else f"no URL; {guest.last_lines()}")  # fmt: skip


def _without_token(found: JupyterUrl) -> str:
    """The report goes into artifacts; a token is a secret, even of a machine that is gone."""
    return found.url.replace(found.token, "…")


@contextmanager
def _ssh(guest: Guest, image: ImageFacts, outcome: Outcome, tools: Tools) -> Iterator[Ssh]:
    """The client, as soon as the server answers."""
    ssh = Ssh(user=image.login_user, port=guest.ssh_port, directory=guest.plan.directory, programs=tools.programs)

    def answer() -> bool | None:
        guest.check()
        return ssh.answers() or None

    with tools.progress.step("Waiting for ssh"):
        wait_until(
            "ssh to answer", answer, deadline_s=SSH_S, progress=tools.progress, hint="Is ssh.service enabled?",
            interval_s=1.0,
        )  # fmt: skip
        if not image.can_log_in:  # otherwise they are read in the guest, which is much faster
            outcome.host_keys = ssh.host_keys(deadline_s=60)
    try:
        yield ssh
    finally:
        ssh.close()


def _use(guest: Guest, ssh: Ssh, outcome: Outcome, image: ImageFacts, tools: Tools) -> None:
    """A user's first hour, in short. The notebook and the looking around take turns on the guest's two processors."""
    checks, progress = outcome.checks, tools.progress
    message, own_password = login_checks.check_forced_change(checks, ssh, tools.password, progress)
    if image.has("jupyter"):
        shown = jupyter_url(message)
        same = shown is not None and shown.token == outcome.token
        checks.add("message of the day shows the Jupyter URL", same,
                   _without_token(shown) if shown else "no URL")  # fmt: skip
    around = Checks(checks.boot)
    with ThreadPoolExecutor(1, thread_name_prefix="look") as pool:
        looking = pool.submit(_look_around, ssh, around, outcome, image, own_password, tools, progress.current())
        try:
            if image.has("jupyter"):
                with attempt(checks, "JupyterLab"):
                    jupyter_checks.check(checks, guest, image, outcome.token, progress)
        finally:
            looking.result()
    checks.extend(around.results)
    if image.has("jupyter"):
        with attempt(checks, "changing the Jupyter secret"):
            jupyter_checks.check_change(checks, guest, ssh, image, outcome.token, secrets.token_urlsafe(15), progress)


def _look_around(
    ssh: Ssh, checks: Checks, outcome: Outcome, image: ImageFacts, own_password: str, tools: Tools, under: Step | None
) -> None:
    progress = tools.progress
    with progress.step("Looking around", under=under):
        if own_password != tools.password:
            with attempt(checks, "default password is refused afterwards"):
                login_checks.check_default_is_refused(checks, ssh, tools.password, progress)
        with attempt(checks, "looking around as the user"):
            judge_user(checks, login_checks.probe(ssh, "user", progress), image=image)
        # Last, when everything runs and listens that ever will.
        with attempt(checks, "looking around as root"):
            found = login_checks.probe(ssh, "root", progress)
            outcome.identify(found)
            judge_system(checks, found, image=image)
