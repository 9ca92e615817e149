"""The module install_files, in this process, with real files: what Ansible would send it, and what it answers."""

from __future__ import annotations

import grp
import importlib.util
import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils import basic

from exasol_like_dss.lib.resources import tree

Install = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def module() -> ModuleType:
    found = importlib.util.spec_from_file_location("install_files", tree("ansible") / "library/install_files.py")
    assert found and found.loader
    result = importlib.util.module_from_spec(found)
    found.loader.exec_module(result)
    return result


@pytest.fixture
def install(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Install:
    """Runs the module with entries; returns its answer."""
    temporary = tmp_path / "module"
    temporary.mkdir()

    def run(*files: Any, check: bool = False, diff: bool = False) -> dict[str, Any]:
        arguments = {"files": list(files), "_ansible_check_mode": check, "_ansible_diff": diff,
                     "_ansible_tmpdir": str(temporary)}  # fmt: skip
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        with pytest.raises(SystemExit):
            module.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert "exception" not in answer or answer["failed"]
        return answer

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    result = tmp_path / "root"
    result.mkdir()
    return result


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:04o}"


def changes(answer: dict[str, Any], root: Path) -> dict[str, list[str]]:
    assert not answer.get("failed"), answer["msg"]
    assert answer["changed"] is bool(answer["files"])
    return {os.path.relpath(each["path"], root): each["changed"] for each in answer["files"]}


def snapshot(root: Path) -> list[tuple[str, str, str]]:
    def content(path: Path) -> str:
        if path.is_symlink():
            return str(path.readlink())
        return path.read_text() if path.is_file() else ""

    return sorted((str(path), oct(path.lstat().st_mode), content(path)) for path in root.rglob("*"))


def one_of_each(root: Path) -> list[dict[str, Any]]:
    (root / "hosts").write_text("127.0.0.1 localhost\n127.0.1.1 old\n")
    (root / "hosts").chmod(0o600)
    (root / "gone").mkdir()
    (root / "gone/file").write_text("x")
    return [
        {"path": f"{root}/etc/deep/a.conf", "content": "a: ü\n", "parents": True},
        {"path": f"{root}/etc/secret", "content": "s", "mode": "0600"},
        {"path": f"{root}/bin", "state": "directory"},
        {"path": f"{root}/bin/run", "content": "#!/bin/sh\n", "mode": "0755"},
        {"path": f"{root}/bin/link", "state": "link", "target": "run"},
        {"path": f"{root}/hosts", "regexp": r"^127\.0\.1\.1\s", "line": "127.0.1.1 new"},
        {"path": f"{root}/locale", "line": "LANG=C.UTF-8", "regexp": "^LANG="},
        {"path": f"{root}/gone", "state": "absent"},
        {"path": f"{root}/never", "state": "absent"},
    ]


def test_everything_gets_into_its_state_and_stays_there(install: Install, root: Path) -> None:
    entries = one_of_each(root)
    before = snapshot(root)
    expected = {
        "etc/deep/a.conf": ["made"], "etc/secret": ["made"], "bin": ["made"], "bin/run": ["made"], "bin/link": ["made"],
        "hosts": ["content"], "locale": ["made"], "gone": ["removed"],
    }  # fmt: skip
    assert changes(install(*entries, check=True), root) == expected
    assert snapshot(root) == before, "a check changes nothing"
    assert changes(install(*entries), root) == expected
    assert (root / "etc/deep/a.conf").read_text() == "a: ü\n"
    assert (root / "hosts").read_text() == "127.0.0.1 localhost\n127.0.1.1 new\n"
    assert (root / "locale").read_text() == "LANG=C.UTF-8\n"
    assert (root / "bin/link").readlink() == Path("run")
    assert not (root / "gone").exists()
    modes = {name: mode(root / name) for name in ("etc", "etc/deep/a.conf", "etc/secret", "bin", "bin/run", "hosts")}
    assert modes == {"etc": "0755", "etc/deep/a.conf": "0644", "etc/secret": "0600", "bin": "0755", "bin/run": "0755",
                     "hosts": "0600"}  # fmt: skip
    after = snapshot(root)
    assert changes(install(*entries), root) == {}
    assert snapshot(root) == after


def test_rights_are_mended_where_the_content_is_right(install: Install, root: Path) -> None:
    (root / "file").write_text("same")
    (root / "file").chmod(0o666)
    (root / "folder").mkdir(mode=0o700)
    inode = (root / "file").stat().st_ino
    owner = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
    entries = [
        {"path": f"{root}/file", "content": "same", "mode": "4755", **owner},
        {"path": f"{root}/folder", "state": "directory", **owner},
    ]
    assert changes(install(*entries), root) == {"file": ["mode"], "folder": ["mode"]}
    assert (mode(root / "file"), mode(root / "folder")) == ("4755", "0755")
    assert (root / "file").stat().st_ino == inode, "not written"


def test_a_file_is_replaced_and_not_written_into(install: Install, root: Path) -> None:
    (root / "file").write_text("old")
    with (root / "file").open() as reader:
        assert changes(install({"path": f"{root}/file", "content": "new", "mode": "0640"}), root) == {
            "file": ["content", "mode"]
        }
        assert reader.read() == "old", "who reads it reads all of the old one"
    assert list(root.iterdir()) == [root / "file"]


def test_a_file_takes_the_place_of_a_link_and_a_line_follows_it(install: Install, root: Path) -> None:
    (root / "real").write_text("LANG=de\nLANG=en")
    for name in ("whole", "line"):
        (root / name).symlink_to("real")
    entries = [
        {"path": f"{root}/whole", "content": "LANG=de\nLANG=en"},
        {"path": f"{root}/line", "regexp": "^LANG=", "line": "LANG=C"},
    ]
    assert changes(install(*entries), root) == {"whole": ["content", "mode"], "line": ["content"]}
    assert mode(root / "whole") == "0644"
    assert not (root / "whole").is_symlink()
    assert (root / "line").is_symlink()
    assert (root / "real").read_text() == "LANG=de\nLANG=C\n", "the last one that matches"


def test_several_lines_of_one_file(install: Install, root: Path) -> None:
    (root / "file").write_text("first")
    entries = [{"path": f"{root}/file", "line": line} for line in ("second", "third", "first")]
    assert changes(install(*entries, diff=True), root) == {"file": ["content"]}
    assert (root / "file").read_text() == "first\nsecond\nthird\n"
    assert install(*entries)["changed"] is False


def test_a_link_is_led_elsewhere(install: Install, root: Path) -> None:
    (root / "link").symlink_to("old")
    assert changes(install({"path": f"{root}/link", "state": "link", "target": "/no/where"}), root) == {
        "link": ["target"]
    }
    assert (root / "link").readlink() == Path("/no/where")
    assert list(root.iterdir()) == [root / "link"]


def test_without_force_a_file_stays_with_its_rights(install: Install, root: Path) -> None:
    entry = {"path": f"{root}/notebook", "content": "ours", "force": False}
    assert changes(install(entry), root) == {"notebook": ["made"]}
    (root / "notebook").write_text("theirs")
    (root / "notebook").chmod(0o600)
    assert changes(install(entry), root) == {}
    assert ((root / "notebook").read_text(), mode(root / "notebook")) == ("theirs", "0600")


def test_a_difference_is_shown(install: Install, root: Path) -> None:
    (root / "file").write_bytes(b"old\xff\n")
    answer = install({"path": f"{root}/file", "content": "new\n"}, check=True, diff=True)
    assert answer["diff"] == [
        {"before_header": f"{root}/file", "before": "old\ufffd\n", "after_header": f"{root}/file", "after": "new\n"}
    ]
    assert (root / "file").read_bytes() == b"old\xff\n"


def test_what_is_validated_is_the_new_content(install: Install, root: Path) -> None:
    entry = {"path": f"{root}/file", "content": "allow all\n", "validate": "grep -q allow %s"}
    assert changes(install(entry), root) == {"file": ["made"]}
    assert changes(install({**entry, "validate": "false %s"}), root) == {}, "what is there is not judged again"
    answer = install({"path": f"{root}/other", "content": "x"}, {**entry, "content": "deny\n"})
    assert answer["failed"]
    assert answer["msg"] == f"{root}/file is refused by `grep -q allow %s`: exit code 1"
    assert (root / "file").read_text() == "allow all\n"
    assert not (root / "other").exists()


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"mod": "0644", "content": ""}, "has mod; there are only path, state, content"),
        ({}, "needs either a content or a line"),
        ({"content": "", "line": ""}, "needs either a content or a line"),
        ({"content": {"a": 1}}, "has a content that is no text, but dict"),
        ({"content": "", "regexp": "x"}, "has a regexp without a line"),
        ({"line": "x", "regexp": "("}, "has a regexp that is none: missing )"),
        ({"line": "x\ny"}, "has a line that is more than one"),
        ({"content": "", "mode": 420}, "has the mode 420: write it octal and in quotes"),
        ({"content": "", "mode": "u=rw"}, "has the mode u=rw: write it octal and in quotes"),
        ({"content": "", "owner": "nobody-here"}, "has an unknown owner, nobody-here"),
        ({"content": "", "group": "nobody-here"}, "has an unknown group, nobody-here"),
        ({"content": "", "validate": "true"}, "has a validate without %s"),
        ({"content": "", "validate": "no-such-program %s"}, "there is no program no-such-program"),
        ({"state": "link"}, "needs a target"),
        ({"state": "absent", "content": ""}, "has content, which means nothing for the state absent"),
        ({"state": "directory", "target": "x"}, "has target, which means nothing for the state directory"),
        ({"state": "there"}, "value of state must be one of: file, directory, link, absent"),
        ({"content": "", "parents": "perhaps"}, "parents"),
        ({"path": "{root}/none/x", "content": ""}, "is in the folder {root}/none, which is missing (parents: true"),
        ({"path": "{root}/file/x/y", "content": "", "parents": True}, "is in {root}/file, which is no folder"),
        ({"path": "{root}/file", "content": "twice"}, "has two entries"),
        ({"path": "{root}/folder", "content": ""}, "is there, and neither a file nor a link"),
        ({"path": "{root}/plain", "state": "directory"}, "is there, and no directory"),
        ({"path": "{root}/plain", "state": "link", "target": "x"}, "is there, and no link"),
        ({"path": "relative", "content": ""}, "is no absolute path"),
        ({"path": "/", "state": "absent"}, "is no absolute path"),
    ],
)
def test_nothing_is_changed_when_an_entry_is_wrong(
    entry: dict[str, Any], sentence: str, install: Install, root: Path
) -> None:
    (root / "folder").mkdir()
    (root / "plain").write_text("")
    before = snapshot(root)
    wrong = {"path": "{root}/wrong", **entry}
    wrong["path"] = wrong["path"].format(root=root)
    answer = install({"path": f"{root}/file", "content": "good"}, wrong, {"path": f"{root}/folder", "state": "absent"})
    assert answer["failed"]
    assert answer["msg"].startswith(wrong["path"])
    assert sentence.format(root=root) in answer["msg"]
    assert snapshot(root) == before


def test_all_wrong_entries_are_told_at_once(install: Install, root: Path) -> None:
    answer = install({"path": f"{root}/a"}, {"state": "absent"}, "text", {"path": f"{root}/b", "mode": "9"})
    assert [line.split(" ")[0] for line in answer["msg"].split("\n")] == [f"{root}/a", "entry", "entry", f"{root}/b"]


def test_what_was_changed_before_a_failure_is_told(install: Install, root: Path, module: ModuleType,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.Installer, "_make_link", full)
    answer = install({"path": f"{root}/a", "content": "a"}, {"path": f"{root}/l", "state": "link", "target": "a"})
    assert answer["msg"] == f"{root}/l: No space left on device"
    assert (answer["failed"], answer["changed"]) == (True, True)
    assert answer["files"] == [{"path": f"{root}/a", "changed": ["made"]}]


def test_the_documentation_names_what_there_is(module: ModuleType) -> None:
    (files,) = yaml.safe_load(module.DOCUMENTATION)["options"].values()
    documented = files["suboptions"]
    assert documented.keys() == module.ENTRY.keys() | {"src", "template"}
    for name, found in module.ENTRY.items():
        for key in ("choices", "default", "required"):
            assert documented[name].get(key) == found.get(key), (name, key)
    (task,) = yaml.safe_load(module.EXAMPLES)
    assert {name for entry in task["install_files"]["files"] for name in entry} <= documented.keys()
