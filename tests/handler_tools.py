"""What the handlers' tests share: the event's places in a moto cloud, and a context as Lambda gives it."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import boto3
import psycopg2
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

import extract
import load
from evdata.aws import s3_client, secrets_client
from local.open_data import OpenData
from local.postgres import Database

REGION: Final = "ap-northeast-1"
BUCKET: Final = "ev-population-test"


class Context(LambdaContext):
    """A Lambda context: `remaining` seconds are left, and stay so."""

    def __init__(self, function_name: str = "test", remaining: float = 60) -> None:
        self._function_name = function_name
        self._memory_limit_in_mb = 512
        self._invoked_function_arn = f"arn:aws:lambda:{REGION}:123456789012:function:{function_name}"
        self._aws_request_id = "00000000-0000-0000-0000-000000000000"
        self._remaining = remaining

    def get_remaining_time_in_millis(self) -> int:  # type: ignore[override]
        return int(self._remaining * 1000)


@dataclass
class Pipeline:
    """The handlers, called as the state machine calls them, over one bucket, one database and one source."""

    database: Database
    event: dict[str, Any]
    environment: dict[str, str]  # of the functions, in this process already

    def extract(
        self, *, force: bool = False, repairs: str | None = None, context: Context | None = None
    ) -> dict[str, Any]:
        event = self.event | ({"force": True} if force else {}) | ({"repairs": repairs} if repairs else {})
        return extract.handler(event, context or Context("extract"))

    def stage(self, manifest_key: str, part: int) -> dict[str, Any]:
        return load.stage(self.event | {"manifest_key": manifest_key, "part": part}, Context("stage"))

    def publish(
        self, manifest_key: str, execution_id: str, *, force: bool = False, notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        event = self.event | {
            "manifest_key": manifest_key,
            "execution_id": execution_id,
            "force": force,
            "notes": list(notes),
            "check": False,
        }
        return load.publish(event, Context("publish"))

    def check(self, manifest_key: str, execution_id: str = "check") -> dict[str, Any]:
        event = self.event | {"manifest_key": manifest_key, "execution_id": execution_id, "check": True}
        return load.publish(event, Context("publish"))

    def set_part_rows(self, rows: int) -> None:
        """Have extract copy parts of so many rows from now on, as another deployment might."""
        os.environ["PART_ROWS"] = str(rows)

    def set_guard(self, name: str, fraction: float) -> None:
        """Have publish allow another MAX_REJECTED_FRACTION or MAX_SHRINK_FRACTION, as another deployment might."""
        os.environ[name] = str(fraction)

    def run(self, execution_id: str, *, force: bool = False) -> dict[str, Any]:
        """One execution from end to end; returns publish's answer, or extract's when nothing had to be done."""
        extracted = self.extract(force=force)
        if extracted["status"] == "unchanged":
            check = self.check(extracted["manifest_key"], execution_id)
            if check["status"] == "intact":
                return extracted
            extracted = self.extract(force=True, repairs=check["message"])
        for part in range(extracted["parts"]):
            self.stage(extracted["manifest_key"], part)
        return self.publish(extracted["manifest_key"], execution_id, force=force, notes=extracted["notes"])

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def execute(self, statement: str, *values: Any) -> None:
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            connection.commit()

    @contextmanager
    def connection(self) -> Iterator[Any]:
        connection = psycopg2.connect(self.database.url)
        try:
            yield connection
        finally:
            connection.close()


def create_bucket(name: str) -> None:
    boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})


def build_pipeline(
    monkeypatch: pytest.MonkeyPatch,
    database: Database,
    source: OpenData | str,
    *,
    part_rows: int = 5_000,
    max_rejected: float = 0.01,
    max_shrink: float = 0.1,
    max_source_age_days: int = 100_000,  # the sources of tests are years old
) -> Pipeline:
    """Put secrets and bucket into moto and the functions' environment into the process; return the pipeline."""
    environment = {
        "SOURCE_URL": source if isinstance(source, str) else source.url,
        "DATASET_ID": "f6w7-q2d2",
        "PART_ROWS": str(part_rows),
        "MAX_SOURCE_AGE_DAYS": str(max_source_age_days),
        "MAX_REJECTED_FRACTION": str(max_rejected),
        "MAX_SHRINK_FRACTION": str(max_shrink),
        "PGSSLMODE": "prefer",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for client in (s3_client, secrets_client):
        client.cache_clear()  # those of another test ask another cloud
    create_bucket(BUCKET)
    secrets = boto3.client("secretsmanager")
    credentials = secrets.create_secret(
        Name="credentials", SecretString=json.dumps({"username": database.user, "password": database.password})
    )["ARN"]
    secret_arn = secrets.create_secret(
        Name="pipeline",
        SecretString=json.dumps(
            {
                "bucket_name": BUCKET,
                "host": database.host,
                "port": database.port,
                "db_name": database.name,
                "credentials_arn": credentials,
            }
        ),
    )["ARN"]
    event = {"bucket_name": BUCKET, "secret_arn": secret_arn}
    return Pipeline(database=database, event=event, environment=environment)
