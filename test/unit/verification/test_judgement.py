"""Facts from a guest, judged; each broken once."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.lib.verification import probe
from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.judgement import judge_system, judge_user
from exasol_like_dss.lib.verification.report import Checks

ALL = frozenset({"base", "poetry", "jupyter", "docker", "script_languages", "netplan", "password", "seal"})
IMAGE = ImageFacts("a", "sandbox", ALL, "ubuntu", 8888)
GIB = 1 << 30


def socket(protocol: str, address: str, port: str, process: str = "") -> dict[str, str]:
    return {"protocol": protocol, "address": address, "port": port, "process": process}


GOOD: dict[str, Any] = {
    "system": {"state": "running", "failed": []},
    "boot_seconds": {"cloud-init-local.service": 11.0},
    "cloud_init": {
        "installed": True, "disabled": True, "done": False, "datasource": "", "errors": [], "metadata_attempts": 0,
    },
    "sshd": {"passwordauthentication": "yes"},
    "sockets": [
        socket("tcp", "0.0.0.0", "22", "sshd"), socket("tcp", "[::]", "22", "sshd"),
        socket("tcp", "*", "8888", "jupyter-lab"), socket("tcp", "127.0.0.53%lo", "53", "systemd-resolve"),
        socket("udp", "10.0.2.15%ens3", "68", "systemd-network"), socket("tcp", "[::1]", "5000"),
        socket("udp", "[fe80::1]%ens3", "546", "systemd-network"),
    ],
    "disk": {
        "partition": "/dev/sda3", "disk_bytes": 10 * GIB, "partition_end_bytes": 10 * GIB - 33 * 512,
        "partition_bytes": 9 * GIB, "file_system_bytes": 9 * GIB - 4096,
    },
    "network": {
        "cards": [{"name": "ens3", "driver": "e1000", "addresses": ["10.0.2.15/24"],
                   "network_file": "/run/systemd/network/10-netplan-all.network"}],
        "netplan_get": {"code": 0, "said": "network:"},
    },
    "poetry": {"code": 0, "said": "Poetry (version 2.1.0)"},
    "clone": {"code": 0, "head": "abc", "tagged": "abc", "changed": "", "wanted": "5.0.0"},
    "docker": {"code": 0, "said": "", "user_id": 1000, "version": "Docker version 26"},
}  # fmt: skip


def judged(facts: dict[str, Any], image: ImageFacts = IMAGE) -> dict[str, tuple[bool, str]]:
    checks = Checks("bios")
    judge_system(checks, facts, image=image)
    judge_user(checks, facts, image=image)
    return {result.name: (result.passed, result.seen) for result in checks.results}


def test_good_facts_pass() -> None:
    results = judged(GOOD)
    assert len(results) == 9
    assert all(passed for passed, _ in results.values()), results


def change(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(facts: dict[str, Any]) -> None:
        here = facts
        for key in path[:-1]:
            here = here[key]
        here[path[-1]] = to

    return apply


BROKEN: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("all services run", change("system", to={"state": "degraded", "failed": ["a.service"]}), "failed: a.service"),
    ("all services run", change("system", "state", to="starting"), "starting"),
    ("cloud-init does not wait", change("cloud_init", "metadata_attempts", to=3), "asked for a metadata server 3"),
    ("cloud-init does not wait", change("cloud_init", "disabled", to=False), "still at work"),
    ("cloud-init does not wait", change("boot_seconds", to={"cloud-init.service": 122.0}), "slow: cloud-init.service"),
    ("cloud-init does not wait", change("cloud_init", "errors", to=["bad"]), "errors: ['bad']"),
    ("sshd takes passwords", change("sshd", "passwordauthentication", to="no"), "PasswordAuthentication no"),
    ("only ssh and Jupyter listen", lambda f: f["sockets"].append(socket("udp", "*", "5355", "systemd-resolve")),
     "udp/5355 systemd-resolve must not listen"),
    ("only ssh and Jupyter listen", lambda f: f["sockets"].append(socket("tcp", "10.0.2.15", "2375", "dockerd")),
     "tcp/2375"),
    ("only ssh and Jupyter listen", lambda f: f["sockets"].append(socket("udp", "0.0.0.0", "22")), "udp/22"),
    ("root file system fills the disk", change("disk", "partition_end_bytes", to=9 * GIB), "of 10.00 GiB"),
    ("root file system fills the disk", change("disk", "file_system_bytes", to=3 * GIB), "3.00 of"),
    ("network through netplan", change("network", "cards", to=[]), "no network card"),
    ("network through netplan", lambda f: f["network"]["cards"][0].update(addresses=[]), "no address"),
    ("network through netplan", lambda f: f["network"]["cards"][0].update(network_file="/etc/x.network"), "/etc/x"),
    ("network through netplan", change("network", "netplan_get", to={"code": 127, "said": "gone"}), "gone"),
    ("poetry", change("poetry", to={"code": 127, "said": "not found"}), "not found"),
    ("script-languages clone at its tag", change("clone", "head", to="def"), "is not at tag 5.0.0"),
    ("script-languages clone at its tag", change("clone", "changed", to=" M a"), "changed: M a"),
    ("docker runs a container without sudo", change("docker", "code", to=1), "exit code 1"),
    ("docker runs a container without sudo", change("docker", "user_id", to=0), "user id 0"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "break_it", "seen"), BROKEN)
def test_each_fact_is_judged(name: str, break_it: Callable[[dict[str, Any]], object], seen: str) -> None:
    facts = copy.deepcopy(GOOD)
    break_it(facts)
    results = judged(facts)
    assert [found for found, (passed, _) in results.items() if not passed] == [name]
    assert seen in results[name][1]


@pytest.mark.parametrize("fact", ["system", "sshd", "disk", "network", "poetry", "clone", "docker", "sockets"])
@pytest.mark.parametrize("value", [None, {}, {"error": "it broke"}, {"unexpected": 1}])
def test_a_fact_that_is_missing_is_no_pass(fact: str, value: Any) -> None:
    assert sum(not passed for passed, _ in judged({**GOOD, fact: value}).values()) == 1


def test_what_is_left_out_is_not_judged() -> None:
    bare = ImageFacts("a", "sandbox", frozenset({"base", "seal"}), "ubuntu", None)
    assert set(judged(GOOD, bare)) == {
        "all services run",
        "cloud-init does not wait",
        "only ssh and Jupyter listen",
        "root file system fills the disk",
    }
    assert not judged(GOOD, bare)["only ssh and Jupyter listen"][0], "8888 is Jupyter's only with its role"


def test_the_probe_runs_over_standard_input_with_nothing_but_python() -> None:
    """As in a guest: most facts fail here, in a container, but each by itself."""
    with Path(probe.__file__).open("rb") as program:
        done = subprocess.run(
            [sys.executable, "-I", "-", "root", "machine_id", "sockets", "network", "disk", "image"],
            stdin=program, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
    line = done.stdout.decode().strip().splitlines()[-1]
    facts = json.loads(line.removeprefix(probe.MARK))
    assert set(facts) == {"machine_id", "sockets", "network", "disk", "image"}
    assert "error" in facts["image"], "there is no image.json on this machine"
