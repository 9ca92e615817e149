"""What a verification found: one result per check, and the whole as JSON for ``verification.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: The "boot" of what was judged on the image before any boot.
AT_REST = "at rest"


@dataclass(frozen=True)
class CheckResult:
    """One check. seen: what was found, in a few words. boot: the boot or container that it was found in, or
    ``AT_REST``."""

    name: str
    passed: bool
    seen: str
    boot: str

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "passed": self.passed, "seen": self.seen, "boot": self.boot}


@dataclass(frozen=True)
class VerificationReport:
    """left_out: checks that were not made, each with the reason. seconds: per boot, and in total.

    acceleration, firmwares: of the virtual machines that were booted; ``None`` where the image is none of a machine.
    """

    image: str
    asset_id: str
    acceleration: str | None
    firmwares: tuple[str, ...] | None
    results: tuple[CheckResult, ...]
    left_out: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        return tuple(result for result in self.results if not result.passed)

    @property
    def passed(self) -> bool:
        """True if all checks hold. A report without any check has proved nothing."""
        return bool(self.results) and not self.failed

    def to_json(self) -> dict[str, Any]:
        """A dictionary for ``json.dumps``."""
        firmwares = None if self.firmwares is None else list(self.firmwares)
        machines = {"acceleration": self.acceleration, "firmwares": firmwares}
        return {
            "image": self.image,
            "asset_id": self.asset_id,
            "passed": self.passed,
            **{name: value for name, value in machines.items() if value is not None},
            "seconds": dict(self.seconds),
            "checks": [result.to_json() for result in self.results],
            "left_out": list(self.left_out),
        }


class Checks:
    """Collects the results of one boot, or of one container."""

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self.results: list[CheckResult] = []

    def add(self, name: str, passed: bool, seen: str) -> bool:
        self.results.append(CheckResult(name, bool(passed), " ".join(seen.split()) or "nothing", self.boot))
        return bool(passed)

    def extend(self, results: Sequence[CheckResult]) -> None:
        self.results.extend(results)
