"""`serve`: a database that stays up for other programs, and what it leaves behind."""

import contextlib
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from evdata.warehouse import migrate
from local.embedded import running_server
from tests.local_machine import Machine, new_machine


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server that is up, and what it said."""

    machine: Machine
    process: subprocess.Popen[str]
    said: str
    port: int

    @property
    def reader(self) -> str:
        found = re.search(r'psql "(postgresql://\S+)"', self.said)
        assert found, self.said
        return found[1]

    @property
    def service_file(self) -> Path:
        found = re.search(r'PGSERVICEFILE="([^"]+)" psql service=ev-population', self.said)
        assert found, self.said
        return Path(found[1])


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine whose database has the tables, and no rows."""
    with new_machine() as found:
        with found.database() as database, contextlib.closing(database.connect()) as connection:
            migrate(connection)
        yield found


@contextlib.contextmanager
def serving(machine: Machine) -> Iterator[Served]:
    """Keep a machine's database up on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = machine.start("serve", "--port", port)
    assert process.stdout is not None
    said = ""
    while "PGSERVICEFILE" not in said:
        line = process.stdout.readline()
        assert line, f"serve ended: {said}"
        said += line
    try:
        yield Served(machine=machine, process=process, said=said, port=port)
    finally:
        if process.poll() is None:
            stop(process)


@pytest.fixture
def served(machine: Machine) -> Iterator[Served]:
    with serving(machine) as found:
        yield found


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    return output


def test_the_reader_reads_and_cannot_write(served: Served) -> None:
    with contextlib.closing(psycopg2.connect(served.reader)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM electric_vehicle_us")
        assert cursor.fetchone() == (0,)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM electric_vehicle_us")


def test_the_owners_password_is_in_a_file_of_this_user_alone_and_on_no_screen(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stat.S_IMODE(served.service_file.stat().st_mode) == 0o600
    password = re.search(r"password=(.+)", served.service_file.read_text())
    assert password
    assert password[1] not in served.said
    monkeypatch.setenv("PGSERVICEFILE", str(served.service_file))
    with contextlib.closing(psycopg2.connect("service=ev-population")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE mine (n integer); SELECT current_user")
        assert cursor.fetchone() == ("ev_admin",), "what is made belongs to the owner of the tables"


def test_other_commands_work_meanwhile_and_leave_it_up(served: Served) -> None:
    asked = served.machine.start("query", "--csv", "SELECT count(*) AS n FROM electric_vehicle_us")
    assert asked.communicate(timeout=60)[0] == "n\n0\n"
    psycopg2.connect(served.reader).close()


def test_nothing_starts_anew_under_its_hands(served: Served) -> None:
    fresh = served.machine.start("run", "--fresh")
    output, _ = fresh.communicate(timeout=120)
    assert fresh.returncode == 1
    assert "Another process uses the embedded PostgreSQL" in output
    psycopg2.connect(served.reader).close()


def test_ctrl_c_is_the_ordinary_end_and_no_password_outlives_it(served: Served) -> None:
    output = stop(served.process)
    assert served.process.returncode == 0, output
    assert "Stopped. The data stay" in output
    assert not served.service_file.exists()
    assert running_server(served.machine.home / "dev" / "postgres") is None
    with (
        served.machine.database() as database,
        contextlib.closing(database.connect()) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = 'ev_serve'")
        assert cursor.fetchall() == [("ev_serve", False)]


def test_a_port_that_is_taken_is_named_with_the_way_out(machine: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        output, _ = machine.start("serve", "--port", port).communicate(timeout=60)
    assert f"Port {port} of this machine is taken; name another one with --port." in output


def test_without_a_database_it_says_how_to_make_one(tmp_path: Path) -> None:
    output, _ = Machine(home=tmp_path).start("serve").communicate(timeout=60)
    assert "Stack dev has no database here yet; make one with: " in output
