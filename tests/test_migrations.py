"""Migrations on a real PostgreSQL: a database of the first release, the way back, and who may read what they make."""

import contextlib
import dataclasses
import re
import secrets
from collections.abc import Iterator
from typing import Any, Final

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.errors import InsufficientPrivilege

from evdata import dataset as contract
from evdata import schema, warehouse
from evdata.dataset import DATASET
from evdata.errors import DatabaseError, TransientError
from evdata.schema import INTERNAL
from local.postgres import Database, temporary_database
from tests import catalog

# As the first release of 0001 made them, which still made views and the role.
VIEWS_OF_THE_FIRST_RELEASE: Final = """
CREATE VIEW ev_by_county AS SELECT county, state, count(*) AS vehicles, count(*) AS battery_electric,
  count(*) AS plug_in_hybrid FROM electric_vehicle_us GROUP BY county, state;
CREATE VIEW ev_by_make_model AS SELECT make, model_name, count(*) AS vehicles, min(model_year) AS first_model_year,
  max(model_year) AS last_model_year FROM electric_vehicle_us GROUP BY make, model_name;
CREATE VIEW ev_by_model_year AS SELECT model_year, count(*) AS vehicles, count(*) AS battery_electric,
  count(*) AS plug_in_hybrid FROM electric_vehicle_us GROUP BY model_year;
CREATE VIEW ev_growth AS SELECT dataset_version, loaded AS vehicles, inserted AS arrived, removed AS departed,
  updated AS changed, rejected FROM pipeline_run WHERE status = 'published';
"""
# As 0001 made them while it still did; 0002 wrote on their columns.
FORMER_STAGING: Final = """
CREATE SCHEMA staging;
COMMENT ON SCHEMA staging IS 'Parts on their way into the tables; empty when no run is under way';
CREATE TABLE staging.part (
  manifest_key text NOT NULL,
  part integer NOT NULL,
  sha256 text,
  rows bigint,
  rejected bigint,
  warnings jsonb NOT NULL DEFAULT '{}',
  error text,
  staged_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (manifest_key, part)
);
COMMENT ON TABLE staging.part IS 'Parts that were staged, or the reason why one could not be';
CREATE TABLE staging.rejected (
  manifest_key text NOT NULL,
  part integer NOT NULL,
  line integer NOT NULL,
  raw jsonb NOT NULL,
  reasons text[] NOT NULL,
  PRIMARY KEY (manifest_key, part, line)
);
COMMENT ON TABLE staging.rejected IS 'Rows of staged parts that cannot be kept';
"""
# What a run leaves there that dies between staging and publishing.
LEFTOVERS: Final = """
CREATE UNLOGGED TABLE staging.electric_vehicle_us_20230601000000_00000 (dol_vehicle_id bigint, line integer NOT NULL);
INSERT INTO staging.electric_vehicle_us_20230601000000_00000 VALUES (1, 2);
INSERT INTO staging.part (manifest_key, part, sha256, rows, rejected) VALUES ('raw_data/a', 0, 'digest', 1, 1);
INSERT INTO staging.rejected VALUES ('raw_data/a', 0, 3, '{"model_year": "X"}', '{"model_year is not a year"}');
"""
ONE_VEHICLE: Final = """
INSERT INTO electric_vehicle_us
  (dol_vehicle_id, vin_code, county, state, model_year, make, vehicle_type, valid_from, loaddate)
VALUES (1, 'KM8K33AGXL', 'King', 'WA', 2020, 'HYUNDAI', 'Battery Electric Vehicle (BEV)', '2023-06-01Z', '2023-06-02')
"""


class Session:
    """A connection and its cursor, one statement a call."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        return found

    def commit(self, statement: str) -> None:
        self.query(statement)
        self.connection.commit()

    def schemas(self) -> set[str]:
        """The schemas but for `public` and PostgreSQL's own."""
        return {
            name
            for (name,) in self.query(
                "SELECT nspname FROM pg_namespace "
                "WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')"
            )
        }

    def views(self) -> set[str]:
        return {name for name in catalog.relations(self.query) if name.startswith("ev_") and "alembic" not in name}


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with contextlib.closing(database.connect()) as connection:
        yield Session(connection)


@pytest.fixture
def first_release(session: Session) -> Session:
    """A database as the first release left it, with a vehicle in it."""
    warehouse._alembic(session.connection, "upgrade", "0001")
    session.commit(FORMER_STAGING + VIEWS_OF_THE_FIRST_RELEASE + ONE_VEHICLE)
    assert session.views() == {"ev_by_county", "ev_by_make_model", "ev_by_model_year", "ev_growth"}
    return session


NOW: Final = {view.name for view in DATASET.views}


def test_a_database_of_the_first_release_gets_the_views_and_keeps_its_rows(first_release: Session) -> None:
    warehouse.migrate(first_release.connection)
    assert first_release.views() == NOW
    assert first_release.query("SELECT make, vehicles, battery_electric FROM ev_by_make_model") == [("HYUNDAI", 1, 1)]
    assert catalog.undocumented(first_release.query, reader=DATASET.reader) == []


def test_a_database_of_the_first_release_ends_as_a_new_one_does(
    first_release: Session, postgres_server: Database
) -> None:
    told = (
        "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' UNION ALL "
        "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1, 2"
    )
    warehouse.migrate(first_release.connection)
    with temporary_database(postgres_server) as new, contextlib.closing(new.connect()) as connection:
        warehouse.migrate(connection)
        assert first_release.query(told) == Session(connection).query(told)


def test_what_somebody_built_upon_a_view_is_not_taken_from_them(first_release: Session) -> None:
    first_release.commit("CREATE VIEW mine AS SELECT sum(departed) FROM ev_growth")
    with pytest.raises(psycopg2.Error, match="cannot drop view ev_growth because other objects depend on it"):
        warehouse.migrate(first_release.connection)
    first_release.connection.rollback()
    assert "mine" in catalog.relations(first_release.query)
    assert warehouse.revision(first_release.connection) == "0001", "all of a migration or nothing"


def test_the_way_back_leaves_nothing_and_the_way_forth_makes_it_all_again(session: Session) -> None:
    warehouse.migrate(session.connection)
    session.commit(ONE_VEHICLE)
    warehouse.drop_everything(session.connection)
    assert catalog.relations(session.query) == set()
    assert session.schemas() == set()
    warehouse.migrate(session.connection)
    assert session.views() == NOW
    assert session.query("SELECT count(*) FROM ev_by_county") == [(0,)]


def test_tables_of_a_newer_release_are_left_to_it(session: Session) -> None:
    warehouse.migrate(session.connection)
    session.commit("UPDATE ev_alembic_version SET version_num = '9999'")
    for attempt in (warehouse.migrate, warehouse.drop_everything):
        with pytest.raises(TransientError, match=r"at revision 9999 and this function knows them up to \d{4}: a newer"):
            attempt(session.connection)
    assert session.views() == NOW


def test_a_database_of_the_first_release_can_be_taken_down_whole(first_release: Session) -> None:
    warehouse.drop_everything(first_release.connection)
    assert catalog.relations(first_release.query) == set()


# --- What belongs to others ---

THEIRS: Final = {
    "VIEW public.ev_growth": "CREATE VIEW ev_growth AS SELECT 7 AS n",
    "MATERIALIZED VIEW public.ev_moves": "CREATE MATERIALIZED VIEW ev_moves AS SELECT 7 AS n",
    "TABLE public.ev_by_county": "CREATE TABLE ev_by_county (n int)",
    "TABLE public.pipeline_run": "CREATE TABLE pipeline_run (n int)",
    "VIEW public.electric_vehicle_us_history": "CREATE VIEW electric_vehicle_us_history AS SELECT 7 AS n",
    "SEQUENCE public.rejected_row": "CREATE SEQUENCE rejected_row",
    "FUNCTION public.electric_vehicle_us_as_of(timestamptz)": (
        "CREATE FUNCTION electric_vehicle_us_as_of(timestamptz) RETURNS int LANGUAGE sql AS 'SELECT 7'"
    ),
    "SCHEMA ev_pipeline_internal": "CREATE SCHEMA ev_pipeline_internal",
}


def _everything(session: Session) -> list[tuple[Any, ...]]:
    return session.query(
        "SELECT 'relation', oid, relname FROM pg_class WHERE oid >= 16384 UNION ALL "
        "SELECT 'function', oid, proname FROM pg_proc WHERE oid >= 16384 UNION ALL "
        "SELECT 'schema', oid, nspname FROM pg_namespace WHERE oid >= 16384 ORDER BY 1, 2"
    )


@pytest.mark.parametrize("what", THEIRS)
def test_what_stands_in_the_way_in_a_new_database_is_refused_by_name_and_stays(session: Session, what: str) -> None:
    session.commit(THEIRS[what])
    before = _everything(session)
    way_out = re.escape(f"already has {what}, which the pipeline did not make and neither")
    with pytest.raises(DatabaseError, match=f"{way_out}.*Rename what is yours, such as with ALTER {re.escape(what)}"):
        warehouse.migrate(session.connection)
    session.connection.rollback()
    assert _everything(session) == before


def test_all_that_stands_in_the_way_is_named_at_once(session: Session) -> None:
    session.commit("CREATE VIEW ev_growth AS SELECT 7 AS n; CREATE TABLE pipeline_run (n int)")
    with pytest.raises(DatabaseError, match=r"already has VIEW public\.ev_growth, TABLE public\.pipeline_run, which"):
        warehouse.migrate(session.connection)


def test_like_names_of_other_kinds_or_in_other_schemas_are_in_nobodys_way(session: Session) -> None:
    session.commit(
        "CREATE SCHEMA theirs; CREATE VIEW theirs.ev_growth AS SELECT 7 AS n; "
        "CREATE TABLE theirs.pipeline_run (n int); "
        "CREATE FUNCTION electric_vehicle_us_as_of(date) RETURNS int LANGUAGE sql AS 'SELECT 7'; "
        "CREATE FUNCTION ev_growth() RETURNS int LANGUAGE sql AS 'SELECT 7'"
    )
    before = _everything(session)
    warehouse.migrate(session.connection)
    warehouse.drop_everything(session.connection)
    assert _everything(session) == before


def test_a_view_that_the_first_release_did_not_make_is_somebody_elses(first_release: Session) -> None:
    first_release.commit("CREATE VIEW ev_moves AS SELECT 7 AS n")
    with pytest.raises(DatabaseError, match=r"already has VIEW public\.ev_moves, which"):
        warehouse.migrate(first_release.connection)
    first_release.connection.rollback()
    assert first_release.query("SELECT n FROM ev_moves") == [(7,)]
    assert warehouse.revision(first_release.connection) == "0001"


def _migrate_again(session: Session) -> None:
    """Do what the next migration does after its own changes."""
    warehouse._alembic(session.connection, "upgrade", "head")


def test_a_view_that_somebody_put_in_the_place_of_ours_is_theirs(session: Session) -> None:
    warehouse.migrate(session.connection)
    session.commit("DROP VIEW ev_growth; CREATE VIEW ev_growth AS SELECT 7 AS n")
    with pytest.raises(DatabaseError, match=r"already has VIEW public\.ev_growth, which"):
        _migrate_again(session)
    session.connection.rollback()
    warehouse.drop_everything(session.connection)
    assert catalog.relations(session.query) == {"ev_growth"}
    assert session.query("SELECT n FROM ev_growth") == [(7,)]


def test_a_table_that_somebody_put_in_the_place_of_ours_is_not_dropped(session: Session) -> None:
    warehouse.migrate(session.connection)
    session.commit("DROP TABLE rejected_row CASCADE; CREATE TABLE rejected_row (n int)")
    for attempt in (_migrate_again, lambda session: warehouse.drop_everything(session.connection)):
        with pytest.raises(DatabaseError, match=r"already has TABLE public\.rejected_row, which"):
            attempt(session)
        session.connection.rollback()
    assert session.query("SELECT n FROM rejected_row") == []


def test_a_view_that_changes_keeps_its_readers_and_what_was_built_on_it(session: Session) -> None:
    warehouse.migrate(session.connection)
    session.commit(
        "CREATE OR REPLACE VIEW ev_by_model_year AS SELECT model_year, count(*) AS vehicles, "
        "0::bigint AS battery_electric, 0::bigint AS plug_in_hybrid FROM electric_vehicle_us GROUP BY 1;"
        "GRANT SELECT ON ev_by_model_year TO PUBLIC; CREATE VIEW mine AS SELECT battery_electric FROM ev_by_model_year;"
        + ONE_VEHICLE
    )
    assert session.query("SELECT * FROM mine") == [(0,)]
    _migrate_again(session)
    assert session.query("SELECT * FROM mine") == [(1,)], (
        "the contract's definition is back, and the view upon it stands"
    )
    assert session.query("SELECT has_table_privilege('public', 'ev_by_model_year', 'SELECT')") == [(True,)]


def test_what_somebody_built_upon_a_table_stops_the_way_back_by_name(session: Session) -> None:
    warehouse.migrate(session.connection)
    session.commit("CREATE VIEW mine AS SELECT make FROM electric_vehicle_us;" + ONE_VEHICLE)
    told = r"view mine depends on table electric_vehicle_us\. Nothing was changed\. Drop"
    with pytest.raises(DatabaseError, match=told), warehouse.translated():
        warehouse.drop_everything(session.connection)
    session.connection.rollback()
    assert session.query("SELECT make FROM mine") == [("HYUNDAI",)]
    assert session.views() == NOW


def test_a_table_put_into_the_internal_schema_is_not_dropped_with_it(session: Session) -> None:
    warehouse.migrate(session.connection)
    session.commit(f"CREATE TABLE {INTERNAL}.theirs (n int)")
    told = rf"table {INTERNAL}\.theirs depends on schema {INTERNAL}"
    with pytest.raises(DatabaseError, match=told), warehouse.translated():
        warehouse.drop_everything(session.connection)
    session.connection.rollback()
    assert session.query(f"SELECT * FROM {INTERNAL}.theirs") == []


def test_as_of_reads_our_tables_whatever_the_readers_search_path(session: Session) -> None:
    warehouse.migrate(session.connection)
    session.commit(
        ONE_VEHICLE + "; CREATE SCHEMA theirs; CREATE TABLE theirs.electric_vehicle_us (LIKE electric_vehicle_us); "
        "SET search_path TO theirs"
    )
    as_of = "public.electric_vehicle_us_as_of('2023-07-01')"
    assert session.query(f"SELECT dol_vehicle_id FROM {as_of}") == [(1,)]
    plan = "".join(line for (line,) in session.query(f"EXPLAIN SELECT * FROM {as_of} WHERE dol_vehicle_id = 1"))
    assert "Function Scan" not in plan, "the planner looks into the function"


# --- The internal schema, which was `staging` ---


@pytest.fixture
def with_leftovers(session: Session) -> Session:
    """A database at 0002, as the release before 0003 leaves it when a run dies between staging and publishing."""
    warehouse._alembic(session.connection, "upgrade", "0002")
    session.commit(FORMER_STAGING + LEFTOVERS)
    return session


def _staged(session: Session) -> list[tuple[Any, ...]]:
    return session.query(
        f"SELECT part.sha256, rejected.line, staged.dol_vehicle_id FROM {INTERNAL}.part, {INTERNAL}.rejected, "
        f"{INTERNAL}.electric_vehicle_us_20230601000000_00000 AS staged"
    )


def test_a_new_database_has_the_internal_schema_and_no_other(session: Session) -> None:
    warehouse.migrate(session.connection)
    assert session.schemas() == {INTERNAL}


def test_parts_staged_before_the_migration_are_there_afterwards(with_leftovers: Session) -> None:
    warehouse._alembic(with_leftovers.connection, "upgrade", "0003")
    assert with_leftovers.schemas() == {INTERNAL}, "the former schema is gone"
    assert _staged(with_leftovers) == [("digest", 3, 1)]
    warehouse.migrate(with_leftovers.connection)
    assert catalog.undocumented(with_leftovers.query, reader=DATASET.reader) == [
        f"relation {INTERNAL}.electric_vehicle_us_20230601000000_00000",
        f"column {INTERNAL}.electric_vehicle_us_20230601000000_00000.dol_vehicle_id",
        f"column {INTERNAL}.electric_vehicle_us_20230601000000_00000.line",
    ]
    warehouse.drop_everything(with_leftovers.connection)
    assert with_leftovers.schemas() == set()


def test_what_somebody_put_into_the_former_schema_stays_and_so_does_the_schema(with_leftovers: Session) -> None:
    with_leftovers.commit(
        "CREATE TABLE staging.theirs (n int); INSERT INTO staging.theirs VALUES (7); "
        "CREATE FUNCTION staging.one() RETURNS int LANGUAGE sql AS 'SELECT 1'; "
        "CREATE TABLE staging.theirs_20230601000000_00000 (n int); CREATE VIEW watch AS SELECT error FROM staging.part"
    )
    warehouse.migrate(with_leftovers.connection)
    assert with_leftovers.schemas() == {INTERNAL, "staging"}
    assert with_leftovers.query("SELECT n, staging.one() FROM staging.theirs") == [(7, 1)]
    assert with_leftovers.query("SELECT count(*) FROM staging.theirs_20230601000000_00000") == [(0,)], (
        "a table that is logged is none of ours, whatever its name"
    )
    assert with_leftovers.query("SELECT obj_description('staging'::regnamespace)") == [(None,)]
    with_leftovers.commit(f"INSERT INTO {INTERNAL}.part (manifest_key, part, error) VALUES ('raw_data/b', 0, 'why')")
    assert with_leftovers.query("SELECT * FROM watch") == [("why",)], "a view follows the table it reads"


# --- Kept vehicles ---


def test_runs_from_before_kept_nothing_and_a_run_without_counts_has_none(session: Session) -> None:
    warehouse._alembic(session.connection, "upgrade", "0003")
    session.commit(
        "INSERT INTO pipeline_run VALUES ('one', 'f6w7-q2d2', '2023-06-01Z', 'raw_data/a', 'published', now(), now(), "
        "now(), 3, 2, 2, 0, 0, 0, 1, '{}', 'published'), ('two', 'f6w7-q2d2', '2023-07-01Z', 'raw_data/b', 'refused', "
        "now(), now(), now(), NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}', 'refused'); "
        "INSERT INTO rejected_row VALUES ('one', 0, 3, '{}', '{why}')"
    )
    warehouse.migrate(session.connection)
    assert session.query("SELECT execution_id, kept FROM pipeline_run ORDER BY 1") == [("one", 0), ("two", None)]
    assert session.query("SELECT key, kept FROM rejected_row") == [(None, False)]
    assert session.query("SELECT vehicles, kept FROM ev_growth") == [(2, 0)]
    assert session.query("SELECT * FROM ev_kept") == []


def test_parts_whose_rejected_rows_have_no_keys_yet_are_staged_again(with_leftovers: Session) -> None:
    with_leftovers.commit(
        "INSERT INTO staging.part (manifest_key, part, sha256, rows, rejected) VALUES ('raw_data/a', 1, 'good', 1, 0)"
    )
    warehouse.migrate(with_leftovers.connection)
    assert with_leftovers.query(f"SELECT part FROM {INTERNAL}.part") == [(1,)], "publish says that part 0 is missing"
    assert with_leftovers.query(f"SELECT * FROM {INTERNAL}.rejected") == []


@pytest.mark.parametrize("theirs", ["", "CREATE TABLE staging.part (n int)"])
def test_a_schema_staging_of_somebody_elses_is_none_of_ours(session: Session, theirs: str) -> None:
    session.commit(f"CREATE SCHEMA staging; {theirs}")
    count = "SELECT count(*) FROM pg_class WHERE relnamespace = 'staging'::regnamespace"
    before = session.query(count)
    warehouse.migrate(session.connection)
    assert session.schemas() == {INTERNAL, "staging"}
    warehouse.drop_everything(session.connection)
    assert session.schemas() == {"staging"}
    assert session.query(count) == before


# --- Who may read ---


@pytest.fixture
def reader(session: Session) -> Session:
    """A session that has put on the reading role."""
    warehouse.migrate(session.connection)
    session.commit(ONE_VEHICLE)
    session.commit("SET ROLE ev_reader")
    return session


def test_the_reader_reads_every_table_and_view_but_the_machinery(reader: Session) -> None:
    readable = set(schema.readable(DATASET))
    assert catalog.relations(reader.query) == readable | {warehouse.VERSION_TABLE}, (
        "a migration made something that the contract does not know: it must be granted, or named as machinery"
    )
    for name in readable:
        reader.query(f"SELECT * FROM {name}")
    assert reader.query("SELECT dol_vehicle_id FROM electric_vehicle_us_as_of('2023-07-01')") == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM ev_alembic_version",
        "SELECT * FROM ev_pipeline_internal.part",
        "INSERT INTO rejected_row SELECT * FROM rejected_row",
        "UPDATE electric_vehicle_us SET make = 'X'",
        "DELETE FROM electric_vehicle_us_history",
        "TRUNCATE pipeline_run",
        "DROP VIEW ev_by_county",
        "COMMENT ON VIEW ev_by_county IS 'mine'",
        "CREATE TABLE mine (n int)",
        "CREATE TEMP TABLE mine (n int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
        "LOCK TABLE electric_vehicle_us IN ACCESS EXCLUSIVE MODE",
    ],
)
def test_the_reader_may_do_nothing_else(reader: Session, statement: str) -> None:
    if "CREATE TABLE" in statement or "FUNCTION" in statement:
        _needs_a_closed_public_schema(reader)
    with pytest.raises(InsufficientPrivilege):
        reader.query(statement)


def _needs_a_closed_public_schema(session: Session) -> None:
    if session.connection.server_version < 150000:
        pytest.skip("before PostgreSQL 15 everybody may create in the schema public, and only a superuser can end it")


@pytest.fixture
def owner(postgres_server: Database, database: Database) -> Iterator[Database]:
    """A user as RDS's master user is: owns the database, may make roles, is no superuser."""
    name = f"owner_{secrets.token_hex(4)}"
    with contextlib.closing(postgres_server.connect()) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'x'")
        cursor.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database.name), sql.Identifier(name))
        )
        try:
            yield dataclasses.replace(database, user=name, password="x")
        finally:
            with contextlib.closing(dataclasses.replace(postgres_server, name=database.name).connect()) as there:
                there.autocommit = True
                with there.cursor() as inside:
                    inside.execute(f"DROP OWNED BY {name} CASCADE")
            cursor.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                    sql.Identifier(database.name), sql.Identifier(postgres_server.user)
                )
            )
            cursor.execute(f"DROP ROLE IF EXISTS {name}_reader")
            cursor.execute(f"DROP ROLE {name}")


@pytest.fixture
def own_reader(monkeypatch: pytest.MonkeyPatch, owner: Database) -> str:
    """The name of a reading role that no other database of the server has made yet."""
    name = f"{owner.user}_reader"
    monkeypatch.setattr(contract, "DATASET", dataclasses.replace(DATASET, reader=name))
    return name


def test_a_user_like_rds_master_makes_the_role_describes_it_and_may_put_it_on(owner: Database, own_reader: str) -> None:
    with contextlib.closing(owner.connect()) as connection:
        session = Session(connection)
        warehouse.migrate(connection)
        assert catalog.undocumented(session.query, reader=own_reader) == []
        session.commit(f"SET ROLE {own_reader}")
        assert session.query("SELECT count(*) FROM ev_by_county") == [(0,)]
        with pytest.raises(InsufficientPrivilege):
            session.query("CREATE TEMP TABLE mine (n int)")
        connection.rollback()
        session.commit("RESET ROLE")
        session.query("CREATE TEMP TABLE differing (n int)")


def test_where_others_have_tables_their_temporary_ones_are_left_alone(owner: Database, own_reader: str) -> None:
    with contextlib.closing(owner.connect()) as connection:
        session = Session(connection)
        session.commit("CREATE TABLE theirs (n int)")
        warehouse.migrate(connection)
        assert session.query("SELECT has_database_privilege(%s, current_database(), 'TEMP')", own_reader) == [(True,)]


def test_a_temporary_table_that_stands_during_the_migration_is_nobodys_table(
    owner: Database, own_reader: str, database: Database
) -> None:
    with contextlib.closing(owner.connect()) as connection, contextlib.closing(database.connect()) as other:
        Session(other).commit("CREATE TEMP TABLE passing (n int)")
        warehouse.migrate(connection)
        may = "SELECT has_database_privilege(%s, current_database(), 'TEMP')"
        assert Session(connection).query(may, own_reader) == [(False,)]


def test_taking_all_away_gives_everybody_their_temporary_tables_back(owner: Database, own_reader: str) -> None:
    may = "SELECT has_database_privilege(%s, current_database(), 'TEMP')"
    with contextlib.closing(owner.connect()) as connection:
        session = Session(connection)
        warehouse.migrate(connection)
        assert session.query(may, own_reader) == [(False,)]
        warehouse.drop_everything(connection)
        assert session.query(may, own_reader) == [(True,)]


def test_a_user_who_may_make_no_roles_gets_everything_else(
    postgres_server: Database, owner: Database, own_reader: str
) -> None:
    with contextlib.closing(postgres_server.connect()) as admin, admin.cursor() as cursor:
        cursor.execute(f"ALTER ROLE {owner.user} NOCREATEROLE")
        admin.commit()
    with contextlib.closing(owner.connect()) as connection:
        session = Session(connection)
        warehouse.migrate(connection)
        assert session.query("SELECT count(*) FROM pg_roles WHERE rolname = %s", own_reader) == [(0,)]
        assert session.views() == NOW
