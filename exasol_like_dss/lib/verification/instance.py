"""Verifies an AMI: an instance of it, entered by password as its user does, passes the checks of a local image.

What differs from a boot in QEMU: nobody sees the console in time, so JupyterLab's address is taken from the message of
the day; its port is reached through ssh; and cloud-init may ask for EC2's metadata.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exasol_like_dss.access.ssh import Ssh
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.verification import jupyter_checks, login_checks
from exasol_like_dss.lib.verification.banner import JupyterUrl, jupyter_url
from exasol_like_dss.lib.verification.boots import attempt
from exasol_like_dss.lib.verification.facts import FILE, ImageFacts, parse_facts
from exasol_like_dss.lib.verification.hygiene import RULES, Rule, judge
from exasol_like_dss.lib.verification.judgement import judge_system, judge_user
from exasol_like_dss.lib.verification.report import CheckResult, Checks, VerificationReport
from exasol_like_dss.lib.verification.trees import FileTree, ListedTree, find
from exasol_like_dss.lib.waiting import wait_until

if TYPE_CHECKING:
    from exasol_like_dss.access.programs import Programs
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.progress import Progress

_SSH_S = 420.0
_BOOT = "instance of the AMI"
_DISK = "root file system fills the disk"


@dataclass(frozen=True, kw_only=True)
class InstanceLogin:
    """host_keys: empty when the console did not tell them. password: the default one of the image."""

    address: str
    user: str
    host_keys: tuple[str, ...]
    password: str

    def __repr__(self) -> str:
        return f"InstanceLogin({self.user}@{self.address})"


class _Instance:
    """As ``jupyter_checks`` want to reach it."""

    def __init__(self, ssh: Ssh, message: str, cancellation: Cancellation) -> None:
        self._ssh = ssh
        self._message = message
        self._cancellation = cancellation
        self._ports: dict[int, int] = {}

    def port(self, guest_port: int) -> int:
        if guest_port not in self._ports:
            self._ports[guest_port] = self._ssh.forward(guest_port)
        return self._ports[guest_port]

    def console(self) -> str:
        return self._message

    def check(self) -> None:
        self._cancellation.check()


def verify_instance(
    login: InstanceLogin,
    *,
    image_id: str,
    work_directory: Path,
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
) -> VerificationReport:
    """What the AMI does wrong is in the report. work_directory: private.

    Raises ``DssError`` when the instance does not answer, ``Interrupted``.
    """
    begin = time.monotonic()
    checks = Checks(_BOOT)
    left_out = ["hygiene of what the boot has written over: dss verify-vm s3://… judges an exported image at rest"]
    ssh = Ssh(
        user=login.user, host=login.address, port=22, host_keys=login.host_keys, directory=work_directory,
        programs=programs,
    )  # fmt: skip

    def answers() -> bool:
        cancellation.check()
        return ssh.answers()

    wait_until(
        "ssh to answer", answers, deadline_s=_SSH_S, interval_s=2.0, progress=progress,
        hint="Does the AMI boot? See the console of an instance of it.",
    )  # fmt: skip
    checks.add("boots, and ssh answers", True, f"after {time.monotonic() - begin:.0f} s")
    asset_id = ""
    try:
        with attempt(checks, "login"):
            message, own_password = login_checks.check_forced_change(checks, ssh, login.password, progress)
            image = parse_facts(ssh.run(f"cat {FILE}", deadline_s=60, what=f"reading {FILE}"))
            asset_id = image.asset_id
            instance = _Instance(ssh, message, cancellation)
            with attempt(checks, "hygiene"):
                checks.extend(_hygiene(login_checks.probe(ssh, "before-boot", progress), image))
            _use(checks, instance, image, message, progress)
            _look_around(checks, ssh, image, left_out, progress)
            if own_password != login.password:
                with attempt(checks, "default password is refused afterwards"):
                    login_checks.check_default_is_refused(checks, ssh, login.password, progress)
            if image.has("jupyter"):
                with attempt(checks, "changing the Jupyter secret"):
                    token = _token(message)
                    jupyter_checks.check_change(
                        checks, instance, ssh, image, token, secrets.token_urlsafe(15), progress
                    )
    finally:
        ssh.close()
    return VerificationReport(
        image=image_id,
        asset_id=asset_id,
        acceleration="EC2",
        firmwares=(),
        results=tuple(checks.results),
        left_out=tuple(left_out),
        seconds={"total": round(time.monotonic() - begin, 1)},
    )


def _token(message: str) -> str:
    found: JupyterUrl | None = jupyter_url(message)
    return found.token if found else ""


def _use(checks: Checks, instance: _Instance, image: ImageFacts, message: str, progress: Progress) -> None:
    if not image.has("jupyter"):
        return
    token = _token(message)
    checks.add("message of the day shows the Jupyter URL", bool(token), "a URL with a token" if token else "no URL")
    with attempt(checks, "JupyterLab"):
        jupyter_checks.check(checks, instance, image, token, progress)


def _look_around(checks: Checks, ssh: Ssh, image: ImageFacts, left_out: list[str], progress: Progress) -> None:
    with attempt(checks, "looking around as the user"):
        judge_user(checks, login_checks.probe(ssh, "user", progress), image=image)
    with attempt(checks, "looking around as root"):
        found = login_checks.probe(ssh, "root", progress)
        judged = Checks(checks.boot)
        judge_system(judged, _as_in_ec2(found), image=image)
        container = str(found.get("container") or "")
        if container:
            left_out.append(f"{_DISK}: it has none of its own, it is a container ({container})")
        checks.extend([result for result in judged.results if not (container and result.name == _DISK)])


def _hygiene(found: Mapping[str, Any], image: ImageFacts) -> list[CheckResult]:
    """Of what is older than the boot: that was in the AMI. What the boot makes anew is not seen, and not meant."""
    told = found["before_boot"]
    if "error" in told:
        raise DssError(f"The files in the instance can't be listed: {told['error']}")
    folders = dict(told["folders"])
    if "/var/tmp" in folders:  # those of services that ran during the build; systemd-tmpfiles removes them at a boot
        folders["/var/tmp"] = [one for one in folders["/var/tmp"] if not one[0].startswith("systemd-private-")]
    tree = ListedTree(folders=folders, texts=told["texts"])
    rules = [_MACHINE_ID if rule.name == _MACHINE_ID.name else rule for rule in RULES if rule.name != _BY_LOGIN]
    return [replace(result, boot=_BOOT) for result in judge(tree, image, rules)]


def _machine_id(tree: FileTree, _facts: ImageFacts) -> list[str]:
    entry = find(tree, "/etc/machine-id")
    return ["/etc/machine-id is older than the boot"] if entry and entry.size_bytes else []


_MACHINE_ID = Rule("machine-id is empty", _machine_id)
#: The rule that the login has seen to, which changes what it is about.
_BY_LOGIN = "default password is expired"


def _as_in_ec2(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """There cloud-init is right to ask for metadata."""
    told = found.get("cloud_init")
    if not isinstance(told, Mapping) or "metadata_attempts" not in told:
        return found
    return {**found, "cloud_init": {**told, "metadata_attempts": 0}}


def failure(report: VerificationReport, *, image_id: str, hint: str) -> DssError:
    """For an AMI that did not pass."""
    seen = "; ".join(f"{check.name} ({check.seen})" for check in report.failed)
    return DssError(f"The AMI {image_id} did not pass its verification: {seen}", hint=hint)
