"""Our own load as the state machine runs it: parts side by side in warm processes, then publish."""

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import load
from benchmarks.data import FolderS3
from benchmarks.memory import peak_memory
from evdata.dataset import DATASET
from evdata.manifest import Manifest
from evdata.publishing import Guards, Outcome
from evdata.raw_store import RawStore
from evdata.transform import clean_part
from evdata.warehouse import Warehouse, migrate
from local.postgres import Database

BUCKET = "benchmark"
GUARDS = Guards(max_rejected_fraction=0.01, max_shrink_fraction=0.1)


class KnownSecrets:
    """As much of a Secrets Manager client as `Warehouse` uses."""

    def __init__(self, database: Database) -> None:
        target = {
            "bucket_name": BUCKET,
            "host": database.host,
            "port": database.port,
            "db_name": database.name,
            "credentials_arn": "credentials",
        }
        credentials = {"username": database.user, "password": database.password or ""}
        self._secrets = {"pipeline": json.dumps(target), "credentials": json.dumps(credentials)}

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        return {"SecretString": self._secrets[SecretId]}


@dataclass(frozen=True)
class Places:
    """Where a load reads and writes; picklable, so that each process opens its own."""

    folder: Path
    database: Database

    def store(self) -> RawStore:
        return RawStore(BUCKET, client=FolderS3(self.folder))  # type: ignore[arg-type]

    def warehouse(self) -> Warehouse:
        secrets: Any = KnownSecrets(self.database)
        return Warehouse("pipeline", statement_seconds=900, client=secrets)


def stage(places: Places, manifest_key: str, part: int) -> int:
    """Stage one part; return this process's peak resident memory so far, in bytes."""
    load.stage_part(places.store(), places.warehouse(), DATASET, manifest_key, part)
    return peak_memory()


def publish(places: Places, manifest_key: str, execution_id: str) -> tuple[Outcome, int]:
    """Publish what is staged; return the outcome and this process's peak resident memory, in bytes."""
    outcome = load.publish_version(
        places.store(), places.warehouse(), DATASET, manifest_key, execution_id=execution_id, force=False, guards=GUARDS
    )
    return outcome, peak_memory()


def _warm_up(places: Places) -> None:
    """Do once what a process does lazily, and be there long enough that every process of a pool is started."""
    fields = [":id", *(column.field for column in DATASET.source_columns)]
    header = ",".join(f'"{field}"' for field in fields)
    clean_part(f"{header}\n{','.join(['""'] * len(fields))}\n".encode(), DATASET)
    with places.warehouse().connect():
        time.sleep(0.3)


@dataclass(frozen=True)
class Load:
    """One measured load: seconds of both phases, peak memory of a process of each, in bytes."""

    stage_seconds: float
    publish_seconds: float
    stage_memory: int
    publish_memory: int
    outcome: Outcome

    @property
    def seconds(self) -> float:
        return self.stage_seconds + self.publish_seconds


class Loader:
    """Warm processes that load as Lambda functions do: `width` that stage, one that publishes."""

    def __init__(self, places: Places, *, width: int) -> None:
        os.environ["PGSSLMODE"] = "prefer"
        spawn = get_context("spawn")  # not fork: a child would inherit this process's memory and be blamed for it
        self._places = places
        self._stagers = ProcessPoolExecutor(width, mp_context=spawn)
        self._publisher = ProcessPoolExecutor(1, mp_context=spawn)
        for pool, size in ((self._stagers, width), (self._publisher, 1)):
            for ready in [pool.submit(_warm_up, places) for _ in range(size)]:
                ready.result()
        with places.warehouse().connect() as connection:
            migrate(connection)  # once in a database's life, and no part of a load

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self._stagers.shutdown()
        self._publisher.shutdown()

    def load(self, manifest: Manifest, execution_id: str) -> Load:
        """Stage every part and publish the version."""
        start = time.perf_counter()
        staged = [self._stagers.submit(stage, self._places, manifest.key, part.part) for part in manifest.parts]
        stage_memory = max(result.result() for result in staged)
        middle = time.perf_counter()
        outcome, publish_memory = self._publisher.submit(publish, self._places, manifest.key, execution_id).result()
        return Load(middle - start, time.perf_counter() - middle, stage_memory, publish_memory, outcome)
