"""The embedded server, and another one named by its URL."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from local.embedded import EmbeddedServer, running_server
from local.errors import LocalError
from local.postgres import Database, database_at


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the server's own user can reach, which pytest's is not when root runs the tests."""
    with tempfile.TemporaryDirectory(prefix="ev-pg-", ignore_cleanup_errors=True) as found:
        Path(found).chmod(0o755)
        yield Path(found)


def ask(database: Database, query: str) -> object:
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
        connection.commit()
    return row[0] if row else None


def test_what_was_written_is_still_there_after_a_restart_and_gone_with_fresh(home: Path) -> None:
    with EmbeddedServer(home / "pg") as server:
        first = server.database("ev_population", owner="ev_admin")
        ask(first, "CREATE TABLE kept AS SELECT 42 AS answer; SELECT 1")
        mark = first.fingerprint()
    assert running_server(home / "pg") is None, "the server outlived its run"
    with EmbeddedServer(home / "pg") as server:
        second = server.database("ev_population", owner="ev_admin")
        assert ask(second, "SELECT answer FROM kept") == 42
        assert second.fingerprint() == mark, "the same database must be recognised, or its bucket is lost"
        assert second.password != first.password, "a password should not outlive the run it was made for"
    with EmbeddedServer(home / "pg", fresh=True) as server:
        third = server.database("ev_population", owner="ev_admin")
        assert ask(third, "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'") == 0
        assert third.fingerprint() != mark, "an emptied database must not inherit what the old one had published"


def test_the_owner_has_no_more_rights_than_the_master_user_of_rds(home: Path) -> None:
    with EmbeddedServer(home / "pg") as server:
        database = server.database("ev_population", owner="ev_admin")
        assert ask(database, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        ask(database, "CREATE SCHEMA its_own; SELECT 1")


def test_a_wrong_password_is_refused_by_the_embedded_server_too(home: Path) -> None:
    with EmbeddedServer(home / "pg") as server:
        database = server.database("ev_population", owner="ev_admin")
        with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
            psycopg2.connect(
                host=database.host, port=database.port, dbname=database.name, user=database.user, password="wrong"
            )


def test_an_initialisation_that_was_cut_short_is_begun_again(home: Path) -> None:
    (home / "pg").mkdir()
    (home / "pg" / "PG_VERSION").write_text("18\n")
    with EmbeddedServer(home / "pg") as server:
        assert ask(server.admin, "SELECT 1") == 1


def test_a_server_left_behind_by_a_killed_run_is_taken_over_and_stopped(home: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from local.embedded import EmbeddedServer\n"
        "with EmbeddedServer(Path(sys.argv[1])): print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, home / "pg"], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        other.send_signal(signal.SIGKILL)
    assert running_server(home / "pg") is not None, "the premise: a killed run leaves its server"
    with EmbeddedServer(home / "pg") as server:
        assert ask(server.admin, "SELECT 1") == 1
    assert running_server(home / "pg") is None, "the dead run's claim kept the server alive"


def test_data_of_another_major_version_is_named_with_the_way_out(home: Path) -> None:
    (home / "pg").mkdir()
    (home / "pg" / "PG_VERSION").write_text("9\n")
    (home / "pg.complete").touch()
    with pytest.raises(LocalError, match=r"written by PostgreSQL 9 .* --fresh"), EmbeddedServer(home / "pg"):
        pass


def test_a_path_too_long_for_a_unix_socket_still_gets_a_server(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    with EmbeddedServer(deep / "pg") as server:
        database = server.database("ev_population", owner="ev_admin")
        assert len(database.host) < 100
        assert ask(database, "SELECT 1") == 1


@pytest.mark.parametrize(
    ("user", "password", "host", "expected"),
    [
        ("ann", "", "db.example.org", "postgresql://ann@db.example.org:5432/ev"),
        ("ann", "a:b/c@d", "db", "postgresql://ann:a%3Ab%2Fc%40d@db:5432/ev"),
        ("ann", "x", "/var/run/my dir", "postgresql://ann:x@/ev?host=%2Fvar%2Frun%2Fmy%20dir&port=5432"),
        ("ann", "x", "::1", "postgresql://ann:x@[::1]:5432/ev"),
    ],
)
def test_a_database_has_a_url_that_libpq_reads_back(user: str, password: str, host: str, expected: str) -> None:
    database = Database(host=host, port=5432, name="ev", user=user, password=password)
    assert database.url == expected
    read = psycopg2.extensions.parse_dsn(database.url)
    assert (read["user"], read.get("password", ""), read["host"]) == (user, password, host)


def test_a_password_never_shows_in_the_text_of_a_database() -> None:
    assert "hunter2" not in repr(Database(host="h", port=1, name="n", user="u", password="hunter2"))


def test_a_url_is_resolved_to_the_very_database_it_opens(database: Database) -> None:
    found = database_at(database.url)
    assert (found.host, found.port, found.name, found.user) == (
        database.host,
        database.port,
        database.name,
        database.user,
    )
    assert found.fingerprint() == database.fingerprint()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:hunter2@h/db", "does not start with postgresql://"),
        ("u:hunter2@h/db", "does not start with postgresql://"),
        ("postgresql://u:hunter2@h:port/db", "not a URL that PostgreSQL understands"),
        ("postgresql://u:p@hunter2@h/db", "not a URL that PostgreSQL understands.* @ is %40, / is %2F"),
        ("postgresql://u:hunter2@p@127.0.0.1:{closed}/db", "not a URL that PostgreSQL understands"),
        ("postgresql://u:hunter2/p@h/db", "not a URL that PostgreSQL understands"),
        ("postgresql://u:7/hunter2@h/db", "not a URL that PostgreSQL understands"),
        ("postgresql://u:/hunter2@h/db", "not a URL that PostgreSQL understands"),
        ("postgresql://u:p?hunter2/@h/db", "not a URL that PostgreSQL understands"),
        ("postgresql://u:hunter2 p@h/db", "not a URL that PostgreSQL understands"),
        ("postgresql://u:hunter2", "not a URL that PostgreSQL understands"),
        ("postgresql://u:p:hunter2@127.0.0.1:{closed}/db", "nothing answers at 127.0.0.1:"),
        ("postgresql://u:p?hunter2@127.0.0.1:{closed}/db", "nothing answers at 127.0.0.1:"),
        ("postgresql://u:p%40hunter2@127.0.0.1:{closed}/db", "nothing answers at 127.0.0.1:"),
        ("postgresql://u:x@h/db?options=-c%20hunter2", "sets options, which would not reach the functions"),
        ("postgresql://u:x@h/db?sslpassword=hunter2&service=hunter2", "sets service, sslpassword, which would"),
        ("postgresql://u:hun%zzter2@h/db", "not a URL that PostgreSQL understands"),
        ("postgresql://u:hunter2@no-such-host.invalid/db", "there is no host 'no-such-host.invalid'"),
        ("postgresql://u:hunter2@127.0.0.1:{closed}/db", "nothing answers at 127.0.0.1:"),
        ("postgresql://u:hunter2@/db?host=/no/such/directory", "nothing answers at /no/such/directory"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_sentence_without_the_password(url: str, said: str) -> None:
    started = time.monotonic()
    with pytest.raises(LocalError, match=said) as caught:
        database_at(url.format(closed=closed_port()))
    text = str(caught.value)
    assert "hunter2" not in text, "a password reached the screen"
    assert "\n" not in text
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("password", ["a@b", "a/b", "a:b", "a b", "100%", "?#[]", "ünï"])
def test_a_password_of_special_characters_logs_in_when_it_is_encoded(database: Database, password: str) -> None:
    role = f"special_{os.getpid()}"
    ask(database, f"CREATE ROLE {role} LOGIN PASSWORD '{password}'; SELECT 1")
    try:
        login = Database(host=database.host, port=database.port, name=database.name, user=role, password=password)
        assert database_at(login.url, reading=True).password == password
    finally:
        ask(database, f"DROP ROLE {role}; SELECT 1")


def test_a_missing_database_is_named(database: Database) -> None:
    url = database.url.replace(database.name, "not_there")
    with pytest.raises(LocalError, match=r"no database 'not_there' .* create it first"):
        database_at(url)


def test_a_refused_login_names_the_user_and_not_the_password(home: Path) -> None:
    with EmbeddedServer(home / "pg") as server:
        right = server.database("ev_population", owner="ev_admin")
        wrong = Database(host=right.host, port=right.port, name=right.name, user=right.user, password="hunter2")
        with pytest.raises(LocalError, match="refused the login of user 'ev_admin'") as caught:
            database_at(wrong.url)
    assert "hunter2" not in str(caught.value)


def test_a_user_who_may_not_create_tables_is_told_so_before_anything_runs(database: Database) -> None:
    role = f"reader_{os.getpid()}"
    ask(database, f"CREATE ROLE {role} LOGIN PASSWORD 'x'; SELECT 1")
    try:
        limited = Database(host=database.host, port=database.port, name=database.name, user=role, password="x")
        with pytest.raises(LocalError, match=r"may not create tables .* OWNER TO"):
            database_at(limited.url)
    finally:
        ask(database, f"DROP ROLE {role}; SELECT 1")
