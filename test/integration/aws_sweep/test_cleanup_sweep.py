"""``cleanup-aws-assets`` with one of each kind of asset: each of its API calls goes wrong once, in each way."""

from __future__ import annotations

from test.support.aws import Aws
from test.support.planted_assets import ID, plant, plant_role_and_bucket
from test.support.sweep import Lane, Scenario, sweep


def _account(aws: Aws) -> None:
    plant_role_and_bucket(aws)
    plant(aws)


CLEANUP = Scenario(
    name="cleanup-aws-assets",
    asset_id=ID,
    plant=_account,
    arguments=["cleanup-aws-assets", "--asset-id", ID, "--yes"],
    leaves={},
)


def test_a_clean_up_comes_to_its_end_whatever_happens(two_lanes: list[Lane]) -> None:
    tally = sweep(CLEANUP, two_lanes)
    assert tally.problems == []
    assert len(tally.not_reached) <= len(tally.outcomes) // 10  # in threads: the number of looks varies
