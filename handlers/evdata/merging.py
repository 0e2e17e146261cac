"""A staged version into the table: what differs is found in one pass, remembered in the history, and written.

A row of the table whose key comes with a rejected row only is neither new nor gone: it stays as it is (`kept`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import sql
from psycopg2.sql import Composable, Identifier, Literal

from evdata import staging
from evdata.contract import Dataset
from evdata.manifest import Manifest
from evdata.schema import names

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How many rows a version makes new, changes, moves (in columns that make no history), removes and keeps.

    `before` is how many the table had. It has `loaded + kept` afterwards.
    """

    before: int = 0
    inserted: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    kept: int = 0


class KeysDoubledError(Exception):
    """Two staged rows share a key; nothing can be said of the version before one of them is set aside."""


class Merge:
    """One version on its way from staging into the table."""

    def __init__(self, dataset: Dataset, manifest: Manifest, *, today: date) -> None:
        self._dataset = dataset
        self._manifest = manifest
        self._staged = staging.rows(dataset, manifest)
        self._table = Identifier(dataset.table)
        self._history = Identifier(f"{dataset.table}_history")
        self._key = Identifier(dataset.key)
        self._version = Literal(manifest.dataset_version)
        self._today = Literal(today)

    def change_table(self, cursor: "Cursor", loaded: int, *, again: bool, judge: Callable[[Changes], None]) -> Changes:
        """Make the table hold the staged rows, of which there are `loaded`; `again` if it held this version before.

        `judge` sees the changes before they are written, and raises to prevent them. Raises `KeysDoubledError` or
        psycopg2's UniqueViolation when two staged rows share a key.
        """
        before = self._count(cursor)
        some_rejected = staging.has_rejected_keys(cursor, self._manifest)
        returned = self._bring_back(cursor) if again and some_rejected else 0
        if before + returned == 0:
            self._fill(cursor)
            if again:
                self._mend_history(cursor)
            return Changes(inserted=loaded)
        self._compare(cursor)
        if some_rejected:
            self._keep(cursor)
        cursor.execute("SELECT difference, count(*) FROM differing GROUP BY difference")
        found: dict[str, int] = dict(cursor.fetchall())
        changes = Changes(
            before=before,
            inserted=found.get("new", 0),
            updated=found.get("updated", 0),
            moved=found.get("moved", 0),
            removed=found.get("gone", 0),
            kept=found.get("kept", 0),
        )
        if loaded - changes.inserted + changes.removed + changes.kept != before + returned:
            raise KeysDoubledError  # some row of the table met two staged rows
        judge(changes)
        self._write_history(cursor)
        self._write_table(cursor)
        if again:
            self._mend_history(cursor)
        return changes

    def _count(self, cursor: "Cursor") -> int:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(self._table))
        ((found,),) = cursor.fetchall()
        return int(found)

    def _bring_back(self, cursor: "Cursor") -> int:
        """Put back rows that the first publishing of this version removed and that it now rejects; return how many.

        They never left the source: the first copy of the version lacked them, or had no key of theirs that could be
        read.
        """
        cursor.execute(
            sql.SQL(
                """
                WITH returned AS (
                  DELETE FROM {history} h USING ({rejected}) r
                  WHERE h.{key} = r.{key} AND h.valid_to = {version}
                    AND NOT EXISTS (SELECT FROM {table} c WHERE c.{key} = h.{key})
                    AND NOT EXISTS (SELECT FROM ({rows}) s WHERE s.{key} = h.{key})
                  RETURNING {h}, h.valid_from
                )
                INSERT INTO {table} ({columns}, valid_from, loaddate)
                SELECT {columns}, valid_from, {today} FROM returned
                """
            ).format(
                history=self._history,
                rejected=staging.rejected_keys(self._dataset, self._manifest),
                table=self._table,
                rows=self._staged,
                key=self._key,
                version=self._version,
                h=names(self._dataset.columns, "h"),
                columns=names(self._dataset.columns),
                today=self._today,
            )
        )
        return cursor.rowcount

    def _keep(self, cursor: "Cursor") -> None:
        """Have rows that seem gone stay when a rejected row has their key, and note which rejected rows these are."""
        cursor.execute(
            sql.SQL(
                "UPDATE differing d SET difference = 'kept' FROM ({rejected}) r "
                "WHERE d.{key} = r.{key} AND d.difference = 'gone'"
            ).format(rejected=staging.rejected_keys(self._dataset, self._manifest), key=self._key)
        )
        if cursor.rowcount:
            kept = sql.SQL("SELECT {} FROM differing WHERE difference = 'kept'").format(self._key)
            staging.mark_kept(cursor, self._dataset, self._manifest, kept)

    def _fill(self, cursor: "Cursor") -> None:
        """Fill the empty table, its index afterwards: to sort all keys once costs a fraction of finding each its place.

        No reader waits for more than the nothing that stands there.
        """
        constraint = Identifier(f"{self._dataset.table}_pkey")
        cursor.execute("SAVEPOINT with_the_key")
        try:
            cursor.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(self._table, constraint))
        except psycopg2.errors.DependentObjectsStillExist:  # somebody's view or foreign key wants it to stay
            cursor.execute("ROLLBACK TO SAVEPOINT with_the_key")
            self._insert(cursor, self._staged)
            return
        self._insert(cursor, self._staged)
        cursor.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(self._table, constraint, self._key)
        )

    def _compare(self, cursor: "Cursor") -> None:
        """Find the rows that are new, updated, moved or gone: no others are touched below."""
        columns = tuple(column for column in self._dataset.columns if column.name != self._dataset.key)
        cursor.execute(
            sql.SQL(
                """
                CREATE TEMP TABLE differing ON COMMIT DROP AS
                SELECT {key}, {s}, CASE WHEN c.valid_from IS NULL THEN 'new' WHEN s.line IS NULL THEN 'gone'
                  WHEN ROW({history_of_s}) IS DISTINCT FROM ROW({history_of_c}) THEN 'updated' ELSE 'moved'
                  END AS difference
                FROM ({rows}) s FULL JOIN {table} c USING ({key})
                WHERE c.valid_from IS NULL OR s.line IS NULL OR ROW({s}) IS DISTINCT FROM ROW({c});
                ANALYZE differing;
                """
            ).format(
                rows=self._staged,
                table=self._table,
                key=self._key,
                s=names(columns, "s"),
                c=names(columns, "c"),
                history_of_s=names(self._dataset.history_columns, "s"),
                history_of_c=names(self._dataset.history_columns, "c"),
            )
        )

    def _write_history(self, cursor: "Cursor") -> None:
        """Remember what is about to change. What stood for no time at all is none: a version that corrects itself."""
        cursor.execute(
            sql.SQL(
                """
                INSERT INTO {history} ({columns}, valid_from, valid_to, change, loaddate)
                SELECT {c}, c.valid_from, {version}, CASE d.difference WHEN 'gone' THEN 'removed' ELSE 'updated' END,
                  c.loaddate
                FROM {table} c JOIN differing d USING ({key})
                WHERE d.difference IN ('updated', 'gone') AND c.valid_from < {version}
                """
            ).format(
                history=self._history,
                columns=names(self._dataset.columns),
                c=names(self._dataset.columns, "c"),
                table=self._table,
                key=self._key,
                version=self._version,
            )
        )

    def _mend_history(self, cursor: "Cursor") -> None:
        """Have the history read as if the version had been published but once, with the rows it has now.

        What its first publishing ended and this one took up again never ended; what it ended may have ended otherwise.
        """
        history_columns = self._dataset.history_columns
        cursor.execute(
            sql.SQL(
                """
                WITH taken_up AS (
                  DELETE FROM {history} h USING {table} c
                  WHERE h.{key} = c.{key} AND h.valid_to = {version} AND c.valid_from = {version}
                    AND ROW({of_h}) IS NOT DISTINCT FROM ROW({of_c})
                  RETURNING h.{key}, h.valid_from
                )
                UPDATE {table} c SET valid_from = t.valid_from FROM taken_up t WHERE t.{key} = c.{key};
                UPDATE {history} h SET change = CASE change WHEN 'updated' THEN 'removed' ELSE 'updated' END
                WHERE valid_to = {version}
                  AND (change = 'updated') <> EXISTS (SELECT FROM {table} c WHERE c.{key} = h.{key})
                """
            ).format(
                history=self._history,
                table=self._table,
                key=self._key,
                version=self._version,
                of_h=names(history_columns, "h"),
                of_c=names(history_columns, "c"),
            )
        )

    def _write_table(self, cursor: "Cursor") -> None:
        columns = names(self._dataset.columns)
        cursor.execute(
            sql.SQL("DELETE FROM {table} c USING differing d WHERE d.{key} = c.{key} AND d.difference = 'gone'").format(
                table=self._table, key=self._key
            )
        )
        cursor.execute(
            sql.SQL(
                """
                UPDATE {table} c SET ({columns}, valid_from, loaddate) = ROW(
                  {d}, CASE d.difference WHEN 'updated' THEN {version} ELSE c.valid_from END, {today})
                FROM differing d WHERE d.{key} = c.{key} AND d.difference IN ('updated', 'moved')
                """
            ).format(
                table=self._table,
                columns=columns,
                d=names(self._dataset.columns, "d"),
                version=self._version,
                today=self._today,
                key=self._key,
            )
        )
        self._insert(cursor, sql.SQL("SELECT * FROM differing WHERE difference = 'new'"))

    def _insert(self, cursor: "Cursor", rows: Composable) -> None:
        cursor.execute(
            sql.SQL(
                "INSERT INTO {table} ({columns}, valid_from, loaddate) "
                "SELECT {columns}, {version}, {today} FROM ({rows}) r"
            ).format(
                table=self._table,
                columns=names(self._dataset.columns),
                version=self._version,
                today=self._today,
                rows=rows,
            )
        )
