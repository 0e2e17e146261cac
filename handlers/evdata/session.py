"""A session with PostgreSQL whose answers depend on nothing that a server, database, role or environment sets.

Every transaction begins with one round trip that sets, for itself alone, whatever its result depends on. So a pooler
may give each transaction another server connection (PgBouncer's transaction pooling), and none keeps our settings. The
startup parameter `options` would do for a session, but PgBouncer rejects it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import psycopg2
import psycopg2.extensions
from psycopg2 import sql
from psycopg2.sql import Composable, Identifier, Literal

from evdata.errors import DatabaseError

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

CONNECT_TIMEOUT_SECONDS: Final = 10

# Of the settings that a role or database may carry, those that change what a statement does or answers:
# https://www.postgresql.org/docs/18/runtime-config-client.html and runtime-config-compatible.html. Left alone is what
# makes a statement faster or slower (enable_*, jit), where things are stored (default_tablespace), what we neither
# write nor read (bytea_output, lc_monetary, xmloption, backslash_quote), and `role`: a login that makes everything in
# the name of a group is somebody's choice. The encoding is set at connect, isolation and access mode by BEGIN.
RESULTS: Final[Mapping[str, str]] = {
    "search_path": "public",
    "TimeZone": "UTC",  # which day it is, and how a moment reads
    "DateStyle": "ISO, MDY",  # psycopg2 reads no other than ISO
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",  # below 1 coordinates come back rounded
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "exit_on_error": "off",  # else no savepoint outlives an error
}
# Settings that not every supported PostgreSQL has, and the first that does.
SINCE: Final[Mapping[str, int]] = {"client_connection_check_interval": 14_00_00, "transaction_timeout": 17_00_00}


class PinnedCursor(psycopg2.extensions.cursor):
    """A cursor whose first statement in a transaction comes after the connection's settings."""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        connection: Any = self.connection
        idle = connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
        if idle and not connection.autocommit:
            super().execute(connection.pins)
            if self.fetchall() == [("replica",)] and not connection.readonly:
                raise DatabaseError(
                    f"sessions of user {connection.info.user} have session_replication_role = replica, with which "
                    "PostgreSQL checks no foreign key. Take that setting off the role, the database or the server."
                )
        super().execute(query, vars)


class PinnedConnection(psycopg2.extensions.connection):
    """A connection whose transactions all begin with `pins`."""

    pins: Composable


def connect(dsn: str = "", *, settings: Mapping[str, str], readonly: bool = False, **where: Any) -> "Connection":
    """Open a connection: `dsn` and `where` as psycopg2 takes them, `settings` in addition to `RESULTS`."""
    connection = psycopg2.connect(
        dsn,
        connection_factory=PinnedConnection,
        cursor_factory=PinnedCursor,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        # These win over PGCLIENTENCODING and PGOPTIONS, the first also over what the role or database says.
        client_encoding="UTF8",
        options="",
        **where,
    )
    connection.pins = _pins(
        {
            name: value
            for name, value in {**RESULTS, **settings}.items()
            if connection.server_version >= SINCE.get(name, 0)
        }
    )
    # psycopg2 writes these into each BEGIN.
    connection.set_session(isolation_level="READ COMMITTED", readonly=readonly, deferrable=False)
    return connection


def _pins(settings: Mapping[str, str]) -> Composable:
    """Return the statements that set these until the transaction ends; the last answers session_replication_role.

    None takes a snapshot: the first statement after them may be a lock that a repeatable read has to wait for.
    """
    return sql.SQL("").join(
        [
            *(
                sql.SQL("SET LOCAL {} TO {}; ").format(Identifier(name.lower()), Literal(value))
                for name, value in settings.items()
            ),
            sql.SQL("SHOW session_replication_role"),
        ]
    )
