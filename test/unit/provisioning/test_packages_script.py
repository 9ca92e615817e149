from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "ansible/files/packages.sh"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (
            "Package: one\nArchitecture: amd64\nAuto-Installed: 1\n\n"
            "Package: three\nArchitecture: amd64\nAuto-Installed: 0\n",
            ["auto one", "manual three"],
        ),
        ("", ["manual one", "manual three"]),
        (None, ["manual one", "manual three"]),
    ],
)
def test_packages_are_told_apart(tmp_path: Path, states: str | None, expected: list[str]) -> None:
    query = tmp_path / "bin/dpkg-query"
    query.parent.mkdir()
    query.write_text("#!/bin/sh\nprintf 'installed one\\nconfig-files two\\ninstalled three\\n'\n")
    query.chmod(0o755)
    if states is not None:
        (tmp_path / "states").write_text(states)
    script = SCRIPT.read_text().replace("/var/lib/apt/extended_states", str(tmp_path / "states"))
    done = subprocess.run(["sh", "-s"], input=script, env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}, text=True,
                          check=True, capture_output=True)  # fmt: skip
    assert done.stdout.splitlines() == expected


def test_it_agrees_with_apt() -> None:
    """On this machine, whatever it is."""
    told = subprocess.run(["sh", SCRIPT], text=True, check=True, capture_output=True).stdout.splitlines()
    manual = subprocess.run(["apt-mark", "showmanual"], text=True, check=True, capture_output=True).stdout.split()
    assert {line.removeprefix("manual ") for line in told if line.startswith("manual ")} == {
        name.partition(":")[0] for name in manual
    }
