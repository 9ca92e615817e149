"""The EBS direct API: an image becomes an AMI, and an AMI images, whatever goes wrong. See ``test.support.sweep``."""

from __future__ import annotations

from pathlib import Path

import pytest

from exasol_like_dss.lib.images import snapshot_writing
from test.integration.aws_sweep.accounts import ENVIRONMENT, MACHINE, STACK, with_machine
from test.support.planted_assets import ID
from test.support.small_disk import small_disk
from test.support.sweep import Lane, Scenario, sweep

#: So many blocks are written between two notes in AWS of how many are there.
_NOTED = 2


def note_often() -> None:
    """In the child: a kill hits a snapshot of which AWS has noted some blocks."""
    snapshot_writing._NOTED_BLOCKS = _NOTED


EXPORT = Scenario(
    name="export-vm --export-method direct",
    asset_id=ID,
    plant=with_machine,
    arguments=[
        *("export-vm", "--stack-name", STACK, "--export-method", "direct"),
        *("--vm-image-format", "VMDK", "--vm-image-format", "OVA"),
    ],
    leaves={**MACHINE, "ami": 1, "snapshot": 1, "s3-object": 4},
    once=["ec2:CreateImage"],
    environment=ENVIRONMENT,
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_disk(tmp_path_factory.mktemp("disk"))


def test_an_import_comes_to_its_end_whatever_happens(two_lanes: list[Lane], disk: Path) -> None:
    scenario = Scenario(
        name="import-ami",
        asset_id=ID,
        plant=lambda _: None,
        arguments=["import-ami", str(disk), "--asset-id", ID],
        leaves={"ami": 1, "snapshot": 1},
        once=["ec2:RegisterImage"],
        prepare=f"{__name__}:note_often",
    )
    tally = sweep(scenario, two_lanes)
    assert tally.problems == []
    assert len(tally.not_reached) <= len(tally.outcomes) // 10


def test_a_direct_export_comes_to_its_end_whatever_happens(two_lanes: list[Lane]) -> None:
    tally = sweep(EXPORT, two_lanes, services=("ebs", "s3"))
    assert tally.problems == []
    assert len(tally.not_reached) <= len(tally.outcomes) // 10
