"""What a test says to the stand-in, and what it hears: settings, faults, planted images, journal. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

#: Kinds of error that AWS words differently for each service; see ``protocol.error_of``.
THROTTLED = "throttled"
EXPIRED = "expired"
DENIED = "denied"

Effect = Literal["error", "drop", "hook"]
Moment = Literal["before", "after"]
#: What makes time go on: the clock, with the durations of ``Settings``; or calls, whatever the durations, so that every
#: run sees the same. "calls": what a call of the product begins is over when the next one has been answered, which so
#: sees it under way. "at-once": it is over when the call itself has been answered. These two are for stand-ins without
#: machines, and with nothing ``held``.
Pace = Literal["clock", "calls", "at-once"]


#: Permissions that are called otherwise than the operation (AWS: "Actions, resources, and condition keys for S3").
_PERMISSIONS = {
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:UploadPart": "s3:PutObject",
    "s3:UploadPartCopy": "s3:PutObject",
}


def permission_for(service: str, action: str) -> str:
    """What a policy has to allow for an operation: "s3:ListBucket" for s3, ListObjectsV2."""
    name = f"{service}:{action}"
    return _PERMISSIONS.get(name, name)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One rule: what happens to which calls.

    action: an operation, with or without its service ("CreateImage", "ec2:CreateImage"); ``*`` stands for any text.
    nth: the first matching call that is hit, counted from 1 since the rule was given. times: how many from there.
    first_attempts: what botocore sends again is neither counted nor hit (by its header "amz-sdk-request").
    moment: "before": the call has no effect; "after": it has, and the client doesn't learn of it.
    effect: an error response, a dropped connection, or ``hook`` is called with the call (and the call goes on).
    code: an error code, or THROTTLED, EXPIRED, DENIED (worded as the service words it). status: of HTTP.
    """

    action: str = "*"
    nth: int = 1
    times: int = 1
    first_attempts: bool = False
    moment: Moment = "before"
    effect: Effect = "error"
    code: str = THROTTLED
    message: str = "injected by the test"
    status: int = 400
    hook: Callable[[Call], None] | None = None


@dataclass(frozen=True)
class Call:
    """One API call, as it reached the stand-in. A client's retries are calls of their own.

    parameters: those of the request that are text, a number or a list ("TagSpecifications" …); for S3 bucket and key.
    attempt: 1, or more for what botocore sends again.
    status: of HTTP, as answered; 0 when the connection was dropped. code: of the error, if it was one.
    effect: whether the operation was carried out. fault: index of the fault that hit it.
    """

    number: int
    service: str
    action: str
    region: str
    access_key: str
    parameters: dict[str, Any]
    attempt: int = 1
    status: int = 0
    code: str = ""
    effect: bool = False
    fault: int | None = None

    @property
    def name(self) -> str:
        return f"{self.service}:{self.action}"

    @property
    def permission(self) -> str:
        """As a policy names it."""
        return permission_for(self.service, self.action)


@dataclass(kw_only=True)
class Settings:
    """How the stand-in behaves. Durations are short, so that tests are; AWS takes minutes."""

    instance_pending_s: float = 0.05
    instance_stopping_s: float = 0.05
    image_pending_s: float = 0.05
    export_s: float = 0.1
    stack_step_s: float = 0.02
    build_phase_s: float = 0.02
    console_delay_s: float = 0.0
    pace: Pace = "clock"
    #: Time passes only when the test says so: see ``test.support.simulated_time``.
    virtual_time: bool = False
    #: Of exports, by format; what is not named takes ``export_s``.
    export_times: dict[str, float] = field(default_factory=dict)
    #: What makes no progress until it is let go: "instances", "images", "snapshots", "exports", "stacks",
    #: "change-sets", "consoles".
    held: list[str] = field(default_factory=list)

    #: Bytes of the disk behind every AMI: a raw file that ExportImage converts. Empty: a small made-up disk.
    disk_file: str = ""
    #: A new instance or image isn't there yet for so many looks by its id (AWS: "Eventual consistency in the EC2 API").
    unseen_looks: int = 0
    #: Permissions ("ec2:RunInstances", "s3:ListBucket", "s3:*") that the caller has not.
    denied: list[str] = field(default_factory=list)
    #: Access keys whose session has ended, and those that AWS never issued.
    expired_keys: list[str] = field(default_factory=list)
    unknown_keys: list[str] = field(default_factory=list)
    #: Buckets of another account.
    foreign_buckets: list[str] = field(default_factory=list)
    #: Instance types (``*`` allowed) that are sold out.
    sold_out: list[str] = field(default_factory=list)
    #: The next n images end as failed; the next n exports fail with InternalError; the next n exports hang at 85 %.
    failing_images: int = 0
    failing_exports: int = 0
    hanging_exports: int = 0
    #: The phases in which the next builds of CodeBuild fail ("BUILD"); "" for one that doesn't.
    failing_builds: list[str] = field(default_factory=list)
    #: Whether the account has credentials for GitHub, so that CodeBuild can make webhooks.
    github_connected: bool = True
    #: Concurrent export tasks of the account.
    export_limit: int = 5
    #: EBS direct APIs: calls at once, and a second, that are not throttled (0: all); what Retry-After says then.
    ebs_at_once: int = 0
    ebs_per_second: float = 0.0
    ebs_retry_after_s: float = 0.0
    #: Every nth call takes so long.
    ebs_slow_every: int = 0
    ebs_slow_s: float = 0.0
    #: All block and page tokens expire after so many blocks were read (0: never); blocks a page at most (0: as AWS).
    ebs_token_reads: int = 0
    ebs_page: int = 0
    #: A new snapshot is not found by so many puts; the next n blocks that are read are damaged on their way.
    ebs_unseen_puts: int = 0
    ebs_damaged_blocks: int = 0
    #: AWS: 5 GB. A test that copies more than that by parts lowers it.
    copy_limit_bytes: int = 5 * 1024**3
    #: AWS's default for new accounts: AMIs can't be made public.
    block_public_images: bool = False
    #: Types of CloudFormation resources that fail to be made or removed, with the reason.
    failing_resources: dict[str, str] = field(default_factory=dict)
    undeletable_resources: dict[str, str] = field(default_factory=dict)
    #: Types that fail to be brought back to what they were after an update that failed.
    failing_rollbacks: dict[str, str] = field(default_factory=dict)
    #: Values of quotas by code.
    quotas: dict[str, float] = field(
        default_factory=lambda: {"L-1216C47A": 32.0, "L-D18FCD1D": 50.0, "L-309BACF6": 100000.0}
    )
    #: US dollars an hour by instance type, and a GB-month by kind of storage.
    prices: dict[str, float] = field(
        default_factory=lambda: {
            "t3.medium": 0.0416,
            "t3.large": 0.0832,
            "t3.xlarge": 0.1664,
            "m5.large": 0.096,
            "gp3": 0.08,
            "gp2": 0.1,
            "snapshot": 0.05,
            "s3": 0.023,
        }
    )


@dataclass(frozen=True, kw_only=True)
class Image:
    """An AMI to be planted. owner: an account id; empty for the caller's own. size_gib: of the root volume."""

    name: str
    owner: str = ""
    owner_alias: str = ""
    size_gib: int = 8
    architecture: str = "x86_64"
    boot_mode: str = ""
    product_code: str = ""
    encrypted: bool = False
    public: bool = True
    created: str = "2026-01-01T00:00:00.000Z"
    root_device_name: str = "/dev/sda1"
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """An instance that has just come up, as ``on_instance`` gets it. public_key: as in authorized_keys, or empty."""

    instance_id: str
    region: str
    image_id: str
    key_name: str
    public_key: str
    user_data: str
    tags: dict[str, str]


@dataclass(frozen=True)
class Imaged:
    """An image that is being made of an instance, as ``on_image`` gets it."""

    image_id: str
    instance_id: str
    region: str


@dataclass(frozen=True)
class Machine:
    """What ``on_instance`` answers: where the machine is that stands behind the instance.

    host_keys: its public ssh host keys, one a line of ``ssh-keyscan``'s without the address ("ssh-ed25519 AAAA…").
    They are printed on the console as cloud-init does. console: more text for it.
    """

    address: str
    host_keys: tuple[str, ...] = ()
    console: str = ""


def to_json(value: Any) -> dict[str, Any]:
    """A rule as JSON. The hook of a fault stays with the test: only whether there is one is told."""
    if isinstance(value, Fault):
        return {each.name: getattr(value, each.name) for each in fields(value) if each.name != "hook"}
    return asdict(value)


def call_of(data: Mapping[str, Any]) -> Call:
    return Call(**data)
