"""The stacks of the jobs in CodeBuild: ``cloudformation/ci-codebuild.yaml`` and ``release-codebuild.yaml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exasol_like_dss.lib.assets.names import BUCKET_STACK, CI_STACK, OUTPUT_BUCKET, OUTPUT_EXPORT_ROLE, RELEASE_STACK
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.references import parse_repository
from exasol_like_dss.lib.resources import tree
from exasol_like_dss.lib.stacks.permanent import PermanentStack

if TYPE_CHECKING:
    from exasol_like_dss.access.aws.cloudformation import CloudFormation
    from exasol_like_dss.access.aws.codebuild import CodeBuild
    from exasol_like_dss.access.aws.secrets import Secrets

SECRET = "dss/release"
_CONNECTION = re.compile(r"arn:[^:]+:codeconnections:[^:]+:\d{12}:connection/[\w-]+")
_SECRET = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")
_BRANCH = re.compile(r"[A-Za-z0-9._/-]+")
_IMAGE = re.compile(r"[\w./:@-]+")


@dataclass(frozen=True, kw_only=True)
class JobChoice:
    """What both jobs have. repository: ``OWNER/NAME``. connection: an ARN, or ``None`` for the account's credentials.

    build_image: ``None`` for the template's. Raises ``InputError`` for what AWS would refuse.
    """

    repository: str
    connection: str | None = None
    build_image: str | None = None

    def __post_init__(self) -> None:
        if self.connection and not _CONNECTION.fullmatch(self.connection):
            raise InputError(
                f"{self.connection!r} is no connection.",
                hint="It looks like arn:aws:codeconnections:REGION:ACCOUNT:connection/ID; "
                "aws codeconnections list-connections shows those that there are.",
            )
        if self.build_image and not _IMAGE.fullmatch(self.build_image):
            raise InputError(f"{self.build_image!r} is no image.", hint="For example aws/codebuild/standard:8.0.")

    def parameters(self, place: BucketPlace) -> dict[str, str]:
        image = {"BuildImage": self.build_image} if self.build_image else {}
        return {
            "Repository": self.repository,
            "ConnectionArn": self.connection or "",
            "BucketName": place.bucket,
            "ExportRoleName": place.export_role,
            **image,
        }


@dataclass(frozen=True, kw_only=True)
class ReleaseChoice:
    """What the release job has besides. docker_repository: empty for a release without a Docker image.

    secret: the name of the one in Secrets Manager. Raises ``InputError`` for what can't be used.
    """

    secret: str = SECRET
    docker_repository: str = ""
    registry_user: str = ""
    signed: bool = False

    def __post_init__(self) -> None:
        if not _SECRET.fullmatch(self.secret):
            raise InputError(f"{self.secret!r} is no name of a secret.", hint="Letters, digits and / _ + = . @ -")
        if self.docker_repository:
            parse_repository(self.docker_repository)
        if self.registry_user and not self.docker_repository:
            raise InputError("--registry-user is for --docker-repository.", hint="Give both, or none.")
        if self.docker_repository and not self.registry_user:
            raise InputError("Who logs in to the registry is not known.", hint="Give --registry-user.")

    @property
    def keys(self) -> list[str]:
        """What the secret has to hold."""
        return [
            "GITHUB_TOKEN",
            "DSS_DEFAULT_PASSWORD",
            *(["DOCKER_REGISTRY_PASSWORD"] if self.docker_repository else []),
            *(["DSS_SIGN_KEY"] if self.signed else []),
        ]

    @property
    def parameters(self) -> dict[str, str]:
        return {
            "SecretName": self.secret,
            "DockerRepository": self.docker_repository,
            "DockerRegistryUser": self.registry_user,
            "Signed": "yes" if self.signed else "no",
        }


@dataclass(frozen=True)
class BucketPlace:
    """Outputs of the bucket's stack. export_role: its name."""

    bucket: str
    export_role: str


def find_bucket_place(access: CloudFormation) -> BucketPlace:
    """Raises ``InputError`` with the command that makes the stack."""
    stack = access.stack(BUCKET_STACK)
    outputs = stack.outputs if stack else {}
    missing = [name for name in (OUTPUT_BUCKET, OUTPUT_EXPORT_ROLE) if not outputs.get(name)]
    if missing:
        what = f"is {stack.status}, and has no output {' and '.join(missing)}" if stack else "does not exist"
        raise InputError(
            f"The stack {BUCKET_STACK} {what} in {access.region}.",
            hint="Deploy it first: dss setup-vm-bucket. Or choose the --region that has it.",
        )
    return BucketPlace(outputs[OUTPUT_BUCKET], outputs[OUTPUT_EXPORT_ROLE])


def check_connected(access: CodeBuild, choice: JobChoice) -> None:
    """Without a connection CodeBuild can make no webhook. Raises ``InputError`` with how to get one."""
    if choice.connection or "GITHUB" in access.connected_servers():
        return
    raise InputError(
        f"CodeBuild is not connected to GitHub in {access.region}.",
        hint="Make a connection in the AWS console (Developer Tools, Settings, Connections), authorise it for "
        f"{choice.repository}, and give its ARN with --connection.",
    )


def check_secret(access: Secrets, choice: ReleaseChoice) -> None:
    """That it is there; it is not read. Raises ``InputError`` with the command that makes it."""
    if not access.exists(choice.secret):
        raise InputError(
            f"There is no secret {choice.secret} in {access.region}.",
            hint=f"Write a file with one JSON object that has the keys {', '.join(choice.keys)}, and store it: "
            f"aws secretsmanager create-secret --name {choice.secret} --secret-string file://FILE",
        )


def wanted_ci(choice: JobChoice, place: BucketPlace, *, main_branch: str) -> PermanentStack:
    """main_branch: is never tested there. Raises ``InputError``."""
    if not _BRANCH.fullmatch(main_branch):
        raise InputError(f"{main_branch!r} is no branch.", hint="For example main.")
    # CodeBuild compares it as a regular expression.
    escaped = main_branch.replace(".", r"\.")
    return _stack(CI_STACK, "ci-codebuild.yaml", {**choice.parameters(place), "MainBranch": escaped})


def wanted_release(choice: JobChoice, place: BucketPlace, release: ReleaseChoice) -> PermanentStack:
    return _stack(RELEASE_STACK, "release-codebuild.yaml", {**choice.parameters(place), **release.parameters})


def _stack(name: str, template: str, parameters: dict[str, str]) -> PermanentStack:
    text = (tree("cloudformation") / template).read_text(encoding="utf-8")
    return PermanentStack(name=name, template=text, parameters=parameters, capabilities=("CAPABILITY_IAM",))
