"""The staging area: parts on their way into the table, beside it and out of every reader's sight.

Each part has an UNLOGGED table of its own, made, filled and counted in one transaction: parts stage side by side
without meeting, and staging one again replaces what was there. The table `part` of the internal schema says which are
there, `rejected` holds the rows that cannot be loaded.
"""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extras import execute_values
from psycopg2.sql import Composable, Identifier, Literal

from evdata.contract import Dataset
from evdata.damage import BY_SPREADSHEET, DOWNLOAD_AGAIN
from evdata.errors import RawDataError
from evdata.manifest import Manifest, key_of
from evdata.schema import INTERNAL, definitions, names
from evdata.transform import Cleaned, Rejected

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

PART: Final = Identifier(INTERNAL, "part")
REJECTED: Final = Identifier(INTERNAL, "rejected")

# Returns the raw rows of a part that stand at some lines: read again from S3 for the few rows that came twice.
type ReadRaw = Callable[[int, list[int]], dict[int, dict[str, str]]]


def table(dataset: Dataset, manifest: Manifest, part: int) -> Identifier:
    """Return the name of a part's staging table: by version and part, so that running again meets the same one."""
    return Identifier(INTERNAL, f"{dataset.table}_{manifest.dataset_version:%Y%m%d%H%M%S}_{part:05d}")


def stage(connection: "Connection", dataset: Dataset, manifest: Manifest, part: int, cleaned: Cleaned) -> None:
    """Put a cleaned part into its staging table and write down that it is there. Commits."""
    target = table(dataset, manifest, part)
    with connection.cursor() as cursor:
        _make_empty(cursor, dataset, target)
        # FREEZE: the table was made in this transaction, so no row needs a second write to become visible to all.
        cursor.copy_expert(
            sql.SQL('COPY {} ({}, line, ":id") FROM STDIN WITH (FREEZE)').format(target, names(dataset.columns)),
            io.BytesIO(cleaned.copy_text),
            size=1 << 20,
        )
        cursor.execute(sql.SQL("ANALYZE {}").format(target))
        _forget(cursor, manifest, part)
        _write_rejected(cursor, manifest, part, cleaned.rejected)
        cursor.execute(
            sql.SQL(
                "INSERT INTO {} (manifest_key, part, sha256, rows, rejected, warnings) VALUES (%s, %s, %s, %s, %s, %s)"
            ).format(PART),
            (
                *(manifest.key, part, manifest.part(part).sha256),
                *(cleaned.rows, len(cleaned.rejected), json.dumps(cleaned.warnings)),
            ),
        )
    connection.commit()


def write_failure(connection: "Connection", manifest_key: str, part: int, reason: str) -> None:
    """Leave behind why a part could not be staged, for publish to tell, unless another run did stage it. Commits."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "INSERT INTO {} (manifest_key, part, error) VALUES (%s, %s, %s) ON CONFLICT (manifest_key, part) "
                "DO UPDATE SET error = excluded.error, staged_at = now() WHERE part.error IS NOT NULL"
            ).format(PART),
            (manifest_key, part, reason),
        )
    connection.commit()


def rows(dataset: Dataset, manifest: Manifest) -> Composable:
    """Return a query of every staged row: the dataset's columns, part and line."""
    return sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, {}::integer AS part, line FROM {}").format(
            names(dataset.columns), Literal(part.part), table(dataset, manifest, part.part)
        )
        for part in manifest.parts
    )


def problems(cursor: "Cursor", manifest: Manifest) -> list[str]:
    """Hold what was staged against the manifest, part by part, and say what differs."""
    cursor.execute(
        sql.SQL("SELECT part, sha256, rows + rejected, error FROM {} WHERE manifest_key = %s").format(PART),
        (manifest.key,),
    )
    staged = {part: rest for part, *rest in cursor.fetchall()}
    found = []
    for part in manifest.parts:
        sha256, rows, error = staged.get(part.part, (None, None, None))
        if error:
            found.append(f"part {part.part}: {error}")
        elif sha256 is None:
            found.append(f"part {part.part} was not staged")
        elif sha256 != part.sha256:
            found.append(f"part {part.part} was staged from other bytes than the manifest names")
        elif rows != part.rows:
            found.append(f"part {part.part}: {rows} rows staged, the manifest says {part.rows}")
    return found


@dataclass(frozen=True, slots=True)
class Counts:
    """What lies in staging: rows to load, rows rejected, and how many of both have no `:id` of their own."""

    loaded: int
    rejected: int
    repeated: int


def count(cursor: "Cursor", dataset: Dataset, manifest: Manifest) -> Counts:
    """Count rows where they lie. Raises `RawDataError` unless they make the manifest's rows."""
    tables = [table(dataset, manifest, part.part) for part in manifest.parts]

    def ids(form: str) -> Composable:
        """Return a query of every row's `:id`, rejected ones included, in the form of an expression."""
        return sql.SQL(" UNION ALL ").join(
            [
                *(sql.SQL("SELECT {} AS id FROM {}").format(sql.SQL(form.format('":id"')), name) for name in tables),
                sql.SQL("SELECT {} AS id FROM {} WHERE manifest_key = {}").format(
                    sql.SQL(form.format("(raw ->> ':id')")), REJECTED, Literal(manifest.key)
                ),
            ]
        )

    # DISTINCT within count sorts plain numbers, in a third of the time that a hash table of them takes.
    cursor.execute(
        sql.SQL(
            "SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM {} WHERE manifest_key = %s) FROM ({}) i"
        ).format(REJECTED, ids("hashtextextended({}, 0)")),
        (manifest.key,),
    )
    ((staged, distinct, rejected),) = cursor.fetchall()
    if staged != manifest.rows:
        raise RawDataError(
            f"{manifest.key}: {staged - rejected} rows staged and {rejected} rejected make {staged}, the manifest says "
            f"{manifest.rows}. Nothing was published; start a new execution."
        )
    if distinct != staged:  # or two different ids share a hash
        cursor.execute(sql.SQL("SELECT count(DISTINCT id) FROM ({}) i").format(ids('{} COLLATE "C"')))
        ((distinct,),) = cursor.fetchall()
    return Counts(loaded=staged - rejected, rejected=rejected, repeated=staged - distinct)


def set_doubles_aside(cursor: "Cursor", dataset: Dataset, manifest: Manifest, read_raw: ReadRaw) -> None:
    """Keep the last of the rows that share a key, in the source's order, and reject the others with the reason."""
    staged, key = rows(dataset, manifest), Identifier(dataset.key)
    cursor.execute(
        sql.SQL(
            "CREATE TEMP TABLE doubled ON COMMIT DROP AS SELECT {key} FROM ({rows}) r GROUP BY 1 HAVING count(*) > 1"
        ).format(key=key, rows=staged)
    )
    if cursor.rowcount == 0:
        return
    cursor.execute(
        sql.SQL(
            """
            WITH contender AS (SELECT r.* FROM ({rows}) r JOIN doubled USING ({key})),
            chosen AS (SELECT DISTINCT ON ({key}) * FROM contender ORDER BY {key}, part DESC, line DESC)
            SELECT contender.part, contender.line, chosen.part, chosen.line,
              ROW({mine}) IS NOT DISTINCT FROM ROW({theirs}), {key}::text
            FROM contender JOIN chosen USING ({key})
            WHERE (contender.part, contender.line) <> (chosen.part, chosen.line)
            """
        ).format(
            rows=staged,
            key=key,
            mine=names(dataset.columns, "contender"),
            theirs=names(dataset.columns, "chosen"),
        )
    )
    lost: dict[int, dict[int, tuple[str, str]]] = {}
    for part, line, chosen_part, chosen_line, identical, key_text in cursor.fetchall():
        how = "is the same as" if identical else "is overruled by"
        reason = f"{dataset.key} came twice: this {how} the one in part {chosen_part}, line {chosen_line}"
        lost.setdefault(part, {})[line] = reason, key_text
    for part, found in lost.items():
        raw = read_raw(part, sorted(found))
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE line = ANY(%s)").format(table(dataset, manifest, part)),
            (list(found),),
        )
        _write_rejected(
            cursor,
            manifest,
            part,
            (Rejected(line=line, raw=raw[line], reasons=(why,), key=key) for line, (why, key) in found.items()),
        )


def rejected_keys(dataset: Dataset, manifest: Manifest) -> Composable:
    """Return a query of the readable keys among the rejected rows, each once, in the table's type."""
    return sql.SQL("SELECT DISTINCT key::{} AS {} FROM {} WHERE manifest_key = {} AND key IS NOT NULL").format(
        sql.SQL(dataset.key_column.sql_type), Identifier(dataset.key), REJECTED, Literal(manifest.key)
    )


def has_rejected_keys(cursor: "Cursor", manifest: Manifest) -> bool:
    """Whether any rejected row has a key that can be read."""
    cursor.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE manifest_key = %s AND key IS NOT NULL)").format(REJECTED),
        (manifest.key,),
    )
    return cursor.fetchone() == (True,)


def mark_kept(cursor: "Cursor", dataset: Dataset, manifest: Manifest, kept: Composable) -> None:
    """Note which rejected rows belong to the keys of the query `kept`."""
    cursor.execute(
        sql.SQL("UPDATE {} SET kept = true WHERE manifest_key = {} AND key::{} IN ({})").format(
            REJECTED, Literal(manifest.key), sql.SQL(dataset.key_column.sql_type), kept
        )
    )


def unreadable_keys(cursor: "Cursor", manifest: Manifest) -> int:
    """Return how many rejected rows have a key that cannot be read."""
    cursor.execute(
        sql.SQL("SELECT count(*) FROM {} WHERE manifest_key = %s AND key IS NULL").format(REJECTED), (manifest.key,)
    )
    ((unreadable,),) = cursor.fetchall()
    return int(unreadable)


def most_rejected(cursor: "Cursor", manifest: Manifest) -> str:
    """Return in words why most rows were rejected."""
    cursor.execute(
        sql.SQL(
            "SELECT split_part(reason, ' in part ', 1), count(*) FROM {}, unnest(reasons) AS reason "
            "WHERE manifest_key = %s GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3"
        ).format(REJECTED),
        (manifest.key,),
    )
    return f"Most often: {'; '.join(f'{reason} ({rows_of(count)})' for reason, count in cursor.fetchall())}."


def way_out(cursor: "Cursor", manifest: Manifest) -> str:
    """Return what to do about a version with too many rejected rows: another file, if a spreadsheet spoilt this one."""
    cursor.execute(
        sql.SQL(
            "SELECT part, line, count(*) OVER () FROM {} WHERE manifest_key = %s "
            "AND EXISTS (SELECT FROM unnest(reasons) AS reason WHERE reason LIKE %s) ORDER BY part, line LIMIT 1"
        ).format(REJECTED),
        (manifest.key, f"%, {BY_SPREADSHEET} %"),
    )
    spoilt = cursor.fetchone()
    if spoilt is None:
        return "Mend the contract or wait for a better version"
    part, line, count = spoilt
    return (
        f"The file was {BY_SPREADSHEET}, which spoilt {rows_of(count)}, the first in part {part}, line {line}: "
        f"{DOWNLOAD_AGAIN}"
    )


def rows_of(count: int) -> str:
    """Return a number of rows in words."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def warnings(cursor: "Cursor", dataset: Dataset, manifest: Manifest) -> dict[str, int]:
    """Return how many rows break each of the dataset's expectations."""
    cursor.execute(sql.SQL("SELECT warnings FROM {} WHERE manifest_key = %s").format(PART), (manifest.key,))
    total = {expectation.name: 0 for expectation in dataset.expectations}
    for (counted,) in cursor.fetchall():
        for name, broken in counted.items():
            total[name] = total.get(name, 0) + broken
    return total


def forget_strays(cursor: "Cursor", manifest: Manifest) -> None:
    """Forget parts of an earlier copy of the same version that a dead run left behind, and that this copy lacks."""
    for kept_in in (REJECTED, PART):
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE manifest_key = %s AND part >= %s").format(kept_in),
            (manifest.key, len(manifest.parts)),
        )


def drop(cursor: "Cursor", dataset: Dataset, version: datetime) -> None:
    """Take away the parts of this version and of any older one that a dead run left behind."""
    last = f"{dataset.table}_{version:%Y%m%d%H%M%S}_~"
    cursor.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s AND starts_with(tablename, %s) AND tablename < %s",
        (INTERNAL, f"{dataset.table}_", last),
    )
    for (name,) in cursor.fetchall():
        cursor.execute(sql.SQL("DROP TABLE {}").format(Identifier(INTERNAL, name)))
    for kept_in in (REJECTED, PART):
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE manifest_key <= %s").format(kept_in),
            (key_of(version),),
        )


def _make_empty(cursor: "Cursor", dataset: Dataset, target: Identifier) -> None:
    """Make a part's table anew, after any other execution that is staging the very same part just now."""
    while True:
        cursor.execute("SAVEPOINT before_the_part")
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(target))
        try:
            cursor.execute(
                sql.SQL(
                    # `:id` first: to read it alone, PostgreSQL then takes no other column of the row apart.
                    'CREATE UNLOGGED TABLE {} (":id" text COLLATE "C", {}, line integer NOT NULL) '
                    "WITH (autovacuum_enabled = off)"
                ).format(target, definitions(dataset.columns))
            )
        except (psycopg2.errors.DuplicateTable, psycopg2.errors.UniqueViolation):
            # The other made it first, and has committed: PostgreSQL had this statement wait for that.
            cursor.execute("ROLLBACK TO SAVEPOINT before_the_part")
        else:
            return


def _forget(cursor: "Cursor", manifest: Manifest, part: int) -> None:
    for kept_in in (REJECTED, PART):
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE manifest_key = %s AND part = %s").format(kept_in),
            (manifest.key, part),
        )


def _write_rejected(cursor: "Cursor", manifest: Manifest, part: int, rejected: Iterable[Rejected]) -> None:
    execute_values(
        cursor,
        sql.SQL("INSERT INTO {} (manifest_key, part, line, raw, reasons, key) VALUES %s").format(REJECTED),
        [(manifest.key, part, row.line, raw_json(row.raw), list(row.reasons), row.key) for row in rejected],
    )


def raw_json(raw: dict[str, str]) -> str:
    """Return a raw row as jsonb takes it: what PostgreSQL cannot hold (NUL, broken UTF-8) is shown escaped."""
    safe = {name: value.replace("\0", "\\0").encode(errors="backslashreplace").decode() for name, value in raw.items()}
    return json.dumps(safe, ensure_ascii=False)
