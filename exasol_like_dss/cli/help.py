"""``dss --help``, without loading a single command: it is asked for often, and waited for.

The summaries are the first sentences of the commands' own help; a test compares them. Nothing is imported here that
Python has not loaded anyway.
"""

from __future__ import annotations

import os

#: Heading, and under it the commands with what they do.
COMMANDS: dict[str, dict[str, str]] = {
    "Release commands": {
        "convert-image": "Writes the disk image IMAGE in other formats, all of them in one read.",
        "create-docker-image": "Builds the sandbox as a Docker image, starts it to check it, and pushes it if asked "
        "to.",
        "create-vm": "Builds a sandbox image on this machine, boots it to check it, and leaves files to import.",
        "download-url": "Prints links to the files of a build that work without a browser for a limited time.",
        "publish-release": "Makes a release public: AMIs, the Docker tag latest, then the release itself.",
        "start-release-build": "Starts the release job in AWS CodeBuild for a draft of a release on GitHub, and "
        "follows it.",
        "update-release": "Writes notes and files of a GitHub release that is there; refuses when anything is missing "
        "or not verified.",
        "verify-download": "Checks the files in DIRECTORY against their SHA256SUMS, and who signed those "
        "(SHA256SUMS.gpg).",
    },
    "Developer commands": {
        "cache": "Lists, measures or removes what earlier builds left for later ones.",
        "cleanup-aws-assets": "Removes what dss made in AWS, after showing it and asking.",
        "compare-images": "Names what differs between two images: partitions, boot loader, each file.",
        "export-vm": "Exports an AMI, or a machine in EC2, as images in S3.",
        "image-size": "Shows what takes the room in IMAGE, and what of it could go.",
        "import-ami": "Makes an AMI of an image on this machine, without an instance.",
        "install-dependencies": "Installs what a sandbox has on a running host, over ssh.",
        "make-ami-public": "Lets everybody start instances from the AMI of a build.",
        "refresh-prices": "Gets today's prices from AWS for the estimates of costs.",
        "reset-password": "Sets the default password of a running host, to be changed at the next login.",
        "run-vm": "Starts IMAGE for use, and says how to log in.",
        "setup-ec2": "Starts a machine in EC2, says how to log in, and removes it at Ctrl-C.",
        "setup-ec2-and-install-dependencies": "Starts a machine in EC2, installs what a sandbox has, and removes it at "
        "Ctrl-C.",
        "show-aws-assets": "Lists what dss made in AWS, what it costs a month, and what seems to be left over.",
        "start-test-release": "Makes a draft on GitHub, and starts the release job for it.",
        "start-test-release-build": "The same as start-test-release.",
        "verify-docker-image": "Starts containers of the image REFERENCE, and checks them as a user would, with a real "
        "browser.",
        "verify-vm": "Boots IMAGE twice on throw-away overlays, and checks it as a user would.",
    },
    "Deployment commands": {
        "setup-ci-codebuild": "Deploys the job that tests against a real account.",
        "setup-release-codebuild": "Deploys the release job, which start-release-build starts.",
        "setup-vm-bucket": "Deploys the bucket of the images, its distribution, and the role for exports.",
        "setup-vm-bucket-waf": "Deploys the web ACL for the downloads: a rate limit, and a CAPTCHA.",
    },
}
_INTRODUCTION = (
    "Builds data science sandboxes: virtual machine images with Jupyter, Docker and Poetry.",
    "The usual way:  dss create-vm   (builds and verifies)   then   dss run-vm IMAGE",
)
_OPTIONS = {"--version": "Show the version and exit.", "-h, --help": "Show this message and exit."}
_LEAST_COLUMNS, _MOST_COLUMNS, _UNKNOWN_COLUMNS = 50, 108, 78
#: Names longer than this get a line of their own.
_NAME_COLUMNS = 26


def help_text(columns: int | None = None) -> str:
    """The text. columns: of the terminal; asked for when not given."""
    width = terminal_columns() if columns is None else columns
    lines = ["Usage: dss [OPTIONS] COMMAND [ARGS]..."]
    for paragraph in _INTRODUCTION:
        lines += ["", *_wrapped(paragraph, width - 2, indent=2)]
    for heading, rows in {"Options": _OPTIONS, **COMMANDS}.items():
        lines += ["", f"{heading}:"]
        column = 4 + min(_NAME_COLUMNS, max(map(len, rows)))
        for name, summary in rows.items():
            text = _wrapped(summary, width - column, indent=column)
            if len(name) > column - 4:
                lines += [f"  {name}", *text]
            else:
                lines += [f"  {name:{column - 2}}{text[0][column:]}", *text[1:]]
    return "\n".join(lines) + "\n"


def terminal_columns() -> int:
    """How many columns the text may have."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return max(_LEAST_COLUMNS, min(_MOST_COLUMNS, int(columns) - 2))
    try:
        return max(_LEAST_COLUMNS, min(_MOST_COLUMNS, os.get_terminal_size(1).columns - 2))
    except OSError:  # not a terminal
        return _UNKNOWN_COLUMNS


def _wrapped(text: str, width: int, *, indent: int) -> list[str]:
    if len(text) <= width:
        return [" " * indent + text]
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return [" " * indent + line for line in lines]
