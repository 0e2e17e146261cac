"""What stands in the database, told in the reference model's words, so that the two can be compared."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from tests.reference_model import Model, Rejects, Run, Stay, Values
from tests.source_rows import PLAIN_FACTS

POINT = ("longitude", "latitude")
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
COUNTS = ("source", "loaded", "inserted", "updated", "removed", "unchanged", "rejected", "kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that a run may change. Reasons are sorted: their order says nothing."""

    table: dict[int, Stay]
    history: dict[tuple[int, datetime], Stay]
    runs: dict[str, Run]
    rejected: dict[str, Rejects]
    kept: dict[str, set[int]]


def expected(model: Model) -> State:
    return State(
        table=dict(sorted(model.table.items())),
        history=dict(sorted(model.history.items())),
        runs=dict(sorted(model.runs.items())),
        rejected={run: _sorted(rejects) for run, rejects in sorted(model.rejected.items()) if rejects},
        kept={run: keys for run, keys in sorted(model.kept.items()) if keys},
    )


def found(connection: Connection) -> State:
    """Read the database. `connection` is in autocommit mode and has UTC as its time zone."""
    rejected: dict[str, Rejects] = {}
    kept: dict[str, set[int]] = {}
    for row in _rows(connection, "SELECT * FROM rejected_row ORDER BY execution_id, part, line"):
        rejected.setdefault(row["execution_id"], {})[row["part"], row["line"]] = row["raw"], tuple(row["reasons"])
        if row["kept"]:
            kept.setdefault(row["execution_id"], set()).add(int(row["key"]))
    return State(
        table={
            row["dol_vehicle_id"]: _stay(row)
            for row in _rows(connection, "SELECT * FROM electric_vehicle_us ORDER BY dol_vehicle_id")
        },
        history={
            (row["dol_vehicle_id"], row["valid_from"]): _stay(row)
            for row in _rows(
                connection, "SELECT * FROM electric_vehicle_us_history ORDER BY dol_vehicle_id, valid_from"
            )
        },
        runs={
            row["execution_id"]: Run(
                at=row["dataset_version"],
                status=row["status"],
                **{name: row[name] for name in COUNTS},
                warnings={name: count for name, count in row["warnings"].items() if count},
            )
            for row in _rows(connection, "SELECT * FROM pipeline_run ORDER BY execution_id")
        },
        rejected={run: _sorted(rejects) for run, rejects in rejected.items()},
        kept=kept,
    )


def as_of(connection: Connection, moment: datetime) -> dict[int, Values]:
    """The facts of the table as it stood, by the function that the pipeline gives its readers."""
    rows = _rows(connection, "SELECT * FROM electric_vehicle_us_as_of(%s)", moment)
    stood: dict[int, Values] = {row["dol_vehicle_id"]: {name: row[name] for name in PLAIN_FACTS} for row in rows}
    assert len(stood) == len(rows), f"as_of({moment}) answers a key twice"
    return stood


def leftovers(connection: Connection, *, of: datetime | None = None, patience_seconds: float = 5) -> list[str]:
    """What a run must not leave behind when it is over: parts in staging, locks, sessions of the pipeline.

    With `of`, parts of newer versions count not: they may be another run's. A session ends a moment after its client,
    and that of a client that was killed when the server looks for it.
    """
    deadline = time.monotonic() + patience_seconds
    while (left := _leftovers(connection, of or NEVER)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _leftovers(connection: Connection, of: datetime) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT 'staging table ' || tablename FROM pg_tables
              WHERE schemaname = 'ev_pipeline_internal' AND tablename NOT IN ('part', 'rejected', 'made')
              AND substring(tablename from '[0-9]{14}') <= %(time)s
            UNION ALL SELECT 'staged part ' || part || ' of ' || manifest_key FROM ev_pipeline_internal.part
              WHERE manifest_key <= %(key)s
            UNION ALL SELECT 'rejected line ' || line || ' of part ' || part || ' of ' || manifest_key
              FROM ev_pipeline_internal.rejected WHERE manifest_key <= %(key)s
            UNION ALL SELECT 'advisory lock of process ' || pid FROM pg_locks JOIN pg_database d ON d.oid = database
              WHERE locktype = 'advisory' AND datname = current_database()
            UNION ALL SELECT 'session ' || pid || ', ' || coalesce(state, '?') || ': ' || query FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'ev-population'
            """,
            {
                "time": f"{of:%Y%m%d%H%M%S}",
                "key": f"raw_data/date={of:%Y%m%d}/version={of:%Y%m%dT%H%M%SZ}/manifest.json",
            },
        )
        return [what for (what,) in cursor.fetchall()]


def _stay(row: dict[str, Any]) -> Stay:
    return Stay(
        facts={name: row[name] for name in PLAIN_FACTS},
        point={name: row[name] for name in POINT},
        since=row["valid_from"],
        until=row.get("valid_to"),
        change=row.get("change"),
    )


def _sorted(rejects: Rejects) -> Rejects:
    return {place: (raw, tuple(sorted(reasons))) for place, (raw, reasons) in sorted(rejects.items())}


def _rows(connection: Connection, query: str, *values: object) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
