"""What must not be in an image that goes to others. Judged on the image at rest: what a boot makes doesn't count.

The list answers the promises of the role ``seal``. A rule returns what breaks it; an empty list is clean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exasol_like_dss.lib.verification.facts import ImageFacts
from exasol_like_dss.lib.verification.report import AT_REST, CheckResult
from exasol_like_dss.lib.verification.trees import FileTree, files_below, find

_HISTORIES = (".bash_history", ".zsh_history", ".sh_history", ".python_history", ".lesshst", ".viminfo", ".wget-hsts",
              ".sqlite_history", ".ipython/profile_default/history.sqlite")  # fmt: skip
_PROXY = re.compile(r"^\s*[^#\s/].*(::proxy|::cainfo|_proxy\s*=|verify-(peer|host)\s+\W*false)", re.I | re.M)
_CERTIFICATE = re.compile(r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----(.*?)-----END", re.DOTALL)
#: How the hash of an account begins that no password opens: shadow(5).
_LOCKED = ("!", "*")


@dataclass(frozen=True)
class Rule:
    """role: the rule makes sense only with that role; empty: always."""

    name: str
    find: Callable[[FileTree, ImageFacts], list[str]]
    role: str = ""


def judge(tree: FileTree, facts: ImageFacts, rules: Sequence[Rule] | None = None) -> list[CheckResult]:
    """One result per rule that applies to this image. rules: ``None`` for those of virtual machines, ``RULES``."""
    results = []
    for rule in RULES if rules is None else rules:
        if not rule.role or facts.has(rule.role):
            broken = rule.find(tree, facts)
            seen = ", ".join(broken[:5]) + (f" and {len(broken) - 5} more" if len(broken) > 5 else "")
            results.append(CheckResult(f"hygiene: {rule.name}", not broken, seen or "clean", AT_REST))
    return results


def homes(tree: FileTree) -> list[str]:
    """The home directories of all users, and what new ones are made from."""
    found = {"/root", "/etc/skel", *(f"/home/{entry.name}" for entry in tree.list("/home"))}
    for line in tree.read("/etc/passwd").splitlines():
        fields = line.split(":")
        # Many system users "live" in /, /bin or /usr/sbin, which are no homes.
        if (
            len(fields) == 7
            and fields[5].count("/") >= 2
            and not fields[5].startswith(("/usr/", "/proc", "/run", "/dev"))
        ):
            found.add(fields[5].rstrip("/"))
    return sorted(found)


def _present(tree: FileTree, *paths: str) -> list[str]:
    return [path for path in paths if find(tree, path)]


def _filled(tree: FileTree, path: str, *, allowed: tuple[str, ...] = ()) -> list[str]:
    """Files below ``path`` that hold something."""
    return [name for name, entry in files_below(tree, path) if entry.size_bytes and entry.name not in allowed]


def _user_keys(tree: FileTree, _facts: ImageFacts) -> list[str]:
    return _present(tree, *(f"{home}/.ssh" for home in homes(tree)))


def _host_keys(tree: FileTree, _facts: ImageFacts) -> list[str]:
    return [f"/etc/ssh/{entry.name}" for entry in tree.list("/etc/ssh") if entry.name.startswith("ssh_host_")]


def _machine_id(tree: FileTree, _facts: ImageFacts) -> list[str]:
    # machine-id(5): an empty file is filled at the first boot; without the file a read-only root would stay without.
    entry = find(tree, "/etc/machine-id")
    if entry is None:
        return ["/etc/machine-id is missing"]
    return ["/etc/machine-id is not empty"] if entry.kind != "file" or entry.size_bytes else []


def _dbus_machine_id(tree: FileTree, _facts: ImageFacts) -> list[str]:
    entry = find(tree, "/var/lib/dbus/machine-id")
    return ["/var/lib/dbus/machine-id"] if entry and entry.kind == "file" and entry.size_bytes else []


def _cloud_init(tree: FileTree, _facts: ImageFacts) -> list[str]:
    # /var/lib/cloud/seed is configuration (a NoCloud data source), the rest is the memory of an instance.
    names = [entry.name for entry in tree.list("/var/lib/cloud") if entry.name != "seed"]
    return [name for part in names for name, _ in files_below(tree, f"/var/lib/cloud/{part}")]


def _logs(tree: FileTree, _facts: ImageFacts) -> list[str]:
    return [
        name
        for name, entry in files_below(tree, "/var/log")
        if entry.kind != "symlink" and (entry.size_bytes or name.startswith("/var/log/journal/"))
    ]


def _histories(tree: FileTree, _facts: ImageFacts) -> list[str]:
    return _present(tree, *(f"{home}/{name}" for home in homes(tree) for name in _HISTORIES))


def _caches(tree: FileTree, _facts: ImageFacts) -> list[str]:
    found = _filled(tree, "/var/cache/apt", allowed=("lock",)) + _filled(tree, "/var/lib/apt/lists", allowed=("lock",))
    for home in homes(tree):
        found += [name for name, _ in files_below(tree, f"{home}/.cache")]
    return found


def _policy(tree: FileTree, _facts: ImageFacts) -> list[str]:
    return _present(tree, "/usr/sbin/policy-rc.d")


def _certificates(text: str) -> list[str]:
    return ["".join(match.split()) for match in _CERTIFICATE.findall(text)]


def _build_ca(tree: FileTree, _facts: ImageFacts) -> list[str]:
    found = [name for name, _ in files_below(tree, "/usr/local/share/ca-certificates")]
    bundle = _certificates(tree.read("/etc/ssl/certs/ca-certificates.crt"))
    known = {
        certificate
        for name, entry in (files_below(tree, "/usr/share/ca-certificates") if bundle else [])
        if entry.kind == "file"
        for certificate in _certificates(tree.read(name))
    }
    strange = sum(certificate not in known for certificate in bundle)
    return found + ([f"{strange} certificates of no package in /etc/ssl/certs/ca-certificates.crt"] if strange else [])


def _seeds(tree: FileTree, _facts: ImageFacts) -> list[str]:
    # systemd-random-seed(8), systemd-creds(1): both must differ from machine to machine.
    return _present(
        tree,
        "/var/lib/systemd/random-seed",
        "/var/lib/urandom/random-seed",
        "/var/lib/systemd/credential.secret",
        "/var/lib/docker/engine-id",
    )


def _jupyter_secret(tree: FileTree, facts: ImageFacts) -> list[str]:
    token_file = facts.text("jupyter", "token_file")
    found = _filled(tree, token_file) + _present(tree, token_file) if token_file else []
    for home in homes(tree):
        found += [name for name, _ in files_below(tree, f"{home}/.local/share/jupyter/runtime")]
        found += _present(tree, f"{home}/.jupyter/jupyter_server_config.json")
    return found


def _leftovers(tree: FileTree, _facts: ImageFacts) -> list[str]:
    return [f"{directory}/{entry.name}" for directory in ("/tmp", "/var/tmp") for entry in tree.list(directory)]


def _host_settings(tree: FileTree, _facts: ImageFacts) -> list[str]:
    found = _present(tree, "/etc/pip.conf", "/etc/apt/auth.conf")
    found += [name for name, _ in files_below(tree, "/etc/apt/auth.conf.d")]
    for home in homes(tree):
        found += _present(tree, f"{home}/.pip", f"{home}/.config/pip", f"{home}/.netrc", f"{home}/.gitconfig")
    read = ["/etc/apt/apt.conf", "/etc/environment", *(name for name, _ in files_below(tree, "/etc/apt/apt.conf.d"))]
    return found + [f"proxy or CA in {name}" for name in read if _PROXY.search(tree.read(name))]


def _shadow(tree: FileTree) -> dict[str, list[str]]:
    lines = [line.split(":") for line in tree.read("/etc/shadow").splitlines()]
    return {fields[0]: fields for fields in lines if len(fields) >= 3}


def _old_accounts(tree: FileTree, _facts: ImageFacts) -> list[str]:
    # What the account tools keep from before a change: the hashes of passwords of the build.
    return _present(tree, "/etc/shadow-", "/etc/gshadow-", "/etc/passwd-", "/etc/group-")


def _password_not_expired(tree: FileTree, facts: ImageFacts) -> list[str]:
    # shadow(5): 0 days since 1970 means that the password has to be changed at the next login.
    fields = _shadow(tree).get(facts.login_user)
    if fields is None or not fields[1] or fields[1].startswith(_LOCKED):
        return [f"{facts.login_user} has no password"]
    return [] if fields[2] == "0" else [f"the password of {facts.login_user} is not expired"]


def _other_passwords(tree: FileTree, facts: ImageFacts) -> list[str]:
    known = {facts.login_user} if facts.can_log_in else set()
    return [
        f"{name} has {'a' if fields[1] else 'an empty'} password"
        for name, fields in _shadow(tree).items()
        if name not in known and not fields[1].startswith(_LOCKED)
    ]


RULES = (
    Rule("no ssh folder of any user", _user_keys),
    Rule("no ssh host keys", _host_keys),
    Rule("machine-id is empty", _machine_id),
    Rule("no D-Bus machine-id", _dbus_machine_id),
    Rule("no cloud-init state", _cloud_init),
    Rule("no logs", _logs),
    Rule("no shell or Python history", _histories),
    Rule("no caches", _caches),
    Rule("no policy-rc.d", _policy),
    Rule("no CA of the build", _build_ca),
    Rule("no random seed or engine identity", _seeds),
    Rule("no Jupyter secret", _jupyter_secret),
    Rule("nothing in /tmp and /var/tmp", _leftovers),
    Rule("no proxy, pip or login settings of the build", _host_settings),
    Rule("default password is expired", _password_not_expired, role="password"),
    Rule("no backups of the account files", _old_accounts),
    Rule("no other account has a password", _other_passwords),
)
