"""A source that misbehaves in every way on record: the table ends exactly as the source, or as it was, with a reason.

What passes by itself must not cost the run, what does not must not cost the table. The ways: local/misbehaviour.py.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, override

import pytest

from evdata import socrata
from evdata.errors import PipelineError, SourceError, TransientError
from local.misbehaviour import (
    CapsLimit,
    CutsBody,
    CutsChunks,
    CutsUnframed,
    DropsLastRows,
    HangsUp,
    HtmlPage,
    Republishes,
    Says,
    Sometimes,
    StaleReplica,
    Stalls,
)
from local.open_data import Behaviour, Exchange, OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from local.soda import Answer
from tests.handler_tools import Context, Pipeline, build_pipeline
from tests.test_transform import vehicle

JUNE, JULY, AUGUST = 1_685_577_600, 1_688_169_600, 1_690_848_000

type Start = Callable[..., OpenData]


@pytest.fixture
def source(open_data: Start) -> OpenData:
    return open_data([vehicle(key) for key in range(1, 31)], rows_updated_at=JUNE)


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    """A pipeline that has published June's 30 vehicles, with July's 32 waiting at the source."""
    monkeypatch.setattr(socrata, "FIRST_WAIT_SECONDS", 0.001)
    found = build_pipeline(monkeypatch, database, source, part_rows=10)
    found.run("june")
    source.snapshot = Snapshot.of([vehicle(key, city="Tacoma") for key in range(1, 33)], rows_updated_at=JULY)
    return found


def table(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.query(
        "SELECT count(*), count(DISTINCT dol_vehicle_id), min(city), max(city) FROM electric_vehicle_us"
    )


AS_JUNE = [(30, 30, "Seattle", "Seattle")]
AS_JULY = [(32, 32, "Tacoma", "Tacoma")]

PASSING: dict[str, list[Behaviour]] = {
    "still computing": [Says(status=202, on="rows")],
    "still computing the count": [Says(status=202, on="count", times=2)],
    "throttled": [Says(status=429)],
    "throttled, with the time to wait": [Says(status=429, retry_after="0")],
    "throttled, with a date to wait for": [Says(status=429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")],
    "an internal error": [Says(status=500, on="rows", times=3)],
    "a bad gateway": [Says(status=502)],
    "unavailable": [Says(status=503, on="metadata")],
    "a maintenance page with 200": [HtmlPage(on="rows")],
    "a maintenance page with 200 for the description": [HtmlPage(on="metadata")],
    "a maintenance page with 503": [HtmlPage(status=503)],
    "a connection that closes without an answer": [HangsUp(on="rows", first=2)],
    "cut chunks": [CutsChunks(on="rows")],
    "a gzip stream cut within a page": [CutsBody(on="rows", first=2)],
    "a gzip stream that lacks its trailer": [CutsBody(on="rows", keep=0.98)],
    "an unframed answer cut short": [CutsUnframed(on="rows", first=3)],
    "a page that silently lacks rows": [DropsLastRows(on="rows", rows=3)],
    "a stale replica": [StaleReplica(on="rows")],
    "a stale replica that describes the version before": [
        StaleReplica(on="metadata", older=Snapshot.of([vehicle(1)], rows_updated_at=JUNE))
    ],
    "a page size silently capped": [CapsLimit(limit=4)],
    "one thing after another": [
        Says(status=503),
        HtmlPage(on="count"),
        CutsChunks(on="rows"),
        HangsUp(on="rows", first=5),
    ],
}


@pytest.mark.parametrize("behaviours", PASSING.values(), ids=PASSING)
def test_what_passes_costs_a_retry_and_the_version_is_published_exactly(
    pipeline: Pipeline, source: OpenData, behaviours: list[Behaviour]
) -> None:
    source.behaviours.extend(behaviours)
    answer = pipeline.run("july")
    assert (answer["source"], answer["loaded"], answer["inserted"], answer["updated"]) == (32, 32, 2, 30)
    assert table(pipeline) == AS_JULY


LASTING: dict[str, tuple[list[Behaviour], type[PipelineError], str]] = {
    "throttled for ever": ([Says(status=429, times=None)], TransientError, r"in 6 attempts \(status 429; status 429"),
    "unavailable for ever": ([Says(status=503, on="rows", times=None)], TransientError, "status 503"),
    "maintenance for ever": ([HtmlPage(on="rows", times=None)], TransientError, "an HTML page instead of data"),
    "cut for ever": ([CutsBody(on="rows", times=None)], TransientError, "a gzip stream cut after"),
    "cut in its chunks for ever": (
        [CutsChunks(on="rows", times=None)],
        TransientError,
        "the connection broke|cut after",
    ),
    "stale for ever": ([StaleReplica(on="rows", times=None)], TransientError, "a replica that is behind"),
    "forbidden": ([Says(status=403, code="permission_denied", message="No", times=None)], SourceError, "403.*No"),
    "a query it does not take": ([Says(status=400, on="rows", code="query.bad", times=None)], SourceError, "query.bad"),
}


@pytest.mark.parametrize(("behaviours", "error", "reason"), LASTING.values(), ids=LASTING)
def test_what_does_not_pass_is_refused_with_what_was_tried_and_the_table_stands(
    pipeline: Pipeline, source: OpenData, behaviours: list[Behaviour], error: type[PipelineError], reason: str
) -> None:
    source.behaviours.extend(behaviours)
    with pytest.raises(error, match=reason):
        pipeline.run("july")
    assert table(pipeline) == AS_JUNE
    source.behaviours.clear()
    pipeline.run("july, when it is over")
    assert table(pipeline) == AS_JULY


def test_a_refusal_for_good_is_not_asked_again(pipeline: Pipeline, source: OpenData) -> None:
    source.behaviours.append(Says(status=403, times=None))
    source.requests.clear()
    with pytest.raises(SourceError):
        pipeline.extract()
    assert len(source.requests) == 1


@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_a_dataset_republished_between_pages_is_never_mixed(pipeline: Pipeline, source: OpenData, first: int) -> None:
    august = Snapshot.of([vehicle(key, city="Yakima") for key in range(2, 33)], rows_updated_at=AUGUST)
    source.behaviours.append(Republishes(on="rows", first=first, snapshot=august))
    with pytest.raises(TransientError, match=r"changed while it was being copied: version 2023-07-01.*2023-08-01"):
        pipeline.run("july")
    assert table(pipeline) == AS_JUNE
    pipeline.run("the retry")
    assert table(pipeline) == [(31, 31, "Yakima", "Yakima")]


def test_rows_that_leave_during_the_copy_void_it_even_if_the_version_says_nothing(
    pipeline: Pipeline, source: OpenData
) -> None:
    fewer = Snapshot.of([vehicle(key) for key in range(1, 32)], rows_updated_at=JULY)
    source.behaviours.append(Republishes(on="rows", first=4, snapshot=fewer))
    with pytest.raises(TransientError, match=r"with 32 rows before, .* with 31 after"):
        pipeline.run("july")
    assert table(pipeline) == AS_JUNE


def test_an_empty_dataset_is_refused(pipeline: Pipeline, source: OpenData) -> None:
    source.snapshot = Snapshot.of([], columns=list(vehicle(1)), rows_updated_at=AUGUST)
    with pytest.raises(SourceError, match="has no rows"):
        pipeline.run("august")
    assert table(pipeline) == AS_JUNE


def test_a_stall_ends_when_the_time_to_read_is_over_and_is_asked_again(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socrata, "READ_TIMEOUT_SECONDS", 0.3)
    source.behaviours.append(Stalls(on="rows", seconds=1.5))
    pipeline.run("july")
    assert table(pipeline) == AS_JULY


def test_asking_stops_while_the_function_still_has_time_to_say_why(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socrata, "FIRST_WAIT_SECONDS", 3.0)
    source.behaviours.append(Says(status=503, times=None))
    source.requests.clear()
    with pytest.raises(TransientError, match="in 1 attempts"):
        pipeline.extract(context=Context("extract", remaining=21))
    assert len(source.requests) == 1, "a wait beyond the function's time is not begun"


def test_the_wait_that_the_source_asks_for_is_kept(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr(socrata.Socrata.__init__, "__kwdefaults__", {
        **(socrata.Socrata.__init__.__kwdefaults__ or {}), "sleep": waited.append,
    })  # fmt: skip
    source.behaviours.append(Says(status=429, retry_after="17"))
    pipeline.extract()
    assert 17 in waited


@dataclass(kw_only=True)
class Sends(Sometimes):
    """Another answer altogether, or the right one with other headers."""

    body: bytes | None = None
    content_type: str = "text/csv;charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        answer = exchange.proceed()
        body = answer.body if self.body is None else self.body
        return replace(answer, body=body, content_type=self.content_type, headers=answer.headers | self.headers)


@pytest.mark.parametrize(
    "body",
    [b"<!DOCTYPE html><html>Back soon</html>\n", b"<html>\n" * 11, b'{"error":true}', b"", b"\n", b'"unclosed'],
)
def test_what_claims_to_be_rows_and_is_not_never_reaches_the_table(
    pipeline: Pipeline, source: OpenData, body: bytes
) -> None:
    source.behaviours.append(Sends(on="rows", body=body, times=None))
    with pytest.raises(PipelineError):
        pipeline.run("july")
    assert table(pipeline) == AS_JUNE
    source.behaviours.clear()
    pipeline.run("the next", force=True)
    assert table(pipeline) == AS_JULY


@pytest.mark.parametrize("retry_after", ["nan", "inf", "-1", "soon", "", "9" * 400])
def test_a_senseless_time_to_wait_does_no_harm(pipeline: Pipeline, source: OpenData, retry_after: str) -> None:
    source.behaviours.append(Sends(on="rows", headers={}))
    source.behaviours.append(Says(status=429, retry_after=retry_after, on="rows"))
    try:
        pipeline.run("july")
    except TransientError:
        pipeline.run("july, tried again")
    assert table(pipeline) == AS_JULY


def test_only_gzip_is_asked_for_and_nothing_else_is_taken(pipeline: Pipeline, source: OpenData) -> None:
    source.requests.clear()
    source.behaviours.append(Sends(on="rows", headers={"Content-Encoding": "br"}))
    pipeline.run("july")
    assert {request.headers["Accept-Encoding"] for request in source.requests} == {"gzip"}
    assert table(pipeline) == AS_JULY


def test_a_source_that_drips_is_given_up_while_there_is_time_to_say_so(pipeline: Pipeline, source: OpenData) -> None:
    left = iter([60.0] * 8)

    class Draining(Context):
        def get_remaining_time_in_millis(self) -> int:  # type: ignore[override]
            return int(next(left, 15.0) * 1000)

    with pytest.raises(TransientError, match="records when the time was over"):
        pipeline.extract(context=Draining("extract"))


def test_a_version_that_is_yet_to_come_is_not_believed(pipeline: Pipeline, source: OpenData) -> None:
    july = source.snapshot
    source.snapshot = replace(july, rows_updated_at=int(time.time()) + 2 * 86_400)
    with pytest.raises(SourceError, match=r"updated on .*, which is yet to come"):
        pipeline.run("the future", force=True)
    source.snapshot = july
    pipeline.run("july")
    assert table(pipeline) == AS_JULY


def test_records_of_the_wrong_length_cost_themselves_and_nobody_else(pipeline: Pipeline, source: OpenData) -> None:
    rows = list(source.snapshot.rows)
    rows[3], rows[5] = (*rows[3], "one too many"), rows[5][:-1]  # together they have as many fields as they should
    source.snapshot = replace(source.snapshot, rows=rows)
    pipeline.set_guard("MAX_REJECTED_FRACTION", 0.1)
    assert pipeline.run("july")["rejected"] == 2
    assert pipeline.query("SELECT line, reasons FROM rejected_row ORDER BY line") == [
        (5, ["the record has 18 fields, the header 17"]),
        (7, ["the record has 16 fields, the header 17"]),
    ]


def test_a_byte_that_is_not_text_costs_its_row(pipeline: Pipeline, source: OpenData) -> None:
    class Breaks(Sends):
        @override
        def spoil(self, exchange: Exchange) -> Answer:
            answer = exchange.proceed()
            return replace(answer, body=answer.body.replace(b"Tacoma", b"Tac\xffma", 1))

    source.behaviours.append(Breaks(on="rows"))
    pipeline.set_guard("MAX_REJECTED_FRACTION", 0.1)
    assert pipeline.run("july")["rejected"] == 1
    assert pipeline.query("SELECT line, reasons, raw ->> 'city' FROM rejected_row") == [
        (2, ["city is 'Tac\\udcffma', which is not UTF-8"], "Tac\\udcffma")
    ]
