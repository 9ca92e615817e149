"""Every name in AWS that is derived from an asset-id. The same id gives the same names, on every machine."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields

from exasol_like_dss.lib.assets.asset_id import PRODUCT, AssetId
from exasol_like_dss.lib.errors import InputError

STACK_PREFIX = "EC2-DATA-SCIENCE-SANDBOX-"
S3_PREFIX = "data_science_sandbox/"
LOG_GROUP_PREFIX = f"/{PRODUCT}/"
BUCKET_STACK = "DATA-SCIENCE-SANDBOX-VM-Bucket"
WAF_STACK = "DATA-SCIENCE-SANDBOX-VM-Bucket-WAF"
CI_STACK = "DATA-SCIENCE-SANDBOX-CI-TEST-CODEBUILD"
RELEASE_STACK = "DATA-SCIENCE-SANDBOX-RELEASE-CODEBUILD"
#: Stacks that live longer than any build, and carry no asset-id. They and what they hold are never cleaned up.
PERMANENT_STACKS = (BUCKET_STACK, WAF_STACK, CI_STACK, RELEASE_STACK)
#: Outputs of the bucket stack.
OUTPUT_BUCKET = "VMBucketId"
OUTPUT_EXPORT_ROLE = "VMExportRoleId"
OUTPUT_DOMAIN = "VMBucketDomainName"
OUTPUT_DISTRIBUTION = "VMBucketDistributionId"
OUTPUT_SIGNING_KEY = "DownloadKeyId"
#: Output of the WAF stack.
OUTPUT_WEB_ACL = "VMBucketWebACLArn"
#: What a path must begin with for a signed URL: ``/signed/`` + the object's key. Unsigned, CloudFront refuses it.
SIGNED_PATH = "/signed/"
_TOKEN_LENGTH = 64  # RunInstances, ExportImage; CloudFormation takes 128


@dataclass(frozen=True)
class AssetNames:
    """s3_prefix, export_prefix: end with ``/``. Made by ``of``."""

    stack: str
    image: str
    key_pair: str
    s3_prefix: str
    export_prefix: str
    log_group: str
    file_stem: str

    @classmethod
    def of(cls, asset_id: AssetId) -> AssetNames:
        """Raises ``InputError`` that says which name AWS would refuse, and why."""
        names = cls(
            stack=STACK_PREFIX + _dashed(asset_id.value),
            image=f"{PRODUCT}-{asset_id}",
            key_pair=f"{PRODUCT}-{asset_id}",
            s3_prefix=f"{S3_PREFIX}{asset_id}/",
            export_prefix=f"{S3_PREFIX}{asset_id}/",
            log_group=f"{LOG_GROUP_PREFIX}{asset_id}",
            file_stem=f"{PRODUCT}-{asset_id}",
        )
        for part in fields(names):
            check_name(part.name, getattr(names, part.name), asset_id=asset_id)
        return names


@dataclass(frozen=True)
class _Rule:
    """what: for people. pattern: all of the name has to fit."""

    what: str
    pattern: str
    longest: int
    says: str


# The rules of AWS, from the API references of CreateStack, CreateImage (EC2), CreateKeyPair (EC2), "Creating object key
# names" (S3: UTF-8, 1024 bytes; the object's own name still has to fit), CreateLogGroup (CloudWatch Logs).
_S3_RULE = _Rule("S3 prefix", r"[A-Za-z0-9!_.*'()/-]+", 1024 - 256, "letters, digits and ! - _ . * ' ( ) /")
_RULES = {
    "stack": _Rule("stack name", r"[A-Za-z][A-Za-z0-9-]*", 128, "letters, digits and '-', a letter first"),
    "image": _Rule("AMI name", r"[A-Za-z0-9()\[\] ./'@_-]{3,}", 128, "letters, digits and ( ) [ ] space . / - ' @ _"),
    "key_pair": _Rule("key pair name", r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", 255, "ASCII, no space at the ends"),
    "s3_prefix": _S3_RULE,
    "export_prefix": _S3_RULE,
    "log_group": _Rule("log group name", r"[A-Za-z0-9_./#-]+", 512, "letters, digits and _ - / . #"),
    "file_stem": _Rule("file name", r"[A-Za-z0-9][A-Za-z0-9._-]*", 200, "letters, digits and . _ -"),
}


def check_name(kind: str, name: str, *, asset_id: AssetId) -> None:
    """kind: a field of ``AssetNames``. Raises ``InputError``."""
    rule = _RULES[kind]
    if len(name) > rule.longest:
        raise InputError(
            f"The asset-id {asset_id} is too long: the {rule.what} {name!r} has {len(name)} characters, AWS takes "
            f"{rule.longest}.",
            hint="Choose a shorter --asset-id.",
        )
    if not re.fullmatch(rule.pattern, name):
        raise InputError(
            f"The asset-id {asset_id} can't be used: AWS refuses the {rule.what} {name!r}.",
            hint=f"It takes {rule.says}.",
        )


def client_token(asset_id: AssetId, step: str) -> str:
    """What makes AWS recognise a repeated call, also one of a later run: the same for the same build and step.

    At most 64 characters of ``[A-Za-z0-9-]``, a letter first. step: what is made, with all that makes it differ; AWS
    refuses a known token with other parameters (``IdempotentParameterMismatch``).
    """
    digest = hashlib.sha256(f"{asset_id}\0{step}".encode()).hexdigest()[:24]
    readable = re.sub(r"[^A-Za-z0-9-]", "-", step)[: _TOKEN_LENGTH - len(digest) - 5]
    return f"dss-{readable}-{digest}"


def _dashed(asset_id: str) -> str:
    """Stack names know no '.' and '_'. Where they are replaced, a checksum keeps 1.0 apart from 1-0."""
    dashed = re.sub(r"[._]", "-", asset_id)
    if dashed == asset_id:
        return asset_id
    return f"{dashed}-{hashlib.sha256(asset_id.encode()).hexdigest()[:8]}"
