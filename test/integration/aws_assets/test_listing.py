"""What is in AWS, through the command line, against the stand-in over HTTP."""

from __future__ import annotations

import csv
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exasol_like_dss.lib.assets.names import BUCKET_STACK
from exasol_like_dss.lib.assets.record import AssetKind
from test.support.aws import REGION, Aws, Image
from test.support.aws.standin import PRODUCT_KEY
from test.support.planted_assets import (
    BUCKET,
    EXPIRES,
    ID,
    Commands,
    Planted,
    bucket_stack,
    kinds_of,
    specification,
)

# --- listing ---


def test_every_kind_is_listed_priced_and_marked(commands: Commands, planted: Planted) -> None:
    shown = commands.show("--asset-id", ID)
    assert {asset["kind"] for asset in shown["assets"]} == set(AssetKind)
    assert shown["complete"]
    assert shown["notes"] == []
    by_id = {asset["id"]: asset for asset in shown["assets"]}
    assert by_id[planted.volume]["size_bytes"] == 10 << 30
    assert by_id[planted.volume]["usd_per_month"] == pytest.approx(0.952)
    assert by_id[planted.volume]["marks"] == ["detached"]
    assert by_id[planted.instance]["usd_per_month"] == pytest.approx(0.096 * 730)
    assert by_id[planted.instance]["marks"] == ["without a stack"]
    assert by_id[planted.instance]["owner"] == "ada"
    assert by_id[planted.instance]["expires"] == EXPIRES
    assert by_id[planted.image]["marks"] == by_id[planted.snapshot]["marks"] == []
    assert by_id[planted.upload]["size_bytes"] == 1000
    assert by_id[planted.export_task]["state"].startswith("active")
    assert shown["usd_per_month"] == pytest.approx(sum(asset["usd_per_month"] for asset in shown["assets"]), abs=0.001)
    assert shown["prices"]["estimates"]


def test_a_table_tells_the_total_and_that_it_is_an_estimate(commands: Commands, planted: Planted) -> None:
    done = commands.run_alone("show-aws-assets", "--asset-type", "volume", "--asset-type", "ami")
    assert done.code == 0
    assert planted.volume in done.out
    assert planted.instance not in done.out
    assert re.search(r"\n\d+ assets, about \d+\.\d\d USD a month\. Costs are estimates .* as of 20", done.out)


def test_results_go_to_a_file_in_each_form(commands: Commands, planted: Planted) -> None:
    target = commands.folder / "assets"
    done = commands.run("show-aws-assets", "--output", "markdown", "--out-file", target)
    assert done.code == 0
    assert done.out == ""
    assert f"| {planted.image} |" in target.read_text()
    done = commands.run("show-aws-assets", "--output", "csv", "--out-file", target)
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert {row["id"] for row in rows} >= {planted.image, planted.volume}
    assert next(row for row in rows if row["id"] == planted.volume)["size_bytes"] == str(10 << 30)
    assert [path.name for path in commands.folder.iterdir()] == ["assets"]
    done = commands.run("show-aws-assets", "--out-file", commands.folder / "missing/file")
    assert done.code == 2


def test_exact_ids_by_default(commands: Commands, aws: Aws) -> None:
    bucket_stack(aws)
    for asset_id in ("5.0.0", "5.0.0-rc1", "5x0x0"):
        aws.client("ec2").create_key_pair(
            KeyName=asset_id, TagSpecifications=specification("key-pair", asset_id=asset_id)
        )
        aws.client("s3").put_object(Bucket=BUCKET, Key=f"data_science_sandbox/{asset_id}/a", Body=b"")
        aws.client("logs").create_log_group(
            logGroupName=f"/exasol-like-dss/{asset_id}", tags={"dss-asset-id": asset_id}
        )
    found = {
        pattern: sorted({asset["asset_id"] for asset in commands.show("--asset-id", pattern)["assets"]})
        for pattern in ("5.0.0", "5.0.0*", "5?0?0", "*")
    }
    assert found == {
        "5.0.0": ["5.0.0"],
        "5.0.0*": ["5.0.0", "5.0.0-rc1"],
        "5?0?0": ["5.0.0", "5x0x0"],
        "*": ["5.0.0", "5.0.0-rc1", "5x0x0"],
    }
    assert kinds_of(commands.show("--asset-id", "5.0.0")) == ["key-pair", "log-group", "s3-object"]


def test_all_regions_and_several(commands: Commands, aws: Aws) -> None:
    for region in ("us-west-2", "eu-west-1", "ap-southeast-1"):
        aws.plant(Image(name=f"in {region}", tags={"dss-asset-id": ID}), region=region)

    def regions(*arguments: str) -> list[str]:
        shown = commands.show("--asset-type", "ami", *arguments)
        return [asset["region"] for asset in shown["assets"]]

    assert regions() == []
    assert regions("--region", "us-west-2", "--region", "eu-west-1") == ["eu-west-1", "us-west-2"]
    assert regions("--all-regions") == ["ap-southeast-1", "eu-west-1", "us-west-2"]
    done = commands.run("show-aws-assets", "--all-regions", "--region", "eu-west-1")
    assert (done.code, "exclude" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("action", "missing"),
    [
        ("ec2:DescribeImages", "ami"),
        ("ec2:DescribeSnapshots", "snapshot"),
        ("ec2:DescribeExportImageTasks", "export-task"),
        ("cloudformation:ListStackResources", "stack-resource"),
        ("logs:DescribeLogGroups", "log-group"),
        ("s3:ListBucketMultipartUploads", "multipart-upload"),
    ],
)
@pytest.mark.usefixtures("planted")
def test_a_missing_permission_is_named_and_the_rest_is_listed(commands: Commands, action: str, missing: str) -> None:
    commands.aws.change(denied=[action])
    shown = commands.show("--asset-id", ID)
    assert not shown["complete"]
    assert [note for note in shown["notes"] if action in note and missing in note], shown["notes"]
    assert {asset["kind"] for asset in shown["assets"]} == set(AssetKind) - {missing}
    # What can't be seen is not missing.
    assert "its snapshot is gone" not in str(shown)
    assert "without an AMI" not in str(shown)


def test_a_missing_bucket_stack_ends_nothing(commands: Commands, aws: Aws) -> None:
    aws.client("ec2").create_key_pair(KeyName="k", TagSpecifications=specification("key-pair"))
    shown = commands.show()
    assert kinds_of(shown) == ["key-pair"]
    assert len(shown["notes"]) == 1
    assert BUCKET_STACK in shown["notes"][0]
    assert commands.run("show-aws-assets").out.count(BUCKET_STACK) == 1


def test_many_are_listed_page_by_page(commands: Commands, aws: Aws) -> None:
    bucket_stack(aws)
    aws.plant_many(600, tags={"dss-asset-id": ID}, bucket=BUCKET, prefix=f"data_science_sandbox/{ID}/")
    aws.clear()
    shown = commands.show("--asset-id", ID)
    assert Counter(kinds_of(shown)) == {"ami": 600, "snapshot": 600, "s3-object": 600}


# --- input that can't be used ---


def profile_file(folder: Path) -> dict[str, str]:
    file = folder / "config"
    file.write_text("[profile other]\nregion = eu-west-1\n")
    return {"AWS_CONFIG_FILE": str(file)}


@pytest.mark.parametrize(
    ("command", "case"),
    [
        *(("show-aws-assets", case) for case in ("profile", "region", "expired", "unknown", "none", "no-region-name")),
        ("cleanup-aws-assets", "unreachable"),
        ("make-ami-public", "region"),
    ],
)
def test_credentials_that_are_no_good(commands: Commands, command: str, case: str) -> None:
    """One sentence, a hint, and nothing is done."""
    arguments = [command, *(["--asset-id", ID] if command != "show-aws-assets" else [])]
    arguments += ["--yes"] if command == "cleanup-aws-assets" else []
    said, code = "", 2
    if case == "profile":
        commands.more = profile_file(commands.folder)
        arguments += ["--aws-profile", "mine"]
        said = "Error: There is no AWS profile 'mine'.\nHint: Known: other."
    elif case == "region":
        commands.more = {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}
        said = "Error: No AWS region is set.\nHint: Give --region"
    elif case == "expired":
        commands.aws.change(expired_keys=[PRODUCT_KEY])
        said = "Error: The AWS credentials have expired.\nHint: "
    elif case == "unknown":
        commands.aws.change(unknown_keys=[PRODUCT_KEY])
        said = f"Error: AWS does not accept these credentials in {REGION} (InvalidClientTokenId).\nHint: "
    elif case == "unreachable":
        commands.more = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
        said, code = "Error: AWS does not answer at http://127.0.0.1:9/.\nHint: ", 1
    elif case == "none":
        commands.more = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(commands.folder)}
        said = "Error: There are no usable AWS credentials.\nHint: "
    elif case == "no-region-name":
        arguments += ["--region", "Frankfurt am Main"]
        said = "Error: 'Frankfurt am Main' is no AWS region.\nHint: "
    done = commands.run_alone(*arguments) if case in ("expired", "none") else commands.run(*arguments)
    assert done.err.startswith(said)
    assert len(done.err.splitlines()) == 2
    assert done.code == code
    assert {call.name for call in commands.aws.calls} <= {"sts:GetCallerIdentity"}


# --- make-ami-public ---


def test_an_ami_becomes_public(commands: Commands, aws: Aws) -> None:
    image = aws.plant(Image(name="ours", public=False, tags={"dss-asset-id": ID}))
    assert f"{image} (ours) in {REGION} is public." in commands.run("make-ami-public", "--asset-id", ID).out
    assert aws.client("ec2").describe_images(ImageIds=[image])["Images"][0]["Public"]
    assert "was already public" in commands.run("make-ami-public", "--asset-id", ID).out


@pytest.mark.parametrize(
    ("asset_id", "said"),
    [("5.0.1", "There is no AMI"), ("5.0.*", "is no asset-id"), (ID, "does not allow public AMIs")],
)
def test_an_ami_that_can_not_become_public(commands: Commands, aws: Aws, asset_id: str, said: str) -> None:
    aws.plant(Image(name="ours", public=False, tags={"dss-asset-id": ID}))
    aws.change(block_public_images=True)
    done = commands.run("make-ami-public", "--asset-id", asset_id)
    assert done.code in (1, 2)
    assert said in done.err
    assert "Hint: " in done.err


# --- prices ---


def test_fresh_prices_are_used_from_then_on(commands: Commands, planted: Planted) -> None:
    commands.aws.change(prices={"t3.large": 1.0, "gp3": 0.5, "gp2": 0.5, "snapshot": 0.25, "s3": 0.125})
    done = commands.run("refresh-prices")
    assert done.code == 0, done.err
    assert "data/exasol-like-dss/prices.json" in done.out
    assert "estimates" in done.out
    assert "eu-central-1 m5" in done.out
    shown = commands.show("--asset-id", ID)
    costs = {asset["id"]: asset["usd_per_month"] for asset in shown["assets"]}
    assert costs[planted.instance] == 730.0
    assert costs[planted.volume] == 5.0
    assert shown["prices"]["as_of"] == datetime.now(UTC).date().isoformat()


def test_prices_that_can_not_be_had_change_nothing(commands: Commands) -> None:
    commands.aws.change(denied=["pricing:GetProducts"])
    done = commands.run("refresh-prices", "--out-file", commands.folder / "prices.json")
    assert done.code == 1
    assert "lack the permission pricing:GetProducts" in done.err
    assert list(commands.folder.iterdir()) == []
