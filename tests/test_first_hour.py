"""`make local`, the first command anybody types, on fresh clones in places and environments that are not ours."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from local.state import PROJECT
from tests.test_surroundings import HOSTILE

pytestmark = pytest.mark.exhaustive

MADE = {".venv", ".build", ".local"}  # all that a first run leaves beside the clone's own files
BASE_PYTHON = Path(sys.base_prefix) / "bin" / "python3.12"


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A fresh clone, and what it looked like."""

    folder: Path
    names: frozenset[str]
    modes: Mapping[Path, int]

    def start(
        self, *, environment: Mapping[str, str] | None = None, umask: int = -1, user: pwd.struct_passwd | None = None
    ) -> subprocess.Popen[str]:
        """Type `make local` in it."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "EV_"))}
        return subprocess.Popen(
            ["make", f"PYTHON={BASE_PYTHON}", "local"],
            cwd=self.folder,
            env=inherited | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            umask=umask,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=() if user else None,
        )

    def succeeds(self, process: subprocess.Popen[str]) -> str:
        """Wait for it; check what it said, and what it left."""
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        assert "SUCCEEDED in " in output
        assert "11,914 of 15,214 vehicles run on batteries alone" in output
        assert "Traceback" not in output
        assert {path.name for path in self.folder.iterdir()} == self.names | MADE
        assert parents(self.folder) == self.modes, "no folder above the project was opened or closed"
        ours = [
            found.info["cmdline"]
            for found in psutil.process_iter(["cmdline"])
            if str(self.folder) in " ".join(found.info["cmdline"] or ())
        ]
        assert not ours, "nothing is left running"
        return output


def parents(folder: Path) -> dict[Path, int]:
    return {path: stat.S_IMODE(path.stat().st_mode) for path in folder.parents}


def cloned(folder: Path) -> Clone:
    """Copy what the repository holds to `folder`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = PROJECT / name
        if source.is_file() and not source.is_symlink():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return Clone(folder=folder, names=frozenset(path.name for path in folder.iterdir()), modes=parents(folder))


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder that other users may pass through, and below it what cannot stay in the clone."""
    with tempfile.TemporaryDirectory(prefix="ev-first-", ignore_cleanup_errors=True) as found:
        Path(found).chmod(0o755)
        (Path(found) / "data-home").mkdir(mode=0o755)
        monkeypatch.setenv("XDG_DATA_HOME", f"{found}/data-home")
        yield Path(found)


def test_a_path_with_a_space_quotes_and_signs(place: Path) -> None:
    clone = cloned(place / 'it\'s a "fresh" $HOME 100%')
    clone.succeeds(clone.start())


def test_a_closed_umask(place: Path) -> None:
    clone = cloned(place / "clone")
    clone.succeeds(clone.start(umask=0o077))
    assert stat.S_IMODE((clone.folder / ".venv").stat().st_mode) == 0o700, "what was closed stays closed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_rights(place: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    if any(not folder.stat().st_mode & stat.S_IXOTH for folder in BASE_PYTHON.resolve().parents):
        pytest.skip("the Python 3.12 of this machine lies where other users may not look")
    clone = cloned(place / "clone")
    home = place / "home"
    home.mkdir()
    for path in (clone.folder, *clone.folder.rglob("*"), home):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    environment = {"HOME": str(home), "USER": "nobody", "XDG_DATA_HOME": str(home / "data"), "TMPDIR": "/tmp"}
    clone.succeeds(clone.start(user=nobody, environment=environment))


def test_a_locale_that_the_machine_lacks(place: Path) -> None:
    clone = cloned(place / "clone")
    clone.succeeds(clone.start(environment={"LANG": "xx_YY.UTF-8", "LC_ALL": "xx_YY.UTF-8"}))


def test_variables_that_lead_elsewhere(place: Path) -> None:
    clone = cloned(place / "clone")
    clone.succeeds(clone.start(environment=HOSTILE | {"AWS_REGION": "eu-west-1", "AWS_SESSION_TOKEN": "not-a-token"}))


def test_an_environment_that_an_earlier_try_left_half_made(place: Path) -> None:
    clone = cloned(place / "clone")
    process = clone.start(environment={"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"})
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0, "the premise: no package index answers"
    assert "uv could not be installed from the package index (see above). Check the network" in output
    clone.succeeds(clone.start())


def test_two_first_runs_at_once(place: Path) -> None:
    clone = cloned(place / "clone")
    first, second = clone.start(), clone.start()
    outputs = [process.communicate(timeout=900)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert all("SUCCEEDED in " in output for output in outputs)
    assert sum("another make is setting up .venv; waiting for it" in output for output in outputs) == 1
