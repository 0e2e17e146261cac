"""What a Socrata portal has been seen to do besides answering well, each as one behaviour for `OpenData`.

Each behaviour says to which requests it applies: `on` a kind of request, from the `first` of that kind (counting from
1), `times` in a row (None: for ever). Without more it spoils the first request of any kind, once.
"""

import threading
from dataclasses import dataclass, field, replace
from typing import override

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


def refuses_soda2() -> list[Says]:
    """The portal has turned SODA 2.1 off, for rows and for counts, for good."""
    return [
        Says(on=kind, times=None, status=403, code="permission_denied", message="Please use the v3 API")
        for kind in ("rows", "count")
    ]
