"""Whether the database still holds what the last published run left there, and what is made again if it does not.

People drop, empty and restore tables. A run that finds its version published already trusts the database only after a
look at it.
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from psycopg2 import sql
from psycopg2.sql import Identifier

from evdata.contract import Dataset
from evdata.errors import DatabaseError
from evdata.ownership import claim, make_views
from evdata.schema import INTERNAL, create_as_of, create_table, describe_tables, grant_reading, readable
from evdata.warehouse import HEAD, VERSION_TABLE, lock, migrate, refuse_newer, revision

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What CheckTable answers: `status` is intact or damaged. `headline` ends the subject of a message."""

    status: str
    message: str
    headline: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(connection: "Connection", dataset: Dataset, version: datetime) -> Condition:
    """Say whether `version`, published before, stands in the table as its run left it. Reads only."""
    found = revision(connection)
    refuse_newer(found)
    if found != HEAD:
        return _damaged(
            f"the database has the tables of another release (migration {found}; this release needs {HEAD})."
            if found
            else "the database was empty: it had none of the pipeline's tables."
        )
    with connection.cursor() as cursor:
        if gone := _gone(cursor, dataset):
            return _damaged(f"missing from the database: {', '.join(gone)}.")
        last = last_run(cursor, dataset)
    if last is None:
        return _damaged("the database knew of no published version.")
    if last.version != version:
        return _damaged(f"the last version published to the database was {_day(last.version)}, not {_day(version)}.")
    if last.damage:
        return _damaged(last.damage)
    return Condition(
        status="intact",
        message=f"The table holds the {last.rows:,} rows that it left there. Nothing was loaded.",
        headline=f"unchanged, {last.rows:,} rows of {version:%Y-%m-%d}",
    )


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last published run, how many rows it left in the table, and how many are there."""

    version: datetime
    left_behind: int
    rows: int

    @property
    def damage(self) -> str | None:
        """A sentence, without its first word's capital, if the two differ."""
        if self.rows == self.left_behind:
            return None
        return f"the table held {self.rows:,} rows where the last run had left {self.left_behind:,}."


def last_run(cursor: "Cursor", dataset: Dataset) -> LastRun | None:
    """Return the last published run beside the table as it is, or None before the first.

    What such a run left in the table is said here and nowhere else.
    """
    # One statement, so one snapshot: a publish that commits meanwhile is seen whole or not at all.
    cursor.execute(
        sql.SQL(
            "SELECT dataset_version, loaded + kept, (SELECT count(*) FROM {}) FROM public.pipeline_run "
            "WHERE status = 'published' ORDER BY dataset_version DESC, finished_at DESC LIMIT 1"
        ).format(Identifier("public", dataset.table))
    )
    found = cursor.fetchone()
    return LastRun(*found) if found else None


def prepare(connection: "Connection", dataset: Dataset) -> None:
    """Migrate, and make again what a run can fill again if somebody dropped it. Commits.

    Raises `DatabaseError` naming tables that only a backup brings back.
    """
    migrate(connection)
    with connection.cursor() as cursor:
        if _gone(cursor, dataset):
            lock(cursor)
            _make_again(cursor, dataset, _gone(cursor, dataset))  # another part of the version may have done it
    connection.commit()


def _make_again(cursor: "Cursor", dataset: Dataset, gone: list[str]) -> None:
    views = tuple(view for view in dataset.views if view.name in gone)
    fillable = {dataset.table, _as_of(dataset), *(view.name for view in views)}
    if lost := [name for name in gone if name not in fillable]:
        raise DatabaseError(
            f"missing from the database, and no run can load what stood there: {', '.join(lost)}. Nothing was changed; "
            "restore the database from a backup."
        )
    if dataset.table in gone:
        cursor.execute(create_table(dataset))
        claim(cursor, [dataset.table])
    if _as_of(dataset) in gone:
        cursor.execute(create_as_of(dataset))
    make_views(cursor, replace(dataset, views=views))
    if gone:
        cursor.execute(describe_tables(dataset))
        cursor.execute(grant_reading(dataset, machinery=(VERSION_TABLE,)))


def _gone(cursor: "Cursor", dataset: Dataset) -> list[str]:
    """Return which of the tables, views and functions that the migrations made are there no more."""
    relations = (*readable(dataset), *(f"{INTERNAL}.{name}" for name in ("part", "rejected", "made")))
    # Read from the catalog's rows: to_regclass may answer from what this session cached before it waited for the lock.
    cursor.execute(
        """
        SELECT CASE nspname WHEN 'public' THEN relname ELSE nspname || '.' || relname END
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('public', %s)
        UNION ALL
        SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        """,
        (INTERNAL,),
    )
    there = {name for (name,) in cursor.fetchall()}
    return [name for name in (*relations, _as_of(dataset)) if name not in there]


def _as_of(dataset: Dataset) -> str:
    return f"{dataset.table}_as_of"


def _damaged(what: str) -> Condition:
    return Condition(
        status="damaged", message=f"Warning: {what} The version is loaded again.", headline="the table is repaired"
    )


def _day(version: datetime) -> str:
    return f"{version.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
