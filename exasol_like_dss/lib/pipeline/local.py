"""``create-vm --builder local``: an image built, checked and booted on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exasol_like_dss import __version__
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib import preflight
from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.bases import Base, Mirror, choose_mirror, host_archive
from exasol_like_dss.lib.images.disk import build_disk
from exasol_like_dss.lib.images.formats import VmImageFormat, WrittenImage
from exasol_like_dss.lib.images.formats.protocol import ImageDescription
from exasol_like_dss.lib.images.identity import DiskIdentity
from exasol_like_dss.lib.images.root_tar import ROOTFS_EXTENSION, write_root_archive
from exasol_like_dss.lib.images.rootfs import build_root_file_system, check_keyring
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.machines.chroot import ChrootMachine
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.pipeline.describing import move_finished, now, shown, tool_versions
from exasol_like_dss.lib.pipeline.writing import BackgroundWriting
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.provisioning import editions, playbooks
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


@dataclass(frozen=True)
class CreatedVm:
    """What a build left in its output directory."""

    directory: Path
    manifest: Manifest
    report: VerificationReport | None

    def path(self, image_format: str) -> Path:
        """The image file of a format. Raises ``KeyError``."""
        return self.directory / {found.format: found.name for found in self.manifest.artifacts}[image_format]


@dataclass(frozen=True)
class _Plan:
    """What has been decided before anything was touched."""

    build: LocalBuild
    roles: tuple[str, ...]
    mirror: Mirror
    in_memory: bool


def create_vm_local(build: LocalBuild, *, access: Access, progress: Progress, cancellation: Cancellation) -> CreatedVm:
    """Builds, checks and describes an image on this machine. See ``doc/design.md`` for the order and its reasons.

    Raises ``InputError`` before anything is touched, ``DssError`` when a step fails. Nothing is left in the output
    directory then, but for an image that did not pass its verification (folder ``not-verified``).
    """
    with progress.step("check the input"):
        plan = _plan(build, access=access, progress=progress)
    with (
        staging(build.output_directory, f"{PRODUCT}-{build.asset_id}", progress=progress) as staged,
        workspace(build.work_directory, progress=progress) as folder,
        memory_backed(folder, size_bytes=_WORK_BYTES, programs=access.programs)
        if plan.in_memory
        else nullcontext(folder) as work,
    ):
        root = work / "root"
        with progress.step("root file system"):
            build_root_file_system(root, base=build.base, mirror=plan.mirror, ca_bundle=build.ca_bundle,
                                   programs=access.programs, progress=progress,
                                   cancellation=cancellation)  # fmt: skip
        with progress.step("provisioning"):
            _provision(root, plan, work=work, access=access, progress=progress, cancellation=cancellation)
        with progress.step("disk"):
            identity = DiskIdentity(seed=f"{PRODUCT}/{build.asset_id}/{build.base.name}")
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
            if build.verify:
                from exasol_like_dss.lib.verification.verify import write_report

                image = writing.first_readable()
                with progress.step("verification"):
                    report = _verify(image, build, access=access, progress=progress, cancellation=cancellation)
                    write_report(report, staged / "verification.json")
            images = writing.images()
        kept = [] if archive is None else [archive]
        manifest = _describe(plan, images, kept, report, directory=staged, progress=progress, programs=access.programs)
        passed = report is None or report.passed
        if build.sign_key and passed:
            with progress.step("signature"):
                write_signature(staged / "SHA256SUMS", build.sign_key, programs=access.programs, progress=progress)
        directory = build.output_directory if passed else build.output_directory / NOT_VERIFIED
        _publish(staged, directory)
    if not passed:
        assert report
        raise DssError(
            "The image did not pass its verification: " + "; ".join(check.name for check in report.failed),
            hint=f"What was built, and verification.json with what was seen, is in {directory} for inspection.",
        )
    return CreatedVm(directory, manifest, report)


def _plan(build: LocalBuild, *, access: Access, progress: Progress) -> _Plan:
    """Checks everything that can be checked beforehand; nothing is touched."""
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
    preflight.check_output_directory(build.output_directory, build.asset_id, force=build.force)
    if build.sign_key:
        check_signing(build.sign_key, programs=access.programs, progress=progress)
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
    check_keyring(build.base)
    mirror = choose_mirror(
        build.base,
        mirror=build.mirror,
        host=lambda: host_archive(access.programs),
        reachable=access.web.exists,
    )
    if "script_languages" in roles:
        preflight.check_script_languages(tree, build.extra_vars, ca_bundle=build.ca_bundle, programs=access.programs)
    return _Plan(build, tuple(roles), mirror, in_memory)


def _provision(
    root: Path, plan: _Plan, *, work: Path, access: Access, progress: Progress, cancellation: Cancellation
) -> None:
    machine = ChrootMachine(root=root, work_directory=work, programs=access.programs, ca_bundle=plan.build.ca_bundle)
    with machine.started():
        playbooks.install(
            machine,
            edition=plan.build.edition,
            roles=plan.roles,
            variables={
                **plan.build.extra_vars,
                "dss_asset_id": plan.build.asset_id.value,
                "dss_version": __version__,
                "default_password": plan.build.default_password,
            },
            ansible=access.ansible,
            work_directory=work,
            progress=progress,
            cancellation=cancellation,
        )


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
    report: VerificationReport | None,
    *,
    directory: Path,
    progress: Progress,
    programs: Programs,
) -> Manifest:
    build = plan.build
    verification = Verification.SKIPPED if report is None else Verification.PASSED
    if report is not None and not report.passed:
        verification = Verification.FAILED
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
