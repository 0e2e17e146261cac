"""A Socrata portal over HTTP: asked until an answer counts, as long as there is time.

What can pass is asked again with backoff; what cannot is refused at once. The app token goes to the portal's own host.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from evdata.errors import SourceError, TransientError
from evdata.visible import visible

CHUNK_BYTES: Final = 64 * 1024
CONNECT_TIMEOUT_SECONDS: Final = 10
READ_TIMEOUT_SECONDS: Final = 120  # between two chunks; reads are known to stall for minutes
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 60.0
MAX_ATTEMPTS: Final = 6

LONGEST_DOCUMENT: Final = 16 << 20  # bytes of an answer that is read whole: metadata, a count
MOST_REDIRECTS: Final = 5

# 202: still computing. 429: throttled. 5xx: Socrata's own trouble. 501 is none that passes.
_PASSING_STATUSES: Final = (202, 408, 425, 429, 500, 502, 503, 504)
# What a server says that no longer serves an interface: SODA 3 may be another matter.
_REFUSING_STATUSES: Final = (400, 401, 403, 404, 405, 406, 410, 426, 451, 501)


class Budget(Protocol):
    """How long may still be spent on asking, in seconds."""

    def __call__(self) -> float: ...


class Passing(Exception):  # noqa: N818 - a signal, never seen outside `Portal.ask`
    """The answer does not count, but another may. `wait_seconds` is what the source asked for, if it did."""

    def __init__(self, what: str, wait_seconds: float | None = None) -> None:
        super().__init__(what)
        self.wait_seconds = wait_seconds


class Refusal(Exception):  # noqa: N818 - a signal too: whoever asks knows what else may be tried
    """The portal will not serve what was asked for, and says so with `status`."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


class Portal:
    """One portal. Raises `Refusal` or `SourceError` for what cannot pass, `TransientError` for what did not in time."""

    def __init__(self, base_url: str, *, budget: Budget, app_token: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self.has_token = bool(app_token)
        self._app_token = app_token
        self._budget = budget
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "ev-population (open-source data pipeline)"
        self._session.headers["Accept-Encoding"] = "gzip"  # and nothing else: pages are kept as they come

    def ask[T](
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
                with self._send(method, url, query, body) as response:
                    self._judge(response)
                    return read(response)
            except Passing as passing:
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
            time.sleep(wait)

    def _send(
        self, method: str, url: str, query: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> requests.Response:
        """Send a request and follow redirects. The app token goes to no other host, and a POST stays one."""
        for _ in range(MOST_REDIRECTS + 1):
            ours = _origin(url) == _origin(self.base_url)
            response = self._session.request(
                method,
                url,
                params=query,
                json=body,
                headers={"X-App-Token": self._app_token} if ours and self._app_token else None,
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT_SECONDS, min(READ_TIMEOUT_SECONDS, max(self._budget(), 1))),
            )
            if not response.is_redirect:
                return response
            with response:
                url, query = self._redirected(response, method), None
        raise Passing(f"more than {MOST_REDIRECTS} redirects")

    def _redirected(self, response: requests.Response, method: str) -> str:
        """Return where a redirect leads. Raises `SourceError` for one that is not followed."""
        url = urljoin(str(response.url), response.headers["Location"])
        ours = _origin(url) == _origin(self.base_url)
        downgraded = urlsplit(self.base_url).scheme == "https" and urlsplit(url).scheme != "https"
        if downgraded or (method == "POST" and not (ours and response.status_code in (307, 308))):
            why = "rows are taken over https only" if downgraded else "SODA 3 takes the app token, for no other host"
            raise SourceError(
                f"{response.url} redirects to {visible(url)} with status {response.status_code}, which is not "
                f"followed: {why}. Set sourceUrl to the portal's present address."
            )
        return url

    def _judge(self, response: requests.Response) -> None:
        """Raise unless the answer is worth reading."""
        status = response.status_code
        if status in _PASSING_STATUSES:
            raise Passing(f"status {status}", _retry_after(response))
        if status != 200:
            said = sentence(_socrata_message(self.read_text(response)))
            if status in _REFUSING_STATUSES:
                raise Refusal(f"{response.url} answered status {status}: {said}", status)
            raise SourceError(f"{response.url} answered status {status}: {said}")
        if "html" in response.headers.get("Content-Type", ""):
            raise Passing("an HTML page instead of data (maintenance?)")
        if response.headers.get("X-SODA2-Data-Out-Of-Date", "").lower() == "true":
            raise Passing("a replica that is behind")

    def pieces(self, response: requests.Response, *, decode: bool) -> Iterator[bytes]:
        """Yield the body as it arrives: a source that drips never stalls, so the time is looked at with every piece."""
        while piece := response.raw.read1(CHUNK_BYTES, decode_content=decode):
            yield piece
            if self._budget() <= 0:
                raise Passing("an answer that was not whole when the time was over")

    def read_text(self, response: requests.Response) -> str:
        """Read a small answer whole."""
        content = b""
        for piece in self.pieces(response, decode=True):
            content += piece
            if len(content) > LONGEST_DOCUMENT:
                raise Passing(f"more than {LONGEST_DOCUMENT >> 20} MB where a short answer was due")
        return content.decode("utf-8-sig", errors="replace")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def error_document(response: requests.Response, text: str) -> Refusal:
    """Return the refusal that an answer is whose status says that all is well."""
    what = f"{response.url} answered an error document with status {response.status_code}: {_socrata_message(text)}"
    return Refusal(sentence(what), response.status_code)


def sentence(text: str) -> str:
    """Return text with a full stop at its end."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _retry_after(response: requests.Response) -> float | None:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else None  # absent, or a date: the usual backoff does


def _socrata_message(text: str) -> str:
    """Return what an error document says, in one line."""
    try:
        document = json.loads(text)
        said = f"{document.get('code') or ''} {document.get('message') or ''}".strip()
    except (ValueError, AttributeError):
        said = ""
    return visible(said[:500]) or "no explanation in Socrata's form; is this a Socrata server?"


def _in_words(error: Exception) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.Timeout | ReadTimeoutError | TimeoutError):
        return "the answer stalled"
    if isinstance(error, requests.ConnectionError):
        return "could not connect"
    return f"the connection broke ({type(error).__name__})"
