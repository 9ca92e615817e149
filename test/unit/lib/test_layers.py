from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from exasol_like_dss.lib.images.bases import BASES, Mirror
from exasol_like_dss.lib.pipeline.layers import Recipe
from exasol_like_dss.lib.provisioning.editions import role_default
from exasol_like_dss.lib.resources import tree

BASE = BASES["debian-13"]


def recipe(variables: Mapping[str, Any]) -> Recipe:
    return Recipe(base=BASE, edition="sandbox", roles=("base", "seal"), variables=variables,
                  mirror=Mirror(None, None, "none"), pinned={}, tree=tree("ansible"))  # fmt: skip


def test_the_first_transaction_holds_what_the_role_base_installs() -> None:
    packages = recipe({}).packages
    of_role = role_default(tree("ansible"), "base", "base_packages")
    assert {*BASE.packages, *of_role, "cloud-guest-utils"} <= set(packages)
    assert len(packages) == len(set(packages))
    assert packages[: len(BASE.packages)] == BASE.packages


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (["git", "less"], {"git", "less"}),
        (["git", "vim", "nano=7.*", 1], {"git"}),
        ([], set()),
        ("{{ others }}", set()),
    ],
)
def test_of_the_users_own_list_it_holds_what_the_role_has_and_ansible_the_rest(value: Any, named: set[str]) -> None:
    found = set(recipe({"base_packages": value, "base_machine_packages": []}).packages)
    assert found == {*BASE.packages, *named}
