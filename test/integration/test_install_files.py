"""install_files as a role uses it: through Ansible, with the role's files and templates."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from exasol_like_dss.access.ansible import Ansible, PlaybookResult, TaskEvent
from exasol_like_dss.lib.resources import tree

PLAYBOOK = """
- hosts: sandbox
  gather_facts: false
  roles: [one]
"""
TASKS = """
- name: Install
  install_files:
    files:
      - {path: "{{ root }}/program", src: program, mode: "0755"}
      - {path: "{{ root }}/lib", src: modules/, parents: true}
      - {path: "{{ root }}/image.json", template: image.json.j2}
      - {path: "{{ root }}/plain.conf", template: plain.conf.j2}
      - {path: "{{ root }}/name", content: "{{ one_name }}\\n"}
      - {path: "{{ root }}/braces", src: braces}
  register: one_answer
  notify: Tell

- name: Fail with an entry
  install_files:
    files:
      - {path: "{{ root }}/name", content: changed}
      - {path: "{{ root }}/bad", src: "{{ one_missing }}"}
  when: one_missing is defined
"""
HANDLERS = """
- name: Tell
  ansible.builtin.copy:
    content: "{{ one_answer.files | map(attribute='path') | map('basename') | join(' ') }}"
    dest: "{{ root }}/told"
    mode: "0644"
"""


@pytest.fixture
def playbooks(tmp_path: Path) -> Path:
    """A tree with one role, and our module beside its playbook."""
    result = tmp_path / "tree"
    for name, text in {
        "site.yml": PLAYBOOK,
        "roles/one/tasks/main.yml": TASKS,
        "roles/one/handlers/main.yml": HANDLERS,
        "roles/one/defaults/main.yml": "one_name: ünï\n",
        "roles/one/files/program": "#!/bin/sh\r\n\n",
        "roles/one/files/braces": "{{ no_variable }}",
        "roles/one/files/modules/a.py": "a = 1",
        "roles/one/files/modules/below/b.py": "",
        "roles/one/files/modules/__pycache__/a.pyc": "no",
        "roles/one/templates/image.json.j2": "{{ {'name': one_name, 'port': none} | to_nice_json }}\n",
        "roles/one/templates/plain.conf.j2": "{% if true %}\n# {{ one_name }}\n{% endif %}\n\n",
    }.items():
        (result / name).parent.mkdir(parents=True, exist_ok=True)
        (result / name).write_bytes(text.encode())
    for name in ("library", "action_plugins", "connection_plugins"):
        (result / name).symlink_to(tree("ansible") / name)
    return result


def run(playbooks: Path, root: Path, work: Path, **variables: str) -> tuple[PlaybookResult, list[TaskEvent]]:
    events: list[TaskEvent] = []
    result = Ansible(tree=playbooks).run_playbook(
        "site.yml",
        host_variables={"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        extra_variables={"root": str(root), **variables},
        work_directory=work,
        on_event=events.append,
        cancelled=lambda: False,
    )
    return result, events


def test_files_and_templates_of_a_role_are_installed_as_they_are(playbooks: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    result, _ = run(playbooks, root, tmp_path / "first")
    assert result.status == "successful", result.output
    assert (result.changed, (root / "told").read_text()) == (2, "program a.py b.py image.json plain.conf name braces")
    (root / "told").unlink()
    contents = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert contents == {
        "program": b"#!/bin/sh\r\n\n",
        "lib/a.py": b"a = 1",
        "lib/below/b.py": b"",
        "image.json": json.dumps({"name": "ünï", "port": None}, indent=4).encode() + b"\n",
        "plain.conf": "# ünï\n\n".encode(),
        "name": "ünï\n".encode(),
        "braces": b"{{ no_variable }}",
    }
    result, events = run(playbooks, root, tmp_path / "again", one_missing="none")
    (failed,) = result.failures
    assert (result.changed, failed.role, failed.task) == (0, "one", "Fail with an entry")
    assert f"{root}/bad: Could not find or access 'none'" in failed.message
    assert [event.kind for event in events if event.task == "Install"] == ["start", "ok"]
    assert (root / "name").read_text() == "ünï\n"
    assert not (root / "told").exists()
