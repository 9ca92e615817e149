"""``export-vm`` of a machine: an AMI is made of it, exported, renamed and described. See ``test.support.sweep``.

Every call is killed before and after its effect. The other faults, from which botocore recovers in the same way for
each call of a name, hit the first of each name.
"""

from __future__ import annotations

from test.integration.aws_sweep.accounts import ENVIRONMENT, MACHINE, STACK, exports_begun_twice, with_machine
from test.support.planted_assets import ID
from test.support.sweep import Lane, Scenario, sweep

EXPORT = Scenario(
    name="export-vm",
    asset_id=ID,
    plant=with_machine,
    arguments=["export-vm", "--stack-name", STACK, "--vm-image-format", "VMDK", "--vm-image-format", "OVA"],
    leaves={**MACHINE, "ami": 1, "snapshot": 1, "s3-object": 4},
    once=["ec2:CreateImage"],
    check=exports_begun_twice,
    environment=ENVIRONMENT,
)


def test_an_export_comes_to_its_end_whatever_happens(two_lanes: list[Lane]) -> None:
    tally = sweep(EXPORT, two_lanes)
    assert tally.problems == []
    assert len(tally.not_reached) <= len(tally.outcomes) // 10
