"""``create-vm --builder local``: what is there already, or a build on this machine."""

from __future__ import annotations

from exasol_like_dss.lib.cache.finished import remember_place
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.pipeline.local_plan import CreatedVm, LocalBuild, plan_local
from exasol_like_dss.lib.progress import Progress


def create_vm_local(build: LocalBuild, *, access: Access, progress: Progress, cancellation: Cancellation) -> CreatedVm:
    """Builds, checks and describes an image on this machine. See ``doc/design.md`` for the order and its reasons.

    When nothing has changed since an earlier build whose files are still there, these are the result.
    Raises ``InputError`` before anything is touched, ``DssError`` when a step fails. Nothing is left in the output
    directory then, but for an image that did not pass its verification (folder ``not-verified``).
    """
    with progress.step("check the input"):
        plan = plan_local(build, access=access, progress=progress)
    finished = plan.finished
    if finished and finished.directory == build.output_directory:
        progress.note("Nothing has changed: the image is there already.")
        if build.password_generated:
            progress.note("Its password was shown when it was built; --force builds it with another one.")
        if build.sign_key:
            from exasol_like_dss.lib.pipeline.local import sign

            sign(finished.directory, build, access=access, progress=progress)
        return CreatedVm(finished.directory, finished.manifest, found=True)
    # What builds takes its time to load.
    from exasol_like_dss.lib.pipeline.local import build_local, copy_finished

    if finished:
        created = copy_finished(plan, finished, access=access, progress=progress)
    else:
        created = build_local(plan, access=access, progress=progress, cancellation=cancellation)
    if plan.store and plan.image:
        remember_place(plan.store, plan.image, created.directory, created.manifest)
    return created
