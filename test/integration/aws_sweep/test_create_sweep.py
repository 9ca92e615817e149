"""``create-vm --builder ec2``, with a machine that only seems to be there. See ``test.support.sweep``.

Ansible is really run, and killed, in ``test/integration/aws_ec2/test_interruptions.py``.
"""

from __future__ import annotations

import pytest

from test.integration.aws_sweep.accounts import ENVIRONMENT, STEM, finished, with_bucket
from test.support.faked_machine import ANSIBLE_KILLED, DSS_KILLED, FAKED
from test.support.planted_assets import ID
from test.support.sweep import Lane, Scenario, after, sweep

CREATE = Scenario(
    name="create-vm --builder ec2",
    asset_id=ID,
    plant=with_bucket,
    arguments=[
        *("create-vm", "--builder", "ec2", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32"),
        *("--vm-image-format", "VMDK", "--vm-image-format", "OVA"),
    ],
    leaves={"ami": 1, "snapshot": 1, "s3-object": 6},
    check=finished(f"{STEM}.vmdk", f"{STEM}.ova", "SHA256SUMS", "manifest.json", "sbom.cdx.json", "verification.json"),
    once=["ec2:CreateImage"],
    prepare=FAKED,
    environment=ENVIRONMENT,
)


def test_a_build_comes_to_its_end_whatever_happens(two_lanes: list[Lane]) -> None:
    tally = sweep(CREATE, two_lanes)
    assert tally.problems == []
    assert tally.not_reached == []


@pytest.mark.parametrize("how", [ANSIBLE_KILLED, DSS_KILLED])
def test_a_build_goes_on_after_a_kill_while_ansible_runs(two_lanes: list[Lane], how: str) -> None:
    lane = two_lanes[0]
    lane.planted(CREATE)
    ended = lane.run(CREATE.arguments, CREATE, with_={"ansible": how})
    assert ended.killed if how == DSS_KILLED else ended.code == 1, ended.err
    assert after(CREATE, lane) == []
