"""Instances: checks before they start, states that take their time, the machine behind them, their console."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto.core.utils import utcnow
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance

from test.support.aws.rules import Machine
from test.support.aws.server.ec2_common import ClientTokens, Newborn, backend_of, check_tag_types, motos_errors, tags_of
from test.support.aws.server.ec2_images import OwnAmi, find_image
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import Request, World, handles, matches

#: The DNS name is what one connects to: it has to lead to the machine as well.
setattr(Instance, "public_dns_name", property(lambda self: self.public_ip))  # noqa: B010 - moto's is read-only

_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_INSTANCE_ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")


@dataclass
class Consoles:
    """What instances have printed, by id."""

    text: dict[str, str] = field(default_factory=dict)
    last_address: int = 0

    def next_address(self) -> str:
        """One at which nobody listens."""
        self.last_address += 1
        return f"127.77.{self.last_address // 250}.{self.last_address % 250 + 1}"


def set_state(instance: Instance, name: str) -> None:
    instance._state.name, instance._state.code = name, _CODES[name]


@handles("ec2", "RunInstances")
def run_instances(request: Request) -> Mapping[str, Any]:
    request = _with_template(request)
    check_tag_types(request, "instance", "volume", "network-interface", "spot-instances-request")
    tags_of(request, "instance")
    tokens = request.world.part(ClientTokens)
    if known := tokens.before(request):
        return dict(known)
    image = find_image(request.region, str(request.get("ImageId", "")))
    instance_type = str(request.get("InstanceType", "m1.small"))
    count = int(request.get("MaxCount", 1))
    _check(request, image, instance_type, count)
    mappings = _mappings(request, image)
    user_data = request.get("UserData")
    result = request.forward(
        BlockDeviceMappings=mappings,
        UserData=base64.b64decode(user_data).decode("utf-8", "surrogateescape") if user_data else None,
    )
    backend = backend_of(request.region)
    for shown in result["Instances"]:
        instance = backend.get_instance(shown["InstanceId"])
        _begin(request.world, request.region, instance)
        request.world.part(Newborn).note(request, instance.id)
        shown["State"] = {"Name": "pending", "Code": 0}
        shown.pop("PublicIpAddress", None)
        shown["PublicDnsName"] = ""
    tokens.remember(request, result)
    return result


@handles("ec2", "DescribeInstances")
def describe_instances(request: Request) -> Mapping[str, Any]:
    for instance_id in request.get("InstanceIds", []):
        request.world.part(Newborn).look(str(instance_id), "InvalidInstanceID.NotFound")
    return request.forward()


def _with_template(request: Request) -> Request:
    """The launch template's values, where the call has none of its own."""
    template = request.get("LaunchTemplate")
    if not template:
        return request
    which = {name: value for name, value in template.items() if name in ("LaunchTemplateId", "LaunchTemplateName")}
    version = str(template.get("Version", "$Default"))
    parameters = {**which, "Versions": [version]}
    found = request.world.moto("ec2", "DescribeLaunchTemplateVersions", parameters, request.region)
    data = found["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    own = {name: value for name, value in request.parameters.items() if name != "LaunchTemplate"}
    # moto has the template's own tags in its data
    in_data = [each for each in data.pop("TagSpecifications", []) if each["ResourceType"] != "launch-template"]
    specifications = [*own.get("TagSpecifications", []), *in_data]
    merged = {**data, **own}
    if specifications:
        merged["TagSpecifications"] = specifications
    return Request(request.world, request.service, request.action, request.region, merged)


def _check(request: Request, image: OwnAmi, instance_type: str, count: int) -> None:
    """What AWS refuses (AWS: "Error codes for the Amazon EC2 API")."""
    settings = request.world.settings
    if image.state != "available":
        raise ApiError("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available")
    key = request.get("KeyName")
    if key and key not in backend_of(request.region).key_pairs:
        raise ApiError("InvalidKeyPair.NotFound", f"The key pair '{key}' does not exist")
    known = INSTANCE_TYPES.get(instance_type)
    if known is None:
        raise ApiError("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")
    architectures = known["ProcessorInfo"]["SupportedArchitectures"]
    if image.architecture not in architectures:
        words = (
            f"The architecture '{','.join(architectures)}' of the specified instance type does not match the "
            f"architecture '{image.architecture}' of the specified AMI."
        )
        raise ApiError("InvalidParameterValue", words)
    if matches(settings.sold_out, instance_type):
        words = (
            f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested "
            f"({request.region}a). Our system will be working on provisioning additional capacity."
        )
        raise ApiError("InsufficientInstanceCapacity", words, 500)
    used = sum(
        int(INSTANCE_TYPES[each.instance_type]["VCpuInfo"]["DefaultVCpus"])
        for each in backend_of(request.region).all_instances()
        if each.state in ("pending", "running")
    )
    limit = settings.quotas.get("L-1216C47A", 0)
    if used + count * int(known["VCpuInfo"]["DefaultVCpus"]) > limit:
        words = f"You have requested more vCPU capacity than your current vCPU limit of {int(limit)} allows."
        raise ApiError("VcpuLimitExceeded", words)
    if request.get("DryRun"):
        raise ApiError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def _mappings(request: Request, image: OwnAmi) -> list[dict[str, Any]]:
    """The root volume as asked for, with the image's snapshot and no smaller than it."""
    mappings = [dict(each) for each in request.get("BlockDeviceMappings", [])]
    root = next((each for each in mappings if each.get("DeviceName") == image.root_device_name), None)
    if root is None:
        root = {"DeviceName": image.root_device_name}
        mappings.insert(0, root)
    ebs = {
        "VolumeSize": image.traits.size_gib,
        "VolumeType": "gp2",
        "DeleteOnTermination": True,
        **root.get("Ebs", {}),
        "SnapshotId": image.ebs_snapshot.id,
    }
    root["Ebs"] = ebs
    if int(ebs["VolumeSize"]) < image.traits.size_gib:
        words = (
            f"Volume of size {ebs['VolumeSize']}GB is smaller than snapshot '{image.ebs_snapshot.id}', "
            f"expect size >= {image.traits.size_gib}GB"
        )
        raise ApiError("InvalidBlockDeviceMapping", words)
    if int(ebs["VolumeSize"]) > 65536:
        raise ApiError("InvalidParameterValue", f"Volume of {ebs['VolumeSize']}GiB is too large for volume type gp3")
    return mappings


def _begin(world: World, region: str, instance: Instance) -> None:
    """pending, until the test's machine answers, if it has one."""
    set_state(instance, "pending")
    instance.nics[0].public_ip = None
    key = backend_of(region).key_pairs.get(instance.key_name or "")
    data = {
        "instance_id": instance.id,
        "region": region,
        "image_id": instance.image_id,
        "key_name": instance.key_name or "",
        "public_key": key.public_key.strip() if key else "",
        "user_data": base64.b64decode(str(instance.user_data or "")).decode(errors="replace"),
        "tags": dict(backend_of(region).tags.get(instance.id, {})),
    }

    def ready(machine: Machine) -> None:
        if instance.state != "pending":
            return
        set_state(instance, "running")
        instance.nics[0].public_ip = machine.address
        text = _boot_messages(instance, machine)
        world.after(world.settings.console_delay_s, "consoles", lambda: append_console(world, instance.id, text))

    def ask() -> None:
        answer = world.ask("started", data)
        machine = Machine(answer["address"], tuple(answer["host_keys"]), answer["console"])
        with world.lock:
            ready(machine)

    def start() -> None:
        if world.machines:
            world.aside(ask)
        else:
            ready(Machine(world.part(Consoles).next_address(), (_made_up_host_key(),)))

    world.after(world.settings.instance_pending_s, "instances", start)


def _made_up_host_key() -> str:
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _boot_messages(instance: Instance, machine: Machine) -> str:
    """As cloud-init's module keys_to_console prints them; its marks are what tools look for."""
    host = instance.private_dns_name.split(".")[0]
    keys = "\n".join(f"{line} root@{host}" for line in machine.host_keys)
    block = f"-----BEGIN SSH HOST KEY KEYS-----\n{keys}\n-----END SSH HOST KEY KEYS-----\n" if keys else ""
    return f"[    0.000000] Linux version 6.8.0-aws\n{machine.console}{block}{host} login: "


def append_console(world: World, instance_id: str, text: str) -> None:
    texts = world.part(Consoles).text
    texts[instance_id] = texts.get(instance_id, "") + text


def _find(region: str, instance_id: str) -> Instance:
    if not _INSTANCE_ID.fullmatch(instance_id):
        raise ApiError("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
    with motos_errors():
        return backend_of(region).get_instance(instance_id)


@handles("ec2", "GetConsoleOutput")
def get_console_output(request: Request) -> Mapping[str, Any]:
    """Base64, the last 64 KiB; nothing at first (AWS: GetConsoleOutput)."""
    instance = _find(request.region, str(request.get("InstanceId")))
    text = request.world.part(Consoles).text.get(instance.id, "").encode()[-65536:]
    result = {"InstanceId": instance.id, "Timestamp": utcnow()}
    return {**result, "Output": base64.b64encode(text).decode()} if text else result


@handles("ec2", "TerminateInstances")
def terminate_instances(request: Request) -> Mapping[str, Any]:
    """shutting-down first; for a while the security groups are still in use. A second time changes nothing."""
    found = [_find(request.region, str(each)) for each in request.get("InstanceIds", [])]
    before = {each.id: each.state for each in found}
    fresh = [each for each in found if each.state not in ("shutting-down", "terminated")]
    if fresh:
        request.forward(InstanceIds=[each.id for each in fresh])
    for instance in fresh:
        set_state(instance, "shutting-down")
        _end_later(request.world, instance)
    changes = [
        {
            "InstanceId": each.id,
            "PreviousState": {"Name": before[each.id], "Code": _CODES[before[each.id]]},
            "CurrentState": {"Name": each.state, "Code": each.state_code},
        }
        for each in found
    ]
    return {"TerminatingInstances": changes}


def _end_later(world: World, instance: Instance) -> None:
    def tell() -> None:
        world.ask("terminated", {"instance_id": instance.id})

    def end() -> None:
        set_state(instance, "terminated")
        if world.machines:
            world.aside(tell)

    world.after(world.settings.instance_stopping_s, "instances", end)


@handles("ec2", "StopInstances")
def stop_instances(request: Request) -> Mapping[str, Any]:
    found = [_find(request.region, str(each)) for each in request.get("InstanceIds", [])]
    for instance in found:
        if instance.state in ("shutting-down", "terminated"):
            words = f"The instance '{instance.id}' is not in a state from which it can be stopped."
            raise ApiError("IncorrectInstanceState", words)
    result = request.forward()
    for instance in found:
        set_state(instance, "stopping")
        request.world.after(
            request.world.settings.instance_stopping_s, "instances", partial(set_state, instance, "stopped")
        )
    for shown in result["StoppingInstances"]:
        shown["CurrentState"] = {"Name": "stopping", "Code": 64}
    return result


@handles("ec2", "DeleteSecurityGroup")
def delete_security_group(request: Request) -> Mapping[str, Any]:
    """Refused while an instance that has not ended is in it, or another group names it."""
    backend = backend_of(request.region)
    group = backend.get_security_group_by_name_or_id(str(request.get("GroupId") or request.get("GroupName")))
    if group is None:
        name = request.get("GroupId") or request.get("GroupName")
        raise ApiError("InvalidGroup.NotFound", f"The security group '{name}' does not exist")
    for instance in backend.all_instances():
        if instance.state == "terminated":
            continue
        groups = {each.id for each in instance.security_groups}
        groups |= {each.id for nic in instance.nics.values() for each in nic.group_set}
        if group.id in groups:
            raise ApiError("DependencyViolation", f"resource {group.id} has a dependent object")
    for nic in backend.enis.values():  # of ended instances: AWS has removed them by now
        if nic.instance is not None and nic.instance.state == "terminated":
            nic._group_set = [each for each in nic._group_set if each.id != group.id]
    return request.forward()


@handles("ec2", "DescribeKeyPairs")
def describe_key_pairs(request: Request) -> Mapping[str, Any]:
    """moto overlooks KeyPairIds, and has its own words for names that are not there."""
    pairs = backend_of(request.region).key_pairs
    for name in request.get("KeyNames", []):
        if name not in pairs:
            raise ApiError("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")
    ids = list(request.get("KeyPairIds", []))
    for key_id in ids:
        if key_id not in {each.id for each in pairs.values()}:
            raise ApiError("InvalidKeyPair.NotFound", f"The key pair ID '{key_id}' does not exist")
    result = request.forward(KeyPairIds=None)
    if ids:
        result["KeyPairs"] = [each for each in result["KeyPairs"] if each["KeyPairId"] in ids]
    if not request.get("IncludePublicKey"):
        for each in result["KeyPairs"]:
            each.pop("PublicKey", None)
    return result


@handles("ec2", "DeleteKeyPair")
def delete_key_pair(request: Request) -> Mapping[str, Any]:
    """By name or by id; one that is not there is no error (AWS: DeleteKeyPair)."""
    backend = backend_of(request.region)
    name = request.get("KeyName")
    if request.get("KeyPairId"):
        name = next((each.key_name for each in backend.key_pairs.values() if each.id == request.get("KeyPairId")), None)
    pair = backend.key_pairs.pop(str(name), None)
    if pair is None:
        return {"Return": True}
    backend.tags.pop(pair.id, None)
    return {"Return": True, "KeyPairId": pair.id}
