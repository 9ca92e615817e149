"""The fault sweep: one command, and every one of its API calls goes wrong once, in every way.

The calls are those of an undisturbed run, by name and turn: the third ``ec2:DescribeImages``. For each of them, and
each of ``FAULTS``: an account as before, the command with the fault, and then

- ``show-aws-assets`` lists what there is, no more and no less,
- the same command again ends well, and what there is then is what an undisturbed run leaves: nothing twice,
- ``cleanup-aws-assets`` leaves nothing.

A kill is a SIGKILL that the process gives itself before the request leaves, or after its answer has come. The other
faults are the stand-in's answers. Several lanes, each with a stand-in of its own, take the cases from one list.

So that a sweep ends in its time, what can be known is not tried again. All that the product remembers is in the
account, and many faults (all those between two calls that change something) leave the same one: the same things with
the same states and tags, see ``aws_truth.Account.looks``. The three steps are tried once for each account;
every fault is injected, and its run has to end as it should.

A whole sweep of all commands takes a quarter of an hour on two cores. CI, which has to do much else, takes every fourth
case; DSS_TEST_FULL_SWEEP=true takes all of them, and belongs to every change of what is tried here.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from test.support.aws import THROTTLED, Aws, Call, ClientFault, Fault, running_aws
from test.support.aws.standin import PRODUCT_KEY
from test.support.aws_truth import Account, account, existing, kinds, shown
from test.support.forked_runs import Ended, Launcher, launcher

#: Accounts that are known to come to a good end: their looks.
Known = set[tuple[str, ...]]
KILLS = ("kill-before", "kill-after")
ANSWERS = ("throttled", "dropped", "expired")
FAULTS = (*KILLS, *ANSWERS)
_SHARE = 1 if os.environ.get("DSS_TEST_FULL_SWEEP") == "true" else 4
#: Nothing takes time: what is waited for is there at the second look, so that calls can be counted.
_INSTANT: dict[str, Any] = {
    "instance_pending_s": 0.0,
    "instance_stopping_s": 0.0,
    "image_pending_s": 0.0,
    "export_s": 0.0,
    "stack_step_s": 0.0,
}


@dataclass(frozen=True)
class Case:
    """do: one of ``FAULTS``. action: "ec2:CreateImage". nth: its turn among those of its name."""

    do: str
    action: str
    nth: int

    def __str__(self) -> str:
        return f"{self.do} {self.action} #{self.nth}"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A command in an account.

    plant: makes the account; arguments: of the command, once it is planted. leaves: what an undisturbed run leaves, by
    kind. once: operations that may have an effect once only, over both runs. prepare: see ``Launcher.run``.
    """

    name: str
    asset_id: str
    plant: Callable[[Aws], None]
    arguments: Sequence[str]
    leaves: Mapping[str, int]
    once: Sequence[str] = ()
    prepare: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Aws], str] = lambda _: ""


@dataclass
class Lane:
    aws: Aws
    runs: Launcher
    folder: Path

    def run(
        self,
        arguments: Sequence[str],
        scenario: Scenario,
        *,
        faults: Sequence[ClientFault] = (),
        with_: Mapping[str, Any] | None = None,
    ) -> Ended:
        environment = {
            **self.aws.environment(),
            "AWS_MAX_ATTEMPTS": "3",
            "XDG_DATA_HOME": str(self.folder / "data"),
            "COLUMNS": "500",
            **scenario.environment,
        }
        return self.runs.run(
            arguments, environment=environment, faults=faults, prepare=scenario.prepare, with_=with_
        )  # fmt: skip

    def planted(self, scenario: Scenario) -> None:
        self.aws.reset()
        scenario.plant(self.aws)
        self.aws.clear()


@dataclass
class Outcome:
    """at_once: the run with the fault ended well. tried: its account was a new one. problems: what was wrong."""

    case: Case
    reached: bool = True
    at_once: bool = False
    tried: bool = False
    problems: list[str] = field(default_factory=list)


@dataclass
class Tally:
    scenario: str
    calls: int
    outcomes: list[Outcome]
    seconds: float

    @property
    def problems(self) -> list[str]:
        return [f"{one.case}: {problem}" for one in self.outcomes for problem in one.problems]

    @property
    def not_reached(self) -> list[Case]:
        return [one.case for one in self.outcomes if not one.reached]

    def __str__(self) -> str:
        reached = [one for one in self.outcomes if one.reached]
        by_kind = Counter(one.case.do for one in reached)
        bad = [one for one in reached if one.problems]
        at_once = sum(one.at_once for one in reached if not one.problems)
        tried = sum(one.tried for one in reached)
        return (
            f"fault sweep of {self.scenario}: {self.calls} API calls; {len(reached)} faults injected "
            f"({', '.join(f'{by_kind[kind]} {kind}' for kind in by_kind)}); {at_once} runs survived theirs, "
            f"{len(reached) - at_once - len(bad)} ended early, {len(bad)} wrongly; {tried} different accounts "
            f"were left, and listed, finished and cleaned up; {len(self.not_reached)} not reached; {self.seconds:.0f} s"
        )


@contextmanager
def lanes(folder: Path, *, count: int = 2) -> Iterator[list[Lane]]:
    with ExitStack() as stack:
        made = []
        for number in range(count):
            own = folder / f"lane-{number}"
            runs = stack.enter_context(launcher(own))
            aws = stack.enter_context(running_aws(**_INSTANT))
            existing(aws)  # makes the test's own clients, of which only one may be made at a time
            made.append(Lane(aws, runs, own))
        yield made


def undisturbed(scenario: Scenario, lane: Lane) -> tuple[list[Call], Known]:
    """The calls of a run in which nothing goes wrong. Also tries that the scenario is what it says."""
    lane.planted(scenario)
    before = account(lane.aws).looks
    assert list(_shown(scenario, lane)) == []
    lane.aws.clear()
    ended = lane.run(scenario.arguments, scenario)
    assert ended.code == 0, ended.err
    calls, now = lane.aws.calls, account(lane.aws)
    assert kinds(now.found) == Counter(scenario.leaves), kinds(now.found)
    assert after(scenario, lane) == []
    return calls, {before, now.looks}


def cases_of(calls: Iterable[Call], faults: Sequence[str] = FAULTS, *, first_only: Sequence[str] = ()) -> list[Case]:
    """Every call with every fault. first_only: faults that hit the first call of each name only."""
    counted = Counter(call.name for call in calls)
    return [
        Case(do, name, nth)
        for do in faults
        for nth in range(1, max(counted.values()) + 1)
        for name in sorted(counted)
        if nth <= counted[name] and (nth == 1 or do not in first_only)
    ]


def sweep(
    scenario: Scenario,
    made: Sequence[Lane],
    *,
    first_only: Sequence[str] = (),
    faults: Sequence[str] = FAULTS,
    services: Sequence[str] = (),
) -> Tally:
    """Prints its numbers. What went wrong is in ``Tally.problems``.

    services: whose calls are hit, where the others are another sweep's; all when empty. A full sweep hits all.
    """
    begin = time.monotonic()
    calls, known = undisturbed(scenario, made[0])
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    hit = [call for call in calls if not services or _SHARE == 1 or call.service in services]
    for case in cases_of(hit, faults, first_only=first_only)[::_SHARE]:
        waiting.put(case)
    outcomes: list[Outcome] = []

    def work(lane: Lane) -> None:
        before: Account | None = None
        while True:
            try:
                outcome = Outcome(waiting.get_nowait())
            except queue.Empty:
                return
            outcomes.append(outcome)
            try:
                before = _try(outcome, scenario, lane, before, known)
            except Exception as error:
                before = None
                outcome.problems.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(lane,)) for lane in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally = Tally(scenario.name, len(calls), outcomes, time.monotonic() - begin)
    print(tally)
    return tally


def _try(outcome: Outcome, scenario: Scenario, lane: Lane, before: Account | None, known: Known) -> Account | None:
    """One case. before: the planted account, if the case before this one has left it as it was; so is the answer."""
    if before:
        lane.aws.clear()
    else:
        lane.planted(scenario)
        before = account(lane.aws)
    ended, outcome.reached = _run_with(outcome.case, scenario, lane)
    if not outcome.reached:
        return None
    outcome.at_once = ended.code == 0
    outcome.problems += _ending(outcome.case, ended)
    now = account(lane.aws)
    if outcome.at_once and kinds(now.found) != Counter(scenario.leaves) and " stays" not in ended.err:  # as it said
        outcome.problems.append(f"ended well, and left {dict(kinds(now.found))}")
    if now.looks not in known:
        outcome.tried = True
        known.add(now.looks)
        outcome.problems += after(scenario, lane)
        return None
    return before if now == before else None


def after(scenario: Scenario, lane: Lane) -> list[str]:
    """What is not as it has to be after a run that was disturbed: empty when all is well."""
    aws = lane.aws
    problems = list(_shown(scenario, lane))
    again = lane.run(scenario.arguments, scenario)
    if again.code:
        return [*problems, f"running again ended with {again.code}: {again.err[-600:]}"]
    found = kinds(existing(aws))
    if found != Counter(scenario.leaves):
        problems.append(f"afterwards there is {dict(found)}, not {dict(scenario.leaves)}")
    effects = Counter(call.name for call in aws.calls if call.effect)
    problems += [f"{name} had its effect {effects[name]} times" for name in scenario.once if effects[name] != 1]
    wrong = scenario.check(aws)
    problems += [wrong] if wrong else []
    if scenario.leaves:
        cleaned = lane.run(["cleanup-aws-assets", "--asset-id", scenario.asset_id, "--yes"], scenario)
        left = existing(aws)
        if cleaned.code or left:
            problems.append(f"the clean-up ended with {cleaned.code}, and left {left}: {cleaned.err[-300:]}")
    return problems


def _run_with(case: Case, scenario: Scenario, lane: Lane) -> tuple[Ended, bool]:
    """The run, and whether the fault hit it."""
    if case.do in KILLS:
        fault = ClientFault(do=case.do, action=case.action.partition(":")[2], nth=case.nth)
        ended = lane.run(scenario.arguments, scenario, faults=[fault])
        return ended, ended.killed
    common: dict[str, Any] = {"action": case.action, "nth": case.nth}
    expire = lambda _: lane.aws.change(expired_keys=[PRODUCT_KEY])  # noqa: E731 - this call, and all that follow
    lane.aws.inject(
        {
            "throttled": Fault(code=THROTTLED, **common),
            "dropped": Fault(effect="drop", moment="after", **common),
            "expired": Fault(effect="hook", hook=expire, **common),
        }[case.do]
    )
    ended = lane.run(scenario.arguments, scenario)
    hit = any(call.fault is not None for call in lane.aws.calls)
    lane.aws.inject()
    lane.aws.change(expired_keys=[])
    return ended, hit


def _ending(case: Case, ended: Ended) -> Iterator[str]:
    if "internal error" in ended.err:
        yield f"ended with an internal error: {ended.err[-600:]}"
    if case.do in ("throttled", "dropped") and ended.code:
        yield f"ended with {ended.code}: {ended.err[-600:]}"
    if case.do == "expired" and "expired" not in ended.err:
        yield f"does not say that the credentials have expired, and ended with {ended.code}: {ended.err[-300:]}"


def _shown(scenario: Scenario, lane: Lane) -> Iterator[str]:
    """AWS goes on while we look: only what is there before and after has to be listed."""
    before = existing(lane.aws)
    ended = lane.run(["show-aws-assets", "--output", "json"], scenario)
    if ended.code:
        yield f"show-aws-assets ended with {ended.code}: {ended.err[-300:]}"
        return
    listed = shown(json.loads(ended.out))
    if listed == before:
        return
    later = existing(lane.aws)
    if not before & later <= listed:
        yield f"not listed: {sorted(before & later - listed)}"
    if not listed <= before | later:
        yield f"listed, and not there: {sorted(listed - before - later)}"
