"""The templates: what they say of themselves is true, and what the code expects of them is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.assets import names
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import AssetNames
from test.support.aws.server.cloudformation.template import MAX_BYTES, TemplateLoader, references
from test.support.stack_drawing import dot

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "cloudformation").glob("*.yaml"))


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.load(path.read_text(), Loader=TemplateLoader))  # noqa: S506 - made from SafeLoader


def template(name: str) -> dict[str, Any]:
    return load(ROOT / "cloudformation" / f"{name}.yaml")


def test_the_drawing_is_of_these_templates() -> None:
    assert (ROOT / "img/cloudformation-stacks.dot").read_text() == dot(), "run scripts/draw-stacks"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_explains_itself(path: Path) -> None:
    found = load(path)
    assert len(path.read_bytes()) < MAX_BYTES
    assert found["Description"]
    described = [*found.get("Parameters", {}).items(), *found.get("Outputs", {}).items()]
    assert not [name for name, each in described if not each.get("Description")]
    used = set(references(found["Resources"])) | set(references(found.get("Conditions", {})))
    used |= set(references(found.get("Rules", {}))) | set(references(found["Outputs"]))
    assert not set(found.get("Parameters", {})) - used, "parameters that nothing uses"
    for logical_id, resource in found["Resources"].items():
        for skipped in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
            assert len(skipped["comment"]) > 20, (logical_id, skipped)


def functions(value: object) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(functions, value))
    if isinstance(value, dict):
        return {name for name in value if name.startswith("Fn::")}.union(*map(functions, value.values()))
    return set()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_rules_have_their_own_functions_only(path: Path) -> None:
    """CloudFormation template reference, "Rule-specific intrinsic functions"; cfn-lint doesn't look."""
    names_of_rules = r"Fn::(And|Contains|EachMember(Equals|In)|Equals|Not|Or|RefAll|ValueOf(All)?)"
    assert all(re.fullmatch(names_of_rules, name) for name in functions(load(path).get("Rules", {})))


def test_the_outputs_that_the_commands_look_for_are_there() -> None:
    bucket = {names.OUTPUT_BUCKET, names.OUTPUT_EXPORT_ROLE, names.OUTPUT_DOMAIN}
    bucket |= {names.OUTPUT_DISTRIBUTION, names.OUTPUT_SIGNING_KEY}
    assert bucket <= set(template("vm-bucket")["Outputs"])
    assert names.OUTPUT_WEB_ACL in template("vm-bucket-waf")["Outputs"]


@cache
def exempt_path() -> re.Pattern[str]:
    (captcha,) = [
        rule
        for rule in template("vm-bucket-waf")["Resources"]["WebACL"]["Properties"]["Rules"]
        if rule["Name"] == "CAPTCHA"
    ]
    statements = captcha["Statement"]["NotStatement"]["Statement"]["OrStatement"]["Statements"]
    (regex,) = [each["RegexMatchStatement"] for each in statements if "RegexMatchStatement" in each]
    return re.compile(regex["RegexString"])


def test_the_signed_path_is_the_same_everywhere() -> None:
    """In the web ACL, in the distribution, in its function, and in the code."""
    properties = template("vm-bucket")["Resources"]["Distribution"]["Properties"]["DistributionConfig"]
    (behavior,) = properties["CacheBehaviors"]
    assert behavior["PathPattern"] == f"{names.SIGNED_PATH}*"
    assert behavior["TrustedKeyGroups"]
    assert "TrustedKeyGroups" not in properties["DefaultCacheBehavior"]
    code = template("vm-bucket")["Resources"]["ViewerRequest"]["Properties"]["FunctionCode"]
    assert f"indexOf('{names.SIGNED_PATH}') === 0" in code
    assert exempt_path().pattern.startswith(f"^{names.SIGNED_PATH}{names.S3_PREFIX}")


@settings(deadline=None)
@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True), st.sampled_from([".vmdk", ".ova", ".ova.asc"])
)
def test_all_files_of_all_builds_can_be_signed(text: str, suffix: str) -> None:
    found = AssetNames.of(AssetId(text))
    assert exempt_path().search(f"{names.SIGNED_PATH}{found.s3_prefix}{found.file_stem}{suffix}")
    assert exempt_path().search(f"{names.SIGNED_PATH}{found.s3_prefix}SHA256SUMS")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "a", "1.0.0", "signed", "data_science_sandbox", "%2e%2e", "%2f", ""])))
def test_what_the_web_acl_exempts_wants_a_signature(parts: list[str]) -> None:
    """However CloudFront normalizes it, a path that is exempt is below /signed/."""
    path = "/" + "/".join(["signed", *parts])
    if exempt_path().search(path):
        assert "%" not in path
        assert not {"..", ".", ""} & set(path.split("/")[1:])
