"""The repository keeps its own promises: documentation is true, drawings are fresh, nothing is pinned to a place."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from exasol_like_dss.cli.group import dss

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "doc").glob("*.md")])
LONGEST_MODULE = 450


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository, new ones too, ignored ones not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def options_of(command: click.Command) -> set[str]:
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {name for name in names if name.startswith("--")} | {"--help"}


def in_shell(command: str) -> str:
    script = f"source scripts/lib.sh; {command}"
    return subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False).stdout


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- documentation ---


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_documentation_exist(document: Path) -> None:
    named = set(re.findall(r"\bdss ([a-z]+(?:-[a-z0-9]+)+)", document.read_text()))
    assert named <= set(dss.commands)


def test_every_command_is_in_the_readme_and_in_the_developer_guide() -> None:
    for document in ("README.md", "doc/developer_guide.md"):
        missing = [name for name in dss.commands if f"`dss {name}" not in read(document)]
        assert not missing, f"{document}: {missing}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_options_beside_a_command_belong_to_it(document: Path) -> None:
    for line in document.read_text().splitlines():
        # Up to the end of the code, or of the sentence.
        for name, rest in re.findall(r"\bdss ([a-z]+(?:-[a-z0-9]+)+)([^`|#]*)", line):
            named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", rest))
            assert named <= options_of(dss.commands[name]), line


@pytest.mark.parametrize(
    ("document", "heading", "command"),
    [
        ("doc/user_guide.md", "## Build an image", "create-vm"),
        ("doc/user_guide.md", "## Convert an image", "convert-image"),
        ("doc/docker_guide.md", "## Build and publish an image", "create-docker-image"),
    ],
)
def test_the_table_of_build_options_is_complete(document: str, heading: str, command: str) -> None:
    section = read(document).partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `(--[a-z0-9-]+)", section, re.MULTILINE))
    assert listed == options_of(dss.commands[command]) - {"--builder", "--log-level", "--help"}


@pytest.mark.parametrize(
    "name",
    ["setup-ec2", "setup-ec2-and-install-dependencies", "export-vm", "import-ami", "show-aws-assets",
     "cleanup-aws-assets", "make-ami-public", "refresh-prices"],
)  # fmt: skip
def test_the_tables_of_the_options_for_assets_are_complete(name: str) -> None:
    section = read("doc/developer_guide.md").partition(f"\n### {name}\n")[2].partition("\n##")[0]
    first_cells = re.findall(r"^\| (`--.*?) \|", section, re.MULTILINE)
    listed = {option for cell in first_cells for option in re.findall(r"`(--[a-z0-9-]+)`", cell)}
    assert listed == options_of(dss.commands[name]) - {"--log-level", "--help"}


@pytest.mark.parametrize(
    ("heading", "command"),
    [
        ("### update-release", "update-release"),
        ("### publish-release", "publish-release"),
        ("## Verify a download", "verify-download"),
        ("## Scripted downloads", "download-url"),
    ],
)
def test_the_tables_of_the_release_guide_are_complete(heading: str, command: str) -> None:
    section = re.split(r"\n##", read("doc/release_guide.md").partition(f"\n{heading}\n")[2])[0]
    first_cells = re.findall(r"^\| (`--.*?) \|", section, re.MULTILINE)
    listed = {option for cell in first_cells for option in re.findall(r"`(--[a-z0-9-]+)`", cell)}
    assert listed == options_of(dss.commands[command]) - {"--log-level", "--help"}


@pytest.mark.parametrize(
    ("heading", "commands"),
    [
        ("### Set them up", ("setup-ci-codebuild", "setup-release-codebuild")),
        ("### Start the release job", ("start-release-build", "start-test-release", "start-test-release-build")),
    ],
)
def test_the_tables_of_the_jobs_are_complete(heading: str, commands: tuple[str, ...]) -> None:
    section = re.split(r"\n##", read("doc/release_guide.md").partition(f"\n{heading}\n")[2])[0]
    first_cells = re.findall(r"^\| (`--.*?) \|", section, re.MULTILINE)
    listed = {option for cell in first_cells for option in re.findall(r"`(--[a-z0-9-]+)`", cell)}
    known = {option for command in commands for option in options_of(dss.commands[command])}
    assert listed == known - {"--log-level", "--help"}


@pytest.mark.parametrize("name", ["setup-vm-bucket-waf", "setup-vm-bucket"])
def test_the_tables_of_the_options_for_permanent_stacks_are_complete(name: str) -> None:
    text = read("doc/deployment.md")
    sections = [text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0] for heading in ("Deploy", name)]
    first_cells = re.findall(r"^\| (`--.*?) \|", "\n".join(sections), re.MULTILINE)
    listed = {option for cell in first_cells for option in re.findall(r"`(--[a-z0-9-]+)`", cell)}
    assert listed == options_of(dss.commands[name]) - {"--log-level", "--help"}


def test_the_defaults_in_the_documentation_are_those_of_the_command() -> None:
    listed = read("doc/user_guide.md")
    for name, value in (("disk_size", "100G"), ("base", "debian-13"), ("edition", "sandbox")):
        (option,) = (option for option in dss.commands["create-vm"].params if option.name == name)
        assert option.default == value
        assert f"`{value}`" in listed


def test_the_roles_in_the_user_guide_are_those_of_the_edition() -> None:
    (play,) = yaml.safe_load(read("ansible/sandbox.yml"))
    roles = play["vars"]["sandbox_roles"]
    sentence = re.search(r"The roles are (.*?)\. Their", read("doc/user_guide.md"), re.DOTALL)
    assert sentence
    assert re.findall(r"`(\w+)`", sentence[1]) == roles


def test_the_packages_in_the_user_guide_are_those_that_the_scripts_install() -> None:
    found = re.search(r"^apt-get install (.*?)\n```", read("doc/user_guide.md"), re.DOTALL | re.MULTILINE)
    assert found
    assert found[1].replace("\\", " ").split() == in_shell("packages_for build").split()


def test_paths_in_the_documentation_exist() -> None:
    """Those below the folders of the repository; capital letters and asterisks stand for something."""
    ours = [path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".venv")]
    folders = "|".join(map(re.escape, ours))
    for document in DOCUMENTS:
        for name in re.findall(rf"(?<![\w./-])(?:{folders})/[^\s`\"':;,|()#]*\w/?", document.read_text()):
            assert re.search(r"[A-Z*]", name) or (ROOT / name).exists(), f"{document.name}: {name}"


def anchors(document: Path) -> set[str]:
    """What GitHub makes of the headings: lower case, no punctuation, dashes for spaces."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_internal_links_resolve(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_newest_version_of_the_changes_is_that_of_the_package() -> None:
    version = re.search(r'^version = "(.+)"', read("pyproject.toml"), re.MULTILINE)
    newest = re.search(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)
    assert version
    assert newest
    assert newest[1] == version[1]


# --- drawings, workflows, scripts, modules ---


@pytest.mark.parametrize("source", sorted((ROOT / "img").glob("*.dot")), ids=lambda path: path.name)
def test_a_drawing_belongs_to_its_source(source: Path) -> None:
    expected = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    assert expected in source.with_suffix(".svg").read_text(), "run scripts/draw-images"


def test_actions_are_pinned_by_commit() -> None:
    workflows = tracked(".github/workflows")
    assert workflows
    for workflow in workflows:
        for line in workflow.read_text().splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line), (
                    f"{workflow.name}: {line}"
                )


def test_workflows_are_limited() -> None:
    for workflow in tracked(".github/workflows"):
        content = yaml.safe_load(workflow.read_text())
        assert content["permissions"] == {"contents": "read"}
        assert "concurrency" in content
        assert all("timeout-minutes" in job for job in content["jobs"].values())


def test_scripts_stop_at_the_first_error_and_can_be_run() -> None:
    for script in tracked("scripts", ".ci", "githooks"):
        if script.read_bytes().startswith(b"#!"):
            assert script.stat().st_mode & 0o111, script
            text = script.read_text()
            assert "set -euo pipefail" in text or text.splitlines()[-1].startswith("exec "), script


def test_no_mirror_host_names() -> None:
    assert in_shell("mirror_host_names") == ""


def test_modules_are_short() -> None:
    counts = {path: len(path.read_text().splitlines()) for path in tracked("*.py")}
    assert not {str(path): count for path, count in counts.items() if count > LONGEST_MODULE}
