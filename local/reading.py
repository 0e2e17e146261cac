"""The way into the database to look and never to write.

A query of a person's is one value to the server, not text among our statements: it is opened as a cursor, which takes
one statement that answers rows, in a read-only transaction that is rolled back, as a user who may only read.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final, Literal

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from psycopg2 import errors, sql

from local.embedded import ANALYST, EmbeddedServer, running_server
from local.errors import LocalError
from local.postgres import Database, database_at
from local.run import DATABASE_NAME
from local.state import PROJECT, State, typed

type Connection = psycopg2.extensions.connection
type Cursor = psycopg2.extensions.cursor
type Kind = Literal["number", "boolean", "text"]


# What would be two statements, or none that answers rows, or one that writes, is refused here by the server itself.
_OPEN: Final = """
DO $$
DECLARE
  answer refcursor := 'answer';
BEGIN
  OPEN answer NO SCROLL FOR EXECUTE current_setting('ev_population.query');
END $$
"""
_REFUSED: Final = (errors.ReadOnlySqlTransaction, errors.InsufficientPrivilege, errors.InvalidCursorDefinition)


@contextlib.contextmanager
def embedded(state: State, *, waiting: Callable[[str], None]) -> Iterator[Database]:
    """The superuser's way into the stack's embedded server, which runs as long as this does.

    LocalError when no run has made one yet.
    """
    if not state.postgres.exists():
        raise LocalError(f"Stack {state.stack} has no database here yet; make one with: {typed('run')}")
    with ExitStack() as stack:
        # A run that is going on has a server already; looking over its shoulder is fine.
        admin = running_server(state.postgres)
        if admin is None:
            stack.enter_context(state.locked(waiting=waiting))
            admin = stack.enter_context(EmbeddedServer(state.postgres)).admin
        yield admin


@contextlib.contextmanager
def reading(stack: str, url: str | None, *, waiting: Callable[[str], None], anything: bool = False) -> Iterator[Cursor]:
    """A cursor in a read-only transaction on the stack's embedded database, or on the one that `url` names.

    It is rolled back at the end. With `anything` a person chooses what is asked. LocalError when there is no database,
    none that a run has reached yet, or a user who may do more than a transaction can undo.
    """
    with ExitStack() as opened:
        if url is None:
            admin = opened.enter_context(embedded(State(stack), waiting=waiting))
            database = as_analyst(admin)
        else:
            database = database_at(url, reading=True)
        opened.enter_context(_interruptible())
        connection = opened.enter_context(_connected(database))
        cursor = opened.enter_context(connection.cursor())
        cursor.execute("SELECT to_regclass('pipeline_run') IS NOT NULL, to_regclass('rejected_row') IS NOT NULL")
        if cursor.fetchone() != (True, True):
            raise LocalError(
                f"No run has come as far as the database {database.name} yet; start one with: {typed('run')}"
            )
        if anything:
            _refuse_powers(cursor)
        _become_reader(cursor)
        yield cursor


def as_analyst(admin: Database) -> Database:
    """The embedded database, seen by a user who may do nothing but what the reading role may."""
    reader = contract().reader
    with contextlib.closing(admin.connect()) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", ([ANALYST, reader],))
        there = {name for (name,) in cursor.fetchall()}
        with contextlib.suppress(errors.DuplicateObject, errors.UniqueViolation):  # another is looking just now
            if ANALYST not in there:
                cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(ANALYST)))
        if reader in there:
            cursor.execute("SELECT pg_has_role(%s, %s, 'MEMBER')", (ANALYST, reader))
            if cursor.fetchone() == (False,):
                cursor.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(reader), sql.Identifier(ANALYST)))
    return Database(host=admin.host, port=admin.port, name=DATABASE_NAME, user=ANALYST, password="")


@contextlib.contextmanager
def _connected(database: Database) -> Iterator[Connection]:
    try:
        connection = database.session(readonly=True)
    except psycopg2.OperationalError as error:
        raise LocalError(f"There is no database {database.name} to look into yet ({_first_line(error)}).") from None
    with contextlib.closing(connection):
        try:
            yield connection
        except psycopg2.OperationalError as error:
            if "user request" in str(error):  # psycopg2 turned Ctrl-C into this
                raise KeyboardInterrupt from None
            raise LocalError(f"PostgreSQL ended it: {_first_line(error)}") from None
        finally:
            if not connection.closed:
                connection.rollback()


def _refuse_powers(cursor: Cursor) -> None:
    """A query can take its login's own role back (set_config), and what these may do no transaction undoes."""
    cursor.execute(
        "SELECT rolname, rolsuper FROM pg_roles WHERE rolname = session_user AND (rolsuper OR rolreplication)"
    )
    for name, superuser in cursor.fetchall():
        what = "a superuser" if superuser else "a user who may replicate"
        raise LocalError(
            f"--database-url logs in as {name}, {what}: a query could leave the read-only role and do on the server "
            "what no transaction undoes. Log in as a user who may only read: "
            f"CREATE ROLE someone LOGIN PASSWORD '…' IN ROLE {contract().reader}"
        )


def _become_reader(cursor: Cursor) -> None:
    """Put on the reading role where this user may: a database of somebody else's may not have it."""
    cursor.execute("SAVEPOINT itself")
    try:
        cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(contract().reader)))
    except (errors.InsufficientPrivilege, errors.InvalidParameterValue):
        cursor.execute("ROLLBACK TO SAVEPOINT itself")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C cancel what the server is doing; psycopg2 would wait for it to end."""
    before = psycopg2.extensions.get_wait_callback()
    psycopg2.extensions.set_wait_callback(psycopg2.extras.wait_select)
    try:
        yield
    finally:
        psycopg2.extensions.set_wait_callback(before)


class Answer:
    """The rows that answer a person's query, in PostgreSQL's own words for every type; None is NULL."""

    def __init__(self, cursor: Cursor, query: str, *, instead: str) -> None:
        """Ask. LocalError in words when the server refuses; `instead` is the command that may do more."""
        self._cursor = cursor
        self._query = query
        self._instead = instead
        with self._told():
            cursor.execute("SELECT set_config('ev_population.query', %s, true)", (query,))
            cursor.execute(_OPEN)
            cursor.execute("FETCH 0 FROM answer")
            described = cursor.description or ()
            self.columns = [column.name for column in described]
            self.kinds = [_kind(column.type_code) for column in described]
            if not described:
                return
            as_text = psycopg2.extensions.new_type(
                tuple({column.type_code for column in described}), "AS_TEXT", lambda value, _: value
            )
            psycopg2.extensions.register_type(as_text, cursor)

    def fetch(self, count: int) -> list[tuple[str | None, ...]]:
        """The next rows, at most `count`."""
        with self._told():
            self._cursor.execute("FETCH %s FROM answer", (count,))
            return self._cursor.fetchall()

    def skip(self) -> int:
        """Pass over the rows that are left; return how many there were."""
        with self._told():
            self._cursor.execute("MOVE FORWARD ALL IN answer")
            return self._cursor.rowcount

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except _REFUSED as error:
            got = " ".join(self._query.split())
            got = got if len(got) <= 60 else f"{got[:57]}..."
            raise LocalError(
                f"query only reads, and got: {got} (PostgreSQL: {_first_line(error)}). It takes one statement that "
                f"reads what {contract().reader} may read, such as SELECT, WITH, VALUES, TABLE or EXPLAIN; nothing was "
                f"changed. To write, or for several statements: {self._instead}"
            ) from None
        except psycopg2.OperationalError:
            raise
        except psycopg2.Error as error:
            diagnosis = error.diag
            place = diagnosis.internal_position or diagnosis.statement_position
            words = [
                _first_line(error) + (f" (at character {place} of the query)" if place else ""),
                diagnosis.message_hint or "",
                "What there is to ask: docs/data-dictionary.md." if _not_there(error) else "",
            ]
            raise LocalError(f"PostgreSQL: {'. '.join(word.rstrip('.') for word in words if word)}.") from None


def _kind(type_code: object) -> Kind:
    if type_code == psycopg2.NUMBER:  # equals the code of every type of number
        return "number"
    return "boolean" if type_code == psycopg2.extensions.BOOLEAN else "text"


def _not_there(error: psycopg2.Error) -> bool:
    return isinstance(error, errors.UndefinedTable | errors.UndefinedColumn | errors.UndefinedFunction)


def _first_line(error: psycopg2.Error) -> str:
    text = error.diag.message_primary or str(error)
    return text.strip().split("\n", 1)[0] or type(error).__name__


def contract() -> Any:
    """The dataset's contract, as the functions have it."""
    handlers = str(PROJECT / "handlers")
    if handlers not in sys.path:
        sys.path.append(handlers)
    from evdata.dataset import DATASET  # noqa: PLC0415

    return DATASET
