"""Everything that can be known before money is spent: what is asked for, whether it can be done, what it costs."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from exasol_like_dss.access.aws.errors import AwsError, PermissionMissing
from exasol_like_dss.lib import preflight
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.assets.names import BUCKET_STACK, OUTPUT_BUCKET, OUTPUT_EXPORT_ROLE, AssetNames
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images import ami as amis
from exasol_like_dss.lib.images.source_ami import check_source_ami, find_source_ami, login_user

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.ec2_build import SourceImage
    from exasol_like_dss.access.aws.session import AwsSession
    from exasol_like_dss.lib.assets.cost import Prices
    from exasol_like_dss.lib.assets.record import AssetKind
    from exasol_like_dss.lib.assets.tags import AssetTags
    from exasol_like_dss.lib.interrupts import Cancellation
    from exasol_like_dss.lib.pipeline.access import Access
    from exasol_like_dss.lib.progress import Progress

PROGRAMS = ("ssh", "ssh-keygen", "setpriv")
#: How long a build takes: until the AMI is verified, and with its exports.
AMI_TIME = timedelta(minutes=45)
EXPORT_TIME = timedelta(minutes=100)
_STANDARD_QUOTA = ("ec2", "L-1216C47A")
_STANDARD_FAMILIES = "acdhimrtz"
#: What of the volume a full sandbox uses, and what a compressed export of it takes. Measured, rounded up.
_USED_BYTES = 9 << 30
_EXPORT_BYTES = {"VMDK": 3 << 30, "OVA": 3 << 30, "VHD": 9 << 30}


@dataclass(frozen=True, kw_only=True)
class Ec2World:
    """The outside, as the EC2 pipelines use it. left: what a command was to remove and could not, by its AWS name."""

    aws: AwsSession
    access: Access
    prices: Prices
    progress: Progress
    cancellation: Cancellation
    left: dict[str, AssetKind] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MachineChoice:
    """What the user says of the machine. key_file, key_name: both or none. ssh_cidr: ``None`` for our own address."""

    base: str
    instance_type: str
    volume_gib: int
    source_ami: str | None = None
    subnet_id: str | None = None
    key_file: Path | None = None
    key_name: str | None = None
    ssh_cidr: str | None = None
    ca_bundle: Path | None = None


@dataclass(frozen=True, kw_only=True)
class MachinePlan:
    """What has been decided. user: who logs in with the key. vpc_id: of the subnet."""

    names: AssetNames
    tags: AssetTags
    choice: MachineChoice
    source: SourceImage
    user: str
    vpc_id: str
    ssh_cidr: str

    @property
    def asset_id(self) -> AssetId:
        return self.tags.asset_id


@dataclass(frozen=True)
class ExportPlace:
    """Where exports go. role: that AWS writes the bucket with; may be empty for direct exports."""

    bucket: str
    role: str


@dataclass(frozen=True)
class CostLine:
    """An estimate. usd: ``None`` when the price is not known. per: "build" or "month"."""

    what: str
    usd: float | None
    per: str


def plan_machine(
    choice: MachineChoice,
    tags: AssetTags,
    *,
    exported: bool,
    method: str | None = None,
    machines: int,
    world: Ec2World,
) -> MachinePlan:
    """Checks all that concerns the machine. exported: its AMI will be. machines: how many run at the same time.
    method: see ``source_ami.export_method``.

    Raises ``InputError``, ``AwsError``; nothing is made.
    """
    builds = world.aws.ec2_builds()
    names = AssetNames.of(tags.asset_id)
    preflight.check_programs(PROGRAMS, programs=world.access.programs)
    if choice.ca_bundle:
        preflight.check_readable_file(choice.ca_bundle, what="CA bundle")
    cidr = _read_cidr(choice.ssh_cidr) if choice.ssh_cidr else ""
    _check_key(choice, world)
    source = find_source_ami(world.aws, base=choice.base, chosen=choice.source_ami)
    check_source_ami(source, volume_gib=choice.volume_gib, exported=exported, method=method)
    _check_type(choice.instance_type, machines=machines, world=world)
    vpc_id = ""
    if choice.subnet_id:
        try:
            vpc_id = builds.vpc_of_subnet(choice.subnet_id)
        except AwsError as error:
            if error.not_found or "Malformed" in error.code:
                raise InputError(
                    f"There is no subnet {choice.subnet_id} in {world.aws.region}.", hint="Check --subnet-id."
                ) from error
            raise
    elif not builds.has_default_vpc():
        raise InputError(
            f"The account has no default VPC in {world.aws.region}.", hint="Give a public subnet with --subnet-id."
        )
    if not cidr:
        cidr = f"{world.access.web.own_address()}/32"
    if cidr.endswith("/0"):
        world.progress.note("Anybody may reach the machine's ssh: see --ssh-cidr.")
    return MachinePlan(
        names=names,
        tags=tags,
        choice=choice,
        source=source,
        user=login_user(source, base=choice.base),
        vpc_id=vpc_id,
        ssh_cidr=cidr,
    )


def check_credentials(world: Ec2World, *, needed: timedelta) -> None:
    """A warning when they end before the build does. Raises ``WrongCredentials`` when there are none."""
    life = world.aws.credentials_life()
    if life.ends_at is None or life.renewed:
        return
    left = life.ends_at - datetime.now(UTC)
    if left < needed:
        world.progress.note(
            f"The AWS credentials end in {max(0, left // timedelta(minutes=1))} min, and this takes about "
            f"{needed // timedelta(minutes=1)} min. Should they end before: the same command goes on with new ones."
        )


def check_ami_name(names: AssetNames, asset_id: AssetId, *, world: Ec2World, fingerprint: str, fresh: bool) -> None:
    """The AMI's name is free, or it is ours, with the same content unless it is to be made anew."""
    found = amis.find_ami(world.aws, names.image, asset_id=asset_id.value)
    if found and not fresh:
        amis.check_content(found, fingerprint)


def find_export_place(world: Ec2World, *, role_needed: bool = True) -> ExportPlace:
    """The bucket and the role of the permanent stack, in the same region. Raises ``InputError``, ``AwsError``.

    role_needed: by AWS's own exports; a direct one writes with the caller's permissions.
    """
    region = world.aws.region
    stack = world.aws.cloudformation().stack(BUCKET_STACK)
    bucket = stack.outputs.get(OUTPUT_BUCKET) if stack else None
    role = (stack.outputs.get(OUTPUT_EXPORT_ROLE) if stack else None) or ""
    if not bucket or (role_needed and not role):
        missing = f"has no output {OUTPUT_EXPORT_ROLE if bucket else OUTPUT_BUCKET}" if stack else "does not exist"
        raise InputError(
            f"Images can't be exported: the stack {BUCKET_STACK} {missing} in {region}.",
            hint="Choose the --region that has it, or make it: dss setup-vm-bucket. With --no-vm only the AMI is made.",
        )
    try:
        where = world.aws.s3_builds().bucket_region(bucket)
    except AwsError as error:
        if error.not_found or isinstance(error, PermissionMissing):
            raise InputError(
                f"The bucket {bucket} of the stack {BUCKET_STACK} can't be used: {error.message}",
                hint="Is it still there, and of this account?",
            ) from error
        raise
    if where != region:
        raise InputError(
            f"The bucket {bucket} is in {where}, and the build in {region}: AWS exports within one region only.",
            hint=f"Give --region {where}.",
        )
    if not role_needed:
        return ExportPlace(bucket, role)
    try:
        if not world.aws.iam().has_role(role):
            raise InputError(
                f"The role {role} of the stack {BUCKET_STACK} does not exist.",
                hint="Deploy the bucket's stack again: dss setup-vm-bucket",
            )
    except PermissionMissing as error:
        world.progress.note(f"Whether the role {role} exists is not known: {error.message}")
    return ExportPlace(bucket, role)


def estimate(plan: MachinePlan, *, formats: tuple[str, ...], verified: bool, world: Ec2World) -> list[CostLine]:
    """Of one build, and of what stays."""
    prices = world.prices.of(world.aws.region)
    hour = prices.instance_hour(plan.choice.instance_type)
    hours = AMI_TIME / timedelta(hours=1)
    machines = 1.3 if verified else 1.0
    volume = prices.volume_month(plan.choice.volume_gib, kind="gp3") / 730 * hours * machines
    lines = [
        CostLine(
            f"{plan.choice.instance_type} for {hours * machines:.1f} h", hour and hour * hours * machines, "build"
        ),
        CostLine(f"volume of {plan.choice.volume_gib} GiB meanwhile", volume, "build"),
        CostLine("AMI (its snapshot)", prices.snapshot_month(_USED_BYTES), "month"),
    ]
    for name in formats:
        size = _EXPORT_BYTES.get(name, plan.choice.volume_gib << 30)
        lines.append(CostLine(f"{name} in S3, about {size >> 30} GiB", prices.s3_month(size), "month"))
    return lines


def _read_cidr(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError:
        raise InputError(
            f"{text!r} is no range of IPv4 addresses.", hint="For example 203.0.113.7/32: one address."
        ) from None


def _check_key(choice: MachineChoice, world: Ec2World) -> None:
    if (choice.key_file is None) != (choice.key_name is None):
        raise InputError(
            "--ec2-key-file and --ec2-key-name belong together.",
            hint="The file with the private key, and the name of its key pair in EC2; or none of them.",
        )
    if choice.key_file is None:
        return
    preflight.check_readable_file(choice.key_file, what="private key")
    if choice.key_file.stat().st_mode & 0o077:
        raise InputError(
            f"Others can read the private key {choice.key_file}: ssh refuses it.",
            hint=f"chmod 600 {choice.key_file}",
        )
    if not any(
        pair.name == choice.key_name for pair in world.aws.ec2().key_pairs({"key-name": [choice.key_name or ""]})
    ):
        raise InputError(
            f"There is no key pair {choice.key_name!r} in {world.aws.region}.", hint="Key pairs belong to one region."
        )


def _check_type(name: str, *, machines: int, world: Ec2World) -> None:
    builds = world.aws.ec2_builds()
    found = builds.instance_type(name)
    if found is None:
        raise InputError(
            f"There is no instance type {name!r} in {world.aws.region}.",
            hint="For example --ec2-instance-type t3.large",
        )
    if "x86_64" not in found.architectures:
        raise InputError(f"The instance type {name} is not for x86_64.", hint="For example t3.large.")
    if name[0] not in _STANDARD_FAMILIES:
        return
    try:
        limit = world.aws.quotas().value(*_STANDARD_QUOTA)
    except AwsError as error:
        if isinstance(error, PermissionMissing) or error.not_found:
            world.progress.note(f"The quota of vCPUs is not known: {error.message}")
            return
        raise
    used = 0
    sizes = {name: found.vcpus}
    for instance in world.aws.ec2().instances({"instance-state-name": ["pending", "running"]}):
        if instance.type not in sizes:
            other = builds.instance_type(instance.type)
            sizes[instance.type] = other.vcpus if other else 0
        used += sizes[instance.type] if instance.type[0] in _STANDARD_FAMILIES else 0
    if used + found.vcpus * machines > limit:
        raise InputError(
            f"The account may run {limit:.0f} vCPUs in {world.aws.region}; {used} are in use, and this needs "
            f"{found.vcpus * machines}.",
            hint="Choose a smaller --ec2-instance-type, end other instances, or ask AWS for more (Service Quotas).",
        )
