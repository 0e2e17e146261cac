"""What else could be done with the same CSV file and the same server."""

import os
import subprocess
import time
from pathlib import Path

import pandas as pd
from psycopg2.extensions import connection as Connection  # noqa: N812
from sqlalchemy import create_engine

from benchmarks.data import FIELDS
from local.postgres import Database

_COLUMNS = ", ".join(f"{field} {'bigint PRIMARY KEY' if field == 'dol_vehicle_id' else 'text'}" for field in FIELDS)


def bare_copy(connection: Connection, source: Path) -> float:
    """COPY the file's 17 columns into a table with its primary key: what PostgreSQL itself needs. Seconds."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS bare; CREATE TABLE bare ({_COLUMNS})")
        connection.commit()
        start = time.perf_counter()
        with source.open("rb") as content:
            cursor.copy_expert("COPY bare FROM STDIN WITH (FORMAT csv, HEADER)", content, size=1 << 20)
        connection.commit()
        return time.perf_counter() - start


def to_sql(database: Database, source: Path) -> float:
    """pandas' read_csv and to_sql as most tutorials have it. Seconds."""
    start = time.perf_counter()
    engine = create_engine(database.url.replace("postgresql://", "postgresql+psycopg2://"))
    pd.read_csv(source, dtype=str).to_sql("with_pandas", engine, if_exists="replace", index=False)
    engine.dispose()
    return time.perf_counter() - start


def row_by_row(connection: Connection, source: Path) -> float:
    """INSERT ... ON CONFLICT, a statement a row: what the public copies of this pipeline do. Seconds."""
    frame = pd.read_csv(source, dtype=str, keep_default_na=False)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS by_row; CREATE TABLE by_row ({_COLUMNS})")
        start = time.perf_counter()
        updates = ", ".join(f"{field} = excluded.{field}" for field in FIELDS if field != "dol_vehicle_id")
        statement = (
            f"INSERT INTO by_row ({', '.join(FIELDS)}) VALUES ({', '.join(['%s'] * len(FIELDS))}) "
            f"ON CONFLICT (dol_vehicle_id) DO UPDATE SET {updates}"
        )
        for row in frame.itertuples(index=False, name=None):
            cursor.execute(statement, row)
        connection.commit()
        return time.perf_counter() - start


def dlt_merge(database: Database, source: Path, folder: Path) -> float | None:
    """A first load by dlt with write_disposition merge; None when dlt is not installed. Seconds, measured by itself."""
    here = Path(__file__).parent
    python, program = here / ".venv" / "bin" / "python", here / "dlt_merge.py"
    if not python.exists():
        return None
    environment = os.environ | {"DLT_DATA_DIR": str(folder), "RUNTIME__DLTHUB_TELEMETRY": "false"}
    environment["RUNTIME__LOG_LEVEL"] = "ERROR"
    environment.pop("PYTHONPATH", None)
    finished = subprocess.run(
        [python, program, database.url, source], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(finished.stdout.strip().splitlines()[-1])
