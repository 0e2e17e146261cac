"""The way to PostgreSQL: credentials, connections, locks, migrations, and errors in words.

Credentials are read at every connect, never kept: RDS rotates them while functions stay warm.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg2
import psycopg2.errors
from botocore.exceptions import BotoCoreError, ClientError

from evdata import session
from evdata.aws import aws_error, secrets_client
from evdata.errors import DatabaseError, InputError, TransientError
from evdata.schema import INTERNAL

if TYPE_CHECKING:  # the stubs are not shipped
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

MIGRATIONS: Final = Path(__file__).with_name("migrations")
VERSION_TABLE: Final = "ev_alembic_version"  # not Alembic's usual name: the database may be another project's too
HEAD: Final = (
    "0004"  # the newest migration: known without importing Alembic, which takes longer than a look at the table
)

# A function that dies in a transaction must not hold the lock: the server ends a session that went silent or away.
SILENT_TRANSACTION_SECONDS: Final = 60
CLIENT_CHECK_SECONDS: Final = 10
KEEPALIVE_SECONDS: Final = 30  # NAT gateways forget a connection after 350 s of silence
# Another run may be publishing; longer than this the state machine waits, and tries again.
LOCK_SECONDS: Final = 120

# One publisher or migrator at a time, whatever started it. Each lock is on a table that nobody but its owner has any
# right to: an advisory lock could be taken, and kept, by every user who can log in. This mode conflicts with itself,
# and with nothing that a reader or a backup does.
_LOCK: Final = "LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE"
# Releases before 0003 take this one, and so does the first migration, which has no table yet.
_FORMER_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('ev-population', 0))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The database, as the pipeline's secret names it; the password stands in the secret at `credentials_arn`."""

    host: str
    port: int
    db_name: str
    credentials_arn: str


class Warehouse:
    """Opens connections to the database that a secret names."""

    def __init__(
        self, secret_arn: str, *, statement_seconds: float, client: "SecretsManagerClient | None" = None
    ) -> None:
        """`statement_seconds` is the longest that a statement may take, waiting for locks included."""
        self._secret_arn = secret_arn
        self._statement_seconds = max(statement_seconds, 1)
        self._secrets = client or secrets_client()

    @contextmanager
    def connect(self) -> "Iterator[Connection]":
        """Yield a connection, closed afterwards whatever happened; what was not committed is rolled back.

        Raises `TransientError` when the server cannot be reached or ends the session, `DatabaseError` when it refuses a
        statement for good. TLS is what libpq's own PGSSLMODE and PGSSLROOTCERT say, and verified unless they say less.
        """
        target = self._target()
        credentials = self._secret(target.credentials_arn, "username", "password")
        with translated():
            connection = session.connect(
                settings=self._session_settings(),
                host=target.host,
                port=target.port,
                dbname=target.db_name,
                user=credentials["username"],
                password=credentials["password"],
                application_name="ev-population",
                keepalives_idle=KEEPALIVE_SECONDS,
            )
            try:
                yield connection
            finally:
                connection.close()

    def _session_settings(self) -> dict[str, str]:
        return {
            "statement_timeout": f"{self._statement_seconds:.0f}s",
            "lock_timeout": f"{LOCK_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{SILENT_TRANSACTION_SECONDS}s",
            "transaction_timeout": "0",
            "client_connection_check_interval": f"{CLIENT_CHECK_SECONDS}s",
            # What was published must outlive a crash of the server: `published.json` says that it stands.
            "synchronous_commit": "on",
            # A policy on a table would hide rows from the comparison; rather an error.
            "row_security": "off",
            # Our ANALYZEs are to tell the planner how many rows there are; histograms would cost more than the COPY.
            "default_statistics_target": "1",
            # The comparison hashes a version: in memory while it is small, in a few batches on disk beyond.
            "work_mem": "64MB",
        }

    def _target(self) -> Target:
        document = self._secret(self._secret_arn, "bucket_name", "host", "port", "db_name", "credentials_arn")
        return Target(
            host=document["host"],
            port=int(document["port"]),
            db_name=document["db_name"],
            credentials_arn=document["credentials_arn"],
        )

    def _secret(self, arn: str, *keys: str) -> dict[str, Any]:
        try:
            text = self._secrets.get_secret_value(SecretId=arn)["SecretString"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                raise InputError(f"there is no secret {arn}; check secret_arn in the execution's input") from error
            raise aws_error(error, f"read the secret {arn}") from error
        except BotoCoreError as error:
            raise aws_error(error, f"read the secret {arn}") from error
        try:
            document = json.loads(text)
            return {key: document[key] for key in keys}
        except (ValueError, KeyError, TypeError):
            # Neither the text nor the parser's words about it: they may hold a password.
            raise InputError(f"the secret {arn} is not a JSON object with {', '.join(keys)}") from None


@contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg2's errors into the pipeline's."""
    try:
        yield
    except psycopg2.errors.LockNotAvailable as error:
        raise TransientError(
            f"PostgreSQL: another session kept a lock for longer than {LOCK_SECONDS} s ({_first_line(error)}). It is "
            "another run that publishes, or a person's transaction that was left open; it is tried again."
        ) from error
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        # Out of reach, out of connections or disk, a password just rotated, a deadlock, a statement out of time.
        raise TransientError(f"PostgreSQL: {_first_line(error)}") from error
    except psycopg2.errors.DependentObjectsStillExist as error:
        dependent = "; ".join((error.diag.message_detail or "").splitlines())
        raise DatabaseError(
            f"PostgreSQL refused a statement: {_first_line(error)}: {dependent}. Nothing was changed. Drop or move "
            "what depends on it and start again."
        ) from error
    except psycopg2.Error as error:
        raise DatabaseError(f"PostgreSQL refused a statement: {_first_line(error)}") from error


def _first_line(error: psycopg2.Error) -> str:
    """Return the server's message without the lines that quote data."""
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def lock(cursor: "Cursor") -> None:
    """Wait to be the only publisher or migrator until the transaction ends."""
    cursor.execute(_LOCK.format(f"public.{VERSION_TABLE}"))


def lock_report(cursor: "Cursor") -> None:
    """Wait to be the only writer of a report until the transaction ends."""
    cursor.execute(_LOCK.format(f"{INTERNAL}.made"))


def _lock_migrating(cursor: "Cursor") -> None:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{INTERNAL}.made",))
    if cursor.fetchone() == (False,):
        cursor.execute(_FORMER_LOCK)
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"public.{VERSION_TABLE}",))
    if cursor.fetchone() == (True,):
        lock(cursor)


def migrate(connection: "Connection") -> None:
    """Bring the schema to `HEAD`; a look at the version table when it is there already. Commits."""
    found = revision(connection)
    if found != HEAD:
        refuse_newer(found)
        _alembic(connection, "upgrade", "head")


def refuse_newer(found: str | None) -> None:
    """Raise `TransientError` if `found` is a revision that this release does not know yet."""
    if found is not None and found > HEAD:
        # While a deployment goes on, the function that is called next may be the one that knows it.
        raise TransientError(
            f"the database's tables are at revision {found} and this function knows them up to {HEAD}: a newer release "
            "has migrated them. Wait for the deployment to end, or deploy that release again; tables do not go back."
        )


def drop_everything(connection: "Connection") -> None:
    """Take away all that the migrations made, and nothing else in the database. Commits."""
    if revision(connection) is not None:
        migrate(connection)  # the way back starts where every database is alike
        _alembic(connection, "downgrade", "base")
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {VERSION_TABLE}")
        connection.commit()


def revision(connection: "Connection") -> str | None:
    """Return the schema's revision, or None before the first migration."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (VERSION_TABLE,))
        found = None
        if cursor.fetchone() == (True,):
            cursor.execute(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
            found = cursor.fetchone()
    connection.rollback()
    return found[0] if found else None


def _alembic(connection: "Connection", command: str, revision: str) -> None:
    """Run an Alembic command over `connection`, in one transaction and under the lock.

    Another may have migrated while this one waited; Alembic then finds nothing left to do.
    """
    from alembic import command as alembic_command  # noqa: PLC0415 - half a second that a migrated database never pays
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))  # configparser interpolates
    engine = create_engine("postgresql+psycopg2://", creator=lambda: connection, poolclass=StaticPool)
    try:
        with engine.begin() as transaction:
            with connection.cursor() as cursor:
                _lock_migrating(cursor)
            config.attributes["connection"] = transaction
            getattr(alembic_command, command)(config, revision)
    except DBAPIError as error:
        # psycopg2's own error lies within: what may pass is told from what may not by it.
        raise error.orig or error from error
