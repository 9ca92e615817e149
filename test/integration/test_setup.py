"""The scripts, the git hooks, and the wheel: with the real bash, git, pip and build, in temporary folders."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


def run(*command: str | Path, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DSS_"))}
    kept |= {name: value for name, value in os.environ.items() if name == "GIT_SSL_CAINFO"}
    fixed = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=kept | fixed | env, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done


# --- the hooks ---


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with our hooks installed and one commit on main."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "githooks", clone / "githooks")
    run("git", "init", "-q", "-b", "main", cwd=clone)
    run("git", "config", "user.name", "Test", cwd=clone)
    run("git", "config", "user.email", "test@example.org", cwd=clone)
    run("git", "add", ".", cwd=clone)
    run("git", "commit", "-q", "-m", "first", cwd=clone)
    run("githooks/install.sh", cwd=clone)
    return clone


def commit(clone: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return run("git", "commit", "-q", "--allow-empty", "-m", "change", cwd=clone, check=False, **env)


@pytest.mark.parametrize("branch", ["main", "master", "release/1.0"])
def test_no_commit_on_a_protected_branch(clone: Path, branch: str) -> None:
    run("git", "switch", "-q", "-C", branch, cwd=clone)
    done = commit(clone)
    assert done.returncode != 0
    assert f"the branch {branch} is protected" in done.stderr
    assert "DSS_ALLOW_PROTECTED_BRANCH=1" in done.stderr
    assert commit(clone, DSS_ALLOW_PROTECTED_BRANCH="1").returncode == 0
    assert commit(clone, DSS_ALLOW_PROTECTED_BRANCH="0").returncode != 0


@pytest.mark.parametrize("branch", ["feature/x", "mainly", "my-main", "releases"])
def test_other_branches_are_free(clone: Path, branch: str) -> None:
    run("git", "switch", "-q", "-c", branch, cwd=clone)
    assert commit(clone).returncode == 0


def test_a_detached_head_is_free(clone: Path) -> None:
    run("git", "switch", "-q", "--detach", cwd=clone)
    assert commit(clone).returncode == 0


def test_the_protected_branches_are_configurable(clone: Path) -> None:
    run("git", "config", "dss.protectedBranches", "trunk stable-*", cwd=clone)
    assert commit(clone).returncode == 0
    run("git", "switch", "-q", "-c", "stable-2", cwd=clone)
    assert commit(clone).returncode != 0


def test_no_merge_commit_on_a_protected_branch(clone: Path) -> None:
    run("git", "switch", "-q", "-c", "feature", cwd=clone)
    assert commit(clone).returncode == 0
    run("git", "switch", "-q", "main", cwd=clone)
    done = run("git", "merge", "--no-ff", "-m", "merged", "feature", cwd=clone, check=False)
    assert done.returncode != 0
    assert "protected" in done.stderr


def test_a_commit_needs_a_passing_lint(clone: Path) -> None:
    run("git", "switch", "-q", "-c", "feature", cwd=clone)
    lint = clone / "scripts/lint"
    lint.parent.mkdir()
    lint.write_text("#!/bin/sh\npwd\necho \"git=${GIT_DIR:-unset}${GIT_INDEX_FILE:-}\"\necho 'bad style' >&2\nexit 1\n")
    lint.chmod(0o755)
    done = commit(clone)
    assert done.returncode != 0
    assert "bad style" in done.stderr
    assert "git=unset" in done.stdout + done.stderr
    lint.write_text("#!/bin/sh\nexit 0\n")
    assert commit(clone).returncode == 0


def test_the_hooks_work_in_worktrees(clone: Path, tmp_path: Path) -> None:
    run("git", "worktree", "add", "-q", "-b", "feature", tmp_path / "tree", cwd=clone)
    assert commit(tmp_path / "tree").returncode == 0
    run("git", "switch", "-q", "-C", "release/2", cwd=tmp_path / "tree")
    assert commit(tmp_path / "tree").returncode != 0


def test_installing_can_be_repeated_and_undone(clone: Path) -> None:
    run("githooks/install.sh", cwd=clone)
    run("bash", "install.sh", cwd=clone / "githooks")
    assert commit(clone).returncode != 0
    run("githooks/install.sh", "--uninstall", cwd=clone)
    assert commit(clone).returncode == 0


def test_installing_does_not_silence_other_hooks(clone: Path) -> None:
    run("githooks/install.sh", "--uninstall", cwd=clone)
    other = clone / ".git/hooks/pre-commit"
    other.parent.mkdir(exist_ok=True)
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    done = run("githooks/install.sh", cwd=clone, check=False)
    assert done.returncode == 1
    assert "pre-commit" in done.stderr
    run("githooks/install.sh", "--force", cwd=clone)
    assert commit(clone).returncode != 0


def test_no_push_to_a_protected_branch(clone: Path, tmp_path: Path) -> None:
    run("git", "init", "-q", "--bare", tmp_path / "remote.git", cwd=tmp_path)
    run("git", "remote", "add", "origin", tmp_path / "remote.git", cwd=clone)

    def push(*refs: str, **env: str) -> int:
        return run("git", "push", "-q", "origin", *refs, cwd=clone, check=False, **env).returncode

    run("git", "branch", "feature", cwd=clone)
    assert push("main") != 0
    assert push("feature:main") != 0
    assert push("feature", "main") != 0
    assert push("feature") == 0
    assert push("main:refs/tags/v1") == 0
    assert push("main", DSS_ALLOW_PROTECTED_BRANCH="1") == 0
    assert push(":main") != 0
    branches = run("git", "branch", "--format=%(refname:short)", cwd=tmp_path / "remote.git").stdout.split()
    assert branches == ["feature", "main"]


# --- scripts/lib.sh ---


@pytest.fixture
def fakes(tmp_path: Path) -> Path:
    """A folder for programs that come first on the path. Its sudo runs the command as whoever the tests run."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    fake(folder, "sudo", 'while [[ $1 != -- ]]; do shift; done; shift; exec "$@"')
    return folder


def fake(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\necho \"{name} $*\" >>'{folder}/calls'\n{text}\n")
    (folder / name).chmod(0o755)


def calls(folder: Path) -> list[str]:
    log = folder / "calls"
    return log.read_text().splitlines() if log.exists() else []


def lib(
    command: str,
    *,
    cwd: Path,
    path: Path | None = None,
    check: bool = True,
    source: Path = ROOT / "scripts/lib.sh",
    env: Mapping[str, str] | None = None,
) -> str:
    """What a command prints in a shell that has the functions. path: a folder that comes first on PATH."""
    first = {"PATH": f"{path}:{os.environ['PATH']}"} if path else {}
    script = f"set -euo pipefail; source {shlex.quote(str(source))}; {command}"
    done = run("bash", "-c", script, cwd=cwd, check=check, **first, **(env or {}))
    return done.stdout if check else done.stdout + done.stderr


def test_a_python_that_does_not_run_or_fit_is_passed_over(tmp_path: Path, fakes: Path) -> None:
    fake(fakes, "python3.13", "echo 'pyenv: command not found' >&2; exit 127")
    fake(fakes, "python3.12", "exit 1")
    fake(fakes, "python3.11", f'exec {shlex.quote(sys.executable)} "$@"')
    assert lib("find_python", cwd=tmp_path, path=fakes).strip() == sys.executable


def test_installed_packages_are_told_from_missing_ones(tmp_path: Path) -> None:
    assert lib("missing_packages bash no-such-package coreutils", cwd=tmp_path) == "no-such-package\n"


def test_nothing_is_called_when_nothing_is_missing(tmp_path: Path, fakes: Path) -> None:
    fake(fakes, "dpkg-query", "echo -n installed")
    fake(fakes, "apt-get", "exit 1")
    lib("ensure_packages a b", cwd=tmp_path, path=fakes)
    assert not [call for call in calls(fakes) if call.startswith("apt-get")]


def test_only_missing_packages_are_installed_after_an_update(tmp_path: Path, fakes: Path) -> None:
    fake(fakes, "dpkg-query", "[[ ${!#} == b || ${!#} == c ]] || echo -n installed")
    fake(fakes, "apt-get", "")
    said = lib("ensure_packages a b c d 2>&1", cwd=tmp_path, path=fakes)
    assert "Installing Debian packages: b c\n" in said
    update, install = [call for call in calls(fakes) if call.startswith("apt-get")]
    assert update.endswith(" update")
    assert install.endswith(" install --no-install-recommends b c")
    assert "DPkg::Lock::Timeout=" in install


def test_a_failing_apt_shows_what_it_said(tmp_path: Path, fakes: Path) -> None:
    fake(fakes, "dpkg-query", "exit 1")
    fake(fakes, "apt-get", "echo 'E: no route'; exit 100")
    said = lib("ensure_packages a", cwd=tmp_path, path=fakes, check=False)
    assert "E: no route" in said
    assert "Error: apt-get update failed." in said


def test_option_values(tmp_path: Path) -> None:
    for arguments in ("--asset-id 1 --asset-id 2", "--asset-id=2", "--force --asset-id 2 --other 3"):
        assert lib(f"option_value --asset-id {arguments}", cwd=tmp_path) == "2"
    assert lib("option_value --asset-id --other 2 || echo none", cwd=tmp_path) == "none\n"


def test_the_ca_bundle_is_a_file_of_the_environment(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    none = {"SSL_CERT_FILE": "", "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
    assert lib("ca_bundle", cwd=tmp_path, env=none) == ""
    assert lib("ca_bundle", cwd=tmp_path, env=none | {"CURL_CA_BUNDLE": str(bundle)}) == f"{bundle}\n"
    assert lib("ca_bundle", cwd=tmp_path, env=none | {"SSL_CERT_FILE": "/missing"}) == ""


def test_whether_a_git_repository_answers(clone: Path, tmp_path: Path) -> None:
    assert lib(f"can_reach_git {shlex.quote(str(clone))} && echo yes", cwd=tmp_path) == "yes\n"
    for url in (str(tmp_path / "none"), "http://127.0.0.1:1/none", "--upload-pack=touch"):
        assert lib(f"can_reach_git {shlex.quote(url)} 5 || echo no", cwd=tmp_path) == "no\n"


def test_mirror_host_names_are_found(clone: Path, tmp_path: Path) -> None:
    scripts = tmp_path / "clone/scripts"
    scripts.mkdir()
    shutil.copy(ROOT / "scripts/lib.sh", scripts)
    here = scripts / "lib.sh"
    assert lib("mirror_host_names || echo none", cwd=tmp_path, source=here) == "none\n"
    bad = [".".join(parts) for parts in (("ftp", "debian", "org"), ("archive", "ubuntu", "com"), ("pypi", "org"))]
    fine = [".".join(parts) for parts in (("wiki", "debian", "org"), ("manpages", "ubuntu", "com"))]
    (clone / "notes.txt").write_text("\n".join(f"see https://{host}/x" for host in [*bad, *fine]))
    found = lib("mirror_host_names", cwd=tmp_path, source=here).splitlines()
    assert [line.split(":")[1] for line in found] == ["1", "2", "3"]


def test_the_environment_is_made_once_and_again_when_its_dependencies_change(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/lib.sh", project / "scripts")
    (project / "tiny.py").write_text("")
    (project / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n"
        "[project]\nname = 'tiny'\nversion = '1'\n[project.optional-dependencies]\nlint = []\n"
        "[tool.hatch.build.targets.wheel]\ninclude = ['tiny.py']\n"
    )
    here = project / "scripts/lib.sh"
    assert "Making .venv" in lib("ensure_venv 2>&1", cwd=tmp_path, source=here)
    assert lib("ensure_venv 2>&1", cwd=tmp_path, source=here) == ""
    assert "with lint" in lib("ensure_venv lint 2>&1", cwd=tmp_path, source=here)
    assert lib("ensure_venv 2>&1", cwd=tmp_path, source=here) == ""
    (project / "pyproject.toml").write_text((project / "pyproject.toml").read_text().replace("'1'", "'2'"))
    said = lib("ensure_venv 2>&1", cwd=tmp_path, source=here)
    assert "Installing Python packages" in said
    assert "Making" not in said
    shown = run(project / ".venv/bin/python", "-m", "pip", "show", "tiny", cwd=tmp_path).stdout
    assert "Version: 2" in shown


# --- scripts/quickstart, with a dss that only notes its arguments ---


@pytest.fixture
def quickstart(tmp_path: Path, fakes: Path) -> Run:
    """Runs a copy of scripts/quickstart, whose set-up does nothing."""
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    for name in ("quickstart", "lib.sh"):
        shutil.copy(ROOT / "scripts" / name, project / "scripts")
    fake(project / "scripts", "setup", "")
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").symlink_to(sys.executable)
    fake(project / ".venv/bin", "dss", "source ../fake-dss")
    defaults = project / "ansible/roles/script_languages/defaults/main.yml"
    defaults.parent.mkdir(parents=True)
    defaults.write_text(f"---\nscript_languages_repository: {tmp_path / 'missing.git'}\n")
    (tmp_path / "fake-dss").write_text(
        'while (($#)); do [[ $1 != --output-directory ]] || folder=$2; shift; done\nmkdir -p "$folder"\n'
        'touch "$folder/exasol-like-dss-7.vmdk"\necho \'{"verification": "passed"}\' >"$folder/manifest.json"\n'
    )

    def call(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        environment = {"SSL_CERT_FILE": "", "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""} | env
        environment["PATH"] = f"{fakes}:{os.environ['PATH']}"
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        return run(project / "scripts/quickstart", *arguments, cwd=elsewhere, check=False, **environment)

    return call


def test_quickstart_builds_and_says_how_to_start(tmp_path: Path, quickstart: Run) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    done = quickstart("--asset-id", "7", "--base", "debian-12", REQUESTS_CA_BUNDLE=str(bundle))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "project/exasol-like-dss-7"
    assert calls(tmp_path / "project/.venv/bin") == [
        f"dss create-vm --asset-id 7 --base debian-12 --output-directory {folder} --ca-bundle {bundle}"
        " --without script_languages"
    ]
    assert done.stderr.count("can't be reached") == 2
    assert f"/.venv/bin/dss run-vm {folder}/exasol-like-dss-7.vmdk" in done.stderr
    assert "Done in " in done.stderr


def test_quickstart_does_not_build_twice(tmp_path: Path, quickstart: Run) -> None:
    for _ in range(2):
        done = quickstart("--asset-id=7", "--without", "script_languages")
        assert done.returncode == 0, done.stderr
        assert "run-vm" in done.stderr
    assert len(calls(tmp_path / "project/.venv/bin")) == 1
    assert "has been built before" in done.stderr
    quickstart("--asset-id=7", "--force", "--without=script_languages")
    assert "--force" in calls(tmp_path / "project/.venv/bin")[1]


def test_quickstart_keeps_what_the_caller_chose(tmp_path: Path, quickstart: Run) -> None:
    done = quickstart(
        "--output-directory", "out", "--asset-id", "7", "--ca-bundle", "mine", "--without", "script_languages"
    )
    assert done.returncode == 0, done.stderr
    (call,) = calls(tmp_path / "project/.venv/bin")
    assert call == "dss create-vm --output-directory out --asset-id 7 --ca-bundle mine --without script_languages"
    assert (tmp_path / "elsewhere/out/manifest.json").exists()


def test_quickstart_builds_the_docker_image(tmp_path: Path, quickstart: Run) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    # The fake makes the folder that it is told of, and fails without one.
    out = tmp_path / "out"
    done = quickstart("--docker", "--version", "7", "--output-directory", str(out), REQUESTS_CA_BUNDLE=str(bundle))
    assert done.returncode == 0, done.stderr
    assert calls(tmp_path / "project/.venv/bin") == [
        f"dss create-docker-image --version 7 --output-directory {out} --ca-bundle {bundle} --without script_languages"
    ]
    assert done.stderr.count("can't be reached") == 2


def test_quickstart_fails_with_the_build(tmp_path: Path, quickstart: Run) -> None:
    (tmp_path / "fake-dss").write_text("echo 'Error: too little disk' >&2\nexit 2\n")
    done = quickstart("--asset-id", "7", "--without", "script_languages")
    assert done.returncode == 2
    assert "too little disk" in done.stderr
    assert "run-vm" not in done.stderr


# --- the wheel ---


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that was built from it."""
    target = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", target, ROOT, cwd=target)
    (sdist,) = target.glob("*.tar.gz")
    (wheel,) = target.glob("*.whl")
    return sdist, wheel


def test_the_source_distribution_has_what_the_build_needs(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "ansible/sandbox.yml"} <= names
    assert not [name for name in names if name.startswith((".venv", ".git/", "exasol-like-dss-"))]


def test_the_wheel_brings_the_ansible_tree_and_the_templates(distributions: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(distributions[1]).namelist()
    for folder in ("ansible", "cloudformation"):
        tracked = run("git", "ls-files", folder, cwd=ROOT).stdout.split()
        assert tracked
        missing = [name for name in tracked if f"exasol_like_dss/{name}" not in names]
        assert not missing, f"not in the wheel: {missing}"
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_an_installed_wheel_runs_from_an_empty_folder(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment, cwd=empty)
    python = environment / "bin/python"
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", distributions[1], cwd=empty)
    assert "create-vm" in run(environment / "bin/dss", "--help", cwd=empty).stdout
    assert "--vm-image-format" in run(environment / "bin/dss", "create-vm", "--help", cwd=empty).stdout
    version = distributions[1].name.split("-")[1]
    assert version in run(python, "-m", "exasol_like_dss", "--version", cwd=empty).stdout
    trees = "from exasol_like_dss.lib.resources import tree; print(tree('ansible')); print(tree('cloudformation'))"
    for folder in run(python, "-c", trees, cwd=empty).stdout.split():
        assert Path(folder).is_relative_to(environment)
    assert list(empty.iterdir()) == []
