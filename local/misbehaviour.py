"""What a Socrata portal has been seen to do besides answering well, each as one behaviour for `OpenData`.

Each behaviour says to which requests it applies: `on` a kind of request, from the `first` of that kind (counting from
1), `times` in a row (None: for ever). Without more it spoils the first request of any kind, once.
"""

import csv
import gzip
import io
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, override
from urllib.parse import urlencode

from local.open_data import Exchange
from local.snapshot import Snapshot
from local.soda import Answer, Kind, respond

_MAINTENANCE = b"<!DOCTYPE html><html><head><title>Down for maintenance</title></head><body>Back soon.</body></html>"


@dataclass(kw_only=True)
class Sometimes:
    """Lets every answer pass; the classes below override `spoil` for the requests that they apply to."""

    on: Kind | None = None
    first: int = 1
    times: int | None = 1
    _seen: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __call__(self, exchange: Exchange) -> Answer:
        """Count the request when it is of our kind, and spoil its answer when it is our turn."""
        if self.on is not None and exchange.request.kind != self.on:
            return exchange.proceed()
        with self._lock:
            self._seen += 1
            ours = self._seen >= self.first and (self.times is None or self._seen < self.first + self.times)
        return self.spoil(exchange) if ours else exchange.proceed()

    def spoil(self, exchange: Exchange) -> Answer:
        """The answer that is sent."""
        return exchange.proceed()


@dataclass(kw_only=True)
class Says(Sometimes):
    """Another status than 200: 202 still computing, 429 throttled, 500, 503 …"""

    status: int
    retry_after: str | None = None
    code: str = "unavailable"
    message: str = "Not now"

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        headers = {"Retry-After": self.retry_after} if self.retry_after is not None else {}
        body = f'{{"code":"{self.code}","error":true,"message":"{self.message}","data":{{}}}}'
        return Answer(status=self.status, headers=headers, body=body.encode())


@dataclass(kw_only=True)
class HtmlPage(Sometimes):
    """A maintenance page, with 200 as often as with 503."""

    status: int = 200

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        return Answer(status=self.status, content_type="text/html; charset=utf-8", body=_MAINTENANCE)


@dataclass(kw_only=True)
class HangsUp(Sometimes):
    """The connection closes without an answer."""

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        return Answer(dropped=True)


@dataclass(kw_only=True)
class Stalls(Sometimes):
    """Nothing comes for `seconds` before the answer's last part."""

    seconds: float

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        return replace(exchange.proceed(), stall=self.seconds)


@dataclass(kw_only=True)
class CutsChunks(Sometimes):
    """The connection closes within the body: the last chunk never comes."""

    keep: float = 0.5

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        return replace(exchange.proceed(), keep=self.keep, cut=True)


@dataclass(kw_only=True)
class CutsBody(Sometimes):
    """The body ends early and its framing says that all is well: only a gzip trailer or a count can tell."""

    keep: float = 0.5

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        return replace(exchange.proceed(), keep=self.keep)


@dataclass(kw_only=True)
class CutsUnframed(Sometimes):
    """As CutsBody, with no chunks at all: the end of the connection is the end of the body."""

    keep: float = 0.5

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        return replace(exchange.proceed(), keep=self.keep, framing="close")


@dataclass(kw_only=True)
class DropsLastRows(Sometimes):
    """A whole, well-formed CSV answer that lacks its last rows."""

    rows: int = 1

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        answer = exchange.proceed()
        return replace(answer, body=b"".join(answer.body.splitlines(keepends=True)[: -self.rows]))


@dataclass(kw_only=True)
class StaleReplica(Sometimes):
    """A replica that is behind answers, and says so; its rows are those of `older` when given."""

    older: Snapshot | None = None

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        answer = exchange.proceed() if self.older is None else respond(self.older, exchange.request)
        return replace(answer, headers=answer.headers | {"X-SODA2-Data-Out-Of-Date": "true"})


@dataclass(kw_only=True)
class Drips(Sometimes):
    """One byte comes, then nothing for `seconds`, again and again: no wait is long enough to be a stall."""

    seconds: float
    framing: Literal["chunked", "close"] = "chunked"

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        return replace(exchange.proceed(), drip=self.seconds, framing=self.framing)


@dataclass(kw_only=True)
class Uncompressed(Sometimes):
    """An answer that is not compressed, though gzip was asked for."""

    times: int | None = None

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        return replace(exchange.proceed(), compressible=False)


@dataclass(kw_only=True)
class TwoMembers(Sometimes):
    """A gzip stream of two members, with zero bytes between and after them, as tapes and some proxies write it."""

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        answer = exchange.proceed()
        half = len(answer.body) // 2
        members = [gzip.compress(part, mtime=0) for part in (answer.body[:half], answer.body[half:])]
        return replace(answer, gzipped=b"\0\0\0".join([*members, b""]))


@dataclass(kw_only=True)
class TrailingBytes(Sometimes):
    """A whole gzip stream, and then something else."""

    tail: bytes = b"<!-- served by cache -->"

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        answer = exchange.proceed()
        return replace(answer, gzipped=gzip.compress(answer.body, mtime=0) + self.tail)


@dataclass(kw_only=True)
class OverlappingPages(Sometimes):
    """A page begins `rows` rows too early: as many come twice, as many others never, and every count is right."""

    rows: int = 1

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        query = exchange.request.query
        query["$offset"] = str(int(query["$offset"]) - self.rows)
        return exchange.proceed()


@dataclass(kw_only=True)
class OtherColumns(Sometimes):
    """A page whose columns are not those that were selected: one lacking, one too many, or in another order."""

    lacks: str | None = None
    adds: str | None = None
    reverses: bool = False

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        answer = exchange.proceed()
        rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
        names = [name for name in rows[0] if name != self.lacks] + ([self.adds] if self.adds else [])
        text = io.StringIO(newline="")
        writer = csv.DictWriter(
            text,
            names[::-1] if self.reverses else names,
            restval="new",
            extrasaction="ignore",
            quoting=csv.QUOTE_ALL,
            lineterminator="\n",
        )
        writer.writeheader()
        writer.writerows(rows)
        return replace(answer, body=text.getvalue().encode())


@dataclass(kw_only=True)
class Redirects(Sometimes):
    """The same path at another address, `to`, with `status`."""

    to: str
    status: int = 302
    times: int | None = None

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        asked = exchange.request
        query = f"?{urlencode(asked.query)}" if asked.query else ""
        return Answer(status=self.status, headers={"Location": f"{self.to}{asked.path}{query}"})


@dataclass(kw_only=True)
class Describes(Sometimes):
    """The metadata with other values; one that is Ellipsis is left out."""

    changes: Mapping[str, Any]
    on: Kind | None = "metadata"
    times: int | None = None

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        answer = exchange.proceed()
        changed = json.loads(answer.body) | self.changes
        body = json.dumps({name: value for name, value in changed.items() if value is not ...})
        return replace(answer, body=body.encode())


@dataclass(kw_only=True)
class CapsLimit(Sometimes):
    """A `$limit` above the cap is silently lowered to it, as SODA 2.0 did."""

    limit: int
    times: int | None = None

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        query = exchange.request.query
        if "$limit" in query:
            query["$limit"] = str(min(self.limit, int(query["$limit"])))
        return exchange.proceed()


@dataclass(kw_only=True)
class Republishes(Sometimes):
    """A new version is published just before the request is answered."""

    snapshot: Snapshot

    @override
    def spoil(self, exchange: Exchange) -> Answer:
        exchange.source.snapshot = self.snapshot
        return exchange.proceed()


def refuses_soda2(status: int = 403) -> list[Says]:
    """The portal has turned SODA 2.1 off, for rows and for counts, for good."""
    return [
        Says(on=kind, times=None, status=status, code="permission_denied", message="Please use the v3 API")
        for kind in ("rows", "count")
    ]
