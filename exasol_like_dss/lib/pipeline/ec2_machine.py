"""``setup-ec2``: a machine in EC2 for as long as the command runs, or for longer; what its parts share with a build."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from exasol_like_dss import __version__
from exasol_like_dss.lib.assets.record import AssetKind
from exasol_like_dss.lib.assets.tags import ASSET_ID
from exasol_like_dss.lib.errors import DssError, Interrupted
from exasol_like_dss.lib.images.ami import PROVISIONED
from exasol_like_dss.lib.machines.ec2 import Ec2Login, Ec2Machine
from exasol_like_dss.lib.machines.lease import Lease, held
from exasol_like_dss.lib.pipeline.ec2_plan import Ec2World, MachinePlan
from exasol_like_dss.lib.provisioning import editions, playbooks
from exasol_like_dss.lib.provisioning.playbooks import ProvisioningFailed
from exasol_like_dss.lib.stacks.deploy import ensure_stack
from exasol_like_dss.lib.stacks.ec2_sandbox import KEY_PAIR, Ec2Sandbox, instance_id_of
from exasol_like_dss.lib.stacks.following import remove_stack

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import Stack

#: On the instance, as soon as playbooks begin to run: what it holds is not known until ``PROVISIONED`` says so.
BEGUN = "dss-provisioning"
_PAUSE_S = 0.2


@dataclass(frozen=True, kw_only=True)
class InstallWish:
    """What ``setup-ec2-and-install-dependencies`` installs."""

    edition: str
    without: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReadyMachine:
    """For printing. jupyter_url: through the tunnel; empty without JupyterLab. kept: it stays after the command."""

    instance_id: str
    stack: str
    login: Ec2Login
    jupyter_port: int | None
    jupyter_url: str
    kept: bool


def setup_ec2(
    plan: MachinePlan,
    *,
    install: InstallWish | None,
    keep: bool,
    fresh: bool,
    on_ready: Callable[[ReadyMachine], None],
    world: Ec2World,
) -> None:
    """Starts a machine, tells ``on_ready``, and waits for a signal, the intended end; then removes all of it.

    keep: ends at once, and the machine stays. It stays, too, when installing fails: ``ProvisioningFailed``.
    Raises ``DssError``; ``Interrupted`` when the signal came before it was ready.
    """
    ready = False
    try:
        with held(
            world.aws, name=plan.names.key_pair, tags=plan.tags.as_dict(), left=world.left, progress=world.progress,
            cancellation=world.cancellation,
        ) as lease, TemporaryDirectory(prefix="dss-") as folder:  # fmt: skip
            with machine_stack(plan, lease, world=world, fresh=fresh, keep=lambda: lease.kept) as instance_id:
                machine = made_machine(plan, instance_id, lease, work_directory=Path(folder), world=world)
                login = machine.wait_until_ready()
                port: int | None = None
                url = ""
                if install:
                    port, url = _install(plan, machine, install, lease, work_directory=Path(folder), world=world)
                if keep:
                    lease.keep()
                shown = Ec2Login(
                    address=login.address,
                    user=login.user,
                    private_key=plan.choice.key_file or lease.private_key,
                    host_keys=login.host_keys,
                )
                on_ready(
                    ReadyMachine(
                        instance_id=instance_id,
                        stack=plan.names.stack,
                        login=shown,
                        jupyter_port=port,
                        jupyter_url=url,
                        kept=keep,
                    )
                )
                ready = True
                while not keep:  # not a wait for something: the user decides how long
                    world.cancellation.check()
                    lease.check()
                    _sleep()
    except Interrupted:
        world.cancellation.stays = bool(world.left)
        if not ready:
            raise


def _sleep() -> None:
    import time

    time.sleep(_PAUSE_S)


@contextmanager
def machine_stack(
    plan: MachinePlan, lease: Lease, *, world: Ec2World, fresh: bool = False, fingerprint: str = "",
    keep: Callable[[], bool],
) -> Iterator[str]:  # fmt: skip
    """The id of the running instance; its stack is removed at the end of the block, and gone then.

    One that is there is used when it holds what ``fingerprint`` says, or nothing yet and its key is known.
    keep: asked at the end. Raises as ``ensure_stack``.
    """
    access = world.aws.cloudformation()
    own_key = plan.choice.key_name
    sandbox = Ec2Sandbox(
        name=plan.names.stack,
        image_id=plan.source.id,
        root_device=plan.source.root_device,
        instance_type=plan.choice.instance_type,
        volume_gib=plan.choice.volume_gib,
        ssh_cidr=plan.ssh_cidr,
        key_name=own_key or lease.key_name,
        key_pair_id="" if own_key else lease.key_pair_id,
        subnet_id=plan.choice.subnet_id or "",
        vpc_id=plan.vpc_id,
    )
    try:
        with world.progress.step("stack with the machine"):
            found = access.stack(plan.names.stack)
            if found and found.tags.get(ASSET_ID) == plan.asset_id.value:
                reason = "--fresh" if fresh else _unusable(found, lease, fingerprint=fingerprint, own_key=bool(own_key),
                                                           world=world)  # fmt: skip
                if reason:
                    world.progress.note(f"The stack {found.name} of an earlier run is removed: {reason}.")
                    remove_stack(access, found.id, progress=world.progress)
            stack, _ = ensure_stack(
                access, sandbox.wanted(plan.tags), progress=world.progress, cancellation=world.cancellation
            )
        yield instance_id_of(stack)
    finally:
        if not keep():
            remove_own_stack(plan.names.stack, asset_id=plan.asset_id.value, world=world)


def _unusable(found: Stack, lease: Lease, *, fingerprint: str, own_key: bool, world: Ec2World) -> str:
    """Why a stack of ours can't be used any more; empty when it can."""
    if "IN_PROGRESS" in found.status or "COMPLETE" not in found.status or "ROLLBACK" in found.status:
        # ensure_stack knows what to do with it; but a machine with a key that nobody has any more is of no use.
        return "" if own_key or found.tags.get(KEY_PAIR) == lease.key_pair_id else "nobody has its key any more"
    instance = world.aws.ec2_builds().instance(instance_id_of(found))
    if fingerprint and instance.tags.get(PROVISIONED) == fingerprint and instance.state in ("running", "stopped"):
        return ""
    if instance.state != "running":
        return f"its instance is {instance.state}"
    if BEGUN in instance.tags:
        return "installing had begun, and did not end"
    if not own_key and found.tags.get(KEY_PAIR) != lease.key_pair_id:
        return "nobody has its key any more"
    return ""


def remove_own_stack(name: str, *, asset_id: str, world: Ec2World) -> None:
    """Clean-up: what goes wrong is said, and does not hide the error that led here."""
    access = world.aws.cloudformation()
    try:
        found = access.stack(name)
        if found and found.tags.get(ASSET_ID) == asset_id:
            with world.progress.step(f"remove the stack {name}"):
                remove_stack(access, found.id, progress=world.progress)
        world.left.pop(name, None)
    except DssError as error:
        world.progress.note(
            f"The stack {name} stays, and costs money: {error.message} "
            f"Remove it: dss cleanup-aws-assets --asset-id {asset_id}"
        )
        world.left[name] = AssetKind.STACK


def made_machine(
    plan: MachinePlan, instance_id: str, lease: Lease, *, work_directory: Path, world: Ec2World
) -> Ec2Machine:
    return Ec2Machine(
        instance_id=instance_id,
        user=plan.user,
        private_key=plan.choice.key_file or lease.private_key,
        ca_bundle=plan.choice.ca_bundle,
        work_directory=work_directory,
        builds=world.aws.ec2_builds(),
        programs=world.access.programs,
        progress=world.progress,
        cancellation=world.cancellation,
    )


def _install(
    plan: MachinePlan,
    machine: Ec2Machine,
    wish: InstallWish,
    lease: Lease,
    *,
    work_directory: Path,
    world: Ec2World,
) -> tuple[int | None, str]:
    """All roles but those that end an image. JupyterLab's port and its URL with the secret, if it is installed."""
    ansible = world.access.ansible
    known = editions.edition_roles(ansible.tree, wish.edition)
    roles = [one for one in editions.choose_roles(known, without=wish.without) if one not in ("password", "seal")]
    try:
        with machine.started(), world.progress.step("provisioning"):
            playbooks.install(
                machine,
                edition=wish.edition,
                roles=roles,
                variables={**wish.extra_vars, "dss_version": __version__, "dss_asset_id": plan.asset_id.value},
                ansible=ansible,
                work_directory=work_directory,
                progress=world.progress,
                cancellation=world.cancellation,
            )
            return _jupyter(machine) if "jupyter" in roles else (None, "")
    except ProvisioningFailed:
        key = plan.choice.key_file or lease.keep()
        lease.kept = True
        world.progress.note(
            f"The machine {machine.instance_id} stays for inspection, and costs money until it is removed.\n"
            f"  Log in:  {machine.login_with(key).ssh_line()}\n"
            f"  Remove:  dss cleanup-aws-assets --asset-id {plan.asset_id}"
        )
        raise


def _jupyter(machine: Ec2Machine) -> tuple[int | None, str]:
    described = json.loads(machine.remote.run("cat /etc/exasol-like-dss/image.json"))
    port = int(described["jupyter_port"])
    token = machine.remote.run(f"sudo -n cat {described['jupyter']['token_file']} || true").strip()
    return port, f"http://127.0.0.1:{port}/lab" + (f"?token={token}" if token else "")
