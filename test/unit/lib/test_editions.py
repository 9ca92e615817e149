from __future__ import annotations

from pathlib import Path

import pytest

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.provisioning.editions import (
    choose_roles,
    edition_names,
    edition_roles,
    read_extra_vars,
    role_default,
)
from exasol_like_dss.lib.resources import tree

ROLES = ["base", "poetry", "jupyter", "docker", "script_languages", "netplan", "password", "seal"]


def test_the_sandbox_has_the_roles_of_the_guide() -> None:
    assert edition_roles(tree("ansible"), "sandbox") == ROLES
    assert edition_names(tree("ansible")) == ["sandbox"]


def test_an_unknown_edition_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="no edition 'gpu'") as caught:
        edition_roles(tree("ansible"), "gpu")
    assert "sandbox" in caught.value.hint


def test_roles_can_be_left_out_in_any_order() -> None:
    assert choose_roles(ROLES, without=["docker", "jupyter", "docker"]) == [
        role for role in ROLES if role not in ("docker", "jupyter")
    ]


def test_an_unknown_role_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="no role 'dokcer'") as caught:
        choose_roles(ROLES, without=["dokcer"])
    assert all(role in caught.value.hint for role in ROLES)


@pytest.mark.parametrize("role", ["base", "seal"])
def test_some_roles_have_to_stay(role: str) -> None:
    with pytest.raises(InputError, match="can't be left out"):
        choose_roles(ROLES, without=[role])


def test_extra_vars_are_read_as_ansible_does(tmp_path: Path) -> None:
    file = tmp_path / "v.yml"
    file.write_text("jupyter_port: 9000\ndocker_source: docker\n")
    assert read_extra_vars([f"@{file}", 'jupyter_port=9999 base_hostname="my box"', '{"list": [1, 2]}']) == {
        "jupyter_port": 9999,
        "docker_source": "docker",
        "base_hostname": "my box",
        "list": [1, 2],
    }


@pytest.mark.parametrize("text", ["", "port", "=1", "a b=1", "[1]", "{", "{1: 2}", "@/does/not/exist", "a='b", "a-b=1"])
def test_other_texts_are_wrong_input(text: str) -> None:
    with pytest.raises(InputError):
        read_extra_vars([text])


def test_a_file_that_is_no_mapping_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "v.yml").write_text("- a\n")
    with pytest.raises(InputError):
        read_extra_vars([f"@{tmp_path / 'v.yml'}"])
    (tmp_path / "b.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError):
        read_extra_vars([f"@{tmp_path / 'b.yml'}"])


def test_what_has_an_option_is_not_taken_as_a_variable() -> None:
    with pytest.raises(InputError, match="default_password") as caught:
        read_extra_vars(["default_password=x"])
    assert "--default-password" in caught.value.hint


def test_defaults_of_roles_are_read() -> None:
    assert role_default(tree("ansible"), "script_languages", "script_languages_tag") == "5.0.0"
    assert role_default(tree("ansible"), "script_languages", "no_such") is None
