"""AWS itself reads the policy for users (needs ``access-analyzer:ValidatePolicy``; makes nothing)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.aws,
    pytest.mark.skipif(
        os.environ.get("DSS_RUN_AWS_TEST") != "true" or not os.environ.get("AWS_PROFILE"),
        reason="needs DSS_RUN_AWS_TEST=true and AWS_PROFILE",
    ),
]
_POLICY = Path(__file__).parents[2] / "cloudformation/policies/developer.json"


def test_aws_finds_nothing_wrong_with_the_policy() -> None:
    import boto3

    session: Any = boto3.session.Session()
    text = _POLICY.read_text().replace("BUCKET", "a-bucket").replace("ROLE", "a-role")
    pages = session.client("accessanalyzer").get_paginator("validate_policy").paginate(
        policyDocument=text, policyType="IDENTITY_POLICY"
    )  # fmt: skip
    findings = [found for page in pages for found in page["findings"]]
    assert [found for found in findings if found["findingType"] != "SUGGESTION"] == []
