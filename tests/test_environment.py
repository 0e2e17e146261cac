"""`make` on a machine that is not ready: what it refuses, and that a refusal leaves nothing behind."""

import shutil
import subprocess
from pathlib import Path

import pytest

from local.state import PROJECT

NEEDED = ("Makefile", "requirements.txt", "requirements-dev.txt", "local/find_python.sh", "local/environment.py")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return the part of a fresh clone that sets up the environment, in a folder with an unusual name."""
    folder = tmp_path / "a 'fresh' clone"
    (folder / "local").mkdir(parents=True)
    for name in NEEDED:
        shutil.copy(PROJECT / name, folder / name)
    return folder


def interpreter(folder: Path, version: str) -> Path:
    """Return something that answers like a Python of `version` when it is asked for it."""
    path = folder / f"python of {version}"
    path.write_text(f'#!/bin/sh\necho "{version}"\n')
    path.chmod(0o755)
    return path


def make(folder: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = None if path is None else {"PATH": path}
    return subprocess.run(
        [shutil.which("make") or "make", "-C", folder, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize("version", ["3.11", "3.13"])
@pytest.mark.parametrize("goal", ["local", "test", "check"])
def test_another_python_is_refused_by_version_before_anything_is_created(
    checkout: Path, tmp_path: Path, version: str, goal: str
) -> None:
    python = interpreter(tmp_path, version)
    before = sorted(checkout.rglob("*"))
    finished = make(checkout, f"PYTHON={python}", goal)
    assert finished.returncode != 0
    assert f"Python 3.12 is required ({python} is Python {version})" in finished.stderr
    assert "make PYTHON=/path/to/python3.12" in finished.stderr, "the way out"
    assert "make PYTHON=uv" in finished.stderr, "the other way out"
    assert sorted(checkout.rglob("*")) == before


def test_a_machine_without_python_is_told_what_to_install(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "grep"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    finished = make(checkout, "local", path=str(tools))
    assert finished.returncode != 0
    assert "Python 3.12 is required (no python3.12 that runs)" in finished.stderr
    assert not (checkout / ".venv").exists()


def test_python3_will_do_where_it_is_the_right_version(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$2" in *executable*) echo /here/python3;; *) echo 3.12;; esac\n')
    python.chmod(0o755)
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "sh")
    found = subprocess.run(
        [tmp_path / "sh", PROJECT / "local" / "find_python.sh"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": str(tmp_path)},
    )
    assert found.stdout.strip() == "/here/python3"
