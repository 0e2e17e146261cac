"""A PostgreSQL database: where it is, how to log in, and what is wrong with a URL that leads to none."""

import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from evdata import session
from local.errors import LocalError

CONNECT_SECONDS = 10
OLDEST_SERVER = 13
URL_FORM = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
# A password with an @ or / in it changes what libpq takes for the host, and so gets into messages: not tried at all.
_UNAMBIGUOUS = re.compile(
    r"postgres(ql)?://([^@/\s]*@)?(\[[0-9A-Fa-f:.%]+\]|[\w.%-]*)(:\d*)?(,[\w.%-]*(:\d*)?)*(/[^@/?\s]*)?(\?[^@\s]*)?"
)
_NOT_A_URL = (
    f"--database-url is not a URL that PostgreSQL understands. It must look like {URL_FORM}, with special characters "
    "in user and password written as %XX: @ is %40, / is %2F, : is %3A, a blank is %20 and % is %25."
)
_CARRIED = {"host", "port", "dbname", "user", "password", "sslmode", "sslrootcert"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Where one database is and how to log in. `host` may be the directory of a Unix socket."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)
    sslmode: str | None = None
    sslrootcert: str | None = None

    @property
    def url(self) -> str:
        """The URL that libpq takes, password and all: for programs, not for people's eyes."""
        login = quote(self.user, safe="") + (f":{quote(self.password, safe='')}" if self.password else "")
        more = {"sslmode": self.sslmode, "sslrootcert": self.sslrootcert}
        if self.host.startswith("/"):
            more = {"host": self.host, "port": str(self.port), **more}
            place = ""
        else:
            place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        query = urlencode({key: value for key, value in more.items() if value}, quote_via=quote)
        return f"postgresql://{login}@{place}/{quote(self.name, safe='')}" + (f"?{query}" if query else "")

    def connect(self) -> psycopg2.extensions.connection:
        """A new connection; the caller closes it."""
        return psycopg2.connect(self.url, connect_timeout=CONNECT_SECONDS, application_name="ev-population local")

    def session(self, *, readonly: bool = False) -> psycopg2.extensions.connection:
        """A connection with every setting that a result depends on as the functions have it."""
        return session.connect(self.url, settings={}, readonly=readonly, application_name="ev-population local")

    def fingerprint(self) -> str:
        """What tells this database from every other, even one made anew under the same name.

        What the bucket remembers as published belongs to one database: the local run keeps the two together by it.
        """
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT (SELECT system_identifier FROM pg_control_system()), oid FROM pg_database "
                "WHERE datname = current_database()"
            )
            row = cursor.fetchone()
        return hashlib.sha256(repr(row).encode()).hexdigest()[:12]


def database_at(url: str, *, reading: bool = False) -> Database:
    """The database that `url` names, reached once to be sure. LocalError says what is wrong, password unseen.

    With `reading` a replica will do, and a user who may create nothing.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise LocalError(f"--database-url must look like {URL_FORM}: it does not start with postgresql://.")
    if not _UNAMBIGUOUS.fullmatch(url):
        raise LocalError(_NOT_A_URL)
    try:
        given = psycopg2.extensions.parse_dsn(url)
    except psycopg2.ProgrammingError:
        # libpq's own words may quote a piece of the password, so they are not repeated.
        raise LocalError(_NOT_A_URL) from None
    if unknown := sorted(given.keys() - _CARRIED):
        # By name alone: a value may be a secret.
        raise LocalError(
            f"--database-url sets {', '.join(unknown)}, which would not reach the functions: only sslmode and "
            "sslrootcert may follow the ?. The pipeline sets what its results depend on; take the rest out of the URL."
        )
    try:
        connection = psycopg2.connect(url, connect_timeout=CONNECT_SECONDS, client_encoding="UTF8", options="")
    except psycopg2.OperationalError as error:
        raise LocalError(_why_not(str(error), given)) from None
    with contextlib.closing(connection):
        info = connection.info
        version = connection.server_version // 10_000
        if version < OLDEST_SERVER:
            raise LocalError(
                f"--database-url names a PostgreSQL {version}; the pipeline needs {OLDEST_SERVER} or later "
                "(15 to 18 are tested)."
            )
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE'), "
                "coalesce(has_schema_privilege('public', 'CREATE'), false) "
                "FROM (SELECT 1) AS one WHERE to_regnamespace('public') IS NOT NULL"
            )
            row = cursor.fetchone()
        recovering, *rights = row or (False, False, False)
        if recovering and not reading:
            raise LocalError("--database-url names a read-only replica; name its primary.")
        if not all(rights) and not reading:
            raise LocalError(
                f"--database-url: user {info.user} may not create tables in database {info.dbname}; make it the owner "
                f'(ALTER DATABASE "{info.dbname}" OWNER TO "{info.user}") or use another user.'
            )
        return Database(
            host=info.host,
            port=info.port,
            name=info.dbname,
            user=info.user,
            password=info.password or "",
            sslmode=given.get("sslmode"),
            sslrootcert=given.get("sslrootcert"),
        )


def _why_not(text: str, given: Mapping[str, Any]) -> str:
    """One sentence for a refused connection, from libpq's message."""
    text = " ".join(text.split()).removeprefix("connection to server ")
    where = f"{given.get('host', 'localhost')}:{given.get('port', 5432)}"
    if "does not exist" in text and "database" in text:
        return (
            f"--database-url: there is no database {given.get('dbname', '')!r} at {where}; create it first (createdb)."
        )
    if "authentication failed" in text or "no password supplied" in text or "role" in text:
        user = given.get("user", "(none)")
        return f"--database-url: {where} refused the login of user {user!r}; check user and password."
    if "could not translate host name" in text:
        return f"--database-url: there is no host {given.get('host')!r}; check the name."
    if "refused" in text or "No such file" in text:
        return f"--database-url: nothing answers at {where}; check host and port, and that the server runs."
    for secret in (given.get("password"), quote(str(given.get("password") or ""), safe="")):
        if secret:
            text = text.replace(str(secret), "***")
    return f"--database-url: cannot connect to {where}: {text.removeprefix('at ')}"


@contextlib.contextmanager
def temporary_database(admin: Database) -> Iterator[Database]:
    """An empty database on `admin`'s server, gone afterwards, whoever is still connected to it."""
    name = f"t_{secrets.token_hex(8)}"
    with contextlib.closing(admin.connect()) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
            try:
                yield Database(
                    host=admin.host,
                    port=admin.port,
                    name=name,
                    user=admin.user,
                    password=admin.password,
                    sslmode=admin.sslmode,
                    sslrootcert=admin.sslrootcert,
                )
            finally:
                cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
