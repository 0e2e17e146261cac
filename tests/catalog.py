"""What PostgreSQL's own catalog says of a database: which things there are, what they are made of, what lacks words."""

from collections.abc import Callable
from typing import Any

type Query = Callable[..., list[tuple[Any, ...]]]

# Everything in the pipeline's schemas that a person may meet.
_UNDOCUMENTED = """
WITH ours AS (
  SELECT c.oid, c.oid::regclass::text AS name, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
  WHERE nspname IN ('public', 'ev_pipeline_internal') AND relkind IN ('r', 'p', 'v', 'm', 'f')
)
SELECT 'relation ' || name FROM ours WHERE obj_description(oid, 'pg_class') IS NULL
UNION ALL SELECT 'column ' || name || '.' || attname FROM ours JOIN pg_attribute ON attrelid = oid
  WHERE attnum > 0 AND NOT attisdropped AND coalesce(col_description(oid, attnum), '') = ''
UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc
  WHERE pronamespace IN ('public'::regnamespace, 'ev_pipeline_internal'::regnamespace)
  AND obj_description(oid, 'pg_proc') IS NULL
UNION ALL SELECT 'schema ' || nspname FROM pg_namespace
  WHERE nspname IN ('public', 'ev_pipeline_internal') AND obj_description(oid, 'pg_namespace') IS NULL
UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname = %s AND shobj_description(oid, 'pg_authid') IS NULL
"""


def undocumented(query: Query, *, reader: str) -> list[str]:
    """Return every table, view, column, function, schema and the reading role that has no comment."""
    return [what for (what,) in query(_UNDOCUMENTED, reader)]


def relations(query: Query) -> set[str]:
    """Return the tables and views of the public schema, by name."""
    return {
        name
        for (name,) in query(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p', 'v', 'm', 'f')"
        )
    }


def columns(query: Query, relation: str) -> list[tuple[str, str]]:
    """Return a table's or view's columns and their types, in order."""
    found: list[tuple[str, str]] = query(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        relation,
    )
    return found
