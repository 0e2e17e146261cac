"""One part into PostgreSQL, beside the table and out of every reader's sight.

Each part has an UNLOGGED table of its own, made, filled and counted in one transaction: parts stage side by side
without meeting, and staging one again replaces what was there.
"""

import io
import json
from typing import TYPE_CHECKING

from psycopg2 import sql
from psycopg2.extras import execute_values
from psycopg2.sql import Identifier

from evdata.contract import Dataset
from evdata.manifest import Manifest
from evdata.schema import STAGING, definitions, names
from evdata.transform import Cleaned, Rejected

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812


def table(dataset: Dataset, manifest: Manifest, part: int) -> Identifier:
    """Return the name of a part's staging table: by version and part, so that running again meets the same one."""
    return Identifier(STAGING, f"{dataset.table}_{manifest.dataset_version:%Y%m%d%H%M%S}_{part:05d}")


def stage(connection: "Connection", dataset: Dataset, manifest: Manifest, part: int, cleaned: Cleaned) -> None:
    """Put a cleaned part into its staging table and write down that it is there. Commits."""
    target = table(dataset, manifest, part)
    with connection.cursor() as cursor:
        _lock(cursor, manifest, part)
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(target))
        cursor.execute(
            sql.SQL("CREATE UNLOGGED TABLE {} ({}, line integer NOT NULL) WITH (autovacuum_enabled = off)").format(
                target, definitions(dataset.columns)
            )
        )
        # FREEZE: the table was made in this transaction, so no row needs a second write to become visible to all.
        cursor.copy_expert(
            sql.SQL("COPY {} ({}, line) FROM STDIN WITH (FREEZE)").format(target, names(dataset.columns)),
            io.BytesIO(cleaned.copy_text),
            size=1 << 20,
        )
        cursor.execute(sql.SQL("ANALYZE {}").format(target))
        _forget(cursor, manifest, part)
        _write_rejected(cursor, manifest, part, cleaned.rejected)
        cursor.execute(
            "INSERT INTO staging.part (manifest_key, part, sha256, rows, rejected, warnings) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            (
                *(manifest.key, part, manifest.part(part).sha256),
                *(cleaned.rows, len(cleaned.rejected), json.dumps(cleaned.warnings)),
            ),
        )
    connection.commit()


def write_failure(connection: "Connection", manifest_key: str, part: int, reason: str) -> None:
    """Leave behind why a part could not be staged, for publish to tell. Commits."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO staging.part (manifest_key, part, error) VALUES (%s, %s, %s) ON CONFLICT (manifest_key, part) "
            "DO UPDATE SET error = excluded.error, sha256 = NULL, rows = NULL, rejected = NULL, staged_at = now()",
            (manifest_key, part, reason),
        )
    connection.commit()


def _lock(cursor: "Cursor", manifest: Manifest, part: int) -> None:
    """Wait for another execution that is staging the very same part."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s), %s)", (manifest.key, part))


def _forget(cursor: "Cursor", manifest: Manifest, part: int) -> None:
    for name in ("rejected", "part"):
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE manifest_key = %s AND part = %s").format(Identifier(STAGING, name)),
            (manifest.key, part),
        )


def _write_rejected(cursor: "Cursor", manifest: Manifest, part: int, rejected: tuple[Rejected, ...]) -> None:
    execute_values(
        cursor,
        "INSERT INTO staging.rejected (manifest_key, part, line, raw, reasons) VALUES %s",
        [(manifest.key, part, row.line, raw_json(row.raw), list(row.reasons)) for row in rejected],
    )


def raw_json(raw: dict[str, str]) -> str:
    """Return a raw row as jsonb takes it: what PostgreSQL cannot hold (NUL, broken UTF-8) is shown escaped."""
    safe = {name: value.replace("\0", "\\0").encode(errors="backslashreplace").decode() for name, value in raw.items()}
    return json.dumps(safe, ensure_ascii=False)
