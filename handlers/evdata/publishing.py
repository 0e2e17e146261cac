"""A staged version into the table, in one transaction: readers see the version before it or the version itself.

What the server does, in order: take the lock, see whether this run or a newer version was there already, hold the
staged parts against the manifest, set doubled keys aside, let the guards judge, compare with the table, write the
history, write the table, write down the run. Only rows that differ are touched.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg2 import sql
from psycopg2.extras import Json, execute_values
from psycopg2.sql import Composable, Identifier, Literal

from evdata.contract import Dataset
from evdata.errors import PipelineError, RawDataError, RefusedError, TransientError
from evdata.manifest import Manifest
from evdata.schema import STAGING, names
from evdata.staging import raw_json, table
from evdata.warehouse import lock

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

# Returns the raw rows of a part that stand at some lines: read again from S3 for the few rows that came twice.
type ReadRaw = Callable[[int, list[int]], dict[int, dict[str, str]]]

COUNTS: Final = ("source", "loaded", "inserted", "updated", "removed", "unchanged", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """Fractions beyond which a version is refused: rows rejected of all, and rows fewer than the version before."""

    max_rejected_fraction: float
    max_shrink_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How publishing ended. `source = loaded + rejected` and `loaded = inserted + updated + unchanged`, always."""

    status: str  # published | unchanged | superseded
    source: int = 0
    loaded: int = 0
    inserted: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    rejected: int = 0
    message: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Publication:
    """One run's attempt to publish one version."""

    def __init__(
        self, connection: "Connection", dataset: Dataset, manifest: Manifest, *, execution_id: str, force: bool
    ) -> None:
        self._connection = connection
        self._dataset = dataset
        self._manifest = manifest
        self._execution_id = execution_id
        self._force = force
        self._started_at = datetime.now(UTC)
        self._table = Identifier(dataset.table)
        self._key = Identifier(dataset.key)

    def run(self, guards: Guards, read_raw: ReadRaw) -> Outcome:
        """Publish, or find that there is nothing to publish. Commits.

        Raises `RefusedError` when a guard refuses and `RawDataError` when the staged parts are not the manifest's; the
        table then stands as it was, and the refusal is written to `pipeline_run`.
        """
        try:
            with self._connection.cursor() as cursor:
                lock(cursor)
                outcome = self._finished_before(cursor) or self._publish(cursor, guards, read_raw)
            self._connection.commit()
        except TransientError:
            raise  # the state runs again and finds everything as it was
        except PipelineError as refusal:
            self._connection.rollback()
            self._write_refusal(str(refusal))
            raise
        return outcome

    # --- Is there anything to do? ---

    def _finished_before(self, cursor: "Cursor") -> Outcome | None:
        """Return what this very execution came to when it committed and its answer was lost on the way."""
        cursor.execute(
            sql.SQL(
                "SELECT status, {}, message FROM pipeline_run WHERE execution_id = %s AND status <> 'refused'"
            ).format(_counts()),
            (self._execution_id,),
        )
        found = cursor.fetchone()
        if found is None:
            return None
        status, *counts, message = found
        return Outcome(status=status, **dict(zip(COUNTS, counts, strict=True)), message=message)

    def _publish(self, cursor: "Cursor", guards: Guards, read_raw: ReadRaw) -> Outcome:
        cursor.execute(
            "SELECT dataset_version, loaded, rejected, execution_id FROM pipeline_run WHERE status = 'published' "
            "ORDER BY dataset_version DESC, finished_at DESC LIMIT 1"
        )
        last = cursor.fetchone()
        version = self._manifest.dataset_version
        if last and version < last[0]:
            outcome = Outcome(
                status="superseded",
                message=f"Version {_day(version)} is older than {_day(last[0])}, which stands in the table. "
                "An older version never overwrites a newer one; nothing was changed.",
            )
        else:
            problems = self._unstaged(cursor)
            if problems and last and version == last[0]:
                # The twin that published this version took the staged parts with it.
                loaded, rejected = last[1:3]
                outcome = Outcome(
                    status="unchanged",
                    source=loaded + rejected,
                    loaded=loaded,
                    unchanged=loaded,
                    rejected=rejected,
                    message=f"Version {_day(version)} was published by {last[3]} in the meantime. Nothing was changed.",
                )
            elif problems:
                raise RawDataError(
                    f"version {_day(version)} is not whole in staging: {'; '.join(problems)}. Nothing was published. "
                    "Mend the cause and start a new execution."
                )
            else:
                outcome = self._merge(cursor, guards, read_raw, shrunk_from=last[1] if last else None)
        self._write_run(cursor, outcome)
        self._drop_staging(cursor)
        return outcome

    def _unstaged(self, cursor: "Cursor") -> list[str]:
        """Hold what was staged against the manifest, part by part, and say what differs."""
        cursor.execute(
            "SELECT part, sha256, rows + rejected, error FROM staging.part WHERE manifest_key = %s",
            (self._manifest.key,),
        )
        staged = {part: rest for part, *rest in cursor.fetchall()}
        problems = []
        for part in self._manifest.parts:
            sha256, rows, error = staged.get(part.part, (None, None, None))
            if error:
                problems.append(f"part {part.part}: {error}")
            elif sha256 is None:
                problems.append(f"part {part.part} was not staged")
            elif sha256 != part.sha256:
                problems.append(f"part {part.part} was staged from other bytes than the manifest names")
            elif rows != part.rows:
                problems.append(f"part {part.part}: {rows} rows staged, the manifest says {part.rows}")
        return problems

    # --- The version ---

    def _merge(self, cursor: "Cursor", guards: Guards, read_raw: ReadRaw, *, shrunk_from: int | None) -> Outcome:
        self._set_doubles_aside(cursor, read_raw)
        loaded, rejected = self._count(cursor)
        self._judge(guards, loaded, rejected, shrunk_from)
        self._compare(cursor)
        inserted, updated, moved, removed = self._apply(cursor)
        return Outcome(
            status="published",
            source=loaded + rejected,
            loaded=loaded,
            inserted=inserted,
            updated=updated,
            removed=removed,
            unchanged=loaded - inserted - updated,
            rejected=rejected,
            message=self._message(
                loaded=loaded, rejected=rejected, inserted=inserted, updated=updated, removed=removed, moved=moved
            ),
        )

    def _set_doubles_aside(self, cursor: "Cursor", read_raw: ReadRaw) -> None:
        """Keep the last of the rows that share a key, in the source's order, and reject the others with the reason."""
        rows = self._staged()
        cursor.execute(
            sql.SQL(
                "CREATE TEMP TABLE doubled ON COMMIT DROP AS "
                "SELECT {key} FROM ({rows}) r GROUP BY 1 HAVING count(*) > 1"
            ).format(key=self._key, rows=rows)
        )
        if cursor.rowcount == 0:
            return
        cursor.execute(
            sql.SQL(
                """
                WITH contender AS (SELECT r.* FROM ({rows}) r JOIN doubled USING ({key})),
                kept AS (SELECT DISTINCT ON ({key}) * FROM contender ORDER BY {key}, part DESC, line DESC)
                SELECT contender.part, contender.line, kept.part, kept.line, ({mine}) IS NOT DISTINCT FROM ({theirs})
                FROM contender JOIN kept USING ({key})
                WHERE (contender.part, contender.line) <> (kept.part, kept.line)
                """
            ).format(
                rows=rows,
                key=self._key,
                mine=_row(names(self._dataset.columns, "contender")),
                theirs=_row(names(self._dataset.columns, "kept")),
            )
        )
        lost: dict[int, dict[int, str]] = {}
        for part, line, kept_part, kept_line, identical in cursor.fetchall():
            how = "is the same as" if identical else "is overruled by"
            reason = f"{self._dataset.key} came twice: this {how} the one in part {kept_part}, line {kept_line}"
            lost.setdefault(part, {})[line] = reason
        for part, reasons in lost.items():
            raw = read_raw(part, sorted(reasons))
            cursor.execute(
                sql.SQL("DELETE FROM {} WHERE line = ANY(%s)").format(table(self._dataset, self._manifest, part)),
                (list(reasons),),
            )
            execute_values(
                cursor,
                "INSERT INTO staging.rejected (manifest_key, part, line, raw, reasons) VALUES %s",
                [(self._manifest.key, part, line, raw_json(raw[line]), [why]) for line, why in reasons.items()],
            )

    def _count(self, cursor: "Cursor") -> tuple[int, int]:
        """Return rows to load and rows rejected, counted where they lie; they must make the manifest's rows."""
        cursor.execute(sql.SQL("SELECT count(*) FROM ({}) r").format(self._staged()))
        (loaded,) = _one(cursor)
        cursor.execute("SELECT count(*) FROM staging.rejected WHERE manifest_key = %s", (self._manifest.key,))
        (rejected,) = _one(cursor)
        if loaded + rejected != self._manifest.rows:
            raise RawDataError(
                f"version {_day(self._manifest.dataset_version)}: {loaded} rows staged and {rejected} rejected make "
                f"{loaded + rejected}, the manifest says {self._manifest.rows}. Nothing was published; start a new "
                "execution."
            )
        return loaded, rejected

    def _judge(self, guards: Guards, loaded: int, rejected: int, shrunk_from: int | None) -> None:
        version = _day(self._manifest.dataset_version)
        source = loaded + rejected
        if rejected > guards.max_rejected_fraction * source:
            raise RefusedError(
                f"version {version} refused: {rejected:,} of {source:,} rows rejected ({rejected / source:.2%}), more "
                f"than maxRejectedFraction allows ({guards.max_rejected_fraction:.2%}). Nothing was published. "
                f"{self._worst()} Mend the contract or wait for a better version; force does not lift this guard."
            )
        if shrunk_from and not self._force and loaded < (1 - guards.max_shrink_fraction) * shrunk_from:
            raise RefusedError(
                f"version {version} refused: {loaded:,} {self._dataset.row_noun}, {1 - loaded / shrunk_from:.2%} fewer "
                f"than the {shrunk_from:,} that stand in the table, more than maxShrinkFraction allows "
                f"({guards.max_shrink_fraction:.2%}). Nothing was published. If the source is right, start an "
                'execution with "force": true.'
            )

    def _worst(self) -> str:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT reason, count(*) FROM staging.rejected, unnest(reasons) AS reason WHERE manifest_key = %s "
                "GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 3",
                (self._manifest.key,),
            )
            return f"Most often: {'; '.join(f'{reason} ({count:,} rows)' for reason, count in cursor.fetchall())}."

    def _compare(self, cursor: "Cursor") -> None:
        """Find the rows that are new, that changed, that only moved, and that are gone: no others are touched below."""
        columns = [column for column in self._dataset.columns if column.name != self._dataset.key]
        cursor.execute(
            sql.SQL(
                """
                CREATE TEMP TABLE differing ON COMMIT DROP AS
                SELECT s.*, CASE WHEN c.{key} IS NULL THEN 'new'
                                 WHEN ({history_of_s}) IS DISTINCT FROM ({history_of_c}) THEN 'updated'
                                 ELSE 'moved' END AS difference
                FROM ({rows}) s LEFT JOIN {table} c USING ({key})
                WHERE c.{key} IS NULL OR ({s}) IS DISTINCT FROM ({c});
                CREATE TEMP TABLE gone ON COMMIT DROP AS
                SELECT {key} FROM {table} c WHERE NOT EXISTS (SELECT FROM ({rows}) s WHERE s.{key} = c.{key});
                ANALYZE differing; ANALYZE gone;
                """
            ).format(
                rows=self._staged(),
                table=self._table,
                key=self._key,
                s=_row(names(tuple(columns), "s")),
                c=_row(names(tuple(columns), "c")),
                history_of_s=_row(names(self._dataset.history_columns, "s")),
                history_of_c=_row(names(self._dataset.history_columns, "c")),
            )
        )

    def _apply(self, cursor: "Cursor") -> tuple[int, int, int, int]:
        """Write the history, then the table; return how many rows were new, updated, moved and removed."""
        version = Literal(self._manifest.dataset_version)
        columns = names(self._dataset.columns)
        cursor.execute("SELECT difference, count(*) FROM differing GROUP BY difference")
        found: dict[str, int] = dict(cursor.fetchall())
        # A version published anew with force corrects itself: what stood for no time at all is no history.
        cursor.execute(
            sql.SQL(
                """
                INSERT INTO {history} ({columns}, valid_from, valid_to, change, loaddate)
                SELECT {c}, c.valid_from, {version}, 'updated', c.loaddate
                FROM {table} c JOIN differing d USING ({key})
                WHERE d.difference = 'updated' AND c.valid_from < {version}
                UNION ALL
                SELECT {c}, c.valid_from, {version}, 'removed', c.loaddate
                FROM {table} c JOIN gone USING ({key}) WHERE c.valid_from < {version}
                """
            ).format(
                history=Identifier(f"{self._dataset.table}_history"),
                columns=columns,
                c=names(self._dataset.columns, "c"),
                table=self._table,
                key=self._key,
                version=version,
            )
        )
        cursor.execute(
            sql.SQL("DELETE FROM {table} USING gone WHERE {table}.{key} = gone.{key}").format(
                table=self._table, key=self._key
            )
        )
        removed = cursor.rowcount
        if found.keys() - {"new"}:
            cursor.execute(
                sql.SQL(
                    """
                    UPDATE {table} c SET ({columns}, valid_from, loaddate) = ROW(
                      {d}, CASE d.difference WHEN 'updated' THEN {version} ELSE c.valid_from END, {today})
                    FROM differing d WHERE d.{key} = c.{key} AND d.difference <> 'new'
                    """
                ).format(
                    table=self._table,
                    columns=columns,
                    d=names(self._dataset.columns, "d"),
                    version=version,
                    today=Literal(self._started_at.date()),
                    key=self._key,
                )
            )
        cursor.execute(
            sql.SQL(
                "INSERT INTO {table} ({columns}, valid_from, loaddate) "
                "SELECT {columns}, {version}, {today} FROM differing WHERE difference = 'new'"
            ).format(table=self._table, columns=columns, version=version, today=Literal(self._started_at.date()))
        )
        return found.get("new", 0), found.get("updated", 0), found.get("moved", 0), removed

    # --- The record ---

    def _message(self, *, loaded: int, rejected: int, inserted: int, updated: int, removed: int, moved: int) -> str:
        noun = self._dataset.row_noun
        lines = [
            f"Version {_day(self._manifest.dataset_version)} is published: {loaded:,} {noun}.",
            f"{inserted:,} new, {updated:,} updated, {removed:,} removed, {loaded - inserted - updated:,} unchanged"
            + (f" ({moved:,} with a moved point)." if moved else "."),
            f"{loaded + rejected:,} rows came from the source, {rejected:,} were rejected.",
        ]
        if rejected:
            lines.append(f"{self._worst()} They stand in rejected_row.")
        extracted = {column["fieldName"] for column in self._manifest.columns}
        if gone := [column.display for column in self._dataset.source_columns if column.field not in extracted]:
            lines.append(f"Gone from the source, NULL in the table: {', '.join(gone)}.")
        lines.extend(f"Warning: {count:,} rows break '{name}'." for name, count in self._warnings().items() if count)
        lines.append(f"Source: {self._dataset.attribution}.")
        return "\n".join(lines)

    def _warnings(self) -> dict[str, int]:
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT warnings FROM staging.part WHERE manifest_key = %s", (self._manifest.key,))
            total = {expectation.name: 0 for expectation in self._dataset.expectations}
            for (warnings,) in cursor.fetchall():
                for name, count in warnings.items():
                    total[name] = total.get(name, 0) + count
        return total

    def _write_run(self, cursor: "Cursor", outcome: Outcome) -> None:
        counts = tuple(getattr(outcome, name) for name in COUNTS)
        self._insert_run(cursor, outcome.status, counts, outcome.message)
        if outcome.status == "published":
            cursor.execute(
                "INSERT INTO rejected_row (execution_id, part, line, raw, reasons) "
                "SELECT %s, part, line, raw, reasons FROM staging.rejected WHERE manifest_key = %s",
                (self._execution_id, self._manifest.key),
            )

    def _write_refusal(self, message: str) -> None:
        """Write the refusal down in a transaction of its own, and take the refused parts away."""
        with self._connection.cursor() as cursor:
            lock(cursor)
            self._insert_run(cursor, "refused", (None,) * len(COUNTS), message)
            self._drop_staging(cursor)
        self._connection.commit()

    def _insert_run(self, cursor: "Cursor", status: str, counts: Iterable[int | None], message: str) -> None:
        # An execution that was refused may be started again by hand (redrive) and end better.
        cursor.execute("DELETE FROM pipeline_run WHERE execution_id = %s", (self._execution_id,))
        execute_values(
            cursor,
            sql.SQL(
                "INSERT INTO pipeline_run (execution_id, dataset_id, dataset_version, manifest_key, status, "
                "extracted_at, started_at, finished_at, warnings, message, {}) VALUES %s"
            )
            .format(_counts())
            .as_string(cursor),
            [
                (
                    *(
                        self._execution_id,
                        self._manifest.dataset_id,
                        self._manifest.dataset_version,
                        self._manifest.key,
                    ),
                    *(status, self._manifest.extracted_at, self._started_at, datetime.now(UTC)),
                    *(Json(self._warnings()), message, *counts),
                )
            ],
        )

    # --- Staging ---

    def _staged(self) -> Composable:
        """Return a query of every staged row: the dataset's columns, part and line."""
        return sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {}, {}::integer AS part, line FROM {}").format(
                names(self._dataset.columns), Literal(part.part), table(self._dataset, self._manifest, part.part)
            )
            for part in self._manifest.parts
        )

    def _drop_staging(self, cursor: "Cursor") -> None:
        """Take away the parts of this version and of any older one that a dead run left behind."""
        last = f"{self._dataset.table}_{self._manifest.dataset_version:%Y%m%d%H%M%S}_~"
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s AND starts_with(tablename, %s) AND tablename < %s",
            (STAGING, f"{self._dataset.table}_", last),
        )
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("DROP TABLE {}").format(Identifier(STAGING, name)))
        for name in ("rejected", "part"):
            cursor.execute(
                sql.SQL("DELETE FROM {} WHERE manifest_key <= %s").format(Identifier(STAGING, name)),
                (self._manifest.key,),
            )


def _counts() -> Composable:
    return sql.SQL(", ").join(map(Identifier, COUNTS))


def _row(columns: Composable) -> Composable:
    return sql.SQL("ROW({})").format(columns)


def _one(cursor: "Cursor") -> tuple[Any, ...]:
    found = cursor.fetchone()
    if found is None:
        raise AssertionError("a count gives one row")
    return found


def _day(version: datetime) -> str:
    return f"{version.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
