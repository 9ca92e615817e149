"""What changes a layer, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from exasol_like_dss.lib.cache.identity import role_files, role_variables


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {
        "sandbox.yml": "roles",
        "group_vars/sandbox.yml": "login_user: ubuntu",
        "tasks/prepare.yml": "",
        "tasks/role.yml": "",
        "tasks/describe.yml": "",
        "library/install.py": "",
        "action_plugins/install.py": "",
        "connection_plugins/enter.py": "",
        "roles/one/tasks/main.yml": "{{ one_port }} {{ login_user_home }}",
        "roles/two/tasks/main.yml": "{{ two_list }}",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "one", "two"),
    [
        ("roles/one/tasks/main.yml", True, False),
        ("roles/two/tasks/new.yml", False, True),
        ("group_vars/sandbox.yml", True, True),
        ("sandbox.yml", True, True),
        ("library/install.py", True, True),
        ("action_plugins/install.py", True, True),
        ("connection_plugins/enter.py", False, False),
        ("tasks/describe.yml", False, False),
        ("roles/one/__pycache__/x.pyc", False, False),
    ],
)
def test_files(changed: str, one: bool, two: bool, tree: Path) -> None:
    before = [role_files(tree, "sandbox", role) for role in ("one", "two")]
    (tree / changed).parent.mkdir(exist_ok=True)
    (tree / changed).write_text("changed")
    after = [role_files(tree, "sandbox", role) for role in ("one", "two")]
    assert [a != b for a, b in zip(before, after, strict=True)] == [one, two]


def test_an_executable_bit_counts(tree: Path) -> None:
    before = role_files(tree, "sandbox", "one")
    (tree / "roles/one/tasks/main.yml").chmod(0o755)
    assert role_files(tree, "sandbox", "one") != before


def test_variables_matter_where_they_are_named_also_by_each_other(tree: Path) -> None:
    variables = {
        "one_port": 1,
        "two_list": ["{{ more }}"],
        "more": "{{ most }}",
        "most": 3,
        "login_user": "me",
        "no": 0,
    }
    assert set(role_variables(tree, "sandbox", "one", variables)) == {"one_port", "login_user"}
    assert set(role_variables(tree, "sandbox", "two", variables)) == {"two_list", "more", "most", "login_user"}
