"""What AWS has for everybody: public images, the SSM parameters that name them; and what tests plant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from moto.s3.models import s3_backends

from test.support.aws.rules import Image
from test.support.aws.server.ec2_images import Traits, make_image
from test.support.aws.server.ec2_instances import append_console
from test.support.aws.server.front import CONTROLS
from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT, STARTERS, Request, World, handles

CANONICAL = "099720109477"
DEBIAN = "136693071363"
_UBUNTU = "ubuntu/images/hvm-ssd{}/ubuntu-{}-amd64-server-{}"
_UBUNTU_PARAMETER = "/aws/service/canonical/ubuntu/server/{}/stable/current/{}/hvm/ebs-gp{}/ami-id"


@dataclass
class PublicParameters:
    """Values by region and name."""

    values: dict[tuple[str, str], str] = field(default_factory=dict)


def plant(region: str, image: Image) -> str:
    """Returns the id."""
    ami = make_image(
        region,
        name=image.name,
        traits=Traits(
            size_gib=image.size_gib,
            encrypted=image.encrypted,
            product_code=image.product_code,
            boot_mode=image.boot_mode,
        ),
        volume=None,
        tags=image.tags,
        owner_id=image.owner or None,
        owner_alias=image.owner_alias or None,
        architecture=image.architecture,
        root_device_name=image.root_device_name,
        public=image.public and bool(image.owner),
        creation_date=datetime.strptime(image.created, "%Y-%m-%dT%H:%M:%S.000Z"),
        product_codes={image.product_code} if image.product_code else set(),
    )
    return ami.id


def _start(world: World, region: str) -> None:
    """The images that an account sees from the first day. Canonical's and Debian's naming."""
    values = world.part(PublicParameters).values

    def public(name: str, owner: str, created: str, root: str = "/dev/sda1", architecture: str = "x86_64") -> str:
        made = f"{created[:4]}-{created[4:6]}-{created[6:8]}T03:04:05.000Z"
        image = Image(name=name, owner=owner, created=made, root_device_name=root, architecture=architecture)
        return plant(region, image)

    public(_UBUNTU.format("-gp3", "noble-24.04", "20250101"), CANONICAL, "20250101")
    noble = public(_UBUNTU.format("-gp3", "noble-24.04", "20260601"), CANONICAL, "20260601")
    jammy = public(_UBUNTU.format("", "jammy-22.04", "20260601"), CANONICAL, "20260601")
    arm_name = _UBUNTU.format("-gp3", "noble-24.04", "20260601").replace("amd64", "arm64")
    arm = public(arm_name, CANONICAL, "20260601", architecture="arm64")
    values[region, _UBUNTU_PARAMETER.format("24.04", "amd64", 3)] = noble
    values[region, _UBUNTU_PARAMETER.format("24.04", "arm64", 3)] = arm
    values[region, _UBUNTU_PARAMETER.format("22.04", "amd64", 2)] = jammy
    for release in ("12", "13"):
        image = public(f"debian-{release}-amd64-20260601-2100", DEBIAN, "20260601", "/dev/xvda")
        values[region, f"/aws/service/debian/release/{release}/latest/amd64"] = image


STARTERS.append(_start)


@handles("ssm", "GetParameter")
def get_parameter(request: Request) -> Mapping[str, Any]:
    name = str(request.get("Name", ""))
    if not name.startswith("/aws/service/"):
        return request.forward()
    values = request.world.part(PublicParameters).values
    if (request.region, name) not in values:
        raise ApiError("ParameterNotFound", "")
    return {"Parameter": _parameter(request.region, name, values[request.region, name])}


@handles("ssm", "GetParameters")
def get_parameters(request: Request) -> Mapping[str, Any]:
    values = request.world.part(PublicParameters).values
    names = [str(each) for each in request.get("Names", [])]
    public = [each for each in names if each.startswith("/aws/service/")]
    others = [each for each in names if each not in public]
    result: dict[str, Any] = {"Parameters": [], "InvalidParameters": []}
    if others:
        result = request.forward(Names=others)
    for name in public:
        if (request.region, name) in values:
            result["Parameters"].append(_parameter(request.region, name, values[request.region, name]))
        else:
            result["InvalidParameters"].append(name)
    return result


@handles("ssm", "GetParametersByPath")
def get_parameters_by_path(request: Request) -> Mapping[str, Any]:
    path = str(request.get("Path", ""))
    if not path.startswith("/aws/service/"):
        return request.forward()
    values = request.world.part(PublicParameters).values
    found = [
        _parameter(region, name, value)
        for (region, name), value in sorted(values.items())
        if region == request.region and name.startswith(path)
    ]
    return {"Parameters": found}


def _parameter(region: str, name: str, value: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "String",
        "Value": value,
        "Version": 1,
        "DataType": "aws:ec2:image",
        "ARN": f"arn:aws:ssm:{region}::parameter{name}",
    }


def _plant_one(world: World, data: Any) -> str:
    world.touch(data["region"])
    return plant(data["region"], Image(**data["image"]))


def _plant_many(world: World, data: Any) -> None:
    world.touch(data["region"])
    for number in range(data["count"]):
        image = Image(name=f"planted-{number:06}", tags=data["tags"])
        plant(data["region"], image)
    if data["bucket"]:
        for number in range(data["count"]):
            s3_backends[ACCOUNT]["aws"].put_object(data["bucket"], f"{data['prefix']}{number:06}", b"x")


CONTROLS["plant"] = _plant_one
CONTROLS["plant-many"] = _plant_many
CONTROLS["console"] = lambda world, data: append_console(world, data["instance"], data["text"])
