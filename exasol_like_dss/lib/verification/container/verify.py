"""Verifies one image of the Docker edition: at rest, and in containers as users start them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from exasol_like_dss.access.browser import find_browser
from exasol_like_dss.access.docker import Docker, EngineMissing
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.containers import removed_at_end
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.verification.container import configuration, rest, settings, usual
from exasol_like_dss.lib.verification.container.bench import Bench, PartEnds
from exasol_like_dss.lib.verification.container.rest import read_texts
from exasol_like_dss.lib.verification.container.settings import Prepared, prepare
from exasol_like_dss.lib.verification.facts import FILE, ImageFacts, parse_facts
from exasol_like_dss.lib.verification.guest import scratch_folder
from exasol_like_dss.lib.verification.report import AT_REST, Checks, VerificationReport
from exasol_like_dss.lib.waiting import awaited
from exasol_like_dss.lib.workspace import workspace


@dataclass
class _Lane:
    """Parts that run one after the other, beside other lanes."""

    results: list[Checks] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def part(self, bench: Bench, name: str, work: Callable[[Checks], None]) -> None:
        bench.cancellation.check()
        checks = Checks(name)
        self.results.append(checks)
        begin = time.monotonic()
        try:
            with bench.progress.step(f"Container: {name}" if name != AT_REST else "Its files", under=bench.step):
                work(checks)
        except PartEnds as end:
            self.left_out.append(f"the rest of {name!r}: {end}")
        self.seconds[name] = round(time.monotonic() - begin, 1)


def check_tools(docker: Docker, programs: Programs) -> None:
    """Raises ``InputError`` when browser or engine are missing, or when the engine is on another machine."""
    find_browser(programs)
    if not docker.is_local:
        raise InputError(
            f"The Docker engine at {docker.host} is on another machine: its containers can't be reached from here.",
            hint="Verify the image there, or in an engine of this machine (DOCKER_HOST).",
        )
    try:
        docker.check()
    except EngineMissing as error:
        raise InputError(error.message, hint=error.hint) from error


def verify_docker_image(
    reference: str,
    *,
    docker: Docker,
    programs: Programs,
    progress: Progress,
    cancellation: Cancellation,
    screenshot: Path | None = None,
) -> VerificationReport:
    """Judges an image as its users would: by what it says and holds, and in containers.

    screenshot: where a PNG of JupyterLab with the welcome notebook goes; it is written when the notebook has run.
    What the image does wrong is in the report. Raises ``InputError`` when the image, the engine or the browser is
    missing, or the engine is on another machine; ``Interrupted`` when the work is called off. Leaves no container and
    no volume in any case.
    """
    begin = time.monotonic()
    check_tools(docker, programs)
    image = docker.image(reference)
    if image is None:
        raise InputError(
            f"The Docker engine has no image {reference!r}.",
            hint=f"docker pull {reference}, or build it with dss create-docker-image.",
        )
    with (
        workspace(scratch_folder(), progress=progress) as folder,
        progress.step(f"Verifying {reference}") as step,
        removed_at_end(docker, progress=progress) as group,
    ):
        facts = _read_facts(docker, reference, dict(group.labels))
        bench = Bench(
            docker=docker,
            reference=image.image_id,  # the name may move while we look at it
            facts=facts,
            labels=group.labels,
            folder=folder,
            programs=programs,
            progress=progress,
            cancellation=cancellation,
            step=step,
        )
        saying = Checks(AT_REST)
        saying.extend(configuration.judge_configuration(image, facts))
        saying.extend(configuration.judge_secrets(image, docker.history(image.image_id)))
        with ThreadPoolExecutor(3, thread_name_prefix="verify") as pool:
            try:
                work = (_usual_lane, _settings_lane, _rest_lane)
                running = [pool.submit(lane, bench, screenshot) for lane in work]
                lanes = [awaited(lane) for lane in running]
            except BaseException:
                cancellation.cancel()  # the threads look at it, and their programs end
                programs.end_all()
                raise
    return _report(reference, facts, saying, lanes, time.monotonic() - begin)


def _read_facts(docker: Docker, reference: str, labels: dict[str, str]) -> ImageFacts:
    """From a container that never runs."""
    made = docker.create_container(reference, entrypoint=["/bin/true"], labels=labels)
    text = read_texts(docker, made, FILE).get(FILE, "")
    docker.remove_container(made)
    return parse_facts(text)


def _usual_lane(bench: Bench, screenshot: Path | None) -> _Lane:
    lane = _Lane()
    lane.part(bench, "usual", lambda checks: usual.check(checks, bench, screenshot))
    return lane


def _settings_lane(bench: Bench, _screenshot: Path | None) -> _Lane:
    lane = _Lane()
    prepared: list[Prepared] = []
    lane.part(bench, "preparation", lambda _checks: prepared.append(prepare(bench)))
    for name, part in (
        ("own notebooks", settings.check_own_notebooks),
        ("root's volume", settings.check_roots_volume),
        ("other uid", settings.check_other_uid),
    ):
        lane.part(bench, name, lambda checks, part=part: part(checks, bench, prepared[0]))  # type: ignore[misc]
    return lane


def _rest_lane(bench: Bench, _screenshot: Path | None) -> _Lane:
    lane = _Lane()
    lane.part(bench, AT_REST, lambda checks: rest.check(checks, bench))
    lane.part(bench, "restricted", lambda checks: settings.check_restricted(checks, bench))
    return lane


def _report(
    reference: str, facts: ImageFacts, saying: Checks, lanes: Sequence[_Lane], seconds: float
) -> VerificationReport:
    checks = [saying, *(checks for lane in lanes for checks in lane.results)]
    checks.sort(key=lambda part: part.boot != AT_REST)  # stable: the rest stays in its order
    return VerificationReport(
        image=reference,
        asset_id=facts.asset_id,
        acceleration=None,
        firmwares=None,
        results=tuple(result for part in checks for result in part.results),
        left_out=tuple(text for lane in lanes for text in lane.left_out),
        seconds={**{name: value for lane in lanes for name, value in lane.seconds.items()}, "total": round(seconds, 1)},
    )
