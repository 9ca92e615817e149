"""Judges the facts that ``probe.py`` brought out of the guest. Pure: facts in, results out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.report import Checks

_MIB = 1 << 20
#: What partition alignment and an incomplete last block group of ext4 may leave unused at the end.
_END_SLACK_BYTES = 32 * _MIB
#: A boot that waits for a metadata server waits for 120 s (cloud-init's default); translated, a stage takes up to 20 s.
_STAGE_S = 60.0
_LOOPBACK = ("127.", "[::1]", "[::ffff:127.")
#: Ports of DHCP clients: they are bound, and serve nobody.
_DHCP_CLIENT = {("udp", "68"), ("udp", "546")}


def judge_system(checks: Checks, facts: Mapping[str, Any], *, image: ImageFacts) -> None:
    """The facts of ``probe.py root``."""
    _judged(checks, "all services run", facts.get("system"), _system)
    _judged(checks, "cloud-init does not wait", facts, _cloud_init)
    if image.can_log_in:
        _judged(checks, "sshd takes passwords", facts.get("sshd"), _sshd)
    _judged(checks, "only ssh and Jupyter listen", facts.get("sockets"), lambda found: _sockets(found, image))
    _judged(checks, "root file system fills the disk", facts.get("disk"), _disk)
    judge_network(checks, facts, image=image)


def judge_network(checks: Checks, facts: Mapping[str, Any], *, image: ImageFacts) -> None:
    """The fact ``network`` alone: the second boot has another card."""
    if image.has("netplan"):
        _judged(checks, "network through netplan", facts.get("network"), _network)


def judge_user(checks: Checks, facts: Mapping[str, Any], *, image: ImageFacts) -> None:
    """The facts of ``probe.py user``."""
    if image.has("poetry"):
        _judged(checks, "poetry", facts.get("poetry"), lambda found: (found["code"] == 0, found["said"]))
    if image.has("script_languages"):
        _judged(checks, "script-languages clone at its tag", facts.get("clone"), _clone)
    if image.has("docker"):
        _judged(checks, "docker runs a container without sudo", facts.get("docker"), _docker)


def _judged(checks: Checks, name: str, found: Any, judge: Any) -> None:
    """A fact that is missing, or that the probe could not get, breaks the check that needs it."""
    if not found or (isinstance(found, Mapping) and set(found) == {"error"}):
        checks.add(name, False, f"could not be looked at: {found['error'] if found else 'no facts'}")
        return
    try:
        passed, seen = judge(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        passed, seen = False, f"could not be judged: {type(error).__name__}: {error}"
    checks.add(name, passed, seen)


def _system(found: Mapping[str, Any]) -> tuple[bool, str]:
    failed = ", ".join(found["failed"])
    return found["state"] == "running", found["state"] + (f"; failed: {failed}" if failed else "")


def _cloud_init(facts: Mapping[str, Any]) -> tuple[bool, str]:
    found, seconds = facts["cloud_init"], facts["boot_seconds"]
    if not found["installed"]:
        return True, "not installed"
    slow = {name: took for name, took in seconds.items() if took > _STAGE_S}
    state = "disabled" if found["disabled"] else "done" if found["done"] else "still at work"
    seen = f"{state}, asked for a metadata server {found['metadata_attempts']} times"
    if slow:
        seen += "; slow: " + ", ".join(f"{name} {took} s" for name, took in slow.items())
    if found["errors"]:
        seen += f"; errors: {found['errors']}"
    ended = found["disabled"] or found["done"]
    return ended and not found["metadata_attempts"] and not slow and not found["errors"], seen


def _sshd(found: Mapping[str, Any]) -> tuple[bool, str]:
    value = found.get("passwordauthentication", "")
    return value == "yes", f"PasswordAuthentication {value or found.get('error', 'unknown')}"


def _sockets(found: list[Mapping[str, str]], image: ImageFacts) -> tuple[bool, str]:
    allowed = {("tcp", "22")}
    if image.has("jupyter") and image.jupyter_port:
        allowed.add(("tcp", str(image.jupyter_port)))
    outside = [
        socket
        for socket in found
        if not socket["address"].startswith(_LOOPBACK) and (socket["protocol"], socket["port"]) not in _DHCP_CLIENT
    ]
    strange = [socket for socket in outside if (socket["protocol"], socket["port"]) not in allowed]
    shown = strange or outside
    names = {f"{socket['protocol']}/{socket['port']} {socket['process']}".strip() for socket in shown}
    return not strange, ", ".join(sorted(names)) + (" must not listen" if strange else "")


def _disk(found: Mapping[str, Any]) -> tuple[bool, str]:
    behind = found["disk_bytes"] - found["partition_end_bytes"]
    inside = found["partition_bytes"] - found["file_system_bytes"]
    gib = 1 << 30
    seen = f"{found['file_system_bytes'] / gib:.2f} of {found['disk_bytes'] / gib:.2f} GiB on {found['partition']}"
    return behind <= _END_SLACK_BYTES and inside <= _END_SLACK_BYTES, seen


def _network(found: Mapping[str, Any]) -> tuple[bool, str]:
    cards, netplan = found["cards"], found["netplan_get"]
    seen = "; ".join(
        f"{card['name']} ({card['driver']}): {' '.join(card['addresses']) or 'no address'} "
        f"by {card['network_file'] or 'nothing'}"
        for card in cards
    )
    if netplan["code"]:
        return False, f"{seen}; netplan get fails: {netplan['said']}"
    good = bool(cards) and all(card["addresses"] and "netplan" in card["network_file"] for card in cards)
    return good, seen or "no network card"


def _clone(found: Mapping[str, Any]) -> tuple[bool, str]:
    if found["code"] or found["head"] != found["tagged"]:
        return False, f"{found['head'][:200]} is not at tag {found['wanted']}"
    seen = f"tag {found['wanted']}, {found['head'][:12]}"
    return not found["changed"], seen + (f"; changed: {found['changed']}" if found["changed"] else "")


def _docker(found: Mapping[str, Any]) -> tuple[bool, str]:
    if found["code"]:
        return False, f"exit code {found['code']}: {found['said']}"
    return found["user_id"] != 0, f"{found['version']}, as user id {found['user_id']}"
