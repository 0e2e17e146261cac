"""The tables and views of a dataset, and who may read them, derived from its contract: DDL, nothing about rows."""

from typing import Final

from psycopg2 import sql
from psycopg2.sql import Composable, Identifier, Literal

from evdata.contract import Column, Dataset, View

# Where parts wait on their way into the tables: a name that nobody else gives a schema.
INTERNAL: Final = "ev_pipeline_internal"


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
    """Return the DDL of the current table and its history."""
    _, history, _ = _relations(dataset)
    return sql.SQL(
        """
        {table}
        CREATE TABLE {history} (
          {definitions},
          valid_from timestamptz NOT NULL,
          valid_to timestamptz NOT NULL,
          change text NOT NULL CHECK (change IN ('updated', 'removed')),
          loaddate date NOT NULL,
          PRIMARY KEY ({key}, valid_from),
          CHECK (valid_from < valid_to)
        );
        """
    ).format(
        table=create_table(dataset),
        history=history,
        definitions=definitions(dataset.columns),
        key=Identifier(dataset.key),
    )


def create_table(dataset: Dataset) -> Composable:
    """Return the DDL of the current table alone."""
    return sql.SQL(
        """
        CREATE TABLE {table} (
          {definitions},
          valid_from timestamptz NOT NULL,
          loaddate date NOT NULL,
          PRIMARY KEY ({key})
        );
        """
    ).format(table=_relations(dataset)[0], definitions=definitions(dataset.columns), key=Identifier(dataset.key))


def create_as_of(dataset: Dataset) -> Composable:
    """Return the DDL of the as-of function; one of ours that is there is replaced and keeps its grants.

    Its tables are named with their schema: PostgreSQL reads the body under the caller's search_path. A SET clause would
    do that too, and keep the planner from looking into the function.
    """
    table, history, as_of = _relations(dataset)
    return sql.SQL(
        """
        CREATE OR REPLACE FUNCTION {as_of}(moment timestamptz) RETURNS SETOF {table} LANGUAGE sql STABLE AS $$
          SELECT {names}, valid_from, loaddate FROM {table} WHERE valid_from <= moment
          UNION ALL
          SELECT {names}, valid_from, loaddate FROM {history} WHERE valid_from <= moment AND moment < valid_to
        $$;
        """
    ).format(table=table, history=history, as_of=as_of, names=names(dataset.columns))


def describe_tables(dataset: Dataset) -> Composable:
    """Return the DDL of the comments on the tables and the as-of function."""
    table, history, as_of = _relations(dataset)
    comments = [
        sql.SQL("COMMENT ON COLUMN {}.{} IS {};").format(target, Identifier(name), Literal(comment))
        for target, more in ((table, CURRENT_COLUMNS), (history, HISTORY_COLUMNS))
        for name, (_, comment) in ({c.name: (c.sql_type, c.documentation) for c in dataset.columns} | more).items()
    ]
    return sql.SQL(
        """
        COMMENT ON TABLE {table} IS {table_comment};
        COMMENT ON TABLE {history} IS {history_comment};
        COMMENT ON FUNCTION {as_of}(timestamptz) IS {as_of_comment};
        {comments}
        """
    ).format(
        table=table,
        history=history,
        as_of=as_of,
        table_comment=Literal(f"{dataset.title}: what the source lists now, one row each. {dataset.attribution}"),
        history_comment=Literal(f"{dataset.title}: every superseded version of a row. {dataset.attribution}"),
        as_of_comment=Literal(f"{dataset.table} as it stood at a moment, by the source's own versions"),
        comments=sql.SQL("\n").join(comments),
    )


def _relations(dataset: Dataset) -> tuple[Identifier, Identifier, Identifier]:
    return (
        Identifier("public", dataset.table),
        Identifier("public", f"{dataset.table}_history"),
        Identifier("public", f"{dataset.table}_as_of"),
    )


def create_view(view: View) -> Composable:
    """Return the DDL of a view and its comments; one of ours that is there is replaced."""
    name = Identifier("public", view.name)
    return sql.SQL(
        "CREATE OR REPLACE VIEW {name} ({columns}) AS {query}; COMMENT ON VIEW {name} IS {comment}; {comments}"
    ).format(
        name=name,
        columns=sql.SQL(", ").join(Identifier(column.name) for column in view.columns),
        query=sql.SQL(view.query),
        comment=Literal(view.comment),
        comments=sql.SQL(" ").join(
            sql.SQL("COMMENT ON COLUMN {}.{} IS {};").format(name, Identifier(column.name), Literal(column.comment))
            for column in view.columns
        ),
    )


def tables(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the tables that people may read, the dataset's own first."""
    return (dataset.table, f"{dataset.table}_history", "pipeline_run", "rejected_row")


def readable(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the tables and views that the reader may read: all that is not machinery."""
    return (*tables(dataset), *(view.name for view in dataset.views))


def grant_reading(dataset: Dataset, *, machinery: tuple[str, ...] = ()) -> Composable:
    """Return the DDL of the role that may read, and of its rights.

    Roles belong to the server, not to the database: another database may have made it, or may be making it now, and a
    person's own server may not let this user make one. docs/data-dictionary.md says how to grant reading by hand then.

    Every role may make temporary tables unless the database says otherwise. It does so where it is this pipeline's
    own: its user owns it and nobody else's table (beside the pipeline's own and its `machinery`) stands in it.
    """
    return sql.SQL(
        """
        DO $$
        BEGIN
          CREATE ROLE {reader} NOLOGIN;
        EXCEPTION
          WHEN duplicate_object OR unique_violation THEN NULL;
          WHEN insufficient_privilege THEN RAISE NOTICE 'role % could not be created', {name};
        END $$;
        DO $$ -- another database of the server may be at it just now, and has it then
        BEGIN
          -- So that this user may look through the reader's eyes (SET ROLE, a right of its own since PostgreSQL 16).
          IF NOT pg_has_role({name}, CASE WHEN current_setting('server_version_num')::integer < 160000
              THEN 'MEMBER' ELSE 'SET' END) THEN
            GRANT {reader} TO CURRENT_USER;
          END IF;
          IF shobj_description(to_regrole({name}), 'pg_authid') IS DISTINCT FROM {comment} THEN
            COMMENT ON ROLE {reader} IS {comment};
          END IF;
        EXCEPTION
          WHEN undefined_object OR insufficient_privilege OR unique_violation OR internal_error THEN
            RAISE NOTICE 'role % stays as it is: %', {name}, SQLERRM;
        END $$;
        DO $$
        BEGIN
          IF EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
            GRANT SELECT ON {readable} TO {reader};
            GRANT EXECUTE ON FUNCTION {as_of}(timestamptz) TO {reader};
          END IF;
          IF {own} AND NOT EXISTS (
            SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> ALL ({ours})
              AND n.nspname NOT IN ('pg_catalog', 'information_schema', {internal}) AND n.nspname !~ '^pg_(toast|temp)'
          ) THEN
            EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
          END IF;
        END $$;
        """
    ).format(
        reader=Identifier(dataset.reader),
        name=Literal(dataset.reader),
        comment=Literal(f"May read {dataset.title}, its history, runs and views, and no more"),
        readable=sql.SQL(", ").join(Identifier("public", name) for name in readable(dataset)),
        as_of=_relations(dataset)[2],
        own=_OWNS_DATABASE,
        ours=Literal([*readable(dataset), *machinery]),
        internal=Literal(INTERNAL),
    )


def revoke_reading(dataset: Dataset) -> Composable:
    """Return the DDL that takes the reader's rights away and lets everyone make temporary tables, as PostgreSQL does.

    The role stays: another database may have it too.
    """
    return sql.SQL(
        """
        DO $$
        BEGIN
          IF EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
            REVOKE ALL ON {readable} FROM {reader};
            REVOKE ALL ON FUNCTION {as_of}(timestamptz) FROM {reader};
          END IF;
          IF {own} THEN
            EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database());
          END IF;
        END $$;
        """
    ).format(
        reader=Identifier(dataset.reader),
        name=Literal(dataset.reader),
        readable=sql.SQL(", ").join(Identifier("public", name) for name in readable(dataset)),
        as_of=_relations(dataset)[2],
        own=_OWNS_DATABASE,
    )


def drop_tables(dataset: Dataset) -> Composable:
    """Return the DDL that takes away what `create_tables` made."""
    table, history, _ = _relations(dataset)
    return sql.SQL("DROP TABLE {history}; DROP TABLE {table}").format(history=history, table=table)


def drop_as_of(dataset: Dataset) -> Composable:
    """Return the DDL that takes away what `create_as_of` made."""
    return sql.SQL("DROP FUNCTION IF EXISTS {}(timestamptz)").format(_relations(dataset)[2])


_OWNS_DATABASE = sql.SQL(
    "(SELECT pg_has_role(current_user, datdba, 'USAGE') FROM pg_database WHERE datname = current_database())"
)
# What a row has beside the dataset's own columns: type and meaning.
CURRENT_COLUMNS: Final = {
    "valid_from": ("timestamptz", "Version of the dataset since which the row reads as it does"),
    "loaddate": ("date", "Day on which the row was last written, UTC"),
}
HISTORY_COLUMNS: Final = {
    "valid_from": ("timestamptz", "Version of the dataset since which the row read as it did"),
    "valid_to": ("timestamptz", "Version of the dataset from which on it no longer did"),
    "change": ("text", "How it ended: updated (another version of the row follows) or removed (it left the source)"),
    "loaddate": ("date", "Day on which this version of the row was written, UTC"),
}
