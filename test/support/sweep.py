"""The fault sweep: one command, and every one of its API calls goes wrong once, in every way.

The calls are those of an undisturbed run, by name and turn: the third ``ec2:DescribeImages``. For each of them, and
each of ``FAULTS``: an account as before, the command with the fault, and then

- ``show-aws-assets`` lists what there is, no more and no less,
- the same command again ends well, and what there is then is what an undisturbed run leaves: nothing twice,
- ``cleanup-aws-assets`` leaves nothing.

A kill is a SIGKILL that the process gives itself before the request leaves, or after its answer has come. The other
faults are the stand-in's answers; from "expired" on, the credentials stay expired to the end of the run. Several lanes,
each with a stand-in of its own, take the cases from one list. The stand-in's time goes by calls, so that each run has
the same calls.

So that a sweep ends in its time, what can be known is not tried again:

- All that the product remembers is in the account, and many faults (all those between two calls that change something)
  leave the same one: the same things with the same states and tags, see ``aws_truth.Account.looks``. The three steps
  are tried once for each account; every fault is injected, and its run has to end as it should.
- A call that is throttled, or whose response is lost when it changes nothing, is sent again by botocore, and nothing
  of it is seen by the product, or left in the account. So one run has all calls throttled, each once, and one has the
  responses of all calls lost that change nothing (those of the EBS direct APIs,
  which the product sends again itself, have runs of their own). All others are runs with one fault.

``DSS_TEST_FULL_SWEEP=true`` takes all calls, see ``scripts/sweep``. CI takes one call of each name for each fault: the
first, or the last, in turn.
"""

from __future__ import annotations

import itertools
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
FULL = os.environ.get("DSS_TEST_FULL_SWEEP") == "true"
#: Calls that change nothing, by their names (AWS's own words for it).
_READING = ("Describe", "Get", "Head", "List")
#: Services whose calls botocore sends again.
_REPEATING = ("cloudformation", "ec2", "iam", "logs", "s3", "servicequotas", "ssm", "sts")


@dataclass(frozen=True)
class Case:
    """do: one of ``FAULTS``. action: "ec2:CreateImage". nth: its turn among those of its name.

    ``_ALL``, or ``_READS``, for an action: each of them in one run.
    """

    do: str
    action: str
    nth: int

    def __str__(self) -> str:
        return f"{self.do} {self.action} #{self.nth}"


_ALL, _READS = "all calls", "all calls that change nothing"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A command in an account.

    plant: makes the account; arguments: of the command, where ``AMI`` stands for the account's only one. leaves: what
    an undisturbed run leaves, by kind. once: operations that may have an effect once only, over both runs. prepare: see
    ``Launcher.run``. check: what else is wrong in the end, in words.
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

    def command(self, aws: Aws) -> list[str]:
        """In the account as it is now."""
        if "AMI" not in self.arguments:
            return list(self.arguments)
        (image,) = aws.client("ec2").describe_images(Owners=["self"])["Images"]
        return [str(image["ImageId"]) if word == "AMI" else word for word in self.arguments]


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
        self.aws.change(pace="calls")
        self.aws.clear()


@dataclass
class Outcome:
    """faults: how many hit the run. at_once: it ended well nevertheless. tried: its account was a new one.

    problems: what was wrong.
    """

    case: Case
    faults: int = 1
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
        return [one.case for one in self.outcomes if not one.faults]

    def __str__(self) -> str:
        reached = [one for one in self.outcomes if one.faults]
        by_kind: Counter[str] = Counter()
        for one in reached:
            by_kind[one.case.do] += one.faults
        bad = [one for one in reached if one.problems]
        survived = sum(one.faults for one in reached if one.at_once and not one.problems)
        tried = sum(one.tried for one in reached)
        return (
            f"fault sweep of {self.scenario}: {self.calls} API calls; {by_kind.total()} faults injected "
            f"({', '.join(f'{by_kind[kind]} {kind}' for kind in by_kind)}) into {len(reached)} runs; {survived} faults "
            f"survived at once, {by_kind.total() - survived - len(bad)} by running again, {len(bad)} not; {tried} "
            f"different accounts were left, and listed, finished and cleaned up; {len(self.not_reached)} not reached; "
            f"{self.seconds:.0f} s"
        )


@contextmanager
def lanes(folder: Path, *, count: int = 2) -> Iterator[list[Lane]]:
    with ExitStack() as stack:
        made = []
        for number in range(count):
            own = folder / f"lane-{number}"
            runs = stack.enter_context(launcher(own))
            aws = stack.enter_context(running_aws(pace="at-once"))
            existing(aws)  # makes the test's own clients, of which only one may be made at a time
            made.append(Lane(aws, runs, own))
        yield made


def undisturbed(scenario: Scenario, lane: Lane) -> tuple[list[Call], Known]:
    """The calls of a run in which nothing goes wrong. Also tries that the scenario is what it says."""
    lane.planted(scenario)
    before = account(lane.aws).looks
    assert list(_shown(scenario, lane)) == []
    lane.aws.clear()
    ended = lane.run(scenario.command(lane.aws), scenario)
    assert ended.code == 0, ended.err
    calls, now = lane.aws.calls, account(lane.aws)
    assert kinds(now.found) == Counter(scenario.leaves), kinds(now.found)
    assert after(scenario, lane) == []
    return calls, {before, now.looks}


def cases_of(calls: Iterable[Call], faults: Sequence[str] = FAULTS, *, full: bool = FULL) -> list[Case]:
    """Every call with every fault; or, when not ``full``, one call of each name with every fault."""
    counted = Counter(call.name for call in calls)
    cases = []
    for kind, do in enumerate(faults):
        alone = sorted(counted)
        if do == "throttled":
            cases.append(Case(do, _ALL, 1))
            alone = [name for name in alone if _sent_once(name)]
        if do == "dropped":
            cases.append(Case(do, _READS, 1))
            alone = [name for name in alone if _sent_once(name) or not _reads(name)]
        for name in alone:
            turns = range(1, counted[name] + 1) if full else [counted[name] if kind % 2 else 1]
            cases += [Case(do, name, nth) for nth in turns]
    return cases


def _sent_once(name: str) -> bool:
    """botocore does not send these again: the product does, at its own pace (``lib.pace``)."""
    return name.startswith("ebs:")


def _reads(name: str) -> bool:
    return name.partition(":")[2].startswith(_READING)


def sweep(
    scenario: Scenario,
    made: Sequence[Lane],
    *,
    faults: Sequence[str] = FAULTS,
    services: Sequence[str] = (),
) -> Tally:
    """Prints its numbers. What went wrong is in ``Tally.problems``.

    services: whose calls are hit, where the others are another sweep's; all when empty. A full sweep hits all.
    """
    begin = time.monotonic()
    calls, known = undisturbed(scenario, made[0])
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    hit = [call for call in calls if not services or FULL or call.service in services]
    for case in cases_of(hit, faults):
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
    ended, outcome.faults = _run_with(outcome.case, scenario, lane)
    if not outcome.faults:
        return None
    outcome.at_once = ended.code == 0
    outcome.problems += _ending(outcome.case, ended)
    now = account(lane.aws)
    if outcome.at_once and kinds(now.found) != Counter(scenario.leaves):
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
    again = lane.run(scenario.command(lane.aws), scenario)
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


def _run_with(case: Case, scenario: Scenario, lane: Lane) -> tuple[Ended, int]:
    """The run, and how many faults hit it."""
    if case.do in KILLS:
        fault = ClientFault(do=case.do, action=case.action.partition(":")[2], nth=case.nth)
        ended = lane.run(scenario.command(lane.aws), scenario, faults=[fault])
        return ended, int(ended.killed)
    lane.aws.inject(*_faults(case, lane.aws))
    ended = lane.run(scenario.command(lane.aws), scenario)
    hit = sum(call.fault is not None for call in lane.aws.calls)
    lane.aws.inject()
    lane.aws.change(expired_keys=[])
    return ended, hit


def _faults(case: Case, aws: Aws) -> Iterator[Fault]:
    """As the stand-in knows them. What is hit once in one run is hit at its first attempt only."""
    many: dict[str, Any] = {"times": 10_000, "first_attempts": True}
    if case.action == _ALL:
        for service in _REPEATING:
            yield Fault(action=f"{service}:*", code=THROTTLED, **many)
    elif case.action == _READS:
        for service, word in itertools.product(_REPEATING, _READING):
            yield Fault(action=f"{service}:{word}*", effect="drop", moment="after", **many)
    elif case.do == "throttled":
        yield Fault(action=case.action, nth=case.nth, code=THROTTLED)
    elif case.do == "dropped":
        yield Fault(action=case.action, nth=case.nth, effect="drop", moment="after")
    else:
        expire = lambda _: aws.change(expired_keys=[PRODUCT_KEY])  # noqa: E731 - this call, and all that follow
        yield Fault(action=case.action, nth=case.nth, effect="hook", hook=expire)


def _ending(case: Case, ended: Ended) -> Iterator[str]:
    if "internal error" in ended.err:
        yield f"ended with an internal error: {ended.err[-600:]}"
    if case.do in ("throttled", "dropped") and ended.code:
        yield f"ended with {ended.code}: {ended.err[-600:]}"
    if case.do == "expired" and ("expired" not in ended.err or not ended.code):
        yield f"does not say that the credentials have expired, and ended with {ended.code}: {ended.err[-300:]}"


def _shown(scenario: Scenario, lane: Lane) -> Iterator[str]:
    """AWS goes on while we look: only what is there before and after has to be listed."""
    before = existing(lane.aws)
    ended = lane.run(["show-aws-assets", "--asset-id", scenario.asset_id, "--output", "json"], scenario)
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
