"""A staged version into the table, in one transaction: readers see the version before it or the version itself.

What the server does, in order: take the lock, see whether this run or a newer version was there already, compare the
staged parts with the manifest, reject doubled keys, compare with the table, let the guards judge, write the history,
write the table, record the run. Only rows that differ are touched.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import psycopg2
from psycopg2 import sql
from psycopg2.extras import Json
from psycopg2.sql import Composable, Identifier

from evdata import staging
from evdata.contract import Dataset
from evdata.errors import PipelineError, RawDataError, RefusedError, TransientError
from evdata.manifest import Manifest, version_of
from evdata.merging import Changes, KeysDoubledError, Merge
from evdata.staging import ReadRaw
from evdata.upkeep import last_run
from evdata.warehouse import lock

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

COUNTS: Final = ("source", "loaded", "inserted", "updated", "removed", "unchanged", "rejected", "kept")
# SNS takes subjects below 100 characters, and "ev-population ", the longest stack name and ": " come first.
LONGEST_HEADLINE: Final = 99 - len("ev-population : ") - 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """Fractions beyond which a version is refused: rows rejected of all, and rows that the table would lose."""

    max_rejected_fraction: float
    max_shrink_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How publishing ended. `source = loaded + rejected` and `loaded = inserted + updated + unchanged`, always.

    `kept` counts rows of the table, one a key, that stay because their new rows were rejected.
    """

    status: str  # published | unchanged | superseded
    source: int = 0
    loaded: int = 0
    inserted: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    rejected: int = 0
    kept: int = 0
    message: str

    @property
    def rows(self) -> int:
        """Rows of the table once it is published, and whenever it is looked at until the next version is."""
        return self.loaded + self.kept

    @property
    def headline(self) -> str:
        """Return the outcome with the numbers that matter, short enough for a mail's subject with the stack's name."""
        if self.status == "superseded":
            return "superseded, a newer version stands"
        if self.status == "unchanged":
            return f"unchanged, {self.rows:,} rows"
        published = f"{self.loaded:,} rows published"
        changes = f" (+{self.inserted:,} ~{self.updated:,} -{self.removed:,})"
        rejected = f", {self.rejected:,} rejected" if self.rejected else ""
        kept = f", {self.kept:,} kept" if self.kept else ""
        candidates = (published + changes + rejected + kept, published + rejected + kept, published + rejected)
        return next((told for told in candidates if len(told) <= LONGEST_HEADLINE), published)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"headline": self.headline}


def last_published(cursor: "Cursor") -> tuple[str, datetime, Outcome] | None:
    """Return the run that made the table what it is, with its version and outcome, or None before the first.

    The table must have `rows` of the outcome.
    """
    cursor.execute(
        sql.SQL(
            "SELECT execution_id, dataset_version, message, {} FROM pipeline_run WHERE status = 'published' "
            "ORDER BY dataset_version DESC, finished_at DESC LIMIT 1"
        ).format(_counts())
    )
    found = cursor.fetchone()
    if found is None:
        return None
    execution_id, version, message, *counts = found
    return (
        execution_id,
        version,
        Outcome(status="published", **dict(zip(COUNTS, counts, strict=True)), message=message),
    )


class Publication:
    """One run's attempt to publish one version."""

    def __init__(
        self,
        connection: "Connection",
        dataset: Dataset,
        manifest: Manifest,
        *,
        execution_id: str,
        force: bool,
        withdraw: Callable[[], None],
        notes: tuple[str, ...] = (),
    ) -> None:
        """`force` lifts the shrink guard; `notes` are sentences that the message ends with.

        `withdraw` takes the version's manifest away: called for a copy that is not worth keeping.
        """
        self._connection = connection
        self._dataset = dataset
        self._manifest = manifest
        self._execution_id = execution_id
        self._force = force
        self._notes = notes
        self._withdraw = withdraw
        self._started_at = datetime.now(UTC)
        self._merge = Merge(dataset, manifest, today=self._started_at.date())

    def run(self, guards: Guards, read_raw: ReadRaw) -> Outcome:
        """Publish, or find that there is nothing to publish. Commits.

        Raises `RefusedError` when a guard refuses and `RawDataError` when the staged parts are not the manifest's; the
        table then stands as it was, and the refusal is written to `pipeline_run`.
        """
        with self._connection.cursor() as cursor:
            lock(cursor)
            if finished := self._finished_before(cursor):
                self._connection.rollback()
                return finished
        try:
            with self._connection.cursor() as cursor:
                outcome = self._publish(cursor, guards, read_raw)
            self._connection.commit()
        except TransientError:
            raise  # the state runs again and finds everything as it was
        except PipelineError as refusal:
            self._connection.rollback()
            told = type(refusal)(f"{refusal} Run: {self._execution_id}")
            self._write_refusal(str(told))
            raise told from refusal
        return outcome

    # --- Is there anything to do? ---

    def _finished_before(self, cursor: "Cursor") -> Outcome | None:
        """Return what this very execution came to when it committed and its answer was lost on the way.

        Raises `RefusedError` when it was refused, in the words of then, unless parts were staged for it once more.
        """
        cursor.execute(
            sql.SQL(
                "SELECT status, {}, message FROM pipeline_run WHERE execution_id = %s AND "
                "(status <> 'refused' OR NOT EXISTS (SELECT FROM {} WHERE manifest_key = %s))"
            ).format(_counts(), staging.PART),
            (self._execution_id, self._manifest.key),
        )
        found = cursor.fetchone()
        if found is None:
            return None
        status, *counts, message = found
        if status == "refused":
            raise RefusedError(message)
        return Outcome(status=status, **dict(zip(COUNTS, counts, strict=True)), message=message)

    def _publish(self, cursor: "Cursor", guards: Guards, read_raw: ReadRaw) -> Outcome:
        last = last_published(cursor)
        version = self._manifest.dataset_version
        if last and version < last[1]:
            outcome = Outcome(
                status="superseded",
                message=f"Version {_day(version)} is older than {_day(last[1])}, which stands in the table. "
                "An older version never overwrites a newer one; nothing was changed.",
            )
        else:
            self._manifest.require_row_ids()
            staging.forget_strays(cursor, self._manifest)
            problems = staging.problems(cursor, self._manifest)
            stands = last_run(cursor, self._dataset)
            damage = stands.damage if stands else None
            if damage and not any(damage in note for note in self._notes):
                self._notes = (*self._notes, f"Warning: {damage}")
            if problems and last and version == last[1] and not damage:
                # The twin that published this version took the staged parts with it.
                twin, _, published = last
                outcome = Outcome(
                    status="unchanged",
                    source=published.source,
                    loaded=published.loaded,
                    unchanged=published.loaded,
                    rejected=published.rejected,
                    kept=published.kept,
                    message=f"Version {_day(version)} was published by {twin} in the meantime. Nothing was changed.",
                )
            elif problems:
                raise RawDataError(
                    f"version {_day(version)} is not whole in staging: "
                    f"{'; '.join(problem.rstrip('.') for problem in problems)}. Nothing was published. "
                    "Mend the cause and start a new execution."
                )
            else:
                again = last is not None and version == last[1]
                outcome = self._publish_staged(cursor, guards, read_raw, again=again)
        self._write_run(cursor, outcome)
        staging.drop(cursor, self._dataset, self._manifest.dataset_version)
        return outcome

    # --- The version ---

    def _publish_staged(self, cursor: "Cursor", guards: Guards, read_raw: ReadRaw, *, again: bool) -> Outcome:
        loaded, rejected = self._count(cursor, guards)
        cursor.execute("SAVEPOINT before_the_table")
        try:
            changes = self._change_table(cursor, guards, loaded, again=again)
        except (psycopg2.errors.UniqueViolation, KeysDoubledError):
            # Looking for doubled keys in every version would cost more than being wrong about a few.
            cursor.execute("ROLLBACK TO SAVEPOINT before_the_table")
            staging.set_doubles_aside(cursor, self._dataset, self._manifest, read_raw)
            loaded, rejected = self._count(cursor, guards)
            changes = self._change_table(cursor, guards, loaded, again=again)
        return Outcome(
            status="published",
            source=loaded + rejected,
            loaded=loaded,
            inserted=changes.inserted,
            updated=changes.updated,
            removed=changes.removed,
            unchanged=loaded - changes.inserted - changes.updated,
            rejected=rejected,
            kept=changes.kept,
            message=self._message(cursor, loaded, rejected, changes),
        )

    def _count(self, cursor: "Cursor", guards: Guards) -> tuple[int, int]:
        """Return rows to load and rows rejected, once each has an `:id` of its own and not too many are rejected.

        Raises `RawDataError` or `RefusedError` otherwise. A copy with a repeated row is withdrawn first: whatever
        happens then, the next run copies the version again.
        """
        counts = staging.count(cursor, self._dataset, self._manifest)
        if counts.repeated:
            rows = self._manifest.rows
            self._withdraw()
            raise RawDataError(
                f"version {_day(self._manifest.dataset_version)} refused: its {rows:,} rows have "
                f"{rows - counts.repeated:,} distinct :ids, so the copy holds some rows more than once and lacks "
                "others. Nothing was published, and the copy is withdrawn: the next run copies the version again."
            )
        self._judge_rejections(cursor, guards, counts.loaded, counts.rejected)
        return counts.loaded, counts.rejected

    def _change_table(self, cursor: "Cursor", guards: Guards, loaded: int, *, again: bool) -> Changes:
        def judge(changes: Changes) -> None:
            self._judge_size(guards, before=changes.before, after=loaded + changes.kept)

        return self._merge.change_table(cursor, loaded, again=again, judge=judge)

    def _judge_rejections(self, cursor: "Cursor", guards: Guards, loaded: int, rejected: int) -> None:
        version = _day(self._manifest.dataset_version)
        source = loaded + rejected
        if rejected > _exactly(guards.max_rejected_fraction) * source:
            raise RefusedError(
                f"version {version} refused: {rejected:,} of {source:,} rows rejected ({rejected / source:.2%}), more "
                f"than maxRejectedFraction allows ({guards.max_rejected_fraction:.2%}). Nothing was published. "
                f"{staging.most_rejected(cursor, self._manifest)} "
                f"{staging.way_out(cursor, self._manifest)}; force does not lift this guard."
            )

    def _judge_size(self, guards: Guards, *, before: int, after: int) -> None:
        if not self._force and before - after > _exactly(guards.max_shrink_fraction) * before:
            raise RefusedError(
                f"version {_day(self._manifest.dataset_version)} refused: {self._dataset.counted(after)}, "
                f"{1 - after / before:.2%} fewer than the {before:,} in the table, more than maxShrinkFraction allows "
                f"({guards.max_shrink_fraction:.2%}). Nothing was published. If the source is right, start an "
                'execution with "force": true.'
            )

    # --- The record ---

    def _message(self, cursor: "Cursor", loaded: int, rejected: int, changes: Changes) -> str:
        unchanged = loaded - changes.inserted - changes.updated
        rows = loaded + changes.kept
        lines = [
            f"Version {_day(self._manifest.dataset_version)} is published: {self._dataset.counted(rows)}.",
            f"{changes.inserted:,} new, {changes.updated:,} updated, {changes.removed:,} removed, "
            f"{unchanged:,} unchanged" + (f" ({changes.moved:,} but for a moved point)." if changes.moved else "."),
            f"{loaded + rejected:,} rows came from the source, {rejected:,} were rejected.",
        ]
        if rejected:
            lines.append(f"{staging.most_rejected(cursor, self._manifest)} They are in rejected_row.")
        if changes.kept:
            lines.append(
                "Kept with their last good row, because their new one was rejected: "
                f"{self._dataset.counted(changes.kept)}."
            )
        if changes.removed and (unreadable := staging.unreadable_keys(cursor, self._manifest)):
            lines.append(
                f"Rejected with a key that cannot be read: {staging.rows_of(unreadable)}. Up to "
                f"{min(unreadable, changes.removed):,} of the {changes.removed:,} removed may really be rejections."
            )
        extracted = {column["fieldName"] for column in self._manifest.columns}
        if gone := [column.display for column in self._dataset.source_columns if column.field not in extracted]:
            lines.append(f"Gone from the source, NULL in the table: {', '.join(gone)}.")
        warnings = staging.warnings(cursor, self._dataset, self._manifest)
        lines.extend(
            f"Warning: '{name}' does not hold for {staging.rows_of(count)}."
            for name, count in warnings.items()
            if count
        )
        lines += self._notes
        lines.append(f"Source: {self._dataset.attribution}.")
        return "\n".join(lines)

    def _write_run(self, cursor: "Cursor", outcome: Outcome) -> None:
        counts = tuple(getattr(outcome, name) for name in COUNTS)
        self._insert_run(cursor, outcome.status, counts, outcome.message)
        if outcome.status == "published":
            cursor.execute(
                sql.SQL(
                    "INSERT INTO rejected_row (execution_id, part, line, raw, reasons, key, kept) "
                    "SELECT %s, part, line, raw, reasons, key, kept FROM {} WHERE manifest_key = %s"
                ).format(staging.REJECTED),
                (self._execution_id, self._manifest.key),
            )

    def _write_refusal(self, message: str) -> None:
        """Write the refusal down in a transaction of its own, and take the refused parts away."""
        with self._connection.cursor() as cursor:
            lock(cursor)
            self._insert_run(cursor, "refused", (None,) * len(COUNTS), message)
            staging.drop(cursor, self._dataset, self._manifest.dataset_version)
        self._connection.commit()

    def _insert_run(self, cursor: "Cursor", status: str, counts: Iterable[int | None], message: str) -> None:
        # An execution that was refused may be started again by hand (redrive) and end better.
        cursor.execute("DELETE FROM pipeline_run WHERE execution_id = %s", (self._execution_id,))
        run = {
            "execution_id": self._execution_id,
            "dataset_id": self._manifest.dataset_id,
            "dataset_version": self._manifest.dataset_version,
            "manifest_key": self._manifest.key,
            "status": status,
            "extracted_at": self._manifest.extracted_at,
            "started_at": self._started_at,
            "finished_at": datetime.now(UTC),
            "warnings": Json(staging.warnings(cursor, self._dataset, self._manifest)),
            "message": message,
            **dict(zip(COUNTS, counts, strict=True)),
        }
        cursor.execute(
            sql.SQL("INSERT INTO pipeline_run ({}) VALUES %s").format(sql.SQL(", ").join(map(Identifier, run))),
            (tuple(run.values()),),
        )


def refuse_unread(
    connection: "Connection", dataset: Dataset, manifest_key: str, *, execution_id: str, why: RawDataError
) -> RawDataError:
    """Write down a run whose version has no manifest that can be read; return the refusal to raise. Commits."""
    version = version_of(manifest_key)
    told = RawDataError(f"version {_day(version)} refused: {why} Nothing was published. Run: {execution_id}")
    with connection.cursor() as cursor:
        lock(cursor)
        cursor.execute(
            "INSERT INTO pipeline_run (execution_id, dataset_id, dataset_version, manifest_key, status, started_at, "
            "finished_at, message) VALUES (%s, %s, %s, %s, 'refused', now(), now(), %s) ON CONFLICT DO NOTHING",
            (execution_id, dataset.dataset_id, version, manifest_key, str(told)),
        )
        staging.drop(cursor, dataset, version)
    connection.commit()
    return told


def _exactly(fraction: float) -> Decimal:
    """Return the fraction as it was written: 0.29 of 100 rows are 29, and not a little less."""
    return Decimal(str(fraction))


def _counts() -> Composable:
    return sql.SQL(", ").join(map(Identifier, COUNTS))


def _day(version: datetime) -> str:
    return f"{version.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
