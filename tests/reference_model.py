"""What table, history, rejected rows and counts must be, said once more in plain Python: no pandas, no SQL, no AWS.

The handlers are proven by holding PostgreSQL against this model after each run. It is meant to be read: whoever doubts
what the pipeline does in some case finds the answer in `Model`, a few lines long. It takes rows already judged (`Row`),
so that each test says beside the raw text what the contract must make of it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction

type Values = Mapping[str, object]
type Place = tuple[int, int]  # part, and line within the part; the header is line 1
type Rejects = dict[Place, tuple[Mapping[str, str], tuple[str, ...]]]  # the row as it came, and every reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the source: as it came (`raw`, by field), and its values, or every reason why it cannot be loaded."""

    raw: Mapping[str, str]
    key: int | None = None  # None if it cannot be read
    facts: Values = field(default_factory=dict)  # what makes history when it changes
    point: Values = field(default_factory=dict)  # what does not
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # expectations that the row breaks; it is loaded all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The dataset as the source had it at a moment. `drifted` when its columns do not fit the contract."""

    at: datetime
    rows: tuple[Row, ...]
    drifted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A row of the table, or, once it ended, of the history."""

    facts: Values
    point: Values
    since: datetime
    until: datetime | None = None
    change: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row of `pipeline_run`. Its counts are None when the run was refused."""

    at: datetime
    status: str
    source: int | None = 0
    loaded: int | None = 0
    inserted: int | None = 0
    updated: int | None = 0
    removed: int | None = 0
    unchanged: int | None = 0
    rejected: int | None = 0
    kept: int | None = 0
    warnings: Mapping[str, int] = field(default_factory=dict)  # how many good rows break each expectation, if any does


REFUSED: Mapping[str, None] = dict.fromkeys(
    ("source", "loaded", "inserted", "updated", "removed", "unchanged", "rejected", "kept")
)


@dataclass(kw_only=True)
class Model:
    """The pipeline as it should be, with its bucket and its database."""

    key: str = "dol_vehicle_id"
    max_rejected: Fraction = Fraction(1, 2)
    max_shrink: Fraction = Fraction(1, 2)
    table: dict[int, Stay] = field(default_factory=dict)
    history: dict[tuple[int, datetime], Stay] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    rejected: dict[str, Rejects] = field(default_factory=dict)
    kept: dict[str, set[int]] = field(default_factory=dict)  # by run: vehicles that keep their last good row
    contents: dict[datetime, dict[int, Values]] = field(default_factory=dict)  # facts of each version published
    noted: datetime | None = None  # the version that published.json names
    _copies: dict[datetime, tuple[Version, int]] = field(default_factory=dict)  # what lies in the bucket, in parts of

    def run(self, run: str, source: Version, *, part_rows: int, force: bool = False) -> str:
        """Run from end to end; return what it comes to: a status, or the name of the error that ends it."""
        outcome = self.extract(source, part_rows=part_rows, force=force)
        return self.publish(run, source.at, force=force) if outcome == "extracted" else outcome

    def extract(self, source: Version, *, part_rows: int, force: bool = False) -> str:
        if source.drifted:
            return "DriftError"
        if source.at == self.noted and not force:
            return "unchanged"
        if force or source.at not in self._copies:
            if not source.rows:
                return "SourceError"
            self._copies[source.at] = source, part_rows
        return "extracted"

    def publish(self, run: str, at: datetime, *, force: bool = False) -> str:
        version, part_rows = self._copies[at]
        warnings = Counter(name for row in version.rows if not row.reasons for name in row.warnings)
        newest = max(self.contents, default=None)
        if newest and at < newest:
            self.runs[run] = Run(at=at, status="superseded", warnings=warnings)
            return "superseded"
        good, rejected = self._sort(version, part_rows)
        kept = self._kept(at, version, good)
        too_many_rejected = len(rejected) > self.max_rejected * len(version.rows)
        too_few_left = len(good) + len(kept) < (1 - self.max_shrink) * len(self.table)
        if too_many_rejected or (too_few_left and not force):
            self.runs[run] = Run(at=at, status="refused", warnings=warnings, **REFUSED)
            return "RefusedError"
        inserted, updated, removed = self._apply(at, good, kept)
        self.runs[run] = Run(
            at=at,
            status="published",
            source=len(version.rows),
            loaded=len(good),
            inserted=inserted,
            updated=updated,
            removed=removed,
            unchanged=len(good) - inserted - updated,
            rejected=len(rejected),
            kept=len(kept),
            warnings=warnings,
        )
        self.rejected[run] = rejected
        self.kept[run] = set(kept)
        self.contents[at] = {key: row.facts for key, row in (kept | good).items()}
        self.noted = at
        return "published"

    def as_of(self, moment: datetime) -> dict[int, Values]:
        """The facts of the last version published up to a moment: nothing of how the history is kept goes in here."""
        versions = [at for at in self.contents if at <= moment]
        return self.contents[max(versions)] if versions else {}

    def _sort(self, version: Version, part_rows: int) -> tuple[dict[int, Row], Rejects]:
        """Take the last good row of each key; all others are rejected where they stand, with the reasons."""
        placed = {(number // part_rows, number % part_rows + 2): row for number, row in enumerate(version.rows)}
        last = {row.key: place for place, row in placed.items() if not row.reasons}
        good: dict[int, Row] = {}
        rejected: Rejects = {}
        for place, row in placed.items():
            if row.reasons:
                rejected[place] = row.raw, row.reasons
            elif place == last[row.key]:
                assert row.key is not None
                good[row.key] = row
            else:
                part, line = last[row.key]
                winner = placed[part, line]
                how = "is the same as" if (row.facts, row.point) == (winner.facts, winner.point) else "is overruled by"
                rejected[place] = row.raw, (f"{self.key} came twice: this {how} the one in part {part}, line {line}",)
        return good, rejected

    def _kept(self, at: datetime, version: Version, good: dict[int, Row]) -> dict[int, Row]:
        """A rejected row whose key can be read stands for the vehicle's last good row, if the table has one.

        Or had one until an earlier publishing of this very version removed it.
        """
        ended = {key: stay for (key, _), stay in self.history.items() if stay.until == at}
        last = ended | self.table
        rejected = {row.key for row in version.rows if row.reasons and row.key is not None} - good.keys()
        return {key: Row(raw={}, facts=last[key].facts, point=last[key].point) for key in rejected & last.keys()}

    def _apply(self, at: datetime, good: dict[int, Row], kept: dict[int, Row]) -> tuple[int, int, int]:
        """Make these rows the table; return how many are new, updated and removed, against the table as it was."""
        before = dict(self.table)
        rows = good | kept
        # A version published anew takes its own place: what it began never was, what it ended goes on.
        self.table = {key: stay for key, stay in self.table.items() if stay.since < at}
        for (key, since), stay in list(self.history.items()):
            if stay.until == at:
                self.table[key] = replace(self.history.pop((key, since)), until=None, change=None)
        for key in self.table.keys() - rows.keys():
            self._end(key, at, "removed")
        for key, row in rows.items():
            if key in self.table and self.table[key].facts != row.facts:
                self._end(key, at, "updated")
            since = self.table[key].since if key in self.table else at
            self.table[key] = Stay(facts=row.facts, point=row.point, since=since)
        updated = sum(before[key].facts != good[key].facts for key in before.keys() & good.keys())
        return len(good.keys() - before.keys()), updated, len(before.keys() - rows.keys())

    def _end(self, key: int, at: datetime, change: str) -> None:
        stay = self.table.pop(key)
        self.history[key, stay.since] = replace(stay, until=at, change=change)
