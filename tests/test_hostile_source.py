"""A source that misbehaves in every way on record: the table ends exactly as the source, or as it was, with a reason.

What passes by itself must not cost the run, what does not must not cost the table. The ways: local/misbehaviour.py.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, override

import boto3
import pytest

from evdata import portal
from evdata.errors import PipelineError, SourceError, TransientError
from local.misbehaviour import (
    CapsLimit,
    CutsBody,
    CutsChunks,
    CutsUnframed,
    Describes,
    Drips,
    DropsLastRows,
    HangsUp,
    HtmlPage,
    OtherColumns,
    OverlappingPages,
    Redirects,
    Republishes,
    Says,
    Sometimes,
    StaleReplica,
    Stalls,
    TrailingBytes,
    TwoMembers,
    Uncompressed,
    refuses_soda2,
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
    monkeypatch.setattr(portal, "FIRST_WAIT_SECONDS", 0.001)
    found = build_pipeline(monkeypatch, database, source, part_rows=10)
    found.run("june")
    source.snapshot = Snapshot.of([vehicle(key, city="Tacoma") for key in range(1, 33)], rows_updated_at=JULY)
    return found


@pytest.fixture
def app_token(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have extract find a token in its secret."""
    token = "t0ken-of-mine"
    arn = boto3.client("secretsmanager").create_secret(Name="token", SecretString=token)["ARN"]
    monkeypatch.setenv("APP_TOKEN_SECRET_ARN", arn)
    return token


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
    "answers that are not compressed": [Uncompressed()],
    "a gzip stream of two members": [TwoMembers(on="rows", times=None)],
    "something after the gzip stream": [TrailingBytes(on="rows", first=2)],
    "a page that lacks a column": [OtherColumns(on="rows", first=2, lacks="base_msrp")],
    "a page with a column too many": [OtherColumns(on="rows", first=2, adds="charger")],
    "a page with its columns in another order": [OtherColumns(on="rows", first=3, reverses=True)],
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
    "something after the gzip stream, for ever": (
        [TrailingBytes(on="rows", times=None)],
        TransientError,
        "broken gzip",
    ),
    "pages that overlap": (
        [OverlappingPages(on="rows", first=2, rows=3)],
        TransientError,
        "same row more than once: 32 rows were copied with 29 distinct :ids",
    ),
    "the last pages overlap by one row": (
        [OverlappingPages(on="rows", first=4)],
        TransientError,
        "33 rows were copied with 32 distinct :ids",
    ),
    "a column that is gone from page 2 on": (
        [OtherColumns(on="rows", first=2, times=None, lacks="base_msrp")],
        TransientError,
        "a header that lacks base_msrp",
    ),
    "the identifiers gone": (
        [OtherColumns(on="rows", times=None, lacks=":id")],
        TransientError,
        "a header that lacks :id",
    ),
    "a column too many": (
        [OtherColumns(on="rows", times=None, adds="charger")],
        TransientError,
        "a header that has 'charger' besides",
    ),
    "columns in another order": (
        [OtherColumns(on="rows", first=3, times=None, reverses=True)],
        TransientError,
        "a header that has the columns in another order",
    ),
    "a redirect in a circle": ([Redirects(to="", on="rows")], TransientError, "more than 5 redirects"),
    "forbidden": ([Says(status=403, code="permission_denied", message="No", times=None)], SourceError, "403.*No"),
    "a query it does not take": ([Says(status=400, on="rows", code="query.bad", times=None)], SourceError, "query.bad"),
}


@pytest.mark.parametrize(("behaviours", "error", "reason"), LASTING.values(), ids=LASTING)
def test_what_does_not_pass_is_refused_with_what_was_tried_and_the_table_stands(
    pipeline: Pipeline, source: OpenData, behaviours: list[Behaviour], error: type[PipelineError], reason: str
) -> None:
    source.behaviours.extend(behaviours)
    with pytest.raises(error, match=reason) as caught:
        pipeline.run("july")
    assert type(caught.value) is error, "its name is what the state machine goes by"
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
    monkeypatch.setattr(portal, "READ_TIMEOUT_SECONDS", 0.3)
    source.behaviours.append(Stalls(on="rows", seconds=1.5))
    pipeline.run("july")
    assert table(pipeline) == AS_JULY


def test_asking_stops_while_the_function_still_has_time_to_say_why(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "FIRST_WAIT_SECONDS", 3.0)
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

    with pytest.raises(TransientError, match="not whole when the time was over"):
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
        (5, ["the record has 19 fields, the header 18"]),
        (7, ["the record has 17 fields, the header 18"]),
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


def test_every_page_that_overlaps_is_noticed_wherever_it_begins(pipeline: Pipeline, source: OpenData) -> None:
    for first in (2, 3, 4):
        source.behaviours[:] = [OverlappingPages(on="rows", first=first)]
        with pytest.raises(TransientError, match="gave the same row more than once"):
            pipeline.extract()


def test_a_repeated_row_is_noticed_even_when_its_key_changed_between_the_pages(
    pipeline: Pipeline, source: OpenData
) -> None:
    rows = list(source.snapshot.rows)
    key = [column.field for column in source.snapshot.columns].index("dol_vehicle_id")
    rows[9] = (*rows[9][:key], "4711", *rows[9][key + 1 :])
    source.behaviours += [
        Republishes(on="rows", first=2, snapshot=replace(source.snapshot, rows=rows)),
        OverlappingPages(on="rows", first=2),
    ]
    with pytest.raises(TransientError, match="31 distinct :ids"):
        pipeline.run("july")
    assert table(pipeline) == AS_JUNE


def test_a_key_under_two_identifiers_is_the_sources_own_duplicate(pipeline: Pipeline, source: OpenData) -> None:
    source.snapshot = replace(source.snapshot, rows=[*source.snapshot.rows[:31], source.snapshot.rows[0]])
    pipeline.set_guard("MAX_REJECTED_FRACTION", 0.1)
    answer = pipeline.run("july")
    assert (answer["loaded"], answer["rejected"]) == (31, 1)


WRONG_DATES: dict[str, Any] = {
    "missing": ...,
    "null": None,
    "text": "1688169600",
    "milliseconds": JULY * 1000,
    "seconds with a fraction": JULY + 0.5,
    "true": True,
    "zero": 0,
    "negative": -1,
    "the year 1999": 946_684_799,
    "a day written as a number": 20_230_701,
    "beyond any calendar": 10**30,
}


@pytest.mark.parametrize("value", WRONG_DATES.values(), ids=WRONG_DATES)
def test_a_version_without_a_true_date_is_refused_with_what_was_received(
    pipeline: Pipeline, source: OpenData, value: Any
) -> None:
    source.behaviours.append(Describes(changes={"rowsUpdatedAt": value}))
    received = "missing" if value is ... else repr(value)
    with pytest.raises(SourceError, match=rf"rowsUpdatedAt is {received}, expected whole seconds since 1970"):
        pipeline.run("july", force=True)
    assert table(pipeline) == AS_JUNE


def test_the_first_second_of_2000_is_a_date(pipeline: Pipeline, source: OpenData) -> None:
    source.behaviours.append(Describes(changes={"rowsUpdatedAt": 946_684_800}))
    assert pipeline.extract()["dataset_version"] == "2000-01-01T00:00:00Z"


def test_the_date_of_an_edit_never_stands_in_for_that_of_the_rows(pipeline: Pipeline, source: OpenData) -> None:
    source.behaviours.append(Describes(changes={"viewLastModified": AUGUST}))
    assert pipeline.run("july")["status"] == "published"
    assert pipeline.extract()["status"] == "unchanged"


def test_a_redirect_to_another_host_is_followed_without_the_app_token(
    pipeline: Pipeline, source: OpenData, open_data: Start, app_token: str
) -> None:
    elsewhere = open_data([vehicle(1)], rows_updated_at=JULY)
    elsewhere.snapshot = source.snapshot
    source.behaviours.append(Redirects(to=elsewhere.url))
    pipeline.run("july")
    assert table(pipeline) == AS_JULY
    assert {request.headers.get("X-App-Token") for request in source.requests[-8:]} == {app_token}
    assert elsewhere.requests
    assert {request.headers.get("X-App-Token") for request in elsewhere.requests} == {None}


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirected_post_stays_one_on_the_same_host(
    pipeline: Pipeline, source: OpenData, app_token: str, status: int
) -> None:
    source.behaviours += [*refuses_soda2(), Redirects(to="", on="soda3", status=status, times=1)]
    pipeline.run("july")
    assert table(pipeline) == AS_JULY
    assert {request.headers.get("X-App-Token") for request in source.requests if request.method == "POST"} == {
        app_token
    }


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_turn_a_post_into_a_get_is_refused(
    pipeline: Pipeline, source: OpenData, app_token: str, status: int
) -> None:
    source.behaviours += [*refuses_soda2(), Redirects(to="", on="soda3", status=status)]
    with pytest.raises(SourceError, match=f"with status {status}, which is not followed"):
        pipeline.run("july")
    assert table(pipeline) == AS_JUNE


def test_a_post_goes_to_no_other_host(pipeline: Pipeline, source: OpenData, open_data: Start, app_token: str) -> None:
    elsewhere = open_data([vehicle(1)], rows_updated_at=JULY)
    source.behaviours += [*refuses_soda2(), Redirects(to=elsewhere.url, on="soda3", status=307)]
    with pytest.raises(SourceError, match=r"SODA 3 takes the app token, for no other host\. Set sourceUrl"):
        pipeline.run("july")
    assert not elsewhere.requests


REFUSALS = (400, 401, 403, 404, 405, 406, 410, 426, 451, 501)


@pytest.mark.parametrize("status", REFUSALS)
def test_with_a_token_soda_3_is_tried_whatever_soda_2_refuses_with(
    pipeline: Pipeline, source: OpenData, app_token: str, status: int
) -> None:
    source.behaviours += refuses_soda2(status)
    pipeline.run("july")
    assert table(pipeline) == AS_JULY


def test_with_a_token_soda_3_is_tried_after_an_error_document_with_status_200(
    pipeline: Pipeline, source: OpenData, app_token: str
) -> None:
    source.behaviours += refuses_soda2(200)
    pipeline.run("july")
    assert table(pipeline) == AS_JULY


@pytest.mark.parametrize("status", [200, *REFUSALS])
def test_without_a_token_the_refusal_says_how_to_get_and_set_one(
    pipeline: Pipeline, source: OpenData, status: int
) -> None:
    source.behaviours += refuses_soda2(status)
    with pytest.raises(SourceError) as caught:
        pipeline.run("july")
    told = str(caught.value)
    assert f"status {status}: permission_denied Please use the v3 API." in told
    assert f"create one at {source.url}/profile/edit/developer_settings" in told
    assert "`pulumi config set --secret appToken`" in told
    assert ("new identifier" in told) == (status in (403, 404)), "only these two can mean another dataset"


@pytest.mark.parametrize("status", [403, 404])
def test_a_dataset_that_was_replaced_is_said_to_be_even_with_a_token(
    pipeline: Pipeline, source: OpenData, app_token: str, status: int
) -> None:
    source.behaviours += [*refuses_soda2(status), Says(on="soda3", times=None, status=status, message="No such rows")]
    with pytest.raises(SourceError, match=r"SODA 3 will not serve .*No such rows.* SODA 2\.1: .*new identifier"):
        pipeline.run("july")


@pytest.mark.parametrize("kind", ["metadata", "count", "rows"])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_whatever_drips_is_given_up_when_the_time_is_over(
    pipeline: Pipeline, source: OpenData, kind: Any, framing: Any
) -> None:
    source.behaviours.append(Drips(on=kind, seconds=0.05, framing=framing, times=None))
    end = time.monotonic() + 1.5

    class Draining(Context):
        def get_remaining_time_in_millis(self) -> int:  # type: ignore[override]
            return int((20 + end - time.monotonic()) * 1000)

    with pytest.raises(TransientError, match="not whole when the time was over"):
        pipeline.extract(context=Draining("extract"))


IMPOSTORS: dict[str, tuple[bytes, type[PipelineError], str]] = {
    "HTML": (b"<!DOCTYPE html><html>Back soon</html>", TransientError, "an HTML page that claims to be CSV"),
    "HTML after a blank line": (b"\n<html>\n", TransientError, "an HTML page that claims to be CSV"),
    "an error document": (
        b'{"code":"query.soql.no","error":true,"message":"Not\\u001b[2J today"}',
        SourceError,
        r"an error document with status 200: query\.soql\.no Not\\x1b\[2J today",
    ),
    "an error document in lines": (
        b'{\n "error": true,\n "message": "Come back later"\n}\n',
        SourceError,
        "an error document with status 200: Come back later",
    ),
    "JSON that is none": (b'{"rows": [', SourceError, "no explanation in Socrata's form"),
    "nothing": (b"", TransientError, "nothing"),
    "another file": (b"a;b\n1;2\n", TransientError, "a header that lacks :id, .* and has 'a;b' besides"),
}


@pytest.mark.parametrize(("body", "error", "reason"), IMPOSTORS.values(), ids=IMPOSTORS)
def test_what_claims_to_be_csv_is_named_for_what_it_is(
    pipeline: Pipeline, source: OpenData, body: bytes, error: type[PipelineError], reason: str
) -> None:
    source.behaviours.append(Sends(on="rows", body=body, times=None))
    with pytest.raises(error, match=reason):
        pipeline.extract()


def test_an_error_body_of_another_shape_does_no_harm(pipeline: Pipeline, source: OpenData) -> None:
    @dataclass(kw_only=True)
    class SaysList(Sometimes):
        @override
        def spoil(self, exchange: Exchange) -> Answer:
            return Answer(status=404, body=b'["no", "such", "thing"]')

    source.behaviours.append(SaysList(on="metadata"))
    with pytest.raises(SourceError, match="status 404: no explanation in Socrata's form"):
        pipeline.extract()
