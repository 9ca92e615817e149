"""The policy for users allows what the commands call, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exasol_like_dss.lib.assets.names import STACK_PREFIX
from test.integration.aws_sweep.accounts import ENVIRONMENT, STACK, small_disk, with_bucket
from test.support.aws import Aws
from test.support.faked_machine import FAKED
from test.support.planted_assets import BUCKET, ID, plant, plant_role_and_bucket
from test.support.sweep import Lane, Scenario

POLICY = Path(__file__).parents[3] / "cloudformation/policies/developer.json"
#: What can't be narrowed: lists, which AWS gives of all or nothing, and public prices.
_ONLY_FOR_ALL = re.compile(
    r"ec2:Describe\w+|cloudformation:DescribeStacks|logs:DescribeLogGroups|pricing:GetProducts"
    r"|servicequotas:GetServiceQuota"
)
#: What AWS asks for besides the operation's own permission: a role that is handed to a service ("Granting a user
#: permissions to pass a role", IAM User Guide); versions of objects that go ("DeleteObjects", S3 API Reference).
_IMPLIED = {"iam:PassRole", "s3:DeleteObjectVersion"}
#: Everybody may ask who they are (GetCallerIdentity, STS API Reference).
_NEEDS_NONE = {"sts:GetCallerIdentity"}
#: For these AWS knows no tags, or the name is as good: they are held by the ARN.
_BY_NAME = ("arn:aws:cloudformation:", "arn:aws:s3:::", "arn:aws:logs:", "arn:aws:iam::", "arn:aws:ssm:")  # fmt: skip
BUILD = ("create-vm", "--builder", "ec2", "--ssh-cidr", "127.0.0.1/32", "--asset-id", ID)


def statements() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(POLICY.read_text())["Statement"]
    return found


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_what_the_commands_call_is_what_the_policy_allows(two_lanes: list[Lane]) -> None:
    lane = two_lanes[0]
    aws = lane.aws
    scenario = _scenario(with_bucket)
    needed: set[str] = set()

    def run(*arguments: str, code: int = 0) -> None:
        aws.clear()
        ended = lane.run(arguments, scenario)
        assert ended.code == code, ended.err
        needed.update(aws.permissions(stacks=STACK_PREFIX))

    def begin() -> None:
        aws.reset()
        with_bucket(aws)

    formats = [word for name in ("VMDK", "VHD", "RAW", "OVA") for word in ("--vm-image-format", name)]
    begin()
    run(*BUILD, *formats, "--make-ami-public")
    run("make-ami-public", "--asset-id", ID)
    run("show-aws-assets", "--all-regions")
    run(*BUILD, *formats, "--fresh", "--tag", "team=green")
    run("refresh-prices", "--out-file", str(lane.folder / "prices.json"))
    begin()
    # Events are read of a stack that is seen under way, which no fast machine shows, and of one that failed.
    aws.change(sold_out=["t3.*"])
    run("setup-ec2", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32", code=1)
    assert "cloudformation:DescribeStackEvents" in aws.actions()
    begin()
    subnet = aws.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    machine = ("setup-ec2", "--asset-id", ID, "--base", "debian-13", "--subnet-id", subnet, "--keep", "--ssh-cidr")
    run(*machine, "127.0.0.1/32")
    run(*machine, "127.0.0.2/32")
    run("export-vm", "--stack-name", STACK, "--vm-image-format", "VMDK")
    run("export-vm", "--stack-name", STACK, "--vm-image-format", "OVA", "--export-method", "direct")
    run("cleanup-aws-assets", "--asset-id", ID, "--yes")
    aws.reset()
    plant_role_and_bucket(aws)
    plant(aws)
    run("cleanup-aws-assets", "--asset-id", ID, "--yes")

    aws.reset()
    run("import-ami", str(small_disk(lane.folder)), "--asset-id", ID)

    allowed = {action for one in statements() for action in _list(one["Action"])}
    needed = (needed | _IMPLIED) - _NEEDS_NONE
    assert sorted(needed - allowed) == [], "missing in the policy"
    assert sorted(allowed - needed) == [], "the policy allows more than is needed"


def _scenario(account: Callable[[Aws], None]) -> Scenario:
    return Scenario(
        name="", asset_id=ID, plant=account, arguments=(), leaves={}, prepare=FAKED, environment=ENVIRONMENT
    )  # fmt: skip


@pytest.mark.parametrize("statement", statements(), ids=lambda one: str(one["Sid"]))
def test_each_statement_is_narrow(statement: dict[str, Any]) -> None:
    actions, resources = _list(statement["Action"]), _list(statement["Resource"])
    assert not any("*" in action for action in actions)
    if resources == ["*"]:
        assert all(_ONLY_FOR_ALL.fullmatch(action) for action in actions)
        return
    if all(resource.startswith(_BY_NAME) for resource in resources):
        return
    changing = [action for action in actions if not action.startswith("ec2:Get")]
    using = {"MakeGroupsInAnyNetwork", "StartMachinesFromAnyImage"}
    if changing and statement["Sid"] not in using:
        condition = json.dumps(statement["Condition"])
        assert "Tag/dss-asset-id" in condition or "ec2:CreateAction" in condition


def test_the_policy_is_not_too_long_for_aws() -> None:
    """6144 characters without white space ("IAM and AWS STS quotas")."""
    assert len(re.sub(r"\s", "", POLICY.read_text())) < 6144
    assert BUCKET not in POLICY.read_text()


def test_the_guide_has_the_policy_and_today_s_estimate(two_lanes: list[Lane]) -> None:
    guide = (POLICY.parents[2] / "doc/aws_guide.md").read_text()
    assert f"(../{POLICY.relative_to(POLICY.parents[2])})" in guide
    lane = two_lanes[0]
    lane.planted(_scenario(with_bucket))
    ended = lane.run([*BUILD, "--dry-run", "--output", "json"], _scenario(with_bucket))
    assert ended.code == 0, ended.err
    planned = json.loads(ended.out)
    for line in planned["costs"]:
        assert f"| {line['what']} | {line['usd']:.2f} USD | {line['per']} |" in guide
    assert re.search(r"as of \d{4}-\d\d-\d\d", planned["note"])[0] in guide  # type: ignore[index]
