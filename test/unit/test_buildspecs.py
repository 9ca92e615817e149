"""The jobs in CodeBuild, run by bash as CodeBuild runs them, with a ``dss`` that only notes how it was called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from exasol_like_dss.cli.group import dss

ROOT = Path(__file__).parents[2]
SPECS = ("buildspec.yml", "buildspec_release.yml")
_DSS = """#!{python}
import json, os, sys
with open("calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "create-vm":
    artifacts = [{{"format": "OVA", "name": "x.ova"}}, {{"format": "VMDK", "name": "x.vmdk"}}]
    print(json.dumps({{"uri": "s3://bucket/prefix/", "artifacts": artifacts}}))
sys.exit(1 if sys.argv[1] == os.environ.get("FAILING") else 0)
"""
_RELEASE = {
    "ASSET_ID": "1.2.3",
    "RELEASE_ID": "17",
    "RELEASE_KIND": "release",
    "DSS_DEFAULT_PASSWORD": "a b$c",
    "GITHUB_TOKEN": "t",
    "GITHUB_REPOSITORY": "octo/sandbox",
    "DOCKER_REPOSITORY": "octo/sandbox",
    "DOCKER_REGISTRY_USER": "octo",
    "DSS_SIGN_KEY": "-----BEGIN\nPGP",
}


def phases(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())["phases"]
    return found


@dataclass(frozen=True)
class Job:
    """code: of the first command that failed. calls: arguments of dss."""

    code: int
    calls: list[list[str]]
    out: str


def run(name: str, folder: Path, **environment: str) -> Job:
    """As version 0.2 of the specification: all in one shell; a phase ends with the first command that fails."""
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / "scripts").mkdir()
    (folder / "calls").touch()
    _program(folder / ".venv/bin/dss", _DSS.format(python=sys.executable))
    _program(
        folder / ".venv/bin/python", f'#!/bin/sh\n[ "$1" = -m ] || exec {sys.executable} "$@"\necho "$@" > pytest\n'
    )
    _program(folder / "scripts/setup", '#!/bin/sh\necho "$@" > setup\n')
    found = phases(name)
    commands = [command for phase in ("install", "pre_build", "build") for command in found[phase]["commands"]]
    loop = 'for command in "$@"; do eval "$command" || exit 7; done'
    ended = subprocess.run(
        ["bash", "-c", loop, "bash", *commands],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    calls = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    return Job(ended.returncode, calls, ended.stdout + ended.stderr)


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def parsed(arguments: list[str]) -> dict[str, Any]:
    """By the real command. Fails as it would."""
    command = dss.commands[arguments[0]]
    try:
        with command.make_context(arguments[0], list(arguments[1:])) as context:
            return dict(context.params)
    except click.ClickException as error:
        raise AssertionError(f"{arguments}: {error.message}") from error


def names(job: Job) -> list[str]:
    return [call[0] for call in job.calls]


@pytest.mark.parametrize("name", SPECS)
def test_a_phase_that_fails_ends_the_job(name: str) -> None:
    """After a failed build phase CodeBuild goes on with post_build: nothing may be published there."""
    found = phases(name)
    assert list(found) == ["install", "pre_build", "build", "post_build"]
    assert all(found[phase]["on-failure"] == "ABORT" for phase in ("install", "pre_build", "build"))
    after = " ".join(found["post_build"]["commands"])
    assert "publish" not in after
    assert "make-ami-public" not in after


@pytest.mark.parametrize("name", SPECS)
def test_the_shell_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    for phase, found in phases(name).items():
        script.write_text("#!/bin/bash\n" + "\n".join(found["commands"]) + "\n")
        # SC2154: variables of the project. SC2034: used in another phase. SC2086: options that may be none.
        checked = subprocess.run(
            [Path(sys.executable).with_name("shellcheck"), "--exclude=SC2154,SC2034,SC2086", script],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, f"{phase}:\n{checked.stdout}"


def test_a_release(tmp_path: Path) -> None:
    job = run("buildspec_release.yml", tmp_path, **_RELEASE)
    assert job.code == 0, job.out
    assert names(job) == ["create-vm", "verify-vm", "create-docker-image", "update-release", "publish-release"]
    vm, image, docker, update, publish = map(parsed, job.calls)
    assert (vm["builder"], vm["asset_id"], vm["expires"], vm["make_ami_public"]) == ("ec2", "1.2.3", "520w", False)
    assert image["image"] == "s3://bucket/prefix/x.vmdk"
    assert (docker["publish"], docker["latest"], docker["version"]) == (True, False, "1.2.3")
    assert update["release_id"] == publish["release_id"] == 17
    assert update["repository"] == publish["repository"] == "octo/sandbox"
    assert update["docker_directory"] == docker["output_directory"]
    assert update["sign_key"] == "env:DSS_SIGN_KEY"
    assert publish["require_signature"]
    assert not publish["no_docker"]
    assert publish["registry_user"] == "octo"
    assert "a b$c" not in job.out + json.dumps(job.calls)


def test_a_release_without_docker_and_signature(tmp_path: Path) -> None:
    job = run("buildspec_release.yml", tmp_path, **{**_RELEASE, "DOCKER_REPOSITORY": "", "DSS_SIGN_KEY": ""})
    assert job.code == 0, job.out
    assert names(job) == ["create-vm", "verify-vm", "update-release", "publish-release"]
    update, publish = map(parsed, job.calls[2:])
    assert update["docker_directory"] is None
    assert update["sign_key"] is None
    assert publish["no_docker"]
    assert not publish["require_signature"]


def test_a_staged_release_is_all_but_public(tmp_path: Path) -> None:
    job = run("buildspec_release.yml", tmp_path, **{**_RELEASE, "RELEASE_KIND": "staged"})
    assert job.code == 0, job.out
    assert names(job) == ["create-vm", "verify-vm", "create-docker-image", "update-release"]


def test_a_test_pushes_nothing(tmp_path: Path) -> None:
    job = run("buildspec_release.yml", tmp_path, **{**_RELEASE, "RELEASE_KIND": "test"})
    assert job.code == 0, job.out
    assert names(job) == ["create-vm", "verify-vm", "create-docker-image", "update-release"]
    vm, _, docker, update = map(parsed, job.calls)
    assert vm["expires"] == "7d"
    assert not docker["publish"]
    assert update["docker_directory"] is None


@pytest.mark.parametrize("failing", ["create-vm", "verify-vm", "create-docker-image", "update-release"])
def test_nothing_follows_a_step_that_failed(tmp_path: Path, failing: str) -> None:
    job = run("buildspec_release.yml", tmp_path, FAILING=failing, **_RELEASE)
    assert job.code == 7
    assert names(job)[-1] == failing


@pytest.mark.parametrize(
    ("name", "value"),
    [("ASSET_ID", ""), ("RELEASE_ID", ""), ("GITHUB_TOKEN", ""), ("RELEASE_KIND", ""), ("RELEASE_KIND", "x")],
)
def test_a_job_that_lacks_something_makes_nothing(tmp_path: Path, name: str, value: str) -> None:
    job = run("buildspec_release.yml", tmp_path, **{**_RELEASE, name: value})
    assert job.code == 7
    assert job.calls == []


def test_the_job_of_the_tests(tmp_path: Path) -> None:
    variables = yaml.safe_load((ROOT / "buildspec.yml").read_text())["env"]["variables"]
    job = run("buildspec.yml", tmp_path, AWS_REGION="eu-central-1", **variables)
    assert job.code == 0, job.out
    assert (tmp_path / "setup").read_text() == "--test\n"
    assert (tmp_path / "pytest").read_text() == "-m pytest -v test/aws\n"
    assert (tmp_path / ".aws/config").read_text() == "[default]\nregion = eu-central-1\n"
    assert variables == {"DSS_RUN_AWS_TEST": "true", "AWS_PROFILE": "default"}


def test_no_secret_is_in_the_specifications() -> None:
    for name in SPECS:
        text = (ROOT / name).read_text()
        assert "echo $" not in text
        assert "parameter-store" not in yaml.safe_load(text).get("env", {})
