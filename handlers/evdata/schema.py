"""The tables and views of a dataset, derived from its contract: DDL for migrations and staging, nothing about rows."""

from psycopg2 import sql
from psycopg2.sql import Composable, Identifier, Literal

from evdata.contract import Column, Dataset

STAGING: str = "staging"


def names(columns: tuple[Column, ...], prefix: str | None = None) -> Composable:
    """Return the columns' names, separated by commas, each behind `prefix.` if one is given."""
    return sql.SQL(", ").join(
        Identifier(prefix, column.name) if prefix else Identifier(column.name) for column in columns
    )


def definitions(columns: tuple[Column, ...]) -> Composable:
    """Return the columns' definitions as CREATE TABLE takes them."""
    return sql.SQL(",\n  ").join(
        sql.SQL("{} {}{}").format(
            Identifier(column.name), sql.SQL(column.sql_type), sql.SQL(" NOT NULL" if column.not_null else "")
        )
        for column in columns
    )


def create_tables(dataset: Dataset) -> Composable:
    """Return the DDL of the current table, its history, the as-of function, and their comments."""
    table, history, as_of = (Identifier(dataset.table + suffix) for suffix in ("", "_history", "_as_of"))
    comments = [
        sql.SQL("COMMENT ON COLUMN {}.{} IS {};").format(target, Identifier(name), Literal(comment))
        for target, more in ((table, _CURRENT_COMMENTS), (history, _HISTORY_COMMENTS))
        for name, comment in [*((column.name, column.comment) for column in dataset.columns), *more.items()]
    ]
    return sql.SQL(
        """
        CREATE TABLE {table} (
          {definitions},
          valid_from timestamptz NOT NULL,
          loaddate date NOT NULL,
          PRIMARY KEY ({key})
        );
        CREATE TABLE {history} (
          {definitions},
          valid_from timestamptz NOT NULL,
          valid_to timestamptz NOT NULL,
          change text NOT NULL CHECK (change IN ('updated', 'removed')),
          loaddate date NOT NULL,
          PRIMARY KEY ({key}, valid_from),
          CHECK (valid_from < valid_to)
        );
        CREATE FUNCTION {as_of}(moment timestamptz) RETURNS SETOF {table} LANGUAGE sql STABLE AS $$
          SELECT {names}, valid_from, loaddate FROM {table} WHERE valid_from <= moment
          UNION ALL
          SELECT {names}, valid_from, loaddate FROM {history} WHERE valid_from <= moment AND moment < valid_to
        $$;
        COMMENT ON TABLE {table} IS {table_comment};
        COMMENT ON TABLE {history} IS {history_comment};
        COMMENT ON FUNCTION {as_of}(timestamptz) IS {as_of_comment};
        {comments}
        """
    ).format(
        table=table,
        history=history,
        as_of=as_of,
        definitions=definitions(dataset.columns),
        names=names(dataset.columns),
        key=Identifier(dataset.key),
        table_comment=Literal(f"{dataset.title}: what the source lists now, one row each. {dataset.attribution}"),
        history_comment=Literal(f"{dataset.title}: every superseded version of a row. {dataset.attribution}"),
        as_of_comment=Literal(f"{dataset.table} as it stood at a moment, by the source's own versions"),
        comments=sql.SQL("\n").join(comments),
    )


def create_views(dataset: Dataset) -> Composable:
    """Return the DDL of the views, and of the role that may read them and the tables.

    Roles belong to the server, not to the database: another database may have made it, or may be making it now, and a
    person's own server may not let this user make one. Reading rights are then granted by hand (docs/operate.md).
    """
    views = [
        sql.SQL("CREATE VIEW {name} AS {query}; COMMENT ON VIEW {name} IS {comment};").format(
            name=Identifier(view.name), query=sql.SQL(view.query), comment=Literal(view.comment)
        )
        for view in dataset.views
    ]
    readable = (
        *(dataset.table, f"{dataset.table}_history", "pipeline_run", "rejected_row"),
        *(view.name for view in dataset.views),
    )
    return sql.SQL(
        """
        {views}
        DO $$
        BEGIN
          CREATE ROLE {reader} NOLOGIN;
        EXCEPTION
          WHEN duplicate_object OR unique_violation THEN NULL;
          WHEN insufficient_privilege THEN RAISE NOTICE 'role % could not be created', {name};
        END $$;
        DO $$
        BEGIN
          IF EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
            GRANT SELECT ON {readable} TO {reader};
          END IF;
        END $$;
        """
    ).format(
        views=sql.SQL("\n").join(views),
        reader=Identifier(dataset.reader),
        name=Literal(dataset.reader),
        readable=sql.SQL(", ").join(map(Identifier, readable)),
    )


def drop_tables(dataset: Dataset) -> Composable:
    """Return the DDL that takes away what the two above made, but for the role: another database may have it too."""
    views = sql.SQL(" ").join(sql.SQL("DROP VIEW {};").format(Identifier(view.name)) for view in dataset.views)
    return sql.SQL(
        "{views} DROP FUNCTION IF EXISTS {as_of}(timestamptz); DROP TABLE IF EXISTS {history}, {table};"
    ).format(
        views=views,
        as_of=Identifier(f"{dataset.table}_as_of"),
        history=Identifier(f"{dataset.table}_history"),
        table=Identifier(dataset.table),
    )


_CURRENT_COMMENTS = {
    "valid_from": "Version of the dataset since which the row reads as it does",
    "loaddate": "Day on which the row was last written, UTC",
}
_HISTORY_COMMENTS = {
    "valid_from": "Version of the dataset since which the row read as it did",
    "valid_to": "Version of the dataset from which on it no longer did",
    "change": "How it ended: updated (another version of the row follows) or removed (it left the source)",
    "loaddate": "Day on which this version of the row was written, UTC",
}
