"""The source: a Socrata dataset through SODA 2.1, or SODA 3 where a token is configured and SODA 2.1 is refused.

Every answer is proven before it counts: its status, its content type, its gzip trailer, its rows. What can pass is
asked again with backoff as long as the budget lasts; what cannot is refused at once. API: https://dev.socrata.com/docs/
"""

import csv
import io
import random
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import requests
from urllib3.exceptions import HTTPError

from evdata.errors import SourceError, TransientError

CHUNK_BYTES: Final = 64 * 1024
CONNECT_TIMEOUT_SECONDS: Final = 10
READ_TIMEOUT_SECONDS: Final = 120  # between two chunks; reads are known to stall for minutes
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 60.0
MAX_ATTEMPTS: Final = 6

# 202: still computing. 429: throttled. 5xx: Socrata's own trouble.
_PASSING_STATUSES: Final = (202, 408, 425, 429, 500, 502, 503, 504)
# What a server says that no longer answers an interface: forbidden, not found, method not allowed, gone.
_REFUSING_STATUSES: Final = (401, 403, 404, 405, 410)


class Budget(Protocol):
    """How long may still be spent on asking, in seconds."""

    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A dataset as its source describes it at one moment. `columns` holds name, fieldName and dataTypeName of each."""

    name: str
    rows_updated_at: datetime
    columns: tuple[dict[str, str], ...]

    @property
    def types(self) -> dict[str, str]:
        return {column["fieldName"]: column["dataTypeName"] for column in self.columns}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of rows as gzip-compressed CSV with a header: byte for byte the source's when it answered gzip."""

    content: bytes
    rows: int


class _Passing(Exception):  # noqa: N818 - a signal between the functions of this module
    """The answer does not count, but another may. `wait_seconds` is what the source asked for, if it did."""

    def __init__(self, what: str, wait_seconds: float | None = None) -> None:
        super().__init__(what)
        self.wait_seconds = wait_seconds


class _RefusedError(SourceError):
    """The server refuses the interface, or us."""


class Socrata:
    """One dataset of one Socrata server. Raises `SourceError` for what cannot pass, `TransientError` if it did not."""

    def __init__(
        self,
        base_url: str,
        dataset_id: str,
        *,
        budget: Budget,
        app_token: str | None = None,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.dataset_id = dataset_id
        self._budget = budget
        self._session = session or requests.Session()
        self._session.headers["User-Agent"] = "ev-population (open-source data pipeline)"
        self._session.headers["Accept-Encoding"] = "gzip"  # and nothing else: pages are kept as they come
        if app_token:
            self._session.headers["X-App-Token"] = app_token
        self._sleep = sleep
        self._has_token = bool(app_token)
        self._speaks_soda3 = False  # until SODA 2.1 is refused

    @property
    def source(self) -> str:
        """Where the rows come from, for the manifest and for people."""
        return f"{self.base_url}/resource/{self.dataset_id}"

    def metadata(self) -> Metadata:
        path = f"/api/views/{self.dataset_id}.json"
        document = self._ask("GET", path, _read_json)
        try:
            return Metadata(
                name=document["name"],
                rows_updated_at=datetime.fromtimestamp(document["rowsUpdatedAt"], UTC),
                columns=tuple(
                    {key: str(column[key]) for key in ("name", "fieldName", "dataTypeName")}
                    for column in document["columns"]
                ),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SourceError(
                f"{self.base_url}{path} does not describe a Socrata dataset with rows ({type(error).__name__}: {error}"
                "). Check sourceUrl and datasetId."
            ) from error

    def count(self) -> int:
        """Return how many rows there are."""
        path = f"/resource/{self.dataset_id}.json"
        answer = self._either(
            lambda: self._ask("GET", path, _read_json, query={"$select": "count(*)"}),
            lambda: self._soda3("SELECT count(*)", _read_csv),
        )
        try:
            # The key is count, or count_1 where the dataset has a column of that name.
            (row,) = answer
            (value,) = row.values()
            return int(value)
        except (AttributeError, TypeError, ValueError) as error:
            raise SourceError(f"{self.source} did not answer a count but {str(answer)[:200]!r}") from error

    def page(self, fields: tuple[str, ...], *, offset: int, limit: int) -> Page:
        """Return at most `limit` rows from `offset` on, in the order of the source's own row identifiers.

        Without that order pages overlap and rows go missing. The page may hold fewer rows than asked for.
        """
        query = {"$select": ",".join(fields), "$order": ":id", "$limit": str(limit), "$offset": str(offset)}
        return self._either(
            lambda: self._ask("GET", f"/resource/{self.dataset_id}.csv", self._read_page, query=query),
            lambda: self._soda3_page(fields, offset=offset, limit=limit),
        )

    def _either[T](self, soda2: Callable[[], T], soda3: Callable[[], T]) -> T:
        """Ask through SODA 2.1 until the server refuses that; from then on through SODA 3, which wants a token."""
        if not self._speaks_soda3:
            try:
                return soda2()
            except _RefusedError:
                if not self._has_token:
                    raise
                self._speaks_soda3 = True
        return soda3()

    def _soda3_page(self, fields: tuple[str, ...], *, offset: int, limit: int) -> Page:
        number, remainder = divmod(offset, limit)
        if remainder:
            raise SourceError(
                f"{self.source} gave fewer rows a page than the {limit} asked for, but SODA 3 numbers its pages. "
                "Set partRows to what the server gives."
            )
        statement = f"SELECT {', '.join(fields)} ORDER BY :id"
        return self._soda3(statement, self._read_page, page={"pageNumber": number + 1, "pageSize": limit})

    def _soda3[T](self, statement: str, read: Callable[[requests.Response], T], **options: Any) -> T:
        # https://dev.socrata.com/docs/queries/page
        path = f"/api/v3/views/{self.dataset_id}/query.csv"
        return self._ask("POST", path, read, body={"query": statement, "includeSynthetic": False, **options})

    def _ask[T](
        self,
        method: str,
        path: str,
        read: Callable[[requests.Response], T],
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> T:
        """Ask until an answer counts, and return what `read` makes of it."""
        url = f"{self.base_url}{path}"
        tried: list[str] = []
        while True:
            try:
                with self._session.request(
                    method,
                    url,
                    params=query,
                    json=body,
                    stream=True,
                    timeout=(CONNECT_TIMEOUT_SECONDS, min(READ_TIMEOUT_SECONDS, max(self._budget(), 1))),
                ) as response:
                    self._judge(response)
                    return read(response)
            except _Passing as passing:
                tried.append(str(passing))
                asked_wait = passing.wait_seconds
            except (requests.RequestException, HTTPError, OSError) as error:
                tried.append(_in_words(error))
                asked_wait = None
            # Full jitter, so that many callers who were refused together do not come back together.
            wait = random.uniform(0.5, 1) * min(FIRST_WAIT_SECONDS * 2 ** (len(tried) - 1), LONGEST_WAIT_SECONDS)  # noqa: S311
            wait = wait if asked_wait is None else asked_wait
            if len(tried) >= MAX_ATTEMPTS or wait >= self._budget():
                raise TransientError(
                    f"{url} gave no usable answer in {len(tried)} attempts ({'; '.join(tried)}). "
                    "If this lasts, look at the source's status page and run again later; nothing was changed."
                )
            self._sleep(wait)

    def _judge(self, response: requests.Response) -> None:
        """Raise unless the answer is worth reading."""
        status = response.status_code
        if status in _PASSING_STATUSES:
            raise _Passing(f"status {status}", _retry_after(response))
        if status in _REFUSING_STATUSES:
            raise _RefusedError(f"{response.url} answered status {status}: {_socrata_message(response)}")
        if status != 200:
            raise SourceError(f"{response.url} answered status {status}: {_socrata_message(response)}")
        if "html" in response.headers.get("Content-Type", ""):
            raise _Passing("an HTML page instead of data (maintenance?)")
        if response.headers.get("X-SODA2-Data-Out-Of-Date", "").lower() == "true":
            raise _Passing("a replica that is behind")

    def _read_page(self, response: requests.Response) -> Page:
        """Read a CSV page as it came, proving on the way that it is whole."""
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("gzip", "identity"):
            raise _Passing(f"an answer encoded as {encoding}, which was not asked for")
        compressed = encoding == "gzip"
        sink = io.BytesIO()
        inflater = zlib.decompressobj(wbits=31)
        deflater = zlib.compressobj(6, wbits=31)  # for a source that does not compress; writes no time, so equal bytes
        counter = RecordCounter()
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            if self._budget() <= 0:  # a source that drips never stalls
                raise _Passing(f"{counter.records} records when the time was over")
            if compressed:
                sink.write(chunk)
                try:
                    counter.feed(inflater.decompress(chunk))
                except zlib.error as error:
                    raise _Passing(f"a broken gzip stream ({error})") from error
            else:
                sink.write(deflater.compress(chunk))
                counter.feed(chunk)
        if compressed and not inflater.eof:
            raise _Passing(f"a gzip stream cut after {counter.records} records")
        if not counter.whole:
            raise _Passing(f"a page cut within record {counter.records + 1}")
        if not compressed:
            sink.write(deflater.flush())
        return Page(content=sink.getvalue(), rows=max(counter.records - 1, 0))


def _read_json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise _Passing(f"no JSON but {response.text[:80]!r}") from error


def _read_csv(response: requests.Response) -> list[dict[str, str]]:
    """Read a small answer whole."""
    return list(csv.DictReader(io.StringIO(response.text)))


_UNCOUNTED: Final = bytes(octet for octet in range(256) if octet not in b'"\n')


class RecordCounter:
    """Counts CSV records as bytes pass: line ends outside quotes. Feed it pieces of any size."""

    def __init__(self) -> None:
        self.records = 0
        self._quoted = False
        self._last = b"\n"

    def feed(self, piece: bytes) -> None:
        if not piece:
            return
        # Two quotes with nothing between them that counts cancel each other: hardly any are left to look between.
        marks = (b'"' if self._quoted else b"") + piece.translate(None, delete=_UNCOUNTED)
        segments = marks.replace(b'""', b"").split(b'"')
        self.records += sum(segment.count(b"\n") for segment in segments[::2])
        self._quoted = len(segments) % 2 == 0
        self._last = piece[-1:]

    @property
    def whole(self) -> bool:
        """Whether there was a header at least and the last record ended."""
        return self.records > 0 and not self._quoted and self._last == b"\n"


def _retry_after(response: requests.Response) -> float | None:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else None  # absent, or a date: the usual backoff does


def _socrata_message(response: requests.Response) -> str:
    try:
        document = response.json()
        return f"{document.get('code', '')} {document.get('message', '')}".strip()
    except (ValueError, AttributeError):
        return "no explanation in Socrata's form; is this a Socrata server?"


def _in_words(error: Exception) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.Timeout | TimeoutError):
        return "the answer stalled"
    if isinstance(error, requests.ConnectionError):
        return "could not connect"
    return f"the connection broke ({type(error).__name__})"
