"""``create-vm --builder ec2`` and ``export-vm``: from an instance to an AMI that has been tried, and images in S3.

Every step looks for what it would make. What is known of an earlier run is in AWS: tags, names, metadata of objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from exasol_like_dss import __version__
from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.assets.public import make_public
from exasol_like_dss.lib.assets.tags import ASSET_ID, AssetTags
from exasol_like_dss.lib.errors import DssError, InputError
from exasol_like_dss.lib.images.ami import PROVISIONED, VERIFIED, check_content, ensure_ami, find_ami, wait_for_ami
from exasol_like_dss.lib.images.source_ami import VM_EXPORT, chosen_method
from exasol_like_dss.lib.machines.ec2 import wait_for_host_keys
from exasol_like_dss.lib.machines.lease import Lease, check_free, held
from exasol_like_dss.lib.pipeline import ec2_plan
from exasol_like_dss.lib.pipeline.describing import shown
from exasol_like_dss.lib.pipeline.ec2_clean import remove_everything
from exasol_like_dss.lib.pipeline.ec2_export import ExportWish, check_formats, export_vm, release_place
from exasol_like_dss.lib.pipeline.ec2_machine import BEGUN, machine_stack, made_machine, remove_own_stack
from exasol_like_dss.lib.pipeline.ec2_plan import CostLine, Ec2World, ExportPlace, MachineChoice, MachinePlan
from exasol_like_dss.lib.provisioning import editions, playbooks
from exasol_like_dss.lib.provisioning.fingerprint import fingerprint
from exasol_like_dss.lib.publishing import s3_release
from exasol_like_dss.lib.publishing.manifest import Artifact, Verification
from exasol_like_dss.lib.publishing.remote_sbom import waiting_collector
from exasol_like_dss.lib.stacks.deploy import ensure_stack
from exasol_like_dss.lib.stacks.ec2_sandbox import Ec2Sandbox, instance_id_of

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_results import Image
    from exasol_like_dss.lib.pipeline.ec2_source import ExportSource
    from exasol_like_dss.lib.verification.report import VerificationReport

#: Added to the name of the key pair: the lock of ``export-vm``.
_EXPORTING = "-export"
_LOGIN_USER = "ubuntu"  # ansible/group_vars/sandbox.yml


@dataclass(frozen=True, kw_only=True)
class Ec2Build:
    """What ``create-vm --builder ec2`` is asked for. formats: empty for the AMI alone. patience_s: see ``ExportOrder``.
    export_method: see ``source_ami.export_method``.

    default_password is a secret: it is in no output.
    """

    machine: MachineChoice
    tags: AssetTags
    edition: str
    formats: tuple[str, ...]
    default_password: str = field(repr=False)
    without: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    verify: bool = True
    public: bool = False
    keep: bool = False
    fresh: bool = False
    patience_s: float = 3600.0
    export_method: str | None = None

    @property
    def asset_id(self) -> AssetId:
        return self.tags.asset_id


@dataclass(frozen=True, kw_only=True)
class Ec2BuildPlan:
    """What has been decided and checked, before anything was made.

    place: ``None`` without exports. method: see ``ExportWish``.
    """

    build: Ec2Build
    machine: MachinePlan
    roles: tuple[str, ...]
    place: ExportPlace | None
    method: str
    fingerprint: str
    costs: tuple[CostLine, ...]


@dataclass(frozen=True, kw_only=True)
class CreatedInEc2:
    """What a build left. uri: of the images; empty without. artifacts: also those that had been there before."""

    image: Image
    region: str
    public: bool
    uri: str
    artifacts: tuple[Artifact, ...]
    verification: Verification
    report: VerificationReport | None


def plan_create_vm(build: Ec2Build, *, world: Ec2World) -> Ec2BuildPlan:
    """Checks everything that can be checked before money is spent. Raises ``InputError``, ``AwsError``."""
    tree = world.access.ansible.tree
    roles = tuple(editions.choose_roles(editions.edition_roles(tree, build.edition), without=build.without))
    if "password" not in roles:
        raise InputError("An AMI without the role 'password' is of no use: nobody can log in.", hint="Keep the role.")
    formats = check_formats(build.formats)
    ec2_plan.check_credentials(world, needed=ec2_plan.EXPORT_TIME if formats else ec2_plan.AMI_TIME)
    machine = ec2_plan.plan_machine(
        build.machine, build.tags, exported=bool(formats), method=build.export_method,
        machines=2 if build.verify and build.keep else 1, world=world,
    )  # fmt: skip
    method, place = VM_EXPORT, None
    if formats:
        method = chosen_method(machine.source, wanted=build.export_method, progress=world.progress)
        place = ec2_plan.find_export_place(world, role_needed=method == VM_EXPORT)
    print_ = fingerprint(
        tree,
        edition=build.edition,
        roles=roles,
        variables=build.extra_vars,
        source=build.machine.source_ami or build.machine.base,
        password=build.default_password,
    )
    ec2_plan.check_ami_name(machine.names, build.asset_id, world=world, fingerprint=print_, fresh=build.fresh)
    return Ec2BuildPlan(
        build=replace(build, formats=formats),
        machine=machine,
        roles=roles,
        place=place,
        method=method,
        fingerprint=print_,
        costs=tuple(ec2_plan.estimate(machine, formats=formats, verified=build.verify, world=world)),
    )


def create_vm_ec2(plan: Ec2BuildPlan, *, world: Ec2World) -> CreatedInEc2:
    """Builds, tries and exports an AMI. Stack and key pair are gone at the end, however that comes about.

    Raises ``DssError``, ``Interrupted``. Running it again goes on where it stopped.
    """
    build, names = plan.build, plan.machine.names
    with (
        _told_what_stays(build.asset_id, world=world),
        held(
            world.aws, name=names.key_pair, tags=build.tags.as_dict(), left=world.left, progress=world.progress,
            cancellation=world.cancellation,
        ) as lease,
    ):  # fmt: skip
        check_free(
            world.aws, names.key_pair + _EXPORTING, progress=world.progress, cancellation=world.cancellation
        )  # fmt: skip
        if build.fresh:
            remove_everything(build.asset_id, world=world)
        image = _ensure_image(plan, lease, world=world)
        lease.check()
        image, report = _ensure_verified(plan, image, world=world)
        exported = None
        if plan.place:
            lease.check()
            exported = export_vm(_wish(plan, image), plan.place, world=world)
        if build.public:
            with world.progress.step("make the AMI public"):
                image, _ = make_public(world.aws.ec2(), build.asset_id)
    return CreatedInEc2(
        image=image,
        region=world.aws.region,
        public=build.public or image.public,
        uri=exported.place.uri() if exported else "",
        artifacts=exported.artifacts if exported else (),
        verification=_verification(image),
        report=report,
    )


def _ensure_image(plan: Ec2BuildPlan, lease: Lease, *, world: Ec2World) -> Image:
    """The AMI: the one that is there, or one of a machine that is there, or of a new one."""
    build, names = plan.build, plan.machine.names
    found = find_ami(world.aws, names.image, asset_id=build.asset_id.value)
    if found and found.state in ("available", "pending"):
        check_content(found, plan.fingerprint)
        with world.progress.step("AMI"):
            image = wait_for_ami(world.aws, found.id, progress=world.progress, cancellation=world.cancellation)
        if not build.keep:
            remove_own_stack(names.stack, asset_id=build.asset_id.value, world=world)  # of a run that was killed
        return image

    def keep() -> bool:
        if build.keep:
            lease.kept = True
        return build.keep

    with machine_stack(plan.machine, lease, world=world, fingerprint=plan.fingerprint, keep=keep) as instance_id:
        _ensure_provisioned(plan, instance_id, lease, world=world)
        lease.check()
        with world.progress.step("AMI"):
            return ensure_ami(
                world.aws,
                name=names.image,
                instance_id=instance_id,
                description=f"{PRODUCT} {__version__}, {build.edition}, {build.asset_id}",
                tags={**build.tags.as_dict(), PROVISIONED: plan.fingerprint},
                progress=world.progress,
                cancellation=world.cancellation,
            )


def _ensure_provisioned(plan: Ec2BuildPlan, instance_id: str, lease: Lease, *, world: Ec2World) -> None:
    """Installs, resets the password and seals, in one go: afterwards nobody gets in but by the password."""
    builds, build = world.aws.ec2_builds(), plan.build
    if builds.instance(instance_id).tags.get(PROVISIONED) == plan.fingerprint:
        world.progress.note(f"{instance_id} was provisioned by an earlier run.")
        return
    with TemporaryDirectory(prefix="dss-") as folder:
        work = Path(folder)
        machine = made_machine(plan.machine, instance_id, lease, work_directory=work, world=world)
        machine.wait_until_ready()
        builds.tag([instance_id], {BEGUN: plan.fingerprint})
        with machine.started(), waiting_collector(machine.remote, world.access.programs) as collector:
            with world.progress.step("provisioning"):
                playbooks.install(
                    machine,
                    edition=build.edition,
                    roles=plan.roles,
                    variables={
                        **build.extra_vars,
                        "dss_asset_id": build.asset_id.value,
                        "dss_version": __version__,
                        "default_password": build.default_password,
                    },
                    ansible=world.access.ansible,
                    work_directory=work,
                    progress=world.progress,
                    cancellation=world.cancellation,
                )
            if plan.place:
                with world.progress.step("bill of materials"):
                    collector.write_sbom(work / s3_release.SBOM, asset_id=build.asset_id, work_directory=work)
                    place = release_place(plan.machine.names, plan.place, "")
                    s3_release.put(place, work / s3_release.SBOM, s3=world.aws.s3_builds())
        builds.tag([instance_id], {PROVISIONED: plan.fingerprint})


def _ensure_verified(plan: Ec2BuildPlan, image: Image, *, world: Ec2World) -> tuple[Image, VerificationReport | None]:
    """A second machine, started from the AMI, and gone at the end. Raises ``DssError`` when the AMI does not pass."""
    from exasol_like_dss.lib.verification.instance import InstanceLogin, failure, verify_instance
    from exasol_like_dss.lib.verification.verify import write_report

    build, names = plan.build, plan.machine.names
    if not build.verify or VERIFIED in image.tags:
        return image, None
    with world.progress.step("verification"), TemporaryDirectory(prefix="dss-") as folder:
        with _second_machine(plan, image, world=world) as instance_id:
            found = world.aws.ec2_builds().instance(instance_id)
            login = InstanceLogin(
                address=found.public_address or world.aws.ec2_builds().private_address(instance_id),
                user=str(build.extra_vars.get("login_user", _LOGIN_USER)),
                host_keys=wait_for_host_keys(
                    world.aws.ec2_builds(), instance_id, progress=world.progress, cancellation=world.cancellation
                ),
                password=build.default_password,
            )
            report = verify_instance(
                login,
                image_id=image.id,
                work_directory=Path(folder),
                programs=world.access.programs,
                progress=world.progress,
                cancellation=world.cancellation,
            )
        write_report(report, Path(folder) / s3_release.REPORT)
        if plan.place:
            place = release_place(names, plan.place, image.id)
            s3_release.put(place, Path(folder) / s3_release.REPORT, s3=world.aws.s3_builds())
    if not report.passed:
        where = f"The report is {place.uri(s3_release.REPORT)}. " if plan.place else ""
        raise failure(
            report, image_id=image.id,
            hint=f"{where}The AMI stays for inspection; --fresh builds it anew, --no-verify takes it as it is.",
        )  # fmt: skip
    world.aws.ec2_builds().tag([image.id], {VERIFIED: datetime.now(UTC).isoformat(timespec="seconds")})
    return world.aws.ec2_builds().image(image.id), report


@contextmanager
def _second_machine(plan: Ec2BuildPlan, image: Image, *, world: Ec2World) -> Iterator[str]:
    """Without a key: it is entered by password, as its user does it."""
    machine, choice = plan.machine, plan.build.machine
    name = f"{machine.names.stack}-verify"
    sandbox = Ec2Sandbox(
        name=name,
        image_id=image.id,
        root_device=machine.source.root_device,
        instance_type=choice.instance_type,
        volume_gib=choice.volume_gib,
        ssh_cidr=machine.ssh_cidr,
        subnet_id=choice.subnet_id or "",
        vpc_id=machine.vpc_id,
    )
    try:
        # One of an earlier run has another password by now.
        remove_own_stack(name, asset_id=plan.build.asset_id.value, world=world)
        with world.progress.step("stack with an instance of the AMI"):
            stack, _ = ensure_stack(
                world.aws.cloudformation(), sandbox.wanted(machine.tags), progress=world.progress,
                cancellation=world.cancellation,
            )  # fmt: skip
        yield instance_id_of(stack)
    finally:
        remove_own_stack(name, asset_id=plan.build.asset_id.value, world=world)


def _verification(image: Image) -> Verification:
    return Verification.PASSED if VERIFIED in image.tags else Verification.SKIPPED


def _wish(plan: Ec2BuildPlan, image: Image) -> ExportWish:
    build = plan.build
    return ExportWish(
        image=image,
        names=plan.machine.names,
        tags=build.tags,
        formats=build.formats,
        patience_s=build.patience_s,
        method=plan.method,
        verification=_verification(image),
        edition=build.edition,
        base=build.machine.base,
        inputs={
            "source_ami": plan.machine.source.id,
            "source_ami_name": plan.machine.source.name,
            "instance_type": build.machine.instance_type,
            "volume_gib": build.machine.volume_gib,
            "roles": list(plan.roles),
            "extra_vars": {name: shown(name, value) for name, value in build.extra_vars.items()},
        },
    )


@contextmanager
def _told_what_stays(asset_id: AssetId, *, world: Ec2World) -> Iterator[None]:
    """After an error or an interruption: what the command does not remove, and which one does."""
    try:
        yield
    except BaseException:
        stays = ""
        try:
            images = list(world.aws.ec2().images({f"tag:{ASSET_ID}": [asset_id.value]}))
            tasks = [
                one
                for one in world.aws.ec2().export_tasks()
                if one.tags.get(ASSET_ID) == asset_id.value and one.state == "active"
            ]
            stays = ", ".join([f"the AMI {one.id}" for one in images] + [f"the export {one.id}" for one in tasks])
        except DssError:
            stays = "not known what"
        world.cancellation.stays = bool(stays or world.left)
        if stays:
            world.progress.note(
                f"What stays: {stays}. The same command goes on with it; all of it goes with: "
                f"dss cleanup-aws-assets --asset-id {asset_id}"
            )
        raise


def export_machine(source: ExportSource, *, patience_s: float, world: Ec2World) -> CreatedInEc2:
    """``export-vm``: the AMI of a machine, if there is none yet, and its images in S3. The machine stays.

    Raises ``DssError``, ``Interrupted``. Running it again goes on where it stopped.
    """
    tags, names = source.tags, source.names
    lock = names.key_pair + _EXPORTING  # the machine's own may be that of one that is kept
    with (
        _told_what_stays(tags.asset_id, world=world),
        held(
            world.aws, name=lock, tags=tags.as_dict(), left=world.left, progress=world.progress,
            cancellation=world.cancellation,
        ),
    ):  # fmt: skip
        check_free(world.aws, names.key_pair, progress=world.progress, cancellation=world.cancellation)
        with world.progress.step("AMI"):
            if source.instance:
                image = ensure_ami(
                    world.aws,
                    name=names.image,
                    instance_id=source.instance.id,
                    description=f"{PRODUCT} {__version__}, {tags.asset_id}",
                    tags={
                        **tags.as_dict(),
                        **{key: source.instance.tags[key] for key in (PROVISIONED,) if key in source.instance.tags},
                    },
                    progress=world.progress,
                    cancellation=world.cancellation,
                )
            else:
                assert source.image
                image = wait_for_ami(
                    world.aws, source.image.id, progress=world.progress, cancellation=world.cancellation
                )
        exported = export_vm(
            ExportWish(
                image=image,
                names=names,
                tags=tags,
                formats=source.formats,
                patience_s=patience_s,
                method=source.method,
                verification=_verification(image),
                edition="",
                base="",
                inputs={},
            ),
            source.place,
            world=world,
        )
    return CreatedInEc2(
        image=image,
        region=world.aws.region,
        public=image.public,
        uri=exported.place.uri(),
        artifacts=exported.artifacts,
        verification=_verification(image),
        report=None,
    )
