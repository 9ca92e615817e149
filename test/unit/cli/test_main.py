"""The command line as a caller sees it: exit codes, one sentence, a hint, nothing on standard output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exasol_like_dss.cli.group import dss
from exasol_like_dss.cli.help import COMMANDS
from exasol_like_dss.cli.main import main
from exasol_like_dss.lib.images.bases import Mirror

SECRET = "s3cret-Horse"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return int(code), out, err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--asset-id", "a b"], "'a b' is no asset-id."),
        (["--asset-id", "x" * 64], "is no asset-id."),
        (["--base", "gentoo"], "'gentoo' is not one of 'debian-13'"),
        (["--vm-image-format", "VDI"], "'VDI' is not one of"),
        (["--without", "dokcer"], "There is no role 'dokcer'."),
        (["--edition", "gpu"], "There is no edition 'gpu'."),
        (["--disk-size", "12"], "'12' is no disk size."),
        (["--disk-size", "0G"], "A disk of 0G is not possible."),
        (["--disk-size", "9000G"], "A disk of 9000G is not possible."),
        (["--extra-vars", "nonsense"], "--extra-vars 'nonsense' is neither"),
        (["--default-password", SECRET], "takes the place where the password is"),
        (["--default-password", "env:NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE is not set"),
        (["--default-password", "file:/does/not/exist"], "can't be read"),
        (["--without", "password"], "without the role 'password' can't be verified"),
        (["--output", "xml"], "'xml' is not one of"),
        (["--no-such-option"], "No such option"),
        (["--work-directory", "/proc/nowhere", "--without", "script_languages"], "work directory"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("exasol_like_dss.lib.preflight.check_space", lambda _: None)
    monkeypatch.setattr(
        "exasol_like_dss.lib.pipeline.local_plan.choose_mirror", lambda *_, **__: Mirror(None, None, "nowhere")
    )
    code, out, err = run(capsys, "create-vm", *arguments)
    assert code == 2
    assert out == ""
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err
    assert SECRET not in err
    assert list(tmp_path.iterdir()) == [], "nothing is touched"


def test_each_command_is_found_in_its_module_and_nothing_else_is_loaded() -> None:
    from importlib import import_module

    from exasol_like_dss.cli.group import MODULES

    assert {command: module for module, names in MODULES.items() for command in names} == {
        command.name: module
        for module in MODULES
        for command in import_module(f"exasol_like_dss.cli.{module}").COMMANDS
    }
    assert len(dss.commands) == len(set(dss.commands))
    code = "import sys; from exasol_like_dss.cli.group import dss; dss.commands['cache']; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "exasol_like_dss.cli.cache" in loaded
    assert "exasol_like_dss.cli.release" not in loaded


def test_an_internal_error_is_short_unless_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ouch")

    monkeypatch.setattr("exasol_like_dss.lib.pipeline.create_vm.create_vm_local", broken)
    code, _, err = run(capsys, "create-vm")
    assert code == 1
    assert "an internal error: ZeroDivisionError: ouch" in err
    assert "Traceback" not in err
    code, _, err = run(capsys, "create-vm", "--log-level", "debug")
    assert code == 1
    assert "Traceback" in err


def test_help_lists_the_commands_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert out.index("Release commands") < out.index("\n  create-vm ") < out.index("Developer commands")


def test_help_loads_next_to_nothing() -> None:
    """Modules are counted, not seconds: each costs up to a millisecond, and Python itself starts in twelve."""
    loaded = "import sys; print(*sorted(sys.modules), file=sys.stderr)"
    bare = _modules(["-c", loaded])
    helped = _modules(["-c", "from exasol_like_dss.cli.main import main\n"
                             f"try: main(['--help'])\nfinally: {loaded}"])  # fmt: skip
    ours = {"exasol_like_dss", "exasol_like_dss.cli", "exasol_like_dss.cli.main", "exasol_like_dss.cli.help"}
    assert helped - bare == ours | {"__future__"}


def _modules(arguments: list[str]) -> set[str]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_commands_start_without_what_only_others_need() -> None:
    heavy = ["ansible", "ansible_runner", "requests", "yaml", "websockets", "cyclonedx", "pexpect", "isal", "rich",
             "boto3", "botocore", "docker", "selenium"]  # fmt: skip
    script = (
        "import sys\n"
        "from exasol_like_dss.cli.main import main\n"
        "try:\n    main(['create-vm', '--help'])\n"
        f"except SystemExit:\n    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_help_knows_every_command_and_what_it_does() -> None:
    headings = {"release": "Release commands", "develop": "Developer commands", "deploy": "Deployment commands"}
    expected: dict[str, dict[str, str]] = {}
    for kind, heading in headings.items():
        commands = {name: each for name, each in sorted(dss.commands.items()) if vars(each)["kind"] == kind}
        if commands:
            expected[heading] = {name: each.get_short_help_str(1000) for name, each in commands.items()}
    assert expected == COMMANDS, "cli/help.py repeats the first sentence of every command's help"


@pytest.mark.parametrize("columns", ["40", "80", "132"])
def test_help_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    _, out, _ = run(capsys, "--help")
    assert max(map(len, out.splitlines())) <= min(108, max(50, int(columns) - 2))
    words = " ".join(out.split())
    for rows in COMMANDS.values():
        for name, summary in rows.items():
            assert f"{name} {summary}" in words


def test_python_m_is_the_same_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exasol_like_dss", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("dss, version ")


def test_generated_passwords_differ_and_are_never_shown_by_accident() -> None:
    from exasol_like_dss.cli.passwords import read_default_password

    first, second = read_default_password("generate"), read_default_password("generate")
    assert first.value != second.value
    assert len(first.value) >= 16
    assert first.value not in repr(first)


def test_passwords_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from exasol_like_dss.cli.passwords import read_default_password

    monkeypatch.setenv("DSS_DEFAULT_PASSWORD", SECRET)
    assert read_default_password(None).value == SECRET
    (tmp_path / "p").write_text(SECRET + "\n")
    assert read_default_password(f"file:{tmp_path / 'p'}").value == SECRET
    assert not read_default_password(None).generated
    monkeypatch.delenv("DSS_DEFAULT_PASSWORD")
    assert read_default_password(None).generated


@pytest.mark.parametrize("text", ["", "two\nlines", "tab\there", "x" * 129])
def test_passwords_that_nobody_can_type_are_wrong_input(text: str, tmp_path: Path) -> None:
    from exasol_like_dss.cli.passwords import read_default_password
    from exasol_like_dss.lib.errors import InputError

    (tmp_path / "p").write_text(text)
    with pytest.raises(InputError):
        read_default_password(f"file:{tmp_path / 'p'}")


def test_tables_and_json_can_be_read_by_programs(capsys: pytest.CaptureFixture[str]) -> None:
    from exasol_like_dss.cli.output import human_bytes, print_json, print_table

    print_table(["name", "size"], [["a", "1"], ["longer", "22"]])
    assert capsys.readouterr().out.splitlines() == ["name    size", "------  ----", "a       1", "longer  22"]
    print_json({"path": Path("/x")})
    assert json.loads(capsys.readouterr().out) == {"path": "/x"}
    assert [human_bytes(count) for count in (5, 2048, 5 << 20, 3 << 30, 5 << 40)] == [
        "5 B",
        "2.0 KiB",
        "5.0 MiB",
        "3.0 GiB",
        "5120.0 GiB",
    ]


def test_without_root_rights_nothing_begins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, _, err = run(capsys, "create-vm")
    assert code == 2
    assert "sudo" in err
    assert list(tmp_path.iterdir()) == []
