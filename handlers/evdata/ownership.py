"""What in the database is the pipeline's own: nothing else is ever replaced or dropped.

A name alone proves nothing: a person may have a view `ev_growth` too. The migrations note each table and view that they
make in the table `made` of the internal schema, by its identity in the catalog: one that somebody dropped and made anew
is theirs.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import psycopg2
from psycopg2 import sql
from psycopg2.sql import Identifier

from evdata.contract import Dataset
from evdata.errors import DatabaseError
from evdata.schema import INTERNAL, create_view, tables

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

MADE: Final = Identifier(INTERNAL, "made")
# What ALTER calls what pg_class.relkind says; the rest of them share "TABLE".
_KINDS: Final = {
    "v": "VIEW",
    "m": "MATERIALIZED VIEW",
    "f": "FOREIGN TABLE",
    "S": "SEQUENCE",
    "i": "INDEX",
    "c": "TYPE",
}


def refuse_others(cursor: "Cursor", names: Iterable[str], *, function: str | None = None) -> None:
    """Raise `DatabaseError` naming whatever stands under one of our names and was not made by the migrations.

    `function` names the as-of function; ours returns rows of our table.
    """
    names = list(names)
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{INTERNAL}.made",))
    ((noted,),) = cursor.fetchall()
    cursor.execute(
        sql.SQL(
            "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relname = ANY(%s) AND {} ORDER BY relname"
        ).format(sql.SQL("oid NOT IN (SELECT object FROM {})").format(MADE) if noted else sql.SQL("true")),
        (names,),
    )
    others = [f"{_KINDS.get(kind, 'TABLE')} public.{name}" for name, kind in cursor.fetchall()]
    if function is not None:
        cursor.execute(
            "SELECT FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname = %s "
            "AND proargtypes::text = 'timestamptz'::regtype::oid::text "
            "AND prorettype IS DISTINCT FROM (SELECT reltype FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relname = %s)",
            (function, names[0]),
        )
        others += [f"FUNCTION public.{function}(timestamptz)" for _ in cursor.fetchall()]
    if not noted:
        cursor.execute("SELECT FROM pg_namespace WHERE nspname = %s", (INTERNAL,))
        others += [f"SCHEMA {INTERNAL}" for _ in cursor.fetchall()]
    if others:
        raise DatabaseError(
            f"the database already has {', '.join(others)}, which the pipeline did not make and neither replaces nor "
            f"drops. Rename what is yours, such as with ALTER {others[0]} RENAME TO …, or give the pipeline a database "
            "of its own. Nothing was changed."
        )


def claim(cursor: "Cursor", names: Iterable[str]) -> None:
    """Note that tables and views of these names are ours. For what was made in this very transaction."""
    cursor.execute(sql.SQL("DELETE FROM {} WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = object)").format(MADE))
    cursor.execute(
        sql.SQL(
            "INSERT INTO {} SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s) "
            "ON CONFLICT DO NOTHING"
        ).format(MADE),
        (list(names),),
    )


def make_views(cursor: "Cursor", dataset: Dataset) -> None:
    """Make the contract's views, or have ours read as the contract says now.

    Replaced where their columns allow it, which keeps grants and what people built on them. Not CASCADE otherwise: what
    somebody built on a view is theirs, and the migration fails with its name.
    """
    views = [view.name for view in dataset.views]
    refuse_others(cursor, views)
    cursor.execute("SAVEPOINT before_the_views")
    try:
        _create(cursor, dataset)
    except psycopg2.errors.InvalidTableDefinition:  # other columns than before
        cursor.execute("ROLLBACK TO SAVEPOINT before_the_views")
        drop_views(cursor, dataset)
        _create(cursor, dataset)
    claim(cursor, views)


def drop_views(cursor: "Cursor", dataset: Dataset) -> None:
    """Drop those of the contract's views that are there and ours."""
    names = [view.name for view in dataset.views]
    cursor.execute(
        sql.SQL(
            "SELECT relname FROM pg_class JOIN {} ON object = oid "
            "WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace AND relname = ANY(%s)"
        ).format(MADE),
        (names,),
    )
    # The last first: a view may stand on one before it.
    for (name,) in sorted(cursor.fetchall(), key=lambda found: names.index(found[0]), reverse=True):
        cursor.execute(sql.SQL("DROP VIEW {}").format(Identifier("public", name)))


def refuse_others_tables(cursor: "Cursor", dataset: Dataset) -> None:
    """Raise `DatabaseError` when a table or the function under one of our names is not ours."""
    refuse_others(cursor, tables(dataset), function=f"{dataset.table}_as_of")


def _create(cursor: "Cursor", dataset: Dataset) -> None:
    for view in dataset.views:
        cursor.execute(create_view(view))
