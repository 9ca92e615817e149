"""``export-vm`` of a machine: an AMI is made of it, exported, renamed and described. See ``test.support.sweep``.

And of an AMI, in all formats; this one without kills where ``DSS_TEST_FULL_SWEEP`` does not want them: they hit the
same calls as those of a machine.
"""

from __future__ import annotations

from test.integration.aws_sweep.accounts import (
    ALL_FORMATS,
    ENVIRONMENT,
    MACHINE,
    STACK,
    STEM,
    finished,
    with_ami,
    with_machine,
)
from test.support.planted_assets import ID
from test.support.sweep import ANSWERS, FAULTS, FULL, Lane, Scenario, sweep

EXPORT = Scenario(
    name="export-vm",
    asset_id=ID,
    plant=with_machine,
    arguments=["export-vm", "--stack-name", STACK, "--vm-image-format", "VMDK", "--vm-image-format", "OVA"],
    leaves={**MACHINE, "ami": 1, "snapshot": 1, "s3-object": 4},
    once=["ec2:CreateImage"],
    check=finished(f"{STEM}.vmdk", f"{STEM}.ova", "SHA256SUMS", "manifest.json"),
    environment=ENVIRONMENT,
)
EXPORT_AMI = Scenario(
    name="export-vm of an AMI",
    asset_id=ID,
    plant=with_ami,
    arguments=["export-vm", "--ami-id", "AMI"],
    leaves={"ami": 1, "snapshot": 1, "s3-object": 5},
    check=finished(*ALL_FORMATS, "SHA256SUMS", "manifest.json"),
    environment=ENVIRONMENT,
)


def test_an_export_comes_to_its_end_whatever_happens(two_lanes: list[Lane]) -> None:
    tally = sweep(EXPORT, two_lanes)
    assert tally.problems == []
    assert tally.not_reached == []


def test_an_export_of_an_ami_comes_to_its_end_whatever_happens(two_lanes: list[Lane]) -> None:
    tally = sweep(EXPORT_AMI, two_lanes, faults=FAULTS if FULL else ANSWERS)
    assert tally.problems == []
    assert len(tally.not_reached) <= len(tally.outcomes) // 10  # formats side by side: the number of looks varies
