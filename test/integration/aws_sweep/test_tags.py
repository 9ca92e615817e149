"""All tags are on all that is made, from the call on that makes it; on what AWS makes along with it, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exasol_like_dss import __version__
from test.integration.aws_sweep.accounts import STACK
from test.integration.aws_sweep.test_create_sweep import CREATE as BUILD
from test.support.aws import Aws
from test.support.planted_assets import ID
from test.support.sweep import Lane

TAGS = ("--tag", "team=green @work", "--tag", "cost-centre=4711", "--owner", "me")
WANTED = {
    "dss-asset-id": ID, "dss-owner": "me", "dss-project": "exasol-like-dss", "dss-version": __version__,
    "team": "green @work", "cost-centre": "4711",
}  # fmt: skip
#: How the calls that make something give tags. What is in S3 has its asset-id in its name.
TAGGED = ("CreateKeyPair", "CreateStack", "CreateImage", "ExportImage")


def check(found: Sequence[Mapping[str, Any]], what: str) -> None:
    assert found, what
    for one in found:
        tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
        assert WANTED.items() <= tags.items(), f"{what}: {tags}"
        assert "dss-expires" in tags, what


def check_calls(aws: Aws) -> None:
    made = [call for call in aws.calls if call.action in TAGGED]
    assert {call.action for call in made} == set(TAGGED)
    for call in made:
        given = call.parameters.get("TagSpecifications") or [{"Tags": call.parameters["Tags"]}]
        check(given, call.name)
        if call.action == "CreateImage":
            assert {one["ResourceType"] for one in given} == {"image", "snapshot"}


def test_every_resource_has_all_tags(two_lanes: list[Lane]) -> None:
    lane, aws = two_lanes[0], two_lanes[0].aws
    lane.planted(BUILD)
    machine = ("setup-ec2", "--asset-id", ID, "--ssh-cidr", "127.0.0.1/32", "--keep", *TAGS)
    for command in (machine, ("export-vm", "--stack-name", STACK, "--vm-image-format", "OVA", *TAGS)):
        ended = lane.run(command, BUILD)
        assert ended.code == 0, ended.err
    ec2 = aws.client("ec2")
    instances = [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]
    check(instances, "instance")
    check(ec2.describe_volumes()["Volumes"], "volume")
    check([one for one in ec2.describe_security_groups()["SecurityGroups"] if one["GroupName"] != "default"], "group")
    check(ec2.describe_key_pairs()["KeyPairs"], "key pair")
    check(ec2.describe_images(Owners=["self"])["Images"], "AMI")
    check(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"], "snapshot")
    check(ec2.describe_export_image_tasks()["ExportImageTasks"], "export")
    stacks = aws.client("cloudformation").describe_stacks()["Stacks"]
    check([one for one in stacks if one["StackName"] == STACK], "stack")
    check_calls(aws)
