"""``create-vm --builder local``: an image built, checked and booted on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exasol_like_dss import __version__
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib import preflight
from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.cache.answers import Answers
from exasol_like_dss.lib.cache.finished import Place, find_finished, find_place, remember_place
from exasol_like_dss.lib.cache.identity import image_tools
from exasol_like_dss.lib.cache.store import DEFAULT_SIZE_BYTES, Store
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.files import write_text_atomically
from exasol_like_dss.lib.images.bases import Base, Mirror, choose_mirror, host_archive
from exasol_like_dss.lib.images.disk import build_disk, prepare_boot
from exasol_like_dss.lib.images.formats import VmImageFormat, WrittenImage
from exasol_like_dss.lib.images.formats.protocol import ImageDescription
from exasol_like_dss.lib.images.identity import DiskIdentity, identity_time, password_salt, reproducible
from exasol_like_dss.lib.images.root_tar import ROOTFS_EXTENSION, write_root_archive
from exasol_like_dss.lib.images.rootfs import check_keyring
from exasol_like_dss.lib.images.settle import settle
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.pipeline.describing import move_finished, now, shown, tool_versions
from exasol_like_dss.lib.pipeline.layers import (
    LayeredRoot,
    Recipe,
    Wanted,
    archive_sources,
    outside,
    release_addresses,
    wanted_layers,
)
from exasol_like_dss.lib.pipeline.writing import BackgroundWriting
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.provisioning import editions
from exasol_like_dss.lib.publishing.checksums import sha256_of, write_sha256sums
from exasol_like_dss.lib.publishing.manifest import Artifact, Manifest, Verification, write_manifest
from exasol_like_dss.lib.publishing.sbom import write_sbom
from exasol_like_dss.lib.publishing.signing import SIGNATURE, check_signing, write_signature
from exasol_like_dss.lib.workspace import memory_backed, staging, workspace

if TYPE_CHECKING:
    from exasol_like_dss.lib.verification.report import VerificationReport

#: Programs of a local build, checked before it begins. Those of the verification follow where it is wanted.
BUILD_PROGRAMS = ("mmdebstrap", "setpriv", "unshare", "nsenter", "chroot", "mke2fs", "mkfs.vfat", "mmd", "mcopy",
                  "grub-mkimage", "apt-get")  # fmt: skip
VERIFICATION_PROGRAMS = ("qemu-system-x86_64", "qemu-img", "debugfs", "ssh", "ssh-keyscan")
#: What a full sandbox takes: its root file system, and the used part of the disk. Measured, with a third on top.
_ROOT_BYTES = 4 * preflight.GIB
_DISK_BYTES = 4 * preflight.GIB
_WORK_BYTES = _ROOT_BYTES + _DISK_BYTES
_COMPRESSED_BYTES = preflight.GIB
_BUILD_MEMORY_BYTES = preflight.GIB
VERIFICATION_MEMORY_MIB = 2048
NOT_VERIFIED = "not-verified"


@dataclass(frozen=True, kw_only=True)
class LocalBuild:
    """What ``create-vm --builder local`` is asked for.

    default_password is a secret: it is in no output. on_disk: not to work in memory, even when there is enough.
    keep_rootfs: whether the root file system is kept as a tar, for a container image. sign_key: see ``signing.signer``.
    cache_directory: ``None`` builds all of it anew. cache_bytes: how much is kept there. verify_again: also what has
    passed before.
    """

    asset_id: AssetId
    base: Base
    edition: str
    formats: tuple[VmImageFormat, ...]
    output_directory: Path
    disk_bytes: int
    default_password: str = field(repr=False)
    without: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    mirror: str | None = None
    ca_bundle: Path | None = None
    verify: bool = True
    force: bool = False
    work_directory: Path = Path("/var/tmp/exasol-like-dss")
    on_disk: bool = False
    keep_rootfs: bool = False
    sign_key: str | None = None
    cache_directory: Path | None = None
    cache_bytes: int = DEFAULT_SIZE_BYTES
    verify_again: bool = False


@dataclass(frozen=True)
class CreatedVm:
    """What a build left in its output directory. found: nothing was built, since all of it was there."""

    directory: Path
    manifest: Manifest
    found: bool = False

    def path(self, image_format: str) -> Path:
        """The image file of a format. Raises ``KeyError``."""
        return self.directory / {found.format: found.name for found in self.manifest.artifacts}[image_format]


@dataclass(frozen=True)
class _Plan:
    """What has been decided before anything was touched. layers: ``None`` when they can't be known.

    image: the identity of what will be built, ``None`` without layers.
    """

    build: LocalBuild
    recipe: Recipe
    in_memory: bool
    store: Store | None
    answers: Answers
    layers: list[Wanted] | None
    image: str | None
    archive_date: int

    @property
    def roles(self) -> tuple[str, ...]:
        return self.recipe.roles

    @property
    def mirror(self) -> Mirror:
        return self.recipe.mirror


def create_vm_local(build: LocalBuild, *, access: Access, progress: Progress, cancellation: Cancellation) -> CreatedVm:
    """Builds, checks and describes an image on this machine. See ``doc/design.md`` for the order and its reasons.

    When nothing has changed since an earlier build whose files are still there, these are the result.
    Raises ``InputError`` before anything is touched, ``DssError`` when a step fails. Nothing is left in the output
    directory then, but for an image that did not pass its verification (folder ``not-verified``).
    """
    with progress.step("check the input"):
        plan = _plan(build, access=access, progress=progress)
        finished = _finished(plan)
    if finished and finished.directory == build.output_directory:
        progress.note("Nothing has changed: the image is there already.")
        _sign(finished.directory, build, access=access, progress=progress)
        return CreatedVm(finished.directory, finished.manifest, found=True)
    if finished:
        with (
            staging(build.output_directory, f"{PRODUCT}-{build.asset_id}", progress=progress) as staged,
            progress.step("copy the image"),
        ):
            progress.note(f"Nothing has changed: the image is copied from {finished.directory}.")
            finished.copy_to(staged, programs=access.programs)
            _sign(staged, build, access=access, progress=progress)
            _publish(staged, build.output_directory)
        return _remembered(plan, CreatedVm(build.output_directory, finished.manifest, found=True))
    return _remembered(plan, _build(plan, access=access, progress=progress, cancellation=cancellation))


def _build(plan: _Plan, *, access: Access, progress: Progress, cancellation: Cancellation) -> CreatedVm:
    build = plan.build
    with (
        staging(build.output_directory, f"{PRODUCT}-{build.asset_id}", progress=progress) as staged,
        workspace(build.work_directory, progress=progress) as folder,
        memory_backed(folder, size_bytes=_WORK_BYTES, programs=access.programs)
        if plan.in_memory
        else nullcontext(folder) as work,
    ):
        root = work / "root"
        identity = DiskIdentity(seed=f"{PRODUCT}/{build.asset_id}/{build.base.name}")
        with LayeredRoot(
            root, recipe=plan.recipe, wanted=plan.layers, store=plan.store, answers=plan.answers,
            archive_date=plan.archive_date, ca_bundle=build.ca_bundle, access=access, progress=progress,
            cancellation=cancellation,
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
            _sign(staged, build, access=access, progress=progress)
        directory = build.output_directory if passed else build.output_directory / NOT_VERIFIED
        _publish(staged, directory)
    if report and not passed:
        raise DssError(
            "The image did not pass its verification: " + "; ".join(check.name for check in report.failed),
            hint=f"What was built, and verification.json with what was seen, is in {directory} for inspection.",
        )
    return CreatedVm(directory, manifest)


def _sign(directory: Path, build: LocalBuild, *, access: Access, progress: Progress) -> None:
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


def _known_report(plan: _Plan, writing: BackgroundWriting) -> Any:
    """The verification of an image with the very same bytes. Only builds with a fixed time make such a one."""
    if not plan.store or plan.build.verify_again or not reproducible():
        return None
    (image,) = (found for found in writing.images() if found.format is writing.chosen)
    return plan.store.record("reports", image.sha256)


def _plan(build: LocalBuild, *, access: Access, progress: Progress) -> _Plan:
    """Checks everything that can be checked beforehand; nothing is touched but the cache."""
    tree = access.ansible.tree
    roles = editions.choose_roles(editions.edition_roles(tree, build.edition), without=build.without)
    if build.verify and "password" not in roles:
        raise InputError(
            "An image without the role 'password' can't be verified: nobody can log in.", hint="Add --no-verify."
        )
    preflight.check_root_rights()
    preflight.check_programs(BUILD_PROGRAMS, programs=access.programs)
    if VmImageFormat.QCOW2 in build.formats:
        preflight.check_programs(["qemu-img"], programs=access.programs)
    if build.verify:
        preflight.check_programs(VERIFICATION_PROGRAMS, programs=access.programs)
    if build.ca_bundle:
        preflight.check_readable_file(build.ca_bundle, what="CA bundle")
    held = preflight.held_asset_id(build.output_directory) is not None
    preflight.check_output_directory(build.output_directory, build.asset_id, force=True)
    if held and not build.force and not build.cache_directory:
        preflight.check_output_directory(build.output_directory, build.asset_id, force=False)
    check_keyring(build.base)
    if build.sign_key:
        check_signing(build.sign_key, programs=access.programs, progress=progress)
    store = Store(build.cache_directory, limit_bytes=build.cache_bytes) if build.cache_directory else None
    answers = Answers(store.directory / "answers.json" if store else None, web=access.web, now=time.time())
    with outside(tree, roles, build.extra_vars, ca_bundle=build.ca_bundle, answers=answers,
                 programs=access.programs) as pinned:  # fmt: skip
        mirror = choose_mirror(
            build.base,
            mirror=build.mirror,
            host=lambda: host_archive(access.programs),
            reachable=answers.exists,
        )
        recipe = Recipe(base=build.base, edition=build.edition, roles=tuple(roles), variables=build.extra_vars,
                        mirror=mirror, pinned={}, tree=tree)  # fmt: skip
        sources = archive_sources(recipe, answers)
        releases = answers.releases(release_addresses(sources))
        recipe = replace(recipe, pinned=pinned())
    layers = image = None
    if store:
        layers = wanted_layers(recipe, sources=sources, store=store, answers=answers, programs=access.programs)
        image = _image_identity(build, recipe, layers[-1], store, access.programs) if layers else None
        for address, asked in answers.unreachable.items():
            progress.note(f"{address} does not answer: what it said at {asked:%Y-%m-%d %H:%M} UTC counts.")
        answers.save()
    plan = _Plan(build, recipe, False, store, answers, layers, image,
                 archive_date=max((answer.date for answer in releases if answer), default=0))  # fmt: skip
    if _finished(plan):
        return plan
    known = store is not None and image is not None and find_place(store, image, build.output_directory) is not None
    preflight.check_output_directory(build.output_directory, build.asset_id, force=build.force or known)
    return replace(plan, in_memory=_check_room(build))


def _check_room(build: LocalBuild) -> bool:
    """Whether the build can work in memory. Raises ``InputError`` when there is too little memory or disk."""
    written = sum(
        _DISK_BYTES if image_format in (VmImageFormat.RAW, VmImageFormat.VHD) else _COMPRESSED_BYTES
        for image_format in build.formats
    ) + (_COMPRESSED_BYTES if build.keep_rootfs else 0)
    # Two machines are booted at a time.
    memory_bytes = (VERIFICATION_MEMORY_MIB << 21 if build.verify else 0) + _BUILD_MEMORY_BYTES
    available_bytes = preflight.available_memory()
    preflight.check_memory(memory_bytes, available_bytes=available_bytes)
    in_memory = not build.on_disk and available_bytes >= memory_bytes + _WORK_BYTES
    needs = [(build.output_directory, written, "--output-directory")]
    if not in_memory:
        needs.append((build.work_directory, _WORK_BYTES, "--work-directory"))
    preflight.check_space(needs)
    return in_memory


def _image_identity(build: LocalBuild, recipe: Recipe, top: Wanted, store: Store, programs: Programs) -> str:
    """Of all that makes the image what it is; the password is part of it, and can't be found from it."""
    return store.identity(
        {
            "layer": top.identity,
            "asset-id": build.asset_id.value,
            "roles": recipe.roles,
            "variables": build.extra_vars,
            "password": build.default_password,
            "formats": [image_format.value for image_format in build.formats],
            "disk": build.disk_bytes,
            "root file system": build.keep_rootfs,
            "time": identity_time(),
            "tools": image_tools(recipe.tree, programs=programs),
        }
    )


def _finished(plan: _Plan) -> Place | None:
    """An earlier build of the very same that is still there, in this output directory or in another one."""
    if not plan.store or not plan.image or plan.build.verify_again:
        return None
    return find_finished(plan.store, plan.image, plan.build.output_directory, verified=plan.build.verify)


def _remembered(plan: _Plan, created: CreatedVm) -> CreatedVm:
    if plan.store and plan.image:
        remember_place(plan.store, plan.image, created.directory, created.manifest)
    return created


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
    plan: _Plan,
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
