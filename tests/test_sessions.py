"""Sessions with PostgreSQL: what role, database, environment or pooler set changes nothing that we do or read."""

import contextlib
import dataclasses
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.errors import InsufficientPrivilege

from evdata import warehouse
from evdata.errors import DatabaseError, TransientError
from evdata.warehouse import Warehouse, translated
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import Pipeline, build_pipeline
from tests.test_transform import vehicle

JUNE, JULY = 1_685_577_600, 1_688_169_600  # the first of the month, 2023, midnight UTC

HOSTILE: Final = {
    "client_encoding": "LATIN1",
    "search_path": "theirs",
    "TimeZone": "Pacific/Kiritimati",
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "exit_on_error": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "1h",
    "lock_timeout": "1h",
    "idle_in_transaction_session_timeout": "1h",
    "synchronous_commit": "off",
    "row_security": "on",
}
# What each must be in a transaction of the pipeline's.
PINNED: Final = {
    "client_encoding": "UTF8",
    "server_encoding": "UTF8",
    "search_path": "public",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "exit_on_error": "off",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "transaction_deferrable": "off",
    "statement_timeout": "7s",
    "lock_timeout": "2min",
    "idle_in_transaction_session_timeout": "1min",
    "synchronous_commit": "on",
    "row_security": "off",
}
DONA_ANA: Final = {
    "county": "Doña Ana",
    "city": "Las Cruces",
    "state": "NM",
    "zip_code": "88001",
    "legislative_district": "",
    "geocoded_column": "POINT (-106.747852 32.293456)",
    "_2020_census_tract": "35013000101",
}
ROWS: Final = [vehicle(1) | DONA_ANA, *map(vehicle, range(2, 21))]
TRAPS: Final = """
CREATE SCHEMA theirs;
CREATE TABLE theirs.pipeline_run (n int);
CREATE TABLE theirs.electric_vehicle_us (n int);
CREATE TABLE theirs.ev_alembic_version (version_num text);
CREATE VIEW theirs.ev_growth AS SELECT 7 AS n;
GRANT ALL ON SCHEMA theirs TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA theirs TO PUBLIC;
"""


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data(ROWS, rows_updated_at=JUNE)


@pytest.fixture
def login(postgres_server: Database, database: Database) -> Iterator[Database]:
    """A user of its own who owns the database and is no superuser."""
    name = f"login_{secrets.token_hex(4)}"
    with contextlib.closing(postgres_server.connect()) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'x'")
        here, owner = sql.Identifier(database.name), sql.Identifier(name)
        cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(here, owner))
        try:
            yield dataclasses.replace(database, user=name, password="x")
        finally:
            cursor.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(here))
            with contextlib.closing(database.connect()) as there, there.cursor() as inside:
                inside.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}")
                there.commit()
            cursor.execute(f"DROP ROLE {name}")


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, login: Database, database: Database) -> Database:
    """The login, whose role, database and environment set whatever they may."""
    with contextlib.closing(database.connect()) as admin, admin.cursor() as cursor:
        cursor.execute(TRAPS)
        for name, value in HOSTILE.items():
            for target, called in (("ROLE", login.user), ("DATABASE", database.name)):
                cursor.execute(
                    sql.SQL("ALTER {} {} SET {} TO {}").format(
                        sql.SQL(target), sql.Identifier(called), sql.Identifier(name.lower()), sql.Literal(value)
                    )
                )
        admin.commit()
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=theirs -c DateStyle=German")
    monkeypatch.setenv("PGTZ", "Pacific/Kiritimati")
    monkeypatch.setenv("PGDATESTYLE", "German")
    return login


def _staged(pipeline: Pipeline) -> str:
    """Extract and stage the present version; return its manifest's key."""
    key = str(pipeline.extract()["manifest_key"])
    pipeline.stage(key, 0)
    return key


def _warehouse(pipeline: Pipeline, *, seconds: float = 7) -> Warehouse:
    return Warehouse(pipeline.event["secret_arn"], statement_seconds=seconds)


def _neutral(database: Database) -> Any:
    """A connection that reads as PostgreSQL does by itself."""
    connection = psycopg2.connect(database.url, client_encoding="UTF8", options="")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "SET search_path TO public; SET TimeZone TO UTC; SET DateStyle TO ISO; SET extra_float_digits TO 1"
        )
    return connection


def _published_twice(pipeline: Pipeline, source: OpenData, database: Database) -> None:
    """Publish two versions that differ by one vehicle, and assert that they are what the source says."""
    assert pipeline.run("first")["inserted"] == 20
    source.snapshot = Snapshot.of([*ROWS[:-1], ROWS[-1] | {"city": "Tacoma"}], rows_updated_at=JULY)
    answer = pipeline.run("second")
    assert (answer["updated"], answer["unchanged"], answer["removed"]) == (1, 19, 0)
    with contextlib.closing(_neutral(database)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT county, longitude, latitude, valid_from::text FROM electric_vehicle_us WHERE dol_vehicle_id = 1"
        )
        assert cursor.fetchall() == [("Doña Ana", -106.747852, 32.293456, "2023-06-01 00:00:00+00")]
        cursor.execute("SELECT DISTINCT loaddate = (now() AT TIME ZONE 'UTC')::date FROM electric_vehicle_us")
        assert cursor.fetchall() == [(True,)], "the day is UTC's"
        cursor.execute("SELECT vehicles, arrived, changed FROM ev_growth ORDER BY dataset_version")
        assert cursor.fetchall() == [(20, 20, 0), (20, 0, 1)]


def test_nothing_that_role_database_or_environment_set_changes_what_is_published(
    aws: None, monkeypatch: pytest.MonkeyPatch, hostile: Database, database: Database, source: OpenData
) -> None:
    _published_twice(build_pipeline(monkeypatch, hostile, source, part_rows=8), source, database)
    with contextlib.closing(_neutral(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), (SELECT count(*) FROM theirs.electric_vehicle_us) FROM theirs.pipeline_run")
        assert cursor.fetchall() == [(0, 0)]


def test_each_transaction_has_every_setting_that_a_result_depends_on(
    aws: None, monkeypatch: pytest.MonkeyPatch, hostile: Database, source: OpenData
) -> None:
    pipeline = build_pipeline(monkeypatch, hostile, source)
    with contextlib.closing(hostile.connect()) as plain, plain.cursor() as cursor:
        cursor.execute("SHOW default_transaction_read_only")
        assert cursor.fetchone() == ("on",), "the settings reach a plain session"
    with _warehouse(pipeline).connect() as connection, connection.cursor() as cursor:
        more = {}
        if connection.server_version >= 140000:
            more["client_connection_check_interval"] = "10s"
        if connection.server_version >= 170000:
            more["transaction_timeout"] = "0"
        for end in (connection.commit, connection.rollback, connection.commit):
            found = {}
            for name in PINNED | more:
                cursor.execute(f"SHOW {name}")
                ((found[name],),) = cursor.fetchall()
            assert found == PINNED | more
            end()
        assert connection.get_dsn_parameters()["keepalives_idle"] == "30", "a NAT gateway forgets a silent connection"


def test_a_role_that_skips_foreign_keys_is_refused_by_name(
    aws: None, monkeypatch: pytest.MonkeyPatch, login: Database, database: Database, source: OpenData
) -> None:
    with contextlib.closing(database.connect()) as admin, admin.cursor() as cursor:
        cursor.execute(f"ALTER ROLE {login.user} SET session_replication_role TO replica")
        admin.commit()
    pipeline = build_pipeline(monkeypatch, login, source)
    told = f"sessions of user {login.user} have session_replication_role = replica"
    with pytest.raises(DatabaseError, match=told), _warehouse(pipeline).connect() as connection:
        warehouse.migrate(connection)


def test_a_session_that_somebody_closed_may_pass(
    aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData
) -> None:
    pipeline = build_pipeline(monkeypatch, database, source)
    with _warehouse(pipeline).connect() as connection:
        connection.close()
        with pytest.raises(TransientError, match="PostgreSQL: connection already closed"), translated():
            connection.cursor()


# --- Locks ---


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    monkeypatch.setattr(warehouse, "LOCK_SECONDS", 1)
    return build_pipeline(monkeypatch, database, source)


@pytest.fixture
def reader(database: Database, pipeline: Pipeline) -> Iterator[Any]:
    """A session that may do what the reading role may."""
    with contextlib.closing(database.connect()) as connection:
        warehouse.migrate(connection)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION AUTHORIZATION ev_reader")
            yield cursor


def test_no_advisory_lock_of_a_readers_holds_anything_up(pipeline: Pipeline, reader: Any) -> None:
    for former in ("ev-population", "ev-population report"):
        reader.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (former,))
    key = pipeline.extract()["manifest_key"]
    reader.execute("SELECT pg_advisory_lock(hashtext(%s), 0)", (key,))
    pipeline.stage(key, 0)
    answer = pipeline.publish(key, "first")
    assert answer["inserted"] == 20
    assert "Report: aws s3 cp" in answer["message"]


@pytest.mark.parametrize("table", ["ev_alembic_version", "ev_pipeline_internal.made", "ev_pipeline_internal.part"])
@pytest.mark.parametrize("mode", ["ACCESS SHARE", "SHARE UPDATE EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_a_reader_cannot_take_the_locks_that_publishing_waits_for(reader: Any, table: str, mode: str) -> None:
    reader.execute("BEGIN")
    with pytest.raises(InsufficientPrivilege):
        reader.execute(f"LOCK TABLE {table} IN {mode} MODE")


@pytest.mark.parametrize("mode", ["ACCESS SHARE", "ROW EXCLUSIVE"])
def test_what_reads_or_writes_the_locked_table_stops_nobody(pipeline: Pipeline, database: Database, mode: str) -> None:
    key = _staged(pipeline)
    with contextlib.closing(database.connect()) as other, other.cursor() as cursor:
        cursor.execute(f"LOCK TABLE ev_alembic_version IN {mode} MODE")
        assert pipeline.publish(key, "first")["inserted"] == 20


def test_a_lock_that_is_kept_is_told_of_and_may_pass(pipeline: Pipeline, database: Database) -> None:
    key = _staged(pipeline)
    with contextlib.closing(database.connect()) as other, other.cursor() as cursor:
        warehouse.lock(cursor)
        with pytest.raises(TransientError, match=r"kept a lock for longer than 1 s .*it is tried again"):
            pipeline.publish(key, "first")
    assert pipeline.publish(key, "first")["inserted"] == 20


def test_a_former_release_and_this_one_migrate_one_at_a_time(pipeline: Pipeline, database: Database) -> None:
    with contextlib.closing(database.connect()) as former, former.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('ev-population', 0))")
        with (
            pytest.raises(TransientError, match="another session kept a lock"),
            _warehouse(pipeline).connect() as connection,
            translated(),
        ):
            warehouse.migrate(connection)
    with _warehouse(pipeline).connect() as connection:
        warehouse.migrate(connection)
        assert warehouse.revision(connection) == warehouse.HEAD


# --- PgBouncer ---


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, login: Database) -> Iterator[Database]:
    """The login's database through a PgBouncer of its own."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (apt-get install pgbouncer)")
    # Not below pytest's own directory, which is closed to the user that PgBouncer runs as when we are root.
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "users.txt").write_text(f'"{login.user}" "x"\n')
        (home / "pgbouncer.ini").write_text(
            f"[databases]\n{login.name} = host={login.host} port={login.port} dbname={login.name}\n"
            f"[pgbouncer]\npool_mode = {request.param}\nlisten_port = 6432\nunix_socket_dir = {home}\n"
            f"auth_type = plain\nauth_file = {home}/users.txt\ndefault_pool_size = 3\n"
            f"query_wait_timeout = 20\nlogfile = {home}/log\n"
        )
        command = [program, "-q", str(home / "pgbouncer.ini")]
        if os.geteuid() == 0:  # which PgBouncer refuses to be; the server's own user gets at its socket
            user = Path(login.host).owner() if login.host.startswith("/") else "nobody"
            for path in (home, *home.iterdir()):
                shutil.chown(path, user)
            command[1:1] = ["-u", user]
        with subprocess.Popen(command) as process:
            try:
                deadline = time.monotonic() + 10
                while not (home / ".s.PGSQL.6432").exists():
                    assert process.poll() is None, (home / "log").read_text()
                    assert time.monotonic() < deadline, "PgBouncer did not start"
                    time.sleep(0.02)
                yield dataclasses.replace(login, host=str(home), port=6432)
            finally:
                process.terminate()


@pytest.mark.exhaustive
def test_behind_pgbouncer_all_is_as_without_and_other_clients_keep_their_settings(
    aws: None, monkeypatch: pytest.MonkeyPatch, pooled: Database, database: Database, source: OpenData
) -> None:
    settings = (
        "SELECT name, setting FROM pg_settings WHERE name <> ALL ('{application_name,client_encoding}') ORDER BY 1"
    )
    with contextlib.closing(psycopg2.connect(pooled.url)) as other, other.cursor() as cursor:
        other.autocommit = True
        cursor.execute(settings)
        before = cursor.fetchall()
        # What holds a server connection makes the pool give ours another from transaction to transaction.
        with contextlib.closing(psycopg2.connect(pooled.url)) as busy:
            pipeline = build_pipeline(monkeypatch, pooled, source, part_rows=8)
            busy.cursor().execute("SELECT 1")
            assert pipeline.run("first")["inserted"] == 20
            busy.rollback()
        cursor.execute(settings)
        assert cursor.fetchall() == before
    with contextlib.closing(_neutral(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT county FROM electric_vehicle_us WHERE dol_vehicle_id = 1")
        assert cursor.fetchall() == [("Doña Ana",)]
