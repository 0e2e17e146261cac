"""A Socrata stand-in: one dataset over HTTP on this machine, answering as the real portal does, or as badly as it can.

Answers are chunked, without a length, and compressed only for who asks for it. What a portal in good health says is
in `soda.py`; what else one has been seen to do is in `misbehaviour.py`, for `OpenData(..., behaviours=[...])`.
"""

import gzip
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self, cast
from urllib.parse import parse_qsl, urlsplit

from local.snapshot import Snapshot
from local.soda import Answer, Request, respond

CHUNK_BYTES: Final = 64 * 1024

# Takes one exchange and returns what is sent: `exchange.proceed()`, or something worse.
type Behaviour = Callable[["Exchange"], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request, who is asked, and the way to the answer that would be given otherwise."""

    request: Request
    source: "OpenData"
    proceed: Callable[[], Answer]


class OpenData:
    """The portal, serving `snapshot` at `url` between `with` and its end.

    `snapshot` may be replaced while it runs: that is what a publication is. `requests` remembers what was asked.
    `behaviours` are consulted in order, from several threads. With `app_tokens` any other token is refused.
    """

    def __init__(
        self, snapshot: Snapshot, *, behaviours: Iterable[Behaviour] = (), app_tokens: Iterable[str] | None = None
    ) -> None:
        self.snapshot = snapshot
        self.behaviours = list(behaviours)
        self.requests: list[Request] = []
        self._app_tokens = None if app_tokens is None else frozenset(app_tokens)
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="open-data", daemon=True)

    @property
    def url(self) -> str:
        """The base URL, as `https://data.wa.gov` is one."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: Request) -> Answer:
        """The answer to a request, behaviours and all."""
        self.requests.append(request)
        return self._after(0, request)

    def _after(self, place: int, request: Request) -> Answer:
        if place == len(self.behaviours):
            return respond(self.snapshot, request, app_tokens=self._app_tokens)
        return self.behaviours[place](
            Exchange(request=request, source=self, proceed=lambda: self._after(place + 1, request))
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a stalled answer must not hold up the end
    request_queue_size = 64

    def __init__(self, source: OpenData) -> None:
        self.source = source
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is its own affair, and nothing for the screen."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "nginx"
    sys_version = ""
    disable_nagle_algorithm = True  # head and body are sent apart: or they would wait 40 ms for an acknowledgement

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """`OpenData.requests` is the log."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.title(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        answer = cast("_Server", self.server).source.answer(request)
        if answer.dropped:
            self.close_connection = True
            return
        body = answer.body
        self.send_response(answer.status)
        if answer.status == 200 and "gzip" in self.headers.get("Accept-Encoding", "") and answer.compressible:
            # Level 1 and no time: quick, and the same bytes for the same rows.
            body = gzip.compress(body, 1, mtime=0) if answer.gzipped is None else answer.gzipped
            answer.headers["Content-Encoding"] = "gzip"
        answer.headers.setdefault("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status == 304:
            self.end_headers()
            return
        chunked = answer.framing == "chunked"
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")))
        self.end_headers()
        sent = body[: int(len(body) * answer.keep)]
        size = 1 if answer.drip else CHUNK_BYTES
        for start in range(0, len(sent), size):
            chunk = sent[start : start + size]
            last = start + size >= len(sent)
            if wait := answer.drip or (answer.stall if last else 0):
                self.wfile.flush()
                time.sleep(wait)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunked else chunk)
        if answer.cut or not chunked:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")
