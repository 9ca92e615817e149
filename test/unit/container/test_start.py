"""Who a container runs as, its password, and a Docker socket it may or may not use."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, None), ({"JUPYTER_PASSWORD": "sesame"}, "sesame"), ({"JUPYTER_PASSWORD": ""}, None)],
)
def test_the_password_is_taken_from_the_environment(
    program: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
) -> None:
    for name in ("JUPYTER_PASSWORD", "JUPYTER_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert program["secret"].given() == expected


def test_the_password_is_read_from_a_file(
    program: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JUPYTER_PASSWORD", raising=False)
    file = tmp_path / "secret"
    file.write_text("open sesame\n")
    monkeypatch.setenv("JUPYTER_PASSWORD_FILE", str(file))
    assert program["secret"].given() == "open sesame"


@pytest.mark.parametrize("case", ["both", "no file", "empty file", "blank"])
def test_a_password_that_is_none_stops_the_container(
    program: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    monkeypatch.delenv("JUPYTER_PASSWORD", raising=False)
    monkeypatch.delenv("JUPYTER_PASSWORD_FILE", raising=False)
    file = tmp_path / "secret"
    if case in ("both", "blank"):
        monkeypatch.setenv("JUPYTER_PASSWORD", "x" if case == "both" else "  ")
    if case in ("both", "empty file"):
        file.write_text("\n")
    if case != "blank":
        monkeypatch.setenv("JUPYTER_PASSWORD_FILE", str(file))
    with pytest.raises(program["settings"].Stop) as stop:
        program["secret"].given()
    assert stop.value.code == 2


def test_the_secrets_are_not_in_what_programs_get(
    program: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_PASSWORD", "sesame")
    monkeypatch.setenv("JUPYTER_PASSWORD_FILE", "/run/secrets/x")
    identity = program["identity"]
    found = identity.environment(identity.Identity.of_process())
    assert not [name for name in found if name.startswith("JUPYTER_PASSWORD")]
    assert found["PATH"].startswith("/opt/jupyter/venv/bin:")


def test_the_numbers_of_a_volumes_owner_go_into_passwd_and_group(
    program: dict[str, ModuleType], tmp_path: Path
) -> None:
    identity = program["identity"]
    passwd, group = tmp_path / "passwd", tmp_path / "group"
    passwd.write_text("root:x:0:0:root:/root:/bin/bash\njupyter:x:1000:1000::/home/jupyter:/bin/bash\n")
    group.write_text("root:x:0:\njupyter:x:1000:\n")
    user = identity.Identity(1234, 4321, (4321, 0, 106))
    identity._edit(str(passwd), lambda row: identity._with_ids(row, user))
    identity._edit(str(group), lambda row: identity._with_member(row, [0, 106]), ["dss-106:x:106:jupyter"])
    assert passwd.read_text().splitlines()[1] == "jupyter:x:1234:4321::/home/jupyter:/bin/bash"
    assert group.read_text().splitlines() == ["root:x:0:jupyter", "jupyter:x:1000:", "dss-106:x:106:jupyter"]
    assert passwd.stat().st_mode & 0o777 == 0o644


def test_a_socket_of_a_group_is_used_and_others_are_explained(
    program: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker_socket = program["docker_socket"]
    place = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        place.chmod(0o660)
        assert docker_socket.group(place) == place.stat().st_gid
        place.chmod(0o755)
        assert docker_socket.group(place) is None
        docker_socket.check(place)
        assert "no engine answers" in capsys.readouterr().err
        server.listen()
        docker_socket.check(place)
        assert capsys.readouterr().err == ""
    (tmp_path / "folder").mkdir()
    docker_socket.check(tmp_path / "folder")
    assert "is a folder" in capsys.readouterr().err
    docker_socket.check(tmp_path / "missing")
    docker_socket.check(None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [("", "/var/run/docker.sock"), ("unix:///x/y.sock", "/x/y.sock"), ("tcp://192.0.2.1:2375", None)],
)
def test_the_socket_is_where_the_client_looks(
    program: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, host: str, expected: str | None
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    found = program["docker_socket"].path()
    assert (os.fspath(found) if found else None) == expected


def test_settings_that_are_missing_have_defaults(program: dict[str, ModuleType], tmp_path: Path) -> None:
    settings = program["settings"].Settings(tmp_path)
    assert (settings.user, settings.port, str(settings.notebooks)) == ("jupyter", 8888, "/home/jupyter/notebooks")
    (tmp_path / "jupyter.conf").write_text("JUPYTER_PORT=9999\nLOGIN_USER='me'\n")
    (tmp_path / "image.json").write_text('{"asset_id": "5.0.0", "version": "0.1.0", "jupyter": null}')
    settings = program["settings"].Settings(tmp_path)
    assert (settings.user, settings.port, settings.version) == ("me", 9999, "5.0.0")
