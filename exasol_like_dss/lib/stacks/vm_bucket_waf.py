"""The stack with the web ACL before the downloads: ``cloudformation/vm-bucket-waf.yaml``."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

from exasol_like_dss.lib.assets.names import OUTPUT_WEB_ACL, WAF_STACK
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.resources import tree
from exasol_like_dss.lib.stacks.permanent import PermanentStack

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import CloudFormation

#: CloudFront takes web ACLs from there alone (AWS WAF, "Scope").
WAF_REGION = "us-east-1"
_TEMPLATE = "vm-bucket-waf.yaml"
#: CloudFormation quotas, "Parameter values", in bytes.
_LONGEST_VALUE = 4096


def wanted_waf(allowed: Sequence[str]) -> PermanentStack:
    """allowed: IPv4 and IPv6 addresses and CIDRs that get no CAPTCHA; may be empty. Raises ``InputError``."""
    networks = read_networks(allowed)
    lists = {
        f"AllowedIPv{version}": ",".join(str(each) for each in networks if each.version == version)
        for version in (4, 6)
    }
    for value in lists.values():
        if len(value) > _LONGEST_VALUE:
            raise InputError(
                "These are more addresses than CloudFormation takes.", hint="Put neighbours together into one CIDR."
            )
    template = (tree("cloudformation") / _TEMPLATE).read_text(encoding="utf-8")
    return PermanentStack(name=WAF_STACK, template=template, parameters=lists)


def read_networks(texts: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Sorted, each once; what lies within another is left out. A bare address is a network of its own.

    Raises ``InputError`` for what is no network, and for all addresses at once, which AWS WAF refuses.
    """
    v4: list[ipaddress.IPv4Network] = []
    v6: list[ipaddress.IPv6Network] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            raise _no_network(text) from None
        if isinstance(network, ipaddress.IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    networks += ipaddress.collapse_addresses(v4)
    networks += ipaddress.collapse_addresses(v6)
    if any(network.prefixlen == 0 for network in networks):
        raise InputError("That is everybody: AWS WAF refuses it.", hint="Allow a smaller network.")
    return networks


def _no_network(text: str) -> InputError:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return InputError(
            f"{text!r} is no address and no CIDR.", hint="For example 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32."
        )
    return InputError(f"{text} has bits beyond its prefix.", hint=f"The network is {network}.")


def find_web_acl(access: CloudFormation) -> str:
    """The ARN of the web ACL. access: in ``WAF_REGION``. Raises ``InputError`` with the command that makes it."""
    stack = access.stack(WAF_STACK)
    found = stack.outputs.get(OUTPUT_WEB_ACL) if stack else None
    if not found:
        missing = f"is {stack.status}, and has no output {OUTPUT_WEB_ACL}" if stack else "does not exist"
        raise InputError(
            f"The stack {WAF_STACK} {missing} in {WAF_REGION}.", hint="Deploy it first: dss setup-vm-bucket-waf"
        )
    return found
