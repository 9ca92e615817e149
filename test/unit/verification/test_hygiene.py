"""Each rule, broken once; and the two kinds of trees, which have to see the same."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.partitions import LINUX_ROOT_X86_64, Partition, write_gpt
from exasol_like_dss.lib.verification import hygiene
from exasol_like_dss.lib.verification.facts import ImageFacts, parse_facts
from exasol_like_dss.lib.verification.trees import DebugfsTree, DirectoryTree, find, root_file_system_offset

PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
FACTS = ImageFacts(
    asset_id="a",
    edition="sandbox",
    roles=frozenset({"password", "seal", "jupyter"}),
    login_user="ubuntu",
    jupyter_port=8888,
    raw={"jupyter": {"token_file": "/var/lib/exasol-like-dss/jupyter-token"}},
)


def write(root: Path, path: str, text: str = "x\n") -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clean root file system, with what looks suspicious and is not."""
    root = tmp_path / "root"
    write(root, "/etc/passwd", "root:x:0:0::/root:/bin/bash\nbin:x:2:2::/bin:/x\nubuntu:x:1000:1000::/home/ubuntu:/x\n"
                               "postgres:x:99:99::/var/lib/postgresql:/x\n")  # fmt: skip
    write(root, "/etc/shadow", "root:*:20000:0:99999:7:::\nbin:!:20000::::::\nubuntu:$y$abc:0:0:99999:7:::\n")
    write(root, "/etc/machine-id", "")
    write(root, "/etc/ssh/sshd_config")
    write(root, "/etc/environment", "PATH=/usr/bin\n")
    write(root, "/etc/apt/apt.conf.d/50proxy", '// Acquire::http::Proxy "x";\n#Acquire::http::Proxy "x";\n')
    write(root, "/usr/share/ca-certificates/mozilla/A.crt", PEM.format("QUFB\nQkJC"))
    write(root, "/etc/ssl/certs/ca-certificates.crt", PEM.format("QUFBQkJC"))
    write(root, "/var/lib/apt/lists/lock", "")
    write(root, "/var/log/empty.log", "")
    write(root, "/var/lib/cloud/seed/nocloud/meta-data")
    for folder in ("/tmp", "/var/tmp", "/root", "/home/ubuntu/.cache", "/usr/local/share/ca-certificates",
                   "/var/lib/dbus", "/var/lib/cloud/instances", "/usr/sbin"):  # fmt: skip
        (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    (root / "var/log/README").symlink_to("../../usr/share/doc/systemd/README.logs")
    return root


def broken(root: Path, facts: ImageFacts = FACTS) -> dict[str, str]:
    results = hygiene.judge(DirectoryTree(root), facts)
    return {result.name.removeprefix("hygiene: "): result.seen for result in results if not result.passed}


def test_a_clean_root_breaks_no_rule(root: Path) -> None:
    assert broken(root) == {}
    assert {result.boot for result in hygiene.judge(DirectoryTree(root), FACTS)} == {"at rest"}


BREAKS: list[tuple[str, Callable[[Path], object], str]] = [
    ("no ssh folder of any user", lambda r: write(r, "/home/ubuntu/.ssh/authorized_keys"), "/home/ubuntu/.ssh"),
    ("no ssh folder of any user", lambda r: write(r, "/root/.ssh/known_hosts"), "/root/.ssh"),
    ("no ssh folder of any user", lambda r: write(r, "/etc/skel/.ssh/config"), "/etc/skel/.ssh"),
    ("no ssh folder of any user", lambda r: write(r, "/var/lib/postgresql/.ssh/id"), "/var/lib/postgresql/.ssh"),
    ("no ssh host keys", lambda r: write(r, "/etc/ssh/ssh_host_rsa_key.pub"), "ssh_host_rsa_key.pub"),
    ("machine-id is empty", lambda r: write(r, "/etc/machine-id"), "not empty"),
    ("machine-id is empty", lambda r: (r / "etc/machine-id").rename(r / "etc/gone"), "missing"),
    ("no D-Bus machine-id", lambda r: ((r / "var/lib/dbus/machine-id").rename(r / "var/lib/x"),
                                       write(r, "/var/lib/dbus/machine-id")), "machine-id"),
    ("no cloud-init state", lambda r: write(r, "/var/lib/cloud/instances/i-1/boot-finished"), "boot-finished"),
    ("no logs", lambda r: write(r, "/var/log/apt/history.log"), "/var/log/apt/history.log"),
    ("no logs", lambda r: write(r, "/var/log/journal/abc/system.journal", ""), "system.journal"),
    ("no shell or Python history", lambda r: write(r, "/root/.bash_history"), "/root/.bash_history"),
    ("no shell or Python history", lambda r: write(r, "/home/ubuntu/.python_history"), ".python_history"),
    ("no caches", lambda r: write(r, "/var/cache/apt/archives/a.deb"), "a.deb"),
    ("no caches", lambda r: write(r, "/var/lib/apt/lists/some_Packages"), "some_Packages"),
    ("no caches", lambda r: write(r, "/root/.cache/pip/x"), "/root/.cache/pip/x"),
    ("no policy-rc.d", lambda r: write(r, "/usr/sbin/policy-rc.d"), "policy-rc.d"),
    ("no CA of the build", lambda r: write(r, "/usr/local/share/ca-certificates/build.crt"), "build.crt"),
    ("no CA of the build", lambda r: write(r, "/etc/ssl/certs/ca-certificates.crt", PEM.format("QUFBQkJC")
                                           + PEM.format("WFhY")), "1 certificates of no package"),
    ("no random seed or engine identity", lambda r: write(r, "/var/lib/systemd/random-seed"), "random-seed"),
    ("no random seed or engine identity", lambda r: write(r, "/var/lib/docker/engine-id"), "engine-id"),
    ("no Jupyter secret", lambda r: write(r, "/var/lib/exasol-like-dss/jupyter-token"), "jupyter-token"),
    ("no Jupyter secret", lambda r: write(r, "/home/ubuntu/.jupyter/jupyter_server_config.json"), "config.json"),
    ("no Jupyter secret", lambda r: write(r, "/home/ubuntu/.local/share/jupyter/runtime/cookie"), "cookie"),
    ("nothing in /tmp and /var/tmp", lambda r: write(r, "/tmp/ansible_x/y"), "/tmp/ansible_x"),
    ("nothing in /tmp and /var/tmp", lambda r: (r / "var/tmp/empty").mkdir(), "/var/tmp/empty"),
    ("no proxy, pip or login settings of the build", lambda r: write(r, "/etc/pip.conf"), "/etc/pip.conf"),
    ("no proxy, pip or login settings of the build", lambda r: write(r, "/root/.config/pip/pip.conf"), "/root/.config"),
    ("no proxy, pip or login settings of the build", lambda r: write(
        r, "/etc/apt/apt.conf.d/01proxy", 'Acquire::http::Proxy "http://10.0.0.1";\n'), "01proxy"),
    ("no proxy, pip or login settings of the build", lambda r: write(
        r, "/etc/environment", "https_proxy=http://10.0.0.1\n"), "/etc/environment"),
    ("default password is expired", lambda r: write(r, "/etc/shadow", "ubuntu:$y$abc:20000:0:99999:7:::\n"), "expired"),
    ("default password is expired", lambda r: write(r, "/etc/shadow", "ubuntu:!$y$abc:0::::::\n"), "no password"),
    ("no backups of the account files", lambda r: write(r, "/etc/shadow-"), "/etc/shadow-"),
    ("no other account has a password", lambda r: write(
        r, "/etc/shadow", "ubuntu:$y$abc:0:::::::\nroot:$y$def:0::::::\n"), "root has a password"),
    ("no other account has a password", lambda r: write(
        r, "/etc/shadow", "ubuntu:$y$abc:0:::::::\ndaemon::0::::::\n"), "daemon has an empty password"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "break_it", "seen"), BREAKS)
def test_each_rule_is_broken_alone_and_says_where(
    root: Path, rule: str, break_it: Callable[[Path], object], seen: str
) -> None:
    break_it(root)
    found = broken(root)
    assert list(found) == [rule]
    assert seen in found[rule]


def test_every_rule_is_broken_in_some_test() -> None:
    assert {rule.name for rule in hygiene.RULES} == {rule for rule, _, _ in BREAKS}


def test_rules_of_a_role_that_is_left_out_are_not_judged(root: Path) -> None:
    write(root, "/etc/shadow", "root:*:1::::::\n")
    facts = ImageFacts("a", "sandbox", frozenset({"seal"}), "ubuntu", None)
    assert broken(root, facts) == {}
    assert all("default password" not in result.name for result in hygiene.judge(DirectoryTree(root), facts))


def test_many_finds_are_shortened(root: Path) -> None:
    for number in range(9):
        write(root, f"/tmp/{number}")
    assert broken(root)["nothing in /tmp and /var/tmp"].endswith("/tmp/4 and 4 more")


def test_links_of_the_tree_do_not_lead_to_this_machine(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    tree = DirectoryTree(root)
    assert tree.list("/link") == []
    assert tree.read("/link/passwd") == ""
    found = find(tree, "/link")
    assert found is not None
    assert found.kind == "symlink"


@pytest.fixture
def disk(root: Path, tmp_path: Path) -> Path:
    """``root`` in the second partition of a disk with a GPT."""
    disk = tmp_path / "disk.raw"
    mib = 1 << 20
    with disk.open("wb") as file:
        file.truncate(64 * mib)
    mke2fs = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin")
    assert mke2fs
    write(root, '/var/log/with space/and"quote')
    subprocess.run([mke2fs, "-q", "-t", "ext4", "-d", root, "-E", f"offset={4 * mib}", disk, "40M"], check=True)
    kind, own = LINUX_ROOT_X86_64, uuid.UUID(int=1)
    partitions = [
        Partition(1, "small", kind, own, start_bytes=mib, size_bytes=mib),
        Partition(2, "root", kind, uuid.UUID(int=2), start_bytes=4 * mib, size_bytes=40 * mib),
    ]
    with disk.open("r+b") as file:
        write_gpt(file, partitions=partitions, disk_bytes=64 * mib, disk_guid=uuid.UUID(int=3))
    return disk


def test_debugfs_sees_what_a_directory_shows(root: Path, disk: Path) -> None:
    inside = DebugfsTree(disk, root_file_system_offset(disk), Programs())
    outside = DirectoryTree(root)
    for path in ("/etc", "/var/log", "/var/log/with space", "/nowhere", "/etc/machine-id", "/var/lib/dbus", "/tmp"):
        names = [(entry.name, entry.kind) for entry in inside.list(path) if entry.name != "lost+found"]
        assert names == [(entry.name, entry.kind) for entry in outside.list(path)], path
    for path in ("/etc/shadow", "/etc/machine-id", "/nowhere", "/var/lib/dbus/machine-id", "/etc",
                 '/var/log/with space/and"quote'):  # fmt: skip
        assert inside.read(path) == outside.read(path), path
    assert hygiene.judge(inside, FACTS) == hygiene.judge(outside, FACTS)


@pytest.mark.parametrize("content", [b"", b"no disk" * 1000])
def test_a_disk_without_a_root_is_wrong_input(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "disk").write_bytes(content)
    with pytest.raises(InputError, match="no GPT partition"):
        root_file_system_offset(tmp_path / "disk")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"asset_id": "a", "edition": "b", "roles": 5, "login_user": "u"}'])
def test_facts_that_are_none_are_wrong_input(text: str) -> None:
    with pytest.raises(InputError, match="can't be understood"):
        parse_facts(text)


def test_facts_are_read() -> None:
    facts = parse_facts(
        '{"asset_id": "a", "edition": "sandbox", "roles": ["base"], "login_user": "ubuntu", "jupyter_port": null}'
    )
    assert (facts.jupyter_port, facts.can_log_in, facts.text("jupyter", "token_file")) == (None, False, "")
