"""Networks, keys and failures of the permanent stacks."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.access.aws.cloudformation import StackEvent
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.stacks.download_keys import DownloadKeys, parameters_of
from exasol_like_dss.lib.stacks.following import first_failure
from exasol_like_dss.lib.stacks.vm_bucket import OwnDomain
from exasol_like_dss.lib.stacks.vm_bucket_waf import read_networks, wanted_waf

ADDRESSES = st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="2001:db8::/32")


@settings(deadline=None)
@given(st.lists(ADDRESSES, max_size=8))
def test_each_address_is_in_exactly_one_network(addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> None:
    networks = read_networks([str(each) for each in addresses])
    for address in addresses:
        assert [address in network for network in networks].count(True) == 1
    assert sum(network.num_addresses for network in networks) == len(set(addresses))


def test_no_address_is_an_empty_text() -> None:
    assert wanted_waf([]).parameters == {"AllowedIPv4": "", "AllowedIPv6": ""}
    assert wanted_waf(["192.0.2.1", "2001:db8::1"]).parameters == {
        "AllowedIPv4": "192.0.2.1/32",
        "AllowedIPv6": "2001:db8::1/128",
    }


def test_too_many_addresses_for_a_parameter() -> None:
    with pytest.raises(InputError, match="more addresses"):
        wanted_waf([f"10.{number // 256}.{number % 256}.7" for number in range(400)])


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d\n"]), min_size=1, max_size=2, unique=True), max_size=6)
)
def test_a_key_never_moves_and_never_becomes_another(history: list[list[str]]) -> None:
    """CloudFront can't change a key in its place."""
    before: Mapping[str, str] = {}
    for wanted in history:
        try:
            after = parameters_of(DownloadKeys(tuple(wanted)), before)
        except InputError:
            places = [before["PublicKeyA"], before["PublicKeyB"]]
            assert len(set(wanted) - set(places)) > places.count("")
            continue
        assert {after["PublicKeyA"], after["PublicKeyB"]} - {""} == set(wanted)
        assert after[f"PublicKey{after['SigningKey']}"] == wanted[0]
        for place in ("PublicKeyA", "PublicKeyB"):
            assert "" in (before.get(place, ""), after[place]) or before[place] == after[place]
        before = after


@pytest.mark.parametrize(
    ("name", "certificate"),
    [
        ("downloads", "arn:aws:acm:us-east-1:123456789012:certificate/a-b"),
        ("a b.org", "arn:aws:acm:us-east-1:123456789012:certificate/a-b"),
        ("downloads.example.org", "arn:aws:acm:eu-central-1:123456789012:certificate/a-b"),
    ],
)
def test_what_is_no_domain_or_no_certificate(name: str, certificate: str) -> None:
    with pytest.raises(InputError):
        OwnDomain(name=name, certificate=certificate)


STACK = "AWS::CloudFormation::Stack"


def test_the_first_failure_is_of_the_newest_operation() -> None:
    events = [
        StackEvent("stack", STACK, "UPDATE_ROLLBACK_COMPLETE", ""),
        StackEvent("Bucket", "AWS::S3::Bucket", "UPDATE_FAILED", "Resource update cancelled"),
        StackEvent("Distribution", "AWS::CloudFront::Distribution", "UPDATE_FAILED", "new"),
        StackEvent("stack", STACK, "UPDATE_IN_PROGRESS", "User Initiated"),
        StackEvent("Role", "AWS::IAM::Role", "UPDATE_FAILED", "old"),
        StackEvent("stack", STACK, "UPDATE_IN_PROGRESS", "User Initiated"),
    ]
    found = first_failure(events)
    assert found
    assert found.reason == "new"
    assert first_failure(events[:2]) is None
