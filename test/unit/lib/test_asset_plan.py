"""Marks and plans: what seems left over, what may go, and in which order."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from exasol_like_dss.cli.assets import KINDS
from exasol_like_dss.lib.assets.asset_id import AssetPattern
from exasol_like_dss.lib.assets.listing import Listing
from exasol_like_dss.lib.assets.marks import Known, marked
from exasol_like_dss.lib.assets.names import PERMANENT_STACKS
from exasol_like_dss.lib.assets.plan import ORDER, Plan, make_plan
from exasol_like_dss.lib.assets.record import Asset, AssetKind

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
REGION = "eu-central-1"


def asset(kind: AssetKind | str, name: str = "x", **more: Any) -> Asset:
    """Three days old, of the asset-id ``1.0``."""
    fields = {"id": name, "state": "", "asset_id": "1.0", "created": NOW - timedelta(days=3), **more}
    return Asset(kind=AssetKind(kind), region=REGION, name=name, **fields)


def plan_of(
    *assets: Asset,
    pattern: str = "1.0",
    kinds: tuple[AssetKind, ...] = (),
    older_than: timedelta | None = None,
    live: set[str] | None = None,
) -> Plan:
    stacks = live if live is not None else {one.name for one in assets if one.kind == AssetKind.STACK}
    listing = Listing(assets=assets, notes=[], live_stacks={REGION: stacks})
    return make_plan(listing, pattern=AssetPattern(pattern), kinds=kinds, older_than=older_than, now=NOW)


def names(plan: Plan) -> tuple[list[str], list[str], list[str]]:
    return (
        [one.name for one in plan.steps],
        [one.asset.name for one in plan.along],
        [one.asset.name for one in plan.kept],
    )


def test_the_kinds_of_the_command_line_are_all() -> None:
    assert set(AssetKind) == set(KINDS)
    assert set(ORDER) == set(AssetKind) - {AssetKind.STACK_RESOURCE}


# --- plans ---


def test_users_go_before_what_they_use() -> None:
    every = [asset(kind, kind.value, state="active") for kind in reversed(AssetKind) if kind in ORDER]
    assert names(plan_of(*every))[0] == [kind.value for kind in ORDER]


def test_what_a_stack_holds_goes_with_it() -> None:
    stack = asset("stack", "S", stack="S")
    parts = [asset(kind, kind, stack="S") for kind in ("instance", "security-group", "stack-resource")]
    assert names(plan_of(stack, *parts)) == (["S"], ["instance", "security-group", "stack-resource"], [])
    # The stack is not to go, so its parts stay; nobody tears a stack to pieces.
    kinds = tuple(one.kind for one in parts)
    assert names(plan_of(stack, *parts, kinds=kinds))[0] == []
    assert names(plan_of(stack, *parts, older_than=timedelta(days=9))) == (
        [],
        [],
        ["S", *names(plan_of(*parts, live={"S"}))[2]],
    )
    # The stack is gone: they go by themselves.
    assert names(plan_of(*parts, live=set()))[0] == ["instance", "security-group"]


def test_what_may_belong_to_a_stack_stays_when_stacks_can_not_be_seen() -> None:
    listing = Listing(assets=[asset("instance", stack="S")], notes=[], live_stacks={})
    plan = make_plan(listing, pattern=AssetPattern("1.0"), kinds=(), older_than=None, now=NOW)
    assert plan.steps == []
    assert "can't be listed" in plan.kept[0].reason


@pytest.mark.parametrize("permanent", PERMANENT_STACKS)
def test_permanent_stacks_and_what_they_hold_stay(permanent: str) -> None:
    stack = asset("stack", permanent, stack=permanent)
    role = asset("security-group", "held", stack=permanent)
    steps, along, kept = names(plan_of(stack, role))
    assert (steps, along, sorted(kept)) == ([], [], sorted([permanent, "held"]))
    assert names(plan_of(role, live=set()))[0] == []


def test_the_untagged_and_those_of_other_builds_stay() -> None:
    untagged = asset("snapshot", "untagged", tagged=False)
    other = asset("ami", "other", asset_id="1.0-rc1")
    assert names(plan_of(untagged, other)) == ([], [], ["other", "untagged"])
    assert names(plan_of(untagged, other, pattern="1.0*")) == (["other"], [], ["untagged"])


def test_only_what_is_old_enough_goes() -> None:
    old, young, unknown = asset("ami", "old"), asset("ami", "young", created=NOW), asset("ami", "?", created=None)
    plan = plan_of(old, young, unknown, older_than=timedelta(days=2))
    assert [one.name for one in plan.steps] == ["old"]
    assert {one.asset.name: one.reason for one in plan.kept} == {
        "young": "is only 0 min old",
        "?": "AWS doesn't tell its age",
    }


def test_a_snapshot_or_volume_stays_with_its_user() -> None:
    ami = asset("ami", "ami-1", references=("snap-1",), created=NOW)
    snapshot = asset("snapshot", "snap-1")
    assert names(plan_of(ami, snapshot))[0] == ["ami-1", "snap-1"]
    assert names(plan_of(ami, snapshot, older_than=timedelta(days=1)))[0] == []
    volume = asset("volume", "vol-1", references=("i-1",))
    assert names(plan_of(asset("instance", "i-1"), volume))[0] == ["i-1", "vol-1"]
    assert names(plan_of(volume))[0] == []


def test_exports_that_have_ended_are_no_asset() -> None:
    tasks = [asset("export-task", state, state=state) for state in ("active 85%", "completed", "deleted")]
    assert names(plan_of(*tasks)) == (["active 85%"], [], [])


def test_the_saving_counts_what_goes_along() -> None:
    stack = asset("stack", "S", stack="S")
    plan = plan_of(stack, asset("instance", "i", stack="S", usd_per_month=50.0), asset("volume", usd_per_month=None))
    assert plan.usd_per_month == 50.0


# --- marks ---


def marks(
    *assets: Asset, live: set[str] | None = None, hidden: tuple[AssetKind, ...] = ()
) -> dict[str, tuple[str, ...]]:
    known = Known.of(assets, complete=set(AssetKind) - set(hidden), live_stacks=live or set())
    return {one.id: marked(one, known, now=NOW).marks for one in assets}


def test_nothing_is_marked_without_a_reason() -> None:
    found = marks(
        asset("stack", "S", stack="S", state="CREATE_COMPLETE"),
        asset("instance", "i-1", stack="S", state="running", expires=date(2026, 5, 2)),
        asset("key-pair", "k"),
        asset("security-group", "g", stack="S"),
        asset("ami", "a", state="available", references=("snap-1",), asset_id="2.0"),
        asset("snapshot", "snap-1", asset_id="2.0"),
        asset("volume", "v", state="in-use"),
        asset("multipart-upload", "u", created=NOW - timedelta(hours=1)),
        asset("log-group", "l"),
        live={"S"},
    )
    assert not any(found.values()), found


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (asset("stack", state="ROLLBACK_COMPLETE"), "failed"),
        (asset("stack", state="DELETE_FAILED"), "failed"),
        (asset("instance", state="running"), "without a stack"),
        (asset("instance", state="running", stack="gone"), "its stack is gone"),
        (asset("security-group"), "without a stack"),
        (asset("key-pair"), "without a stack"),
        (asset("volume", state="available"), "detached"),
        (asset("ami", state="failed"), "failed"),
        (asset("ami", state="available", references=("snap-9",)), "its snapshot is gone"),
        (asset("snapshot"), "without an AMI"),
        (asset("multipart-upload"), "unfinished for more than a day"),
        (asset("log-group", expires=date(2026, 5, 1)), "expired"),
    ],
)
def test_what_is_left_over_is_marked(one: Asset, said: str) -> None:
    assert marks(one) == {"x": (said,)}


def test_an_instance_is_left_over_when_its_ami_is_finished_and_exported() -> None:
    running = asset("instance", "i-1", stack="S", state="running")
    image = asset("ami", "a", state="available")
    task = asset("export-task", "t", state="active 3%")
    assert marks(running, image, live={"S"})["i-1"] == ("runs although its AMI is finished",)
    assert marks(running, image, task, live={"S"})["i-1"] == ()


def test_what_can_not_be_seen_is_not_missing() -> None:
    image = asset("ami", state="available", references=("snap-9",))
    assert marks(image, hidden=(AssetKind.SNAPSHOT,)) == {"x": ()}
    assert marks(asset("snapshot"), hidden=(AssetKind.AMI,)) == {"x": ()}
    assert marks(asset("instance", stack="S"), hidden=(AssetKind.STACK,)) == {"x": ()}
