"""Commands on machines, terminals and environments that are not ours: each works or says one sentence."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.mishaps import explain
from local.state import PROJECT

COMMANDS = (
    ("--help",),
    ("run", "--help"),
    ("status",),
    ("history", "244137120"),
    ("query", "SELECT 1"),
    ("report",),
    ("run", "--data", "no such file.csv"),
    ("run", "--source", "http://192.0.2.1"),
)
HOSTILE = {
    "PGHOSTADDR": "192.0.2.1",
    "PGSERVICE": "nobody_has_this",
    "PGTARGETSESSIONATTRS": "standby",
    "PGOPTIONS": "-c nonsense=1",
    "PGCLIENTENCODING": "LATIN1",
    "AWS_PROFILE": "nobody-has-this",
    "AWS_ENDPOINT_URL": "http://192.0.2.1",
    "LANG": "xx_YY.UTF-8",
    "PYTHONIOENCODING": "latin-1",
    "COLUMNS": "0",
}


def local(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=PROJECT,
        env=os.environ | {"EV_LOCAL_DIR": str(home)} | environment,
        capture_output=True,
        encoding="latin-1",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_ends_in_a_traceback(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    finished = local(tmp_path, *arguments, **HOSTILE)
    said = finished.stdout + finished.stderr
    assert "Traceback" not in said
    assert finished.returncode == (0 if "--help" in arguments else 1), said
    if finished.returncode:
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, "one sentence says why"


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_closed_output_is_no_error_of_its_own(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    command = subprocess.list2cmdline([sys.executable, "-m", "local", *arguments])
    finished = subprocess.run(
        ["sh", "-c", f"{command} >&-"],
        cwd=PROJECT,
        env=os.environ | {"EV_LOCAL_DIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in finished.stderr


def test_a_file_where_the_local_folder_should_be_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    finished = local(
        tmp_path / "taken", "run", "--data", str(PROJECT / "tests" / "libraries.csv"), "--dataset-id", "abcd-1234"
    )
    assert "Traceback" not in finished.stderr
    assert "Set EV_LOCAL_DIR to a folder of yours" in finished.stderr
    assert finished.returncode == 1


def test_a_full_disk_is_called_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EV_LOCAL_DIR", str(tmp_path))
    said = explain(OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x")))
    assert said.startswith("there is no space left on the disk of ")
    assert "EV_LOCAL_DIR" in said


def test_what_follows_from_a_full_disk_is_called_one_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EV_LOCAL_DIR", str(tmp_path))
    monkeypatch.setattr("local.mishaps._FULL_BYTES", 2**60)
    assert explain(KeyError("RequestId")).startswith("there is no space left"), "moto's own words for it help nobody"


def test_a_file_of_another_user_is_named_with_its_owner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EV_LOCAL_DIR", str(tmp_path))
    lock = tmp_path / "lock"
    lock.touch()
    said = explain(PermissionError(errno.EACCES, "Permission denied", str(lock)))
    assert str(lock) in said
    assert "Permission denied; it belongs to " in said


def test_a_defect_leaves_its_traceback_in_a_file_and_not_on_the_screen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EV_LOCAL_DIR", str(tmp_path))
    said = explain(ZeroDivisionError("division by zero"))
    assert said == (
        "this is a defect of the program (ZeroDivisionError: division by zero). "
        f"The details are in {tmp_path / 'error.log'}: please report them."
    )
    assert "ZeroDivisionError: division by zero" in (tmp_path / "error.log").read_text()
