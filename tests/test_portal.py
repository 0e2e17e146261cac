"""A portal asked directly: which answers count, which are asked for again and how long that takes, and what is said."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, override

import pytest
import requests
from urllib3.exceptions import ProtocolError

from evdata import portal
from evdata.errors import SourceError, TransientError
from evdata.portal import Passing, Portal, Refusal
from evdata.socrata import Metadata, Socrata
from local.misbehaviour import HtmlPage, Redirects, Says, Sometimes, Stalls, refuses_soda2
from local.open_data import Exchange, OpenData
from local.soda import Answer
from tests.test_transform import vehicle

PATH = "/api/views/f6w7-q2d2.json"

type Start = Callable[..., OpenData]


@pytest.fixture
def source(open_data: Start) -> OpenData:
    return open_data([vehicle(key) for key in range(1, 6)], rows_updated_at=1_685_577_600)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that are waited between attempts, which take none here, without the jitter."""
    waited: list[float] = []
    # The module's own names only: the stand-in in this process goes on sleeping when it stalls.
    monkeypatch.setattr(portal, "time", SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr(portal, "random", SimpleNamespace(uniform=lambda low, high: {(0.5, 1): high}[low, high]))
    return waited


@dataclass(kw_only=True)
class Answers(Sometimes):
    """Answers with exactly this."""

    answer: Answer

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        return self.answer


def ask(source: OpenData, *, budget: float = 1000, base_url: str | None = None) -> str:
    asked = Portal(base_url or source.url, budget=lambda: budget)
    return asked.ask("GET", PATH, asked.read_text)


@pytest.mark.parametrize("status", [202, 408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_passes_is_asked_again(source: OpenData, waits: list[float], status: int) -> None:
    source.behaviours.append(Says(status=status))
    assert '"rowsUpdatedAt"' in ask(source)
    assert waits == [1.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 410, 426, 451, 501])
def test_a_status_that_refuses_is_said_with_its_number(source: OpenData, waits: list[float], status: int) -> None:
    source.behaviours.append(Says(status=status, code="not_so", message="Go away"))
    with pytest.raises(Refusal) as raised:
        ask(source)
    assert str(raised.value) == f"{source.url}{PATH} answered status {status}: not_so Go away."
    assert raised.value.status == status
    assert waits == []


@pytest.mark.parametrize("status", [201, 203, 402, 407, 409, 411, 418, 422, 424, 428, 430, 450, 499, 505, 507, 511])
def test_any_other_status_is_an_error_for_good(source: OpenData, waits: list[float], status: int) -> None:
    source.behaviours.append(Says(status=status))
    with pytest.raises(SourceError, match=f"{PATH} answered status {status}: "):
        ask(source)
    assert waits == []


def test_six_attempts_wait_twice_as_long_each_time_and_then_say_what_was_tried(
    source: OpenData, waits: list[float]
) -> None:
    source.behaviours.append(Says(status=503, times=None))
    with pytest.raises(TransientError) as raised:
        ask(source)
    assert waits == [1, 2, 4, 8, 16]
    assert str(raised.value) == (
        f"{source.url}{PATH} gave no usable answer in 6 attempts ({'; '.join(['status 503'] * 6)}). "
        "If this lasts, look at the source's status page and run again later; nothing was changed."
    )


def test_no_wait_is_longer_than_a_minute(source: OpenData, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal, "MAX_ATTEMPTS", 9)
    source.behaviours.append(Says(status=503, times=None))
    with pytest.raises(TransientError):
        ask(source)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(("asked", "waited"), [("0", 0), ("7", 7), ("1.5", 1), ("-3", 1), ("soon", 1), ("", 1)])
def test_the_wait_that_the_source_asks_for_is_whole_seconds(
    source: OpenData, waits: list[float], asked: str, waited: float
) -> None:
    source.behaviours.append(Says(status=429, retry_after=asked))
    ask(source)
    assert waits == [waited]


@pytest.mark.parametrize(("budget", "attempts"), [(8.5, 5), (8, 4), (7.5, 4), (1.5, 2), (1, 1)])
def test_a_wait_that_would_use_up_the_time_is_not_begun(
    source: OpenData, waits: list[float], budget: float, attempts: int
) -> None:
    source.behaviours.append(Says(status=503, times=None))
    with pytest.raises(TransientError, match=f"in {attempts} attempt"):
        ask(source, budget=budget)
    assert len(waits) == attempts - 1


@pytest.mark.parametrize("redirects", [5, 6])
def test_five_redirects_are_followed_and_no_more(
    source: OpenData, waits: list[float], redirects: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "MAX_ATTEMPTS", 1)
    source.behaviours.append(Redirects(to="", times=redirects))
    if redirects == 5:
        assert '"rowsUpdatedAt"' in ask(source)
    else:
        with pytest.raises(TransientError, match=r"\(more than 5 redirects\)"):
            ask(source)


@pytest.mark.parametrize(("base", "ours"), [("https://a.example", False), ("http://a.example", True)])
def test_https_is_never_left_for_http(base: str, ours: bool) -> None:
    asked = Portal(base, budget=lambda: 10)
    response = requests.Response()
    response.status_code, response.url = 302, f"{base}/x"
    response.headers["Location"] = "http://a.example/y"
    if ours:
        assert asked._redirected(response, "GET") == "http://a.example/y"
    else:
        with pytest.raises(
            SourceError, match=r"with status 302, which is not followed: rows are taken over https only"
        ):
            asked._redirected(response, "GET")
    response.headers["Location"] = "/z"
    assert asked._redirected(response, "GET") == f"{base}/z"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example", "https://a.example:443/x", True),
        ("http://a.example", "http://a.example:80/x", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://b.example", False),
        ("https://a.example", "https://a.example:444", False),
        ("https://a.example:80", "http://a.example:80", False),
    ],
)
def test_a_host_is_the_portals_own_by_scheme_name_and_port(one: str, other: str, same: bool) -> None:
    assert (portal._origin(one) == portal._origin(other)) is same


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (requests.ConnectTimeout(), "no connection in time"),
        (requests.ReadTimeout(), "the answer stalled"),
        (TimeoutError(), "the answer stalled"),
        (requests.ConnectionError(), "could not connect"),
        (ProtocolError(), "the connection broke (ProtocolError)"),
    ],
)
def test_what_breaks_a_connection_is_said_in_words(error: Exception, said: str) -> None:
    assert portal._in_words(error) == said


def test_a_stall_is_asked_again(source: OpenData, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal, "READ_TIMEOUT_SECONDS", 0.2)
    source.behaviours.append(Stalls(seconds=1))
    source.behaviours.append(Says(status=503, first=2, times=None))
    with pytest.raises(TransientError, match=r"in 6 attempts \(the answer stalled; status 503; "):
        ask(source)
    assert waits == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("budget", "timeout"), [(1000, (10, 120)), (121, (10, 120)), (50, (10, 50)), (0.2, (10, 1)), (-3, (10, 1))]
)
def test_no_answer_is_waited_for_longer_than_there_is_time(
    source: OpenData, monkeypatch: pytest.MonkeyPatch, budget: float, timeout: tuple[float, float]
) -> None:
    asked = Portal(source.url, budget=lambda: budget)
    sent: list[Any] = []
    send = asked._session.request

    def noting(*arguments: Any, **options: Any) -> requests.Response:
        sent.append(options["timeout"])
        return send(*arguments, **options)

    monkeypatch.setattr(asked._session, "request", noting)
    asked._send("GET", f"{source.url}{PATH}", None, None).close()
    assert sent == [timeout]


@pytest.mark.parametrize("over", [0, 1])
def test_a_short_answer_has_16_mb_at_most(
    source: OpenData, waits: list[float], over: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(portal, "CHUNK_BYTES", 4 << 20)
    body = b"x" * ((16 << 20) + over)
    source.behaviours.append(Answers(answer=Answer(status=200, content_type="text/plain", body=body)))
    if over:
        with pytest.raises(TransientError, match=r"\(more than 16 MB where a short answer was due\)"):
            ask(source)
    else:
        assert len(ask(source)) == 16 << 20


def test_time_that_is_over_ends_an_answer_between_two_pieces(source: OpenData) -> None:
    left = 1.0
    asked = Portal(source.url, budget=lambda: left)
    with asked._send("GET", f"{source.url}{PATH}", None, None) as response:
        pieces = asked.pieces(response, decode=True)
        next(pieces)
        left = 0
        with pytest.raises(Passing, match="not whole when the time was over"):
            next(pieces)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"code": "a.b", "message": "Why?"}', "a.b Why?"),
        (b'{"code": "a.b"}', "a.b."),
        (b'{"message": "No!"}', "No!"),
        (b"[1]", "no explanation in Socrata's form; is this a Socrata server?"),
        (b"<html>", "no explanation in Socrata's form; is this a Socrata server?"),
        (b'{"message": "%s"}' % (b"x" * 501), "x" * 500 + "."),
    ],
)
def test_what_an_error_says_is_a_sentence_of_500_characters_at_most(source: OpenData, body: bytes, said: str) -> None:
    source.behaviours.append(Answers(answer=Answer(status=404, body=body)))
    with pytest.raises(Refusal) as raised:
        ask(source)
    assert str(raised.value) == f"{source.url}{PATH} answered status 404: {said}"


def test_what_is_asked_with_names_the_program_and_takes_gzip_alone(source: OpenData) -> None:
    ask(source, base_url=f"{source.url}/")
    (request,) = source.requests
    assert request.path == PATH
    assert request.headers["User-Agent"] == "ev-population (open-source data pipeline)"
    assert request.headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("said", ["true", "TRUE"])
def test_a_replica_that_is_behind_is_asked_again(source: OpenData, waits: list[float], said: str) -> None:
    @dataclass(kw_only=True)
    class Behind(Sometimes):
        @override
        def spoil(self, exchange: Exchange) -> Answer:
            answer = exchange.proceed()
            return replace(answer, headers={**answer.headers, "X-SODA2-Data-Out-Of-Date": said})

    source.behaviours.append(Behind())
    ask(source)
    assert waits == [1.0]


def dataset(source: OpenData, *, app_token: str | None = None) -> Socrata:
    return Socrata(source.url, source.snapshot.dataset_id, budget=lambda: 1000, app_token=app_token)


def columns(metadata: Metadata) -> list[dict[str, str]]:
    return [{"name": ":id", "fieldName": ":id", "dataTypeName": "text"}, *metadata.columns]


@pytest.mark.parametrize("app_token", [None, "t0ken"])
def test_rows_come_by_page_through_either_interface(source: OpenData, app_token: str | None) -> None:
    if app_token:
        source.behaviours += refuses_soda2()
    asked = dataset(source, app_token=app_token)
    metadata = asked.metadata()
    assert metadata.types["dol_vehicle_id"]
    assert asked.count() == 5
    sizes = [asked.page(columns(metadata), offset=offset, limit=2).rows for offset in (0, 2, 4, 6)]
    assert sizes == [2, 2, 1, 0]
    assert asked.source == f"{source.url}/resource/{source.snapshot.dataset_id}"


def test_soda_3_takes_no_offset_within_a_page(source: OpenData) -> None:
    source.behaviours += refuses_soda2()
    asked = dataset(source, app_token="t0ken")
    metadata = asked.metadata()
    with pytest.raises(SourceError, match=r"fewer rows a page than the 2 asked for.* Set partRows to what the server"):
        asked.page(columns(metadata), offset=3, limit=2)


def test_after_one_refusal_soda_2_is_not_asked_again(source: OpenData) -> None:
    source.behaviours += refuses_soda2()
    asked = dataset(source, app_token="t0ken")
    asked.count()
    source.requests.clear()
    asked.count()
    assert [request.method for request in source.requests] == ["POST"]


def test_the_token_goes_to_the_portals_own_host_and_to_no_other(source: OpenData, open_data: Start) -> None:
    elsewhere = open_data([vehicle(1)], rows_updated_at=1_685_577_600)
    source.behaviours.append(Redirects(to=elsewhere.url))
    dataset(source, app_token="t0ken").metadata()
    assert [request.headers.get("X-App-Token") for request in source.requests] == ["t0ken"]
    assert [request.headers.get("X-App-Token") for request in elsewhere.requests] == [None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_post_is_redirected_as_a_post_or_not_at_all(source: OpenData, status: int) -> None:
    source.behaviours += [*refuses_soda2(), Redirects(to="", on="soda3", status=status, times=1)]
    asked = dataset(source, app_token="t0ken")
    if status in (307, 308):
        assert asked.count() == 5
    else:
        with pytest.raises(SourceError, match=f"with status {status}, which is not followed: SODA 3 takes the app"):
            asked.count()


def test_an_html_page_is_maintenance_that_passes(source: OpenData, waits: list[float]) -> None:
    source.behaviours.append(HtmlPage(times=None))
    with pytest.raises(TransientError, match=r"\(an HTML page instead of data \(maintenance\?\); "):
        ask(source)


def test_an_error_document_with_status_200_is_a_refusal(source: OpenData) -> None:
    body = b'{"error": true, "code": "gone", "message": "No more"}'
    source.behaviours.append(Answers(answer=Answer(status=200, body=body)))
    with pytest.raises(
        SourceError, match="answered an error document with status 200: gone No more\\. Check sourceUrl"
    ):
        dataset(source).metadata()


def test_an_answer_is_read_whole_when_little_time_is_left(source: OpenData) -> None:
    assert '"rowsUpdatedAt"' in ask(source, budget=0.5)
