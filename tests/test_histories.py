"""Random histories through the real handlers and a real PostgreSQL, held against the reference model after each run.

Few keys and few values, so that in a short history everything meets everything: vehicles leave and come back, keys
change hands, values are corrected back, rows come twice within and across parts, columns go, runs die half-way.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3
import psycopg2
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from evdata.errors import PipelineError
from local.open_data import OpenData
from local.postgres import Database
from tests import database_state, source_rows
from tests.handler_tools import Pipeline, build_pipeline, create_bucket
from tests.reference_model import Model
from tests.source_rows import DEFECTS, Portal, SourceRow

FIRST: Final = datetime(2024, 1, 1, tzinfo=UTC)
TABLES: Final = (
    "electric_vehicle_us, electric_vehicle_us_history, pipeline_run, rejected_row, "
    "ev_pipeline_internal.part, ev_pipeline_internal.rejected"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One execution: what the source is by then, and how it goes."""

    portal: Portal
    version: str = "newer"  # newer | same | older than the newest so far
    force: bool = False
    part_rows: int = 3
    dies_after: int | None = None  # parts staged, when the execution dies before it publishes


# Weighted by repetition towards the plain, so that rows stay the same often enough.
_facts = st.sampled_from(["plain"] * 8 + ["moved house", "another car"] * 2 + list(source_rows.FACTS))
_points = st.sampled_from(["here"] * 4 + list(source_rows.POINTS))
_keys = st.integers(1, 6)
_good_rows = st.sampled_from([2, 2, 2, 0]).flatmap(
    lambda least: st.dictionaries(_keys, st.tuples(_facts, _points), min_size=least, max_size=6)
)


def _compatible(defects: list[str]) -> bool:
    concerned = Counter(name for defect in defects for name in DEFECTS[defect][0])
    return max(concerned.values()) == 1


_defects = st.lists(st.sampled_from(list(DEFECTS)), min_size=1, max_size=3, unique=True).filter(_compatible)
_extra_rows = st.one_of(
    st.builds(SourceRow, _keys, _facts, _points),  # a key that may be there already
    st.builds(SourceRow, _keys, _facts, _points, _defects.map(tuple)),
    st.builds(SourceRow, _keys, fields=st.sampled_from([-2, -1, 1])),
)
_columns: st.SearchStrategy[dict[str, str]] = st.sampled_from(
    [{}] * 16 + [{"gone": "base_msrp"}] * 3 + [{"new": "colour"}, {"gone": "make"}, {"retyped": "model_year"}]
)


@st.composite
def _portals(draw: st.DrawFn) -> Portal:
    rows = [SourceRow(key, *made_of) for key, made_of in draw(_good_rows).items()]
    for extra in draw(st.lists(_extra_rows, max_size=draw(st.sampled_from([0, 2, 3, 6])))):
        rows.insert(draw(st.integers(0, len(rows))), extra)
    columns = draw(_columns)
    if columns.keys() - {"gone"}:
        # The stand-in writes a malformed record only where every column is asked for.
        rows = [row for row in rows if not row.fields]
    return Portal(rows=tuple(rows), **columns)


_steps = st.builds(
    Step,
    portal=_portals(),
    version=st.sampled_from(["newer"] * 5 + ["same", "older"] * 2),
    force=st.booleans(),
    part_rows=st.sampled_from([3, 3, 2, 5]),
    dies_after=st.sampled_from([None] * 27 + [0, 1, 2]),
)
_histories = st.lists(_steps, min_size=2, max_size=8)


class Proof:
    """The pipeline beside its model; `follow` takes both through a history, from nothing, and compares at each step."""

    def __init__(self, pipeline: Pipeline, source: OpenData) -> None:
        self.pipeline = pipeline
        self.source = source
        self.outcomes: Counter[str] = Counter()
        self.followed = 0
        self._connection = psycopg2.connect(pipeline.database.url, options="-c timezone=UTC")
        self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()

    def follow(self, history: list[Step]) -> None:
        self._start_anew()
        model = Model()
        newest = FIRST
        for number, step in enumerate(history, start=1):
            days = {"newer": timedelta(days=1), "same": timedelta(), "older": timedelta(hours=-7)}[step.version]
            at = newest + days
            newest = max(newest, at)
            try:
                self.outcomes[self._step(model, step, at, f"run {number}")] += 1
                self._compare(model)
            except AssertionError as error:
                error.add_note(f"in run {number}, of version {at:%d %H:%M}; runs so far: {model.runs}")
                raise

    def _step(self, model: Model, step: Step, at: datetime, run: str) -> str:
        self.source.snapshot = step.portal.snapshot(at)
        version = step.portal.version(at)
        outcome = model.extract(version, part_rows=step.part_rows, force=step.force)
        self.pipeline.set_part_rows(step.part_rows)
        if outcome != "extracted":
            assert self._call(self.pipeline.extract, force=step.force) == outcome
            return outcome
        extracted = self.pipeline.extract(force=step.force)
        assert extracted["status"] == "extracted"
        for part in range(extracted["parts"]):
            if part == step.dies_after:
                return "died"
            self.pipeline.stage(extracted["manifest_key"], part)
        written = self._written()
        before = dict(model.table)
        outcome = model.publish(run, at, force=step.force)
        assert self._call(self.pipeline.publish, extracted["manifest_key"], run, force=step.force) == outcome
        touched = {key for key in model.table.keys() & before.keys() if model.table[key] != before[key]}
        assert {key for key, how in self._written().items() if key in written and written[key] != how} == touched, (
            "rows were written that did not differ"
        )
        assert (left := database_state.leftovers(self._connection, of=at)) == [], left
        if outcome == "published":
            # Step Functions may run a state again whose answer was lost: same answer, and nothing changes.
            assert self._call(self.pipeline.publish, extracted["manifest_key"], run, force=step.force) == outcome
        return outcome

    def _compare(self, model: Model) -> None:
        assert database_state.found(self._connection) == database_state.expected(model)
        for moment in sorted({*model.contents, FIRST, *(at - timedelta(seconds=1) for at in model.contents)}):
            assert database_state.as_of(self._connection, moment) == model.as_of(moment), f"as of {moment}"

    def _call(self, handler: Callable[..., dict[str, Any]], *arguments: Any, **named: Any) -> str:
        try:
            return str(handler(*arguments, **named)["status"])
        except PipelineError as error:
            return type(error).__name__

    def _written(self) -> dict[int, str]:
        """Which transaction wrote each row last."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT dol_vehicle_id, xmin::text FROM electric_vehicle_us")
            return dict(cursor.fetchall())

    def _start_anew(self) -> None:
        """A bucket of the history's own, and empty tables."""
        self.followed += 1
        bucket = f"history-{self.followed}"
        create_bucket(bucket)
        self.pipeline.event["bucket_name"] = bucket
        with self._connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {TABLES}")
            for what in database_state.leftovers(self._connection, patience_seconds=0):
                if what.startswith("staging table "):
                    cursor.execute(f"DROP TABLE ev_pipeline_internal.{what.removeprefix('staging table ')}")


@pytest.fixture
def proof(
    aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, open_data: Callable[..., OpenData]
) -> Iterator[Proof]:
    # A client a service for the whole test: making one takes as long as a run.
    monkeypatch.setattr(boto3, "client", functools.cache(boto3.client))
    source = open_data(Portal(rows=(SourceRow(1),)).snapshot(FIRST))
    pipeline = build_pipeline(monkeypatch, database, source, part_rows=3, max_rejected=0.5, max_shrink=0.5)
    pipeline.run("the first, for the tables")
    with closing(Proof(pipeline, source)) as found:
        yield found


def test_any_history_gives_table_history_and_counts_as_the_reference_model_says(
    proof: Proof, record_property: Callable[[str, object], None]
) -> None:
    # The same histories at each run, and no minutes spent on a shorter one when one fails.
    _prove(proof, settings(max_examples=12, derandomize=True, phases=[Phase.generate]), record_property)


@pytest.mark.exhaustive
def test_a_great_many_histories_do(proof: Proof, record_property: Callable[[str, object], None]) -> None:
    _prove(proof, settings(max_examples=250), record_property)


# What a vehicle may be in a version: not there, as always, with a moved point, changed, rejected.
_STATES: Final[tuple[tuple[Any, ...] | None, ...]] = (
    None,
    ("plain", "here"),
    ("plain", "a decimal moved"),
    ("moved house", "here"),
    ("plain", "here", ("no make",)),
)


@pytest.mark.parametrize(
    "versions",
    [
        ("newer", "newer", "newer", "newer"),
        ("newer", "newer", "same", "newer"),
        ("newer", "newer", "same", "same"),
        ("newer", "newer", "newer", "same"),
    ],
    ids=["four versions", "the second twice", "the second three times", "the third twice"],
)
def test_every_way_in_which_a_vehicle_can_go_through_four_publications_is_remembered_right(
    proof: Proof, versions: tuple[str, ...]
) -> None:
    ways = dict(enumerate(itertools.product(_STATES, repeat=len(versions)), start=1))
    portals = [
        Portal(rows=tuple(SourceRow(key, *state) for key, way in ways.items() if (state := way[number])))
        for number in range(len(versions))
    ]
    proof.follow(
        [
            Step(portal=portal, version=version, force=True, part_rows=100)
            for portal, version in zip(portals, versions, strict=True)
        ]
    )
    assert proof.outcomes == {"published": len(versions)}


def _prove(proof: Proof, how: settings, record_property: Callable[[str, object], None]) -> None:
    # What is a fixture's is made anew for each history by `Proof.follow`.
    @settings(
        how,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(history=_histories)
    def follow(history: list[Step]) -> None:
        proof.follow(history)

    follow()
    reached = {"published", "unchanged", "superseded", "died", "DriftError", "SourceError", "RefusedError"}
    assert proof.outcomes.keys() == reached, f"histories too tame: {proof.outcomes}"
    runs = ", ".join(f"{count} {outcome}" for outcome, count in proof.outcomes.most_common())
    record_property("proved", f"histories: {proof.followed} followed, {proof.outcomes.total()} runs ({runs})")
