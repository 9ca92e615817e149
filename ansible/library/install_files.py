#!/usr/bin/python
"""Brings a list of files, folders and links into the state that is wanted, in one execution.

Each execution of a module costs the target a fifth of a second (Python starts, and compiles Ansible's own modules from a
zip archive), and a round trip. With ansible-core's modules a file is two of them, and a folder or a line one.
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
        description: What the entry is about, an absolute path. Twice only for several lines of one file.
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

ENTRY: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "state": {"choices": ["file", "directory", "link", "absent"], "default": "file"},
    "content": {"type": "raw"},
    "line": {"type": "str"},
    "regexp": {"type": "str"},
    "target": {"type": "str"},
    "mode": {"type": "raw"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "parents": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": True},
    "validate": {"type": "str"},
    "unsafe_writes": {"type": "bool", "default": False},
}
#: What an entry may have, by its state, besides its path.
ALLOWED = {
    "file": {*ENTRY} - {"target"},
    "directory": {"mode", "owner", "group", "parents"},
    "link": {"target", "parents"},
    "absent": set[str](),
}


class Wrong(Exception):
    """An entry that cannot be brought into its state."""


class Installer:
    """Checks entries, each as if those before it were there already, and makes them."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._lines: dict[str, bool] = {}  # by path: whether its entries are lines
        self._contents: dict[str, bytes] = {}  # what the entries so far make of files
        self._folders: set[str] = set()  # those that they make
        self.diff: list[dict[str, str]] = []

    def checked(self, given: Any) -> dict[str, Any]:
        """The entry with its defaults. Raises ``Wrong``. The new content of a file stands beside it (``new``) then."""
        if not isinstance(given, dict):
            raise Wrong("is no mapping")
        given = {name: value for name, value in given.items() if value is not None}
        if unknown := sorted(given.keys() - ENTRY.keys()):
            raise Wrong(f"does not know {', '.join(unknown)}, but {', '.join(ENTRY)}")
        result = ArgumentSpecValidator(ENTRY).validate(given)
        if result.error_messages:
            raise Wrong("; ".join(result.error_messages))
        entry: dict[str, Any] = result.validated_parameters
        if excess := sorted(given.keys() - ALLOWED[entry["state"]] - {"path", "state"}):
            raise Wrong(f"{', '.join(excess)} means nothing for the state {entry['state']}")
        if not os.path.isabs(entry["path"]):
            raise Wrong("is not absolute")
        entry["path"] = path = os.path.normpath(entry["path"])
        is_line = entry["line"] is not None
        if self._lines.setdefault(path, is_line) != is_line or (path in self._contents and not is_line):
            raise Wrong("has two entries")
        self._check_rights(entry)
        if entry["state"] != "absent":
            self._check_folder(entry)
        getattr(self, f"_check_{entry['state']}")(entry)
        self._contents.setdefault(path, b"")
        return entry

    def make(self, entry: dict[str, Any]) -> list[str]:
        """Brings the entry into its state, and says what changed. Raises ``Wrong`` and ``OSError``."""
        changed: list[str] = getattr(self, f"_make_{entry['state']}")(entry)
        if entry["state"] in ("file", "directory") and not entry.get("left"):
            at, existed = entry.get("at", entry["path"]), changed != ["made"]
            # The owner first: a change of it takes setuid away.
            for name in ("owner", "group", "mode"):
                change = getattr(self._module, f"set_{name}_if_different")
                if entry[name] is not None and change(at, entry[name], False) and existed:
                    changed.append(name)
        return changed

    def _check_rights(self, entry: dict[str, Any]) -> None:
        mode = entry["mode"]
        if mode is not None and not (isinstance(mode, str) and re.fullmatch("[0-7]{3,4}", mode)):
            raise Wrong(f"has the mode {mode!r}: write it octal and in quotes, such as '0644'")
        for name, find in (("owner", pwd.getpwnam), ("group", grp.getgrnam)):
            if entry[name] is not None and not entry[name].isdecimal():
                try:
                    find(entry[name])
                except KeyError:
                    raise Wrong(f"has the {name} {entry[name]}, who is not known here") from None

    def _check_folder(self, entry: dict[str, Any]) -> None:
        """The folder that the entry is in: there, made before, or to be made on the way."""
        missing = []
        folder = os.path.dirname(entry["path"])
        while not os.path.isdir(folder) and folder not in self._folders:
            if os.path.lexists(folder) or folder in self._contents:
                raise Wrong(f"is in {folder}, which is no folder")
            missing.append(folder)
            folder = os.path.dirname(folder)
        if missing and not entry["parents"]:
            raise Wrong(f"is in the folder {missing[0]}, which is missing (parents: true makes it)")
        self._folders.update(missing)

    def _check_file(self, entry: dict[str, Any]) -> None:
        path, content, line = entry["path"], entry["content"], entry["line"]
        if (content is None) == (line is None):
            raise Wrong("needs either content or line")
        if content is not None and not isinstance(content, str):
            raise Wrong(f"has content that is no text, but {type(content).__name__}")
        if line is None and entry["regexp"] is not None:
            raise Wrong("has a regexp and no line")
        entry["at"] = at = os.path.realpath(path) if line is not None else path
        if os.path.lexists(at) and not os.path.isfile(at) and not os.path.islink(at):
            raise Wrong("is there, and neither a file nor a link")
        exists = os.path.isfile(at)
        entry["left"] = exists and not entry["force"]
        before = self._contents.get(path)
        if before is None and exists:
            with open(at, "rb") as file:
                before = file.read()
        if line is None:
            after = content.encode(errors="surrogateescape")
        else:
            after = _with_line(before or b"", line, entry["regexp"])
        if entry["mode"] is None and (line is None or before is None):
            entry["mode"] = "0644"
        self._contents[path] = after
        if not entry["left"] and (before != after or os.path.islink(at)):
            entry["new"] = self._written(after, entry["validate"])
            if self._module._diff:
                texts = [(each or b"").decode(errors="replace") for each in (before, after)]
                self.diff.append({"before_header": path, "before": texts[0], "after_header": path, "after": texts[1]})

    def _written(self, content: bytes, judge: str | None) -> str:
        """A temporary file with the content, which the command ``judge`` has found right."""
        descriptor, name = tempfile.mkstemp(dir=self._module.tmpdir)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if judge is not None:
            program = shlex.split(judge)[:1]
            if "%s" not in judge or not program:
                raise Wrong("has a validate without %s, which stands for the file")
            if not shutil.which(program[0]):
                raise Wrong(f"is validated by {program[0]}, which is not there")
            code, out, errors = self._module.run_command(judge.replace("%s", shlex.quote(name)))
            if code:
                raise Wrong(f"is found wrong by `{judge}`: {(errors or out).strip() or f'exit code {code}'}")
        return name

    def _check_directory(self, entry: dict[str, Any]) -> None:
        if os.path.lexists(entry["path"]) and not os.path.isdir(entry["path"]):
            raise Wrong("is there, and no folder")
        entry["mode"] = entry["mode"] or "0755"
        self._folders.add(entry["path"])

    def _check_link(self, entry: dict[str, Any]) -> None:
        if not entry["target"]:
            raise Wrong("needs a target")
        if os.path.lexists(entry["path"]) and not os.path.islink(entry["path"]):
            raise Wrong("is there, and no link")

    def _check_absent(self, entry: dict[str, Any]) -> None:
        if entry["path"] == "/":
            raise Wrong("stays")

    def _make_folders(self, entry: dict[str, Any], folder: str) -> None:
        if not os.path.isdir(folder):
            self._make_folders(entry, os.path.dirname(folder))
            os.mkdir(folder)
            self._module.set_owner_if_different(folder, entry["owner"], False)
            self._module.set_group_if_different(folder, entry["group"], False)
            self._module.set_mode_if_different(folder, "0755", False)

    def _make_file(self, entry: dict[str, Any]) -> list[str]:
        if "new" not in entry:
            return []
        at = entry["at"]
        existed = os.path.lexists(at)
        if not self._module.check_mode:
            self._make_folders(entry, os.path.dirname(at))
            self._module.atomic_move(
                entry["new"], at, unsafe_writes=entry["unsafe_writes"], keep_dest_attrs=not os.path.islink(at)
            )
        return ["content" if existed else "made"]

    def _make_directory(self, entry: dict[str, Any]) -> list[str]:
        if os.path.isdir(entry["path"]):
            return []
        if not self._module.check_mode:
            self._make_folders(entry, entry["path"])
        return ["made"]

    def _make_link(self, entry: dict[str, Any]) -> list[str]:
        path, target = entry["path"], entry["target"]
        existed = os.path.islink(path)
        if existed and os.readlink(path) == target:
            return []
        if not self._module.check_mode:
            self._make_folders(entry, os.path.dirname(path))
            beside = f"{path}.ansible-{os.getpid()}"
            os.symlink(target, beside)
            os.replace(beside, path)
        return ["target" if existed else "made"]

    def _make_absent(self, entry: dict[str, Any]) -> list[str]:
        path = entry["path"]
        if not os.path.lexists(path):
            return []
        if not self._module.check_mode:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        return ["removed"]


def _with_line(before: bytes, line: str, regexp: str | None) -> bytes:
    """Like ansible.builtin.lineinfile: the last line that matches, else the last equal one, is this one; or a new one."""
    if "\n" in line:
        raise Wrong("has a line that is more than one")
    try:
        pattern = None if regexp is None else re.compile(regexp.encode())
    except re.error as error:
        raise Wrong(f"has a regexp that is none: {error}") from None
    new, lines = line.encode(), io.BytesIO(before).readlines()
    found = [number for number, each in enumerate(lines) if pattern and pattern.search(each)]
    found = found or [number for number, each in enumerate(lines) if each.rstrip(b"\r\n") == new]
    if found:
        lines[found[-1]] = new + b"\n"
    else:
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += b"\n"
        lines.append(new + b"\n")
    return b"".join(lines)


def main() -> None:
    module = AnsibleModule({"files": {"type": "list", "elements": "raw", "required": True}}, supports_check_mode=True)
    installer = Installer(module)
    entries, wrong = [], []
    for number, given in enumerate(module.params["files"], start=1):
        try:
            entries.append(installer.checked(given))
        except (Wrong, OSError) as error:
            name = given.get("path") if isinstance(given, dict) else None
            wrong.append(f"{name or f'entry {number}'} {error}")
    if wrong:
        module.fail_json(msg="\n".join(wrong), files=[])
    changed: list[dict[str, Any]] = []
    for entry in entries:
        try:
            if what := installer.make(entry):
                changed.append({"path": entry["path"], "changed": what})
        except OSError as error:
            module.fail_json(msg=f"{entry['path']}: {error.strerror}", changed=bool(changed), files=changed)
    module.exit_json(changed=bool(changed), files=changed, **({"diff": installer.diff} if installer.diff else {}))


if __name__ == "__main__":
    main()
