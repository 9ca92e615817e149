"""``dss verify-docker-image`` with the real image, with broken ones made of it, and when it is interrupted."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exasol_like_dss.access.docker import Docker
from exasol_like_dss.lib.containers import PROCESS_LABEL, sweep
from exasol_like_dss.lib.progress import Progress
from test.integration.conftest import DockerImage
from test.support.command import Done, dss, started
from test.support.docker_engine import Engine

#: What is wrong, each by itself, without a hindrance for the rest.
BROKEN = r"""
FROM {image}
RUN mkdir -p /etc/ssh /home/jupyter/.ssh && echo ls > /root/.bash_history && echo key > /etc/ssh/ssh_host_rsa_key \
    && echo key > /home/jupyter/.ssh/authorized_keys && touch /usr/sbin/policy-rc.d
RUN sed -i 's/import platform/raise ValueError(4711)/' $(find /usr/local /opt -xdev -name welcome.ipynb) \
    && grep -r 4711 $(find /usr/local /opt -xdev -name welcome.ipynb)
ENV DB_PASSWORD=hunter2
LABEL registry-token=hunter2
HEALTHCHECK NONE
STOPSIGNAL SIGURG
"""
#: Everything runs as root.
AS_ROOT = r"""
FROM {image}
RUN sed -i 's/os.setuid(user.uid)/pass/' $(find /usr/local /opt -xdev -name identity.py -path '*dss_container*') \
    && echo 'c.ServerApp.allow_root = True' >> /etc/jupyter/jupyter_server_config.py
"""


def verify(image: DockerImage, *arguments: str | Path, cwd: Path, reference: str = "") -> Done:
    return dss("verify-docker-image", reference or image.reference, *arguments, cwd=cwd, deadline_s=600,
               env={"DOCKER_HOST": image.engine.host, "TMPDIR": str(cwd)})  # fmt: skip


def made(engine: Engine) -> list[str]:
    """The containers and volumes of verifications."""
    label = f"label={PROCESS_LABEL}"
    return [
        *engine.docker("ps", "--all", "--quiet", "--filter", label).split(),
        *engine.docker("volume", "ls", "--quiet", "--filter", label).split(),
    ]


def browsers(folder: Path) -> list[str]:
    """The running processes of a browser that keeps its things in ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if b"chrom" in words.split(b"\0")[0] and str(folder).encode() in words:
            found.append(process.name)
    return found


@contextmanager
def derived(image: DockerImage, dockerfile: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An image made of the good one."""
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    text = dockerfile.format(image=image.reference)
    image.engine.docker("build", "--quiet", "--force-rm", "--tag", name, "-", stdin=text.encode())
    try:
        yield name
    finally:
        image.engine.docker("image", "rm", "--force", name)


def failed(done: Done) -> dict[str, str]:
    return {check["name"]: check["seen"] for check in json.loads(done.out)["checks"] if not check["passed"]}


def test_the_good_image_passes(docker_image: DockerImage, tmp_path: Path) -> None:
    begin = time.monotonic()
    done = verify(docker_image, "--format-report", tmp_path / "report.json", "--screenshot", tmp_path / "lab.png",
                  cwd=tmp_path)  # fmt: skip
    seconds = time.monotonic() - begin
    assert done.code == 0, done.out + done.err
    assert "0 failed" in done.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"]
    assert report["left_out"] == []
    assert {
        ("entrypoint", "at rest"),
        ("no secret in the history", "at rest"),
        ("hygiene: no CA of the build", "at rest"),
        ("page: refuses a wrong password", "usual"),
        ("welcome notebook runs", "usual"),
        ("changes the password", "usual"),
        ("SIGTERM ends it in time", "usual"),
        ("user's own notebook is left alone", "own notebooks"),
        ("Docker socket of a group is reached", "root's volume"),
        ("Docker socket without rights is warned of", "other uid"),
        ("restricted: becomes healthy", "restricted"),
    } <= {(check["name"], check["boot"]) for check in report["checks"]}
    assert not re.search(r"\b(?:[a-z2-9]{4}-){3}[a-z2-9]{4}\b", json.dumps(report) + done.err), "no password is shown"
    assert seconds < 240
    picture = (tmp_path / "lab.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert 20_000 < len(picture) < 200_000
    assert made(docker_image.engine) == []
    assert browsers(tmp_path) == []
    assert not list((tmp_path / "exasol-like-dss").iterdir())


def test_each_violation_is_named_and_nothing_else(
    docker_image: DockerImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with derived(docker_image, BROKEN, "dss-verify-broken", monkeypatch) as name:
        done = verify(docker_image, "--output", "json", cwd=tmp_path, reference=name)
    assert done.code == 1, done.err
    found = failed(done)
    assert set(found) == {
        "health check",
        "no secret in the environment",
        "no secret in the labels",
        "no secret in the history",
        "hygiene: no ssh folder of any user",
        "hygiene: no ssh host keys",
        "hygiene: no shell or Python history",
        "hygiene: no policy-rc.d",
        "welcome notebook runs",
        "SIGTERM ends it in time",
    }
    assert found["no secret in the environment"] == "DB_PASSWORD"
    assert "ValueError: 4711" in found["welcome notebook runs"]
    assert found["SIGTERM ends it in time"].startswith("killed")
    assert "hunter2" not in done.out + done.err
    assert made(docker_image.engine) == []


def test_root_is_noticed(docker_image: DockerImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with derived(docker_image, AS_ROOT, "dss-verify-root", monkeypatch) as name:
        done = verify(docker_image, "--output", "json", cwd=tmp_path, reference=name)
    assert done.code == 1, done.err
    found = failed(done)
    assert set(found) == {
        "a command runs as the user",
        "JupyterLab does not run as root",
        "runs as the owner of the volume",
        "Docker socket without rights is warned of",  # root has all rights
    }
    assert found["a command runs as the user"] == "id -u prints 0"


def test_what_is_no_image_of_ours_is_wrong_input(
    docker_image: DockerImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = verify(docker_image, cwd=tmp_path, reference="no/such:image")
    assert done.code == 2
    assert "Error: The Docker engine has no image 'no/such:image'." in done.err
    without = "FROM {image}\nRUN rm /etc/exasol-like-dss/image.json"
    with derived(docker_image, without, "dss-verify-strange", monkeypatch) as name:
        done = verify(docker_image, cwd=tmp_path, reference=name)
    assert done.code == 2
    assert "can't be understood" in done.err
    assert done.out == ""
    assert made(docker_image.engine) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(docker_image: DockerImage, tmp_path: Path, number: signal.Signals) -> None:
    environment = {"DOCKER_HOST": docker_image.engine.host, "TMPDIR": str(tmp_path)}
    with started(["verify-docker-image", docker_image.reference], cwd=tmp_path, env=environment) as running:
        running.wait_for("Using JupyterLab in the browser …")
        assert made(docker_image.engine)
        running.signal(number)
        assert running.end(deadline_s=60) == 130, running.text
    assert f"Interrupted ({number.name}); cleaned up." in running.text
    assert made(docker_image.engine) == []
    assert browsers(tmp_path) == []
    assert not list((tmp_path / "exasol-like-dss").iterdir())


def test_what_a_killed_verification_left_is_swept(docker_image: DockerImage, tmp_path: Path) -> None:
    environment = {"DOCKER_HOST": docker_image.engine.host, "TMPDIR": str(tmp_path)}
    with started(["verify-docker-image", docker_image.reference], cwd=tmp_path, env=environment) as running:
        running.wait_for("Using JupyterLab in the browser …")
        while not browsers(tmp_path):
            assert running.process.poll() is None
            time.sleep(0.1)
        running.signal(signal.SIGKILL)
        running.end()
    end = time.monotonic() + 30
    while browsers(tmp_path):
        assert time.monotonic() < end, "the browser outlives us"
        time.sleep(0.1)
    assert made(docker_image.engine)
    docker = Docker(docker_image.engine.host)
    sweep(docker, progress=Progress())
    docker.close()
    assert made(docker_image.engine) == []
