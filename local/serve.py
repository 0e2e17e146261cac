"""`python -m local serve`: the database stays up on a loopback port, for psql, pandas, notebooks and BI tools."""

import argparse
import contextlib
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from local.display import Display
from local.errors import LocalError
from local.state import State, typed

PORT: Final = 15433  # beside 5432, a server of one's own, and 15432, the tunnel of docs/analysts.md
# Acts as the database's owner; a login of its own, because every run gives the owner's a new password.
WRITER: Final = "ev_serve"
SERVICE: Final = "ev-population"


def add_command(commands: Any, stack: dict[str, Any]) -> None:
    """Add `serve` to the command line."""
    serve = commands.add_parser("serve", help="keep the database up on a port of this machine until Ctrl-C")
    serve.set_defaults(command=_serve)
    serve.add_argument("--stack", **stack)
    serve.add_argument("--port", type=_port, default=PORT, metavar="PORT", help=f"on 127.0.0.1 (default: {PORT})")


def _serve(options: argparse.Namespace, display: Display) -> int:
    state = State(options.stack)
    with served(state, port=options.port) as (reader, service_file):
        display.headline(f"PostgreSQL at {reader.host}:{reader.port}, database {reader.name}, until Ctrl-C")
        display.heading("To read")
        for line in _ways_in(reader):
            display.line(line)
        display.heading("To write, as the owner of the tables")
        display.line(f'PGSERVICEFILE="{service_file}" psql service={SERVICE}')
        display.flush()
        with contextlib.suppress(KeyboardInterrupt):  # the ordinary end
            while True:
                signal.pause()
    display.outcome("Stopped. The data stay; start it again with the same command.")
    return 0


@contextlib.contextmanager
def served(state: State, *, port: int) -> Iterator[tuple[Any, Path]]:
    """Run the stack's embedded server on `port`; yield the reader's way in and the file with the owner's.

    Passwords are made anew and end with it. LocalError when no run has made a database, or the port is taken.
    """
    from psycopg2 import sql  # noqa: PLC0415 - --help need not wait for it

    from local.embedded import ANALYST, EmbeddedServer  # noqa: PLC0415
    from local.postgres import Database  # noqa: PLC0415
    from local.reading import as_analyst  # noqa: PLC0415
    from local.run import DATABASE_NAME, DATABASE_OWNER  # noqa: PLC0415

    if not state.postgres.exists():
        raise LocalError(f"Stack {state.stack} has no database here yet; make one with: {typed('run')}")
    _refuse_if_taken(port)
    passwords = {ANALYST: secrets.token_urlsafe(18), WRITER: secrets.token_urlsafe(18)}
    service_file = state.folder / "pg_service.conf"
    with EmbeddedServer(state.postgres, port=port) as server:
        as_analyst(server.admin)
        with contextlib.closing(server.admin.connect()) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (WRITER,))
            if cursor.rowcount == 0:
                cursor.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(WRITER)))
            writer, owner = sql.Identifier(WRITER), sql.Identifier(DATABASE_OWNER)
            cursor.execute(sql.SQL("GRANT {} TO {}").format(owner, writer))
            cursor.execute(sql.SQL("ALTER ROLE {} SET role = {}").format(writer, owner))
            try:
                for role, password in passwords.items():
                    cursor.execute(
                        sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
                    )
                _write_service(service_file, port, DATABASE_NAME, passwords[WRITER])
                yield (
                    Database(
                        host="127.0.0.1", port=port, name=DATABASE_NAME, user=ANALYST, password=passwords[ANALYST]
                    ),
                    service_file,
                )
            finally:
                service_file.unlink(missing_ok=True)
                cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD NULL").format(sql.Identifier(ANALYST)))
                cursor.execute(sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(writer))


def _ways_in(reader: Any) -> list[str]:
    """How each program is told where the database is."""
    sqlalchemy = reader.url.replace("postgresql://", "postgresql+psycopg2://", 1)
    return [
        f'psql                       psql "{reader.url}"',
        f'pandas, SQLAlchemy         sqlalchemy.create_engine("{sqlalchemy}")',
        f"DBeaver, Metabase,         host {reader.host}, port {reader.port}, database {reader.name},",
        f"Tableau, Power BI          user {reader.user}, password {reader.password}, no SSL",
    ]


def _write_service(file: Path, port: int, database: str, password: str) -> None:
    """https://www.postgresql.org/docs/current/libpq-pgservice.html"""
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(
        f"[{SERVICE}]\nhost=127.0.0.1\nport={port}\ndbname={database}\nuser={WRITER}\npassword={password}\n"
    )


def _refuse_if_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise LocalError(f"Port {port} of this machine is taken; name another one with --port.") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1024 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1024 to 65535")
    return int(text)
