"""What a web ACL of AWS WAF does with a request (AWS WAF Developer Guide, "Rule statements", "Rule actions")."""

from __future__ import annotations

import ipaddress
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: The cookie of somebody who solved the CAPTCHA.
TOKEN = "aws-waf-token=solved"


@dataclass(frozen=True)
class Visit:
    """A request as the web ACL sees it. path: as it came, without the query."""

    address: str
    path: str
    cookie: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is answered instead of the content."""

    status: int
    rule: str
    headers: Mapping[str, str] = field(default_factory=dict)


class WebAcl:
    """properties: of the resource. ip_sets: addresses by ARN."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        ip_sets: Mapping[str, list[str]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert properties["DefaultAction"] == {"Allow": {}}
        self._rules = sorted(properties["Rules"], key=lambda rule: int(rule["Priority"]))
        self._ip_sets = ip_sets
        self._clock = clock
        self._seen: dict[tuple[str, str], list[float]] = defaultdict(list)

    def judge(self, visit: Visit) -> Verdict | None:
        """``None``: it may pass."""
        for rule in self._rules:
            if not self._matches(rule["Statement"], visit, rule["Name"]):
                continue
            if "Block" in rule["Action"]:
                return Verdict(403, rule["Name"])
            assert "Captcha" in rule["Action"], rule
            if TOKEN not in visit.cookie:
                return Verdict(405, rule["Name"], {"x-amzn-waf-action": "captcha"})
        return None

    def _matches(self, statement: Mapping[str, Any], visit: Visit, rule: str) -> bool:
        ((kind, given),) = statement.items()
        match kind:
            case "NotStatement":
                return not self._matches(given["Statement"], visit, rule)
            case "OrStatement":
                return any(self._matches(each, visit, rule) for each in given["Statements"])
            case "AndStatement":
                return all(self._matches(each, visit, rule) for each in given["Statements"])
            case "IPSetReferenceStatement":
                address = ipaddress.ip_address(visit.address)
                return any(address in ipaddress.ip_network(each) for each in self._ip_sets[given["Arn"]])
            case "RegexMatchStatement":
                assert given["FieldToMatch"] == {"UriPath": {}}
                assert [each["Type"] for each in given["TextTransformations"]] == ["NONE"]
                return bool(re.search(given["RegexString"], visit.path))
            case "RateBasedStatement":
                return self._too_many(given, visit, rule)
        raise AssertionError(f"the stand-in lacks {kind}")

    def _too_many(self, given: Mapping[str, Any], visit: Visit, rule: str) -> bool:
        assert given["AggregateKeyType"] == "IP"
        now, seen = self._clock(), self._seen[rule, visit.address]
        seen.append(now)
        since = now - int(given.get("EvaluationWindowSec", 300))
        seen[:] = [each for each in seen if each > since]
        return len(seen) > int(given["Limit"])
