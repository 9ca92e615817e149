"""The steps of a local build: an image built, checked and booted on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exasol_like_dss import __version__
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.assets.asset_id import PRODUCT
from exasol_like_dss.lib.cache.finished import Place
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.files import write_text_atomically
from exasol_like_dss.lib.images.disk import build_disk, prepare_boot
from exasol_like_dss.lib.images.formats import VmImageFormat, WrittenImage
from exasol_like_dss.lib.images.formats.protocol import ImageDescription
from exasol_like_dss.lib.images.identity import DiskIdentity, password_salt, reproducible
from exasol_like_dss.lib.images.root_tar import ROOTFS_EXTENSION, write_root_archive
from exasol_like_dss.lib.images.settle import settle
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.pipeline.describing import move_finished, now, shown, tool_versions
from exasol_like_dss.lib.pipeline.layers import LayeredRoot
from exasol_like_dss.lib.pipeline.local_plan import WORK_BYTES, CreatedVm, LocalBuild, LocalPlan
from exasol_like_dss.lib.pipeline.writing import BackgroundWriting
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.publishing.checksums import sha256_of, write_sha256sums
from exasol_like_dss.lib.publishing.manifest import Artifact, Manifest, Verification, write_manifest
from exasol_like_dss.lib.publishing.sbom import write_sbom
from exasol_like_dss.lib.publishing.signing import SIGNATURE, write_signature
from exasol_like_dss.lib.workspace import memory_backed, staging, workspace

if TYPE_CHECKING:
    from exasol_like_dss.lib.verification.report import VerificationReport

NOT_VERIFIED = "not-verified"


def copy_finished(plan: LocalPlan, found: Place, *, access: Access, progress: Progress) -> CreatedVm:
    """Copies an earlier build of the very same from another output directory."""
    build = plan.build
    with (
        staging(build.output_directory, f"{PRODUCT}-{build.asset_id}", progress=progress) as staged,
        progress.step("copy the image"),
    ):
        progress.note(f"Nothing has changed: the image is copied from {found.directory}.")
        found.copy_to(staged, programs=access.programs)
        sign(staged, build, access=access, progress=progress)
        _publish(staged, build.output_directory)
    return CreatedVm(build.output_directory, found.manifest, found=True)


def build_local(plan: LocalPlan, *, access: Access, progress: Progress, cancellation: Cancellation) -> CreatedVm:
    """Builds, checks and describes what was planned. Raises as ``create_vm_local``."""
    build = plan.build
    with (
        staging(build.output_directory, f"{PRODUCT}-{build.asset_id}", progress=progress) as staged,
        workspace(build.work_directory, progress=progress) as folder,
        memory_backed(folder, size_bytes=WORK_BYTES, programs=access.programs)
        if plan.in_memory
        else nullcontext(folder) as work,
    ):
        root = work / "root"
        identity = DiskIdentity(seed=f"{PRODUCT}/{build.asset_id}/{build.base.name}")
        with LayeredRoot(
            root, recipe=plan.recipe, wanted=plan.layers, store=plan.store, answers=plan.answers,
            archive_date=plan.archive_date, package_cache=build.package_cache, ca_bundle=build.ca_bundle,
            access=access, progress=progress, cancellation=cancellation,
        ) as layered:  # fmt: skip
            with progress.step("root file system"):
                layered.make_base()
            with progress.step("provisioning"):
                layered.provision(work=work, variables=_variables(build, identity))
            if reproducible():
                with progress.step("settle the times"):
                    prepare_boot(root, identity=identity)
                    settle(root, timestamp=identity.timestamp)
            with progress.step("disk"):
                disk = build_disk(root=root, disk=work / "disk.raw", disk_bytes=build.disk_bytes, identity=identity,
                                  programs=access.programs, progress=progress, cancellation=cancellation)  # fmt: skip
        writing = BackgroundWriting(
            source=disk.disk, formats=build.formats, directory=staged, stem=f"{PRODUCT}-{build.asset_id}",
            description=_description(build), programs=access.programs, progress=progress, cancellation=cancellation,
        )  # fmt: skip
        with writing:
            archive = _keep_root(root, build, staged, access, progress, cancellation) if build.keep_rootfs else None
            with progress.step("bill of materials"):
                write_sbom(root=root, target=staged / "sbom.cdx.json", name=PRODUCT, version=build.asset_id.value,
                           timestamp=now())  # fmt: skip
            report = None
            known = _known_report(plan, writing) if build.verify else None
            if known:
                progress.note("These very bytes have passed their verification before; --verify repeats it.")
                write_text_atomically(staged / "verification.json", json.dumps(known, indent=2) + "\n")
            elif build.verify:
                from exasol_like_dss.lib.verification.verify import write_report

                image = writing.first_readable()
                with progress.step("verification"):
                    report = _verify(image, build, access=access, progress=progress, cancellation=cancellation)
                    write_report(report, staged / "verification.json")
            images = writing.images()
            if plan.store and report and report.passed:
                (verified,) = (found for found in images if found.format is writing.chosen)
                plan.store.remember("reports", verified.sha256, report.to_json())
        kept = [] if archive is None else [archive]
        verification = Verification.PASSED if known or report else Verification.SKIPPED
        if report and not report.passed:
            verification = Verification.FAILED
        manifest = _describe(plan, images, kept, verification, directory=staged, progress=progress,
                             programs=access.programs)  # fmt: skip
        passed = verification is not Verification.FAILED
        if passed:
            sign(staged, build, access=access, progress=progress)
        directory = build.output_directory if passed else build.output_directory / NOT_VERIFIED
        _publish(staged, directory)
    if report and not passed:
        raise DssError(
            "The image did not pass its verification: " + "; ".join(check.name for check in report.failed),
            hint=f"What was built, and verification.json with what was seen, is in {directory} for inspection.",
        )
    return CreatedVm(directory, manifest)


def sign(directory: Path, build: LocalBuild, *, access: Access, progress: Progress) -> None:
    """Signs the sums of a finished build, where that is wanted."""
    if build.sign_key:
        with progress.step("signature"):
            write_signature(directory / "SHA256SUMS", build.sign_key, programs=access.programs, progress=progress)


def _variables(build: LocalBuild, identity: DiskIdentity) -> dict[str, Any]:
    """Those that the tool sets."""
    result = {
        "dss_asset_id": build.asset_id.value,
        "dss_version": __version__,
        "default_password": build.default_password,
    }
    if reproducible():
        result["password_salt"] = password_salt(identity)
    return result


def _known_report(plan: LocalPlan, writing: BackgroundWriting) -> Any:
    """The verification of an image with the very same bytes. Only builds with a fixed time make such a one."""
    if not plan.store or plan.build.verify_again or not reproducible():
        return None
    (image,) = (found for found in writing.images() if found.format is writing.chosen)
    return plan.store.record("reports", image.sha256)


def _keep_root(
    root: Path, build: LocalBuild, staged: Path, access: Access, progress: Progress, cancellation: Cancellation
) -> Artifact:
    target = staged / build.asset_id.file_name(ROOTFS_EXTENSION)
    with progress.step("root file system archive"):
        write_root_archive(root, target, programs=access.programs, cancellation=cancellation)
        return Artifact(target.name, "ROOTFS", target.stat().st_size, sha256_of(target))


def _description(build: LocalBuild) -> ImageDescription:
    return ImageDescription(
        name=f"{PRODUCT}-{build.asset_id}",
        title="Data Science Sandbox",
        version=build.asset_id.value,
        distribution=build.base.distribution,
    )


def _verify(
    image: Path, build: LocalBuild, *, access: Access, progress: Progress, cancellation: Cancellation
) -> VerificationReport:
    from exasol_like_dss.lib.verification.verify import verify_image

    return verify_image(
        image=image,
        default_password=build.default_password,
        programs=access.programs,
        progress=progress,
        cancellation=cancellation,
    )


def _describe(
    plan: LocalPlan,
    images: Sequence[WrittenImage],
    kept: Sequence[Artifact],
    verification: Verification,
    *,
    directory: Path,
    progress: Progress,
    programs: Programs,
) -> Manifest:
    build = plan.build
    manifest = Manifest(
        asset_id=build.asset_id.value,
        tool_version=__version__,
        edition=build.edition,
        base=build.base.name,
        created=now(),
        verification=verification,
        artifacts=tuple(
            Artifact(image.path.name, image.format.value, image.size_bytes, image.sha256, build.disk_bytes)
            for image in images
        )
        + tuple(kept),
        inputs={
            "builder": "local",
            "formats": [image_format.value for image_format in build.formats],
            "roles": list(plan.roles),
            "extra_vars": {name: shown(name, value) for name, value in build.extra_vars.items()},
            "disk_bytes": build.disk_bytes,
            "package_sources": plan.mirror.sources(build.base) or [plan.mirror.source],
        },
        versions={
            **tool_versions(),
            "mmdebstrap": programs.run(["mmdebstrap", "--version"]).strip().removeprefix("mmdebstrap "),
        },
        seconds_per_step=progress.seconds(),
    )
    write_manifest(manifest, directory / "manifest.json")
    names = ("sbom.cdx.json", "verification.json", "manifest.json")
    others = [path for name in names if (path := directory / name).exists()]
    write_sha256sums([*manifest.artifacts, *others], directory / "SHA256SUMS")
    return manifest


def _publish(staged: Path, directory: Path) -> None:
    """Gives the finished files their names. The manifest comes last: without it there is no finished build.

    What an earlier build left under names of ours goes first: a format, or a verification, that this one has not.
    """
    directory.mkdir(exist_ok=True)
    stem = staged.name.removeprefix(".").removesuffix(".partial")
    images = [f"{stem}.{image_format.extension}" for image_format in VmImageFormat] + [f"{stem}.{ROOTFS_EXTENSION}"]
    move_finished(staged, directory, replaced=("manifest.json", "verification.json", SIGNATURE, *images))
