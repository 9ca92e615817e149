#!/usr/bin/python
"""Brings a list of files, folders and links into the state that is wanted, in one execution.

Each execution of a module costs the target a fifth of a second of a processor (Python starts, and compiles Ansible's
own modules from a zip archive), and a round trip. With ansible-core's modules a file is two of them, a folder or a line
one.
"""

from __future__ import annotations

import grp
import io
import os
import pwd
import re
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

DOCUMENTATION = r"""
module: install_files
short_description: Bring files, folders, links and single lines into a state, all in one execution
description:
  - All entries are checked before the first one is changed. They are then brought into their state one after the other.
  - Files are replaced in one step, so that nobody ever reads half of one.
author: exasol-like-dss
version_added: "2.19"
attributes:
  check_mode: {support: full, description: Says what would change.}
  diff_mode: {support: full, description: Shows the content before and after.}
options:
  files:
    description: The entries, in the order in which they are made.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: What the entry is about, an absolute path. No two entries have it, but lines of one file.
        type: path
        required: true
      state:
        description:
          - V(file) is a file with O(files[].content), O(files[].src) or O(files[].template), or with O(files[].line).
            It takes the place of a link, but not of a folder.
          - V(directory) is a folder, V(link) a symbolic link to O(files[].target).
          - V(absent) is nothing; a folder is removed with all that is in it.
        type: str
        choices: [file, directory, link, absent]
        default: file
      content:
        description: The whole text of the file.
        type: str
      src:
        description:
          - A file of the role's folder C(files), as it is, in UTF-8.
          - A folder with a slash at its end stands for an entry for each file below it, in the folder O(files[].path).
        type: str
      template:
        description: A Jinja template of the role's folder C(templates), as for M(ansible.builtin.template).
        type: str
      line:
        description:
          - One line of the file; the others stay as they are. Follows a link.
          - Without O(files[].regexp) it is appended where it is missing.
        type: str
      regexp:
        description: The last line that it is found in is replaced by O(files[].line), which is appended otherwise.
        type: str
      target:
        description: What a link leads to. It need not be there.
        type: str
      mode:
        description:
          - Octal, in quotes. V("0644") for files and V("0755") for folders where it is not given.
          - A file of which one line is changed keeps its mode where it is not given.
        type: str
      owner:
        description: Name of the user. A new file belongs to who runs the module, one that is there stays whose it is.
        type: str
      group:
        description: Name of the group, like O(files[].owner).
        type: str
      parents:
        description: Makes the folders above that are missing, with O(files[].owner) and O(files[].group), mode C(0755).
        type: bool
        default: false
      force:
        description: V(false) leaves a file alone that is there, whatever is in it.
        type: bool
        default: true
      validate:
        description: A command that judges a new content before anything is changed. C(%s) is the file with it.
        type: str
      unsafe_writes:
        description: Writes into a file that cannot be replaced, such as a bind mount in a container.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: Configure the service
  install_files:
    files:
      - {path: /etc/example/example.conf, template: example.conf.j2, parents: true}
      - {path: /usr/local/bin/example, src: example, mode: "0755"}
      - {path: /etc/hostname, content: "example\n", unsafe_writes: true}
      - {path: /etc/hosts, regexp: '^127\.0\.1\.1\s', line: 127.0.1.1 example, unsafe_writes: true}
      - {path: /var/lib/example, state: directory, owner: example, group: example}
      - {path: /usr/local/bin/ex, state: link, target: example}
      - {path: /etc/old.conf, state: absent}
"""

RETURN = r"""
files:
  description: The entries that changed something, in their order.
  returned: always
  type: list
  elements: dict
  contains:
    path: {description: The entry's path., type: str}
    changed:
      description: What changed of it, of V(made), V(content), V(mode), V(owner), V(group), V(target) and V(removed).
      type: list
      elements: str
"""

#: What an entry may have.
ENTRY: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "state": {"choices": ["file", "directory", "link", "absent"], "default": "file"},
    "content": {"type": "raw"},
    "line": {},
    "regexp": {},
    "target": {},
    "mode": {"type": "raw"},
    "owner": {},
    "group": {},
    "parents": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": True},
    "validate": {},
    "unsafe_writes": {"type": "bool", "default": False},
}
#: And besides path and state, by its state.
ALLOWED: dict[str, set[str]] = {
    "file": ENTRY.keys() - {"target"},
    "directory": {"mode", "owner", "group", "parents"},
    "link": {"target", "parents"},
    "absent": set(),
}


class Wrong(Exception):
    """What is wrong with an entry, to be read after its path."""


class Installer:
    """Checks entries, each as if those before it were there already, and makes them."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._kinds: dict[Path, str] = {}  # what the entries so far make of a path: a state, or "line"
        self._contents: dict[Path, bytes] = {}
        self.diff: list[dict[str, str]] = []

    def checked(self, given: Any) -> dict[str, Any]:
        """The entry with its defaults; ``new``: a temporary file with a new content. Raises ``Wrong``, ``OSError``."""
        if not isinstance(given, dict):
            raise Wrong("is no mapping")
        given = {name: value for name, value in given.items() if value is not None}
        if unknown := sorted(given.keys() - ENTRY.keys()):
            raise Wrong(f"has {', '.join(unknown)}; there are only {', '.join(ENTRY)}, src, template")
        result = ArgumentSpecValidator(ENTRY).validate(given)
        if result.error_messages:
            raise Wrong(f"is wrong: {'; '.join(result.error_messages)}")
        entry: dict[str, Any] = result.validated_parameters
        state, path = entry["state"], Path(os.path.normpath(entry["path"]))
        if excess := sorted(given.keys() - ALLOWED[state] - {"path", "state"}):
            raise Wrong(f"has {', '.join(excess)}, which means nothing for the state {state}")
        if not path.is_absolute() or path == path.parent:
            raise Wrong("is no absolute path below /")
        kind = "line" if entry["line"] is not None else state
        if path in self._kinds and (self._kinds[path] != kind or kind not in ("line", "directory")):
            raise Wrong("has two entries")
        entry["path"] = path
        _check_rights(entry)
        if state != "absent":
            self._check_folder(entry)
        if state == "file":
            self._check_file(entry)
        if state == "link" and not entry["target"]:
            raise Wrong("needs a target")
        fitting = {"directory": path.is_dir, "link": path.is_symlink}.get(state)
        if fitting and os.path.lexists(path) and not fitting():
            raise Wrong(f"is there, and no {state}")
        self._kinds[path] = kind
        return entry

    def _check_folder(self, entry: dict[str, Any]) -> None:
        """The folder that the entry is in: there, made by an entry before, or to be made on the way."""
        folder, missing = entry["path"].parent, []
        while self._kinds.get(folder) != "directory" and not folder.is_dir():
            if os.path.lexists(folder) or folder in self._kinds:
                raise Wrong(f"is in {folder}, which is no folder")
            missing.append(folder)
            folder = folder.parent
        if missing and not entry["parents"]:
            raise Wrong(f"is in the folder {missing[0]}, which is missing (parents: true makes it)")
        self._kinds.update(dict.fromkeys(missing, "directory"))

    def _check_file(self, entry: dict[str, Any]) -> None:
        """Adds ``at`` (where a line's file really is), ``left`` (whether it stays), and ``new``."""
        content, line = entry["content"], entry["line"]
        if (content is None) == (line is None):
            raise Wrong("needs either a content or a line")
        if line is None and not isinstance(content, str):
            raise Wrong(f"has a content that is no text, but {type(content).__name__}")
        if line is None and entry["regexp"] is not None:
            raise Wrong("has a regexp without a line")
        entry["at"] = at = entry["path"] if line is None else entry["path"].resolve()
        exists = at.is_file()
        if os.path.lexists(at) and not exists and not at.is_symlink():
            raise Wrong("is there, and neither a file nor a link")
        entry["left"] = exists and not entry["force"]
        before = self._contents.get(at, at.read_bytes() if exists else None)
        after = content.encode() if line is None else _with_line(before or b"", line, entry["regexp"])
        if entry["mode"] is None and (line is None or before is None):
            entry["mode"] = "0644"
        if entry["left"] or (before == after and not at.is_symlink()):
            return
        self._contents[at] = after
        entry["new"] = self._written(after, entry["validate"])
        if self._module._diff:
            old, new = ((text or b"").decode(errors="replace") for text in (before, after))
            self.diff.append({"before_header": str(at), "before": old, "after_header": str(at), "after": new})

    def _written(self, content: bytes, judge: str | None) -> str:
        """A temporary file with the content, which the command ``judge`` has found right."""
        folder: str = self._module.tmpdir
        descriptor, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if judge is not None:
            program = next(iter(shlex.split(judge)), "")
            if "%s" not in judge:
                raise Wrong("has a validate without %s, which stands for the file")
            if not shutil.which(program):
                raise Wrong(f"cannot be validated: there is no program {program}")
            code, out, errors = self._module.run_command(judge.replace("%s", shlex.quote(name)))
            if code:
                raise Wrong(f"is refused by `{judge}`: {(errors or out).strip() or f'exit code {code}'}")
        return name

    def make(self, entry: dict[str, Any]) -> list[str]:
        """Brings a checked entry into its state, and says what changed. Raises ``OSError``."""
        path, state = entry["path"], entry["state"]
        existed = os.path.lexists(path)
        if state == "absent":
            return self._remove(path) if existed else []
        changed = [] if existed else ["made"]
        if not self._module.check_mode:
            self._make_folders(path if state == "directory" else path.parent, entry)
        if state == "link":
            if not existed or str(path.readlink()) != entry["target"]:
                changed = changed or ["target"]
                self._make_link(path, entry["target"])
            return changed
        if "new" in entry:
            changed = changed or ["content"]
            self._move(entry)
        # The owner first: a change of it takes setuid away.
        for name in () if entry.get("left") else ("owner", "group", "mode"):
            change = getattr(self._module, f"set_{name}_if_different")
            if entry[name] is not None and change(str(entry.get("at", path)), entry[name], False) and existed:
                changed.append(name)
        return changed

    def _make_folders(self, folder: Path, entry: dict[str, Any]) -> None:
        if not folder.is_dir():
            self._make_folders(folder.parent, entry)
            folder.mkdir()
            self._module.set_owner_if_different(str(folder), entry["owner"], False)
            self._module.set_group_if_different(str(folder), entry["group"], False)
            self._module.set_mode_if_different(str(folder), "0755", False)

    def _make_link(self, path: Path, target: str) -> None:
        if not self._module.check_mode:
            beside = path.with_name(f".{path.name}.{os.getpid()}")
            beside.symlink_to(target)
            beside.replace(path)

    def _move(self, entry: dict[str, Any]) -> None:
        if not self._module.check_mode:
            at, is_link = entry["at"], entry["at"].is_symlink()  # what the link leads to has rights of its own
            self._module.atomic_move(
                entry["new"], str(at), unsafe_writes=entry["unsafe_writes"], keep_dest_attrs=not is_link
            )

    def _remove(self, path: Path) -> list[str]:
        if not self._module.check_mode:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return ["removed"]


def _check_rights(entry: dict[str, Any]) -> None:
    if entry["mode"] is None and entry["state"] == "directory":
        entry["mode"] = "0755"
    mode = entry["mode"]
    if mode is not None and not (isinstance(mode, str) and re.fullmatch("[0-7]{3,4}", mode)):
        raise Wrong(f"has the mode {mode}: write it octal and in quotes, such as '0644'")
    for name, find in (("owner", pwd.getpwnam), ("group", grp.getgrnam)):
        try:
            if entry[name] is not None and not entry[name].isdecimal():
                find(entry[name])
        except KeyError:
            raise Wrong(f"has an unknown {name}, {entry[name]}") from None


def _with_line(before: bytes, line: str, regexp: str | None) -> bytes:
    """As ansible.builtin.lineinfile: the last line that matches is it, else the last equal one, else a new one."""
    if "\n" in line:
        raise Wrong("has a line that is more than one")
    try:
        pattern = None if regexp is None else re.compile(regexp.encode())
    except re.error as error:
        raise Wrong(f"has a regexp that is none: {error}") from None
    new, lines = line.encode(), io.BytesIO(before).readlines()
    found = [number for number, each in enumerate(lines) if pattern and pattern.search(each)]
    found = found or [number for number, each in enumerate(lines) if each.rstrip(b"\r\n") == new]
    if lines and not lines[-1].endswith(b"\n") and not found:
        lines[-1] += b"\n"
    place = found[-1] if found else len(lines)
    lines[place : place + 1] = [new + b"\n"]
    return b"".join(lines)


def main() -> None:
    """Checks all entries, then makes them."""
    module = AnsibleModule({"files": {"type": "list", "elements": "raw", "required": True}}, supports_check_mode=True)
    installer = Installer(module)
    entries, wrong = [], []
    for number, given in enumerate(module.params["files"], start=1):
        try:
            entries.append(installer.checked(given))
        except (Wrong, OSError, ValueError) as error:
            name = given.get("path") if isinstance(given, dict) else None
            wrong.append(f"{name or f'entry {number}'} {error}")
    if wrong:
        module.fail_json(msg="\n".join(wrong), files=[])
    changed: list[dict[str, Any]] = []
    for entry in entries:
        try:
            what = installer.make(entry)
        except OSError as error:
            module.fail_json(msg=f"{entry['path']}: {error.strerror}", changed=bool(changed), files=changed)
        if what:
            changed.append({"path": str(entry["path"]), "changed": what})
    module.exit_json(changed=bool(changed), files=changed, **({"diff": installer.diff} if installer.diff else {}))


if __name__ == "__main__":
    main()
