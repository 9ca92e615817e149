"""One Ansible tree, three connections: what a chroot and a container get is what a running machine gets over ssh."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from exasol_like_dss.access.ansible import Ansible
from exasol_like_dss.access.docker import Docker
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.machines.chroot import ChrootMachine
from exasol_like_dss.lib.machines.container import ContainerMachine
from exasol_like_dss.lib.machines.protocol import Machine
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.provisioning import playbooks
from exasol_like_dss.lib.resources import tree
from test.integration.conftest import ca_options
from test.support.command import dss
from test.support.docker_engine import CLIENT, Engine
from test.support.ssh_machine import SshMachine, ssh_machine

#: Without netplan (it would take over the container's network) and docker (an engine in an unprivileged container).
ROLES = ["base", "poetry", "jupyter", "script_languages"]
LEFT_OUT = ["netplan", "docker"]
LISTS = {
    "Debian packages": "dpkg-query --show --showformat '${Package} ${Version} ${Status}\\n'",
    "JupyterLab's environment": "/opt/jupyter/venv/bin/python -m pip --disable-pip-version-check freeze",
    "Poetry's environment": "/opt/poetry/bin/python -m pip --disable-pip-version-check freeze",
    "enabled units": "systemctl list-unit-files --state=enabled --no-legend | grep -oE '^(jupyter|docker)[^ ]*'",
    "clone": "git -C /home/ubuntu/script-languages-release -c safe.directory='*' describe --tags",
    "login user": "id ubuntu",
    "owners": "stat --format '%U:%G %a %n' /home/ubuntu /home/ubuntu/notebooks /opt/jupyter/venv /opt/poetry",
}


@pytest.fixture(scope="module")
def machine(
    docker_engine: Engine, debian_12_tar: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SshMachine]:
    with ssh_machine(docker_engine, debian_12_tar, tmp_path_factory.mktemp("machine")) as found:
        yield found


@dataclass(frozen=True)
class ThreeWays:
    """The same roles, installed over three connections."""

    over_ssh: SshMachine
    in_chroot: ChrootMachine
    root: Path
    in_container: ContainerMachine


@pytest.fixture(scope="module")
def three_ways(
    machine: SshMachine,
    docker_engine: Engine,
    debian_12_root: Path,
    debian_12_tar: Path,
    script_languages: str,
    script_languages_for_containers: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ThreeWays]:
    """All three at the same time: each of them waits for the network, and for one core, most of its time."""
    folder = tmp_path_factory.mktemp("three-ways")
    root = folder / "root"
    subprocess.run(["cp", "--archive", "--reflink=auto", str(debian_12_root), str(root)], check=True)
    chroot = ChrootMachine(root=root, work_directory=folder, programs=Programs(), ca_bundle=ca_bundle())
    with closing(Docker(docker_engine.host)) as docker, ThreadPoolExecutor(max_workers=3) as threads:
        with debian_12_tar.open("rb") as tar:
            pieces = iter(lambda: tar.read(1 << 20), b"")
            image = docker.import_tar(pieces, repository="dss-parity", tag="1", changes=[])
        container = ContainerMachine(image, docker=docker, programs=Programs(), progress=Progress(),
                                     cancellation=Cancellation(), ca_bundle=ca_bundle())  # fmt: skip
        with chroot.started(), container.started():
            installing = [
                threads.submit(install_over_ssh, machine, script_languages, tmp_path_factory.mktemp("clone")),
                threads.submit(install, chroot, script_languages, tmp_path_factory.mktemp("chroot")),
                threads.submit(
                    install, container, script_languages_for_containers, tmp_path_factory.mktemp("container")
                ),
            ]
            for one in installing:
                one.result()
            yield ThreeWays(machine, chroot, root, container)
        docker.remove_image("dss-parity:1")
    shutil.rmtree(root)


def install_over_ssh(machine: SshMachine, script_languages: str, work: Path) -> None:
    """``dss install-dependencies``. The repository is pushed in: the network of a container has no way to this
    machine's loopback."""
    bare = script_languages.rsplit("/", 1)[-1]
    machine.run(
        "apt-get -qq update && apt-get -qq install -y --no-install-recommends git >/dev/null\n"
        f"git init -q --bare /srv/{bare}"
    )
    subprocess.run(["git", "clone", "-q", "--mirror", script_languages, str(work / "mirror")], check=True)
    subprocess.run(
        [
            CLIENT,
            "-H",
            f"unix://{machine.engine.socket}",
            "cp",
            f"{work}/mirror/.",
            f"{machine.container}:/srv/{bare}",
        ],
        check=True,
        capture_output=True,
    )
    machine.run(f"chown -R root:root /srv/{bare}; git config --system --add safe.directory '*'")
    done = dss(
        "install-dependencies", "--host-name", machine.host, "--ssh-port", str(machine.port),
        "--ssh-user", machine.user,
        "--ssh-private-key", machine.private_key,
        *[word for role in LEFT_OUT for word in ("--without", role)],
        "--extra-vars", f"script_languages_repository=file:///srv/{bare}",
        *ca_options(), cwd=work,
    )  # fmt: skip
    assert done.code == 0, done.err
    machine.run("git config --system --unset-all safe.directory; rm -rf /srv/*")


def ca_bundle() -> Path | None:
    return next((Path(word) for word in ca_options()[1:]), None)


def install(machine: Machine, script_languages: str, folder: Path) -> None:
    result = playbooks.install(
        machine,
        edition="sandbox",
        roles=ROLES,
        variables={"script_languages_repository": script_languages},
        ansible=Ansible(tree=tree("ansible")),
        work_directory=folder,
        progress=Progress(),
        cancellation=Cancellation(),
    )
    assert result.status == "successful"


def inside(machine: ChrootMachine, script: str) -> str:
    done = subprocess.run([*machine.enter_command(), "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("what", LISTS)
def test_all_ways_give_the_same(what: str, three_ways: ThreeWays) -> None:
    chroot, ssh = inside(three_ways.in_chroot, LISTS[what]), three_ways.over_ssh.run(LISTS[what])
    assert chroot
    assert sorted(chroot.splitlines()) == sorted(ssh.splitlines())
    assert sorted(three_ways.in_container.read(LISTS[what]).splitlines()) == sorted(chroot.splitlines())


def test_a_running_machine_runs_jupyter_at_once(three_ways: ThreeWays) -> None:
    over_ssh = three_ways.over_ssh
    assert over_ssh.run("systemctl is-active jupyter.service").strip() == "active"
    over_ssh.run("curl --silent --fail --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8888/api")


def test_the_build_leaves_nothing_in_a_chroot(three_ways: ThreeWays) -> None:
    machine, root = three_ways.in_chroot, three_ways.root
    assert list((root / "run/dss-build").glob("*")) == [], "it is on the build's own tmpfs"
    assert list((root / "tmp").iterdir()) == []
    assert inside(machine, "cat /run/dss-build/apt.conf")
    assert not subprocess.run(["pgrep", "-f", str(root / "usr")], capture_output=True, check=False).stdout


def test_resetting_the_password_over_ssh_takes_the_keys_away(three_ways: ThreeWays, tmp_path: Path) -> None:
    over_ssh = three_ways.over_ssh
    done = dss(
        "reset-password", "--host-name", over_ssh.host, "--ssh-port", str(over_ssh.port), "--ssh-user", over_ssh.user,
        "--ssh-private-key", over_ssh.private_key, cwd=tmp_path, env={"DSS_DEFAULT_PASSWORD": "first-Login-4711"},
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "first-Login-4711" not in done.out + done.err
    assert over_ssh.run("getent shadow ubuntu | cut -d: -f3").strip() == "0", "expired"
    assert over_ssh.run("find /home /root -name .ssh").strip() == ""
    assert "passwordauthentication yes" in over_ssh.run("sshd -T")


def test_wrong_hosts_and_keys_are_one_sentence(tmp_path: Path, machine: SshMachine) -> None:
    host: list[str | Path] = ["--host-name", machine.host, "--ssh-port", str(machine.port)]
    (tmp_path / "other").write_text("no key")
    cases: list[tuple[list[str | Path], str]] = [
        ([*host, "--ssh-private-key", tmp_path / "none"], "is no readable file"),
        ([*host, "--ssh-private-key", tmp_path / "other"], "can't be used"),
        (["--host-name", "127.0.0.1", "--ssh-port", "1", "--ssh-private-key", machine.private_key], "can't be used"),
    ]
    for arguments, sentence in cases:
        done = dss("install-dependencies", *arguments, cwd=tmp_path)
        assert done.code == 2, done.err
        assert sentence in done.err
        assert "Traceback" not in done.err
