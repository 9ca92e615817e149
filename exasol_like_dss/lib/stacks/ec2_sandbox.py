"""The stack with one machine: ``cloudformation/ec2-sandbox.yaml``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exasol_like_dss.lib.assets.tags import ASSET_ID, EXPIRES, OWNER, PROJECT, AssetTags
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.resources import tree
from exasol_like_dss.lib.stacks.deploy import WantedStack

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import Stack

#: The id of the key pair that the machine was started with. Names of key pairs are used again, ids never.
KEY_PAIR = "dss-key-pair"
_TEMPLATE = "ec2-sandbox.yaml"
_MORE_TAGS = "        # More tags of the build: the stack's own ones reach all but its volume; dss adds them here.\n"


@dataclass(frozen=True, kw_only=True)
class Ec2Sandbox:
    """key_name: empty for a machine without a key. key_pair_id: of a key pair of ours. ssh_cidr: IPv4.

    vpc_id: of the subnet; both empty for the default VPC.
    """

    name: str
    image_id: str
    root_device: str
    instance_type: str
    volume_gib: int
    ssh_cidr: str
    key_name: str = ""
    key_pair_id: str = ""
    subnet_id: str = ""
    vpc_id: str = ""

    def wanted(self, tags: AssetTags) -> WantedStack:
        parameters = {
            "ImageId": self.image_id,
            "InstanceType": self.instance_type,
            "RootDevice": self.root_device,
            "VolumeSize": str(self.volume_gib),
            "SshCidr": self.ssh_cidr,
            "KeyName": self.key_name,
            "SubnetId": self.subnet_id,
            "VpcId": self.vpc_id,
            "AssetId": str(tags.asset_id),
            "Owner": tags.owner,
            "Expires": tags.expires.isoformat(),
        }
        return WantedStack(
            name=self.name,
            template=_template(tags),
            parameters=parameters,
            tags={**tags.as_dict(), **({KEY_PAIR: self.key_pair_id} if self.key_pair_id else {})},
            changeable={"SshCidr"},
            unimportant={"Owner", "Expires", "VpcId", "RootDevice"},
        )


def _template(tags: AssetTags) -> str:
    """With the tags that are no parameters. How many there are is up to the user: parameters have fixed names."""
    text = (tree("cloudformation") / _TEMPLATE).read_text(encoding="utf-8")
    before, marker, after = text.partition(_MORE_TAGS)
    assert marker
    lines = [
        f"        - Key: {json.dumps(name)}\n          Value: {json.dumps(value)}\n"  # JSON's strings are YAML's, too
        for name, value in tags.as_dict().items()
        if name not in (ASSET_ID, OWNER, EXPIRES, PROJECT, "Name")
    ]
    return before + "".join(lines) + after


def instance_id_of(stack: Stack) -> str:
    """Raises ``DssError`` for a stack that isn't of this template."""
    found = stack.outputs.get("InstanceId")
    if not found:
        raise DssError(f"The stack {stack.name} has no output InstanceId.", hint="Is it a stack of dss?")
    return found
