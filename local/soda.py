"""What Socrata answers to a request about one snapshot: a pure function, from `Request` to `Answer`.

SODA 2.1 (`/resource/{id}.csv|json`), metadata (`/api/views/{id}.json`) and SODA 3 (`/api/v3/views/{id}/query.csv`).
Sources: https://dev.socrata.com/docs/queries/ https://dev.socrata.com/docs/endpoints https://dev.socrata.com/docs/response-codes
"""

import csv
import io
import json
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from local.snapshot import Column, Snapshot

DEFAULT_LIMIT: Final = 1000

# Columns that the portal adds by itself. They stay hidden when rows are ordered, unless named.
_REGIONS: Final = (
    Column(name="Counties", field=":@computed_region_x4ys_rtnd", type="number"),
    Column(name="Congressional Districts", field=":@computed_region_fny7_vc3j", type="number"),
    Column(name="WAOFM - GIS - Legislative District Boundary", field=":@computed_region_8ddd_yn5v", type="number"),
)
_ID: Final = Column(name=":id", field=":id")

type Kind = Literal["metadata", "count", "rows", "soda3", "other"]


@dataclass(kw_only=True, slots=True)
class Request:
    """What was asked, headers in Title-Case. Behaviours may change it before it is answered."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def kind(self) -> Kind:
        """Which of the portal's services is asked."""
        if self.method == "POST":
            return "soda3" if re.fullmatch(r"/api/v3/views/[^/]+/query\.csv", self.path) else "other"
        if re.fullmatch(r"/api/views/[^/]+\.json", self.path):
            return "metadata"
        if re.fullmatch(r"/resource/[^/]+\.(csv|json)", self.path):
            return "count" if "count(" in self.query.get("$select", "").lower() else "rows"
        return "other"


@dataclass(kw_only=True, slots=True)
class Answer:
    """What is sent back, and how badly: `keep` is the share of the (compressed) body that is sent.

    A `cut` answer ends without the last chunk; `framing` "close" sends no chunks at all, so that the end of the
    connection is the end of the body. `stall` is how many seconds pass before the last part of what is sent; a `drip`
    sends one byte, then waits so many seconds, again and again. `gzipped` is sent in place of the body's own compressed
    form; what is not `compressible` goes as it is, whatever the client takes.
    """

    status: int = 200
    content_type: str = "application/json;charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep: float = 1.0
    cut: bool = False
    framing: Literal["chunked", "close"] = "chunked"
    stall: float = 0.0
    drip: float = 0.0
    gzipped: bytes | None = None
    compressible: bool = True
    dropped: bool = False


class SodaError(Exception):
    """A request that Socrata refuses, in its own shape."""

    def __init__(self, status: int, code: str, message: str, **data: object) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "error": True, "message": message, "data": data}


def respond(snapshot: Snapshot, request: Request, *, app_tokens: frozenset[str] | None = None) -> Answer:
    """The answer of a portal in good health that holds `snapshot` and nothing else.

    With `app_tokens`, a request with another token is refused. SODA 3 is refused without any.
    """
    token = request.headers.get("X-App-Token")
    try:
        if (request.kind == "soda3" and not token) or (token and app_tokens is not None and token not in app_tokens):
            raise SodaError(403, "permission_denied", "Invalid app_token specified")  # noqa: TRY301
        answer = _answer(snapshot, request)
    except SodaError as error:
        return Answer(status=error.status, body=_json(error.body))
    version = (snapshot.rows_updated_at, request.path, sorted(request.query.items()))
    tag = f'"{zlib.crc32(repr(version).encode()):08x}"'
    answer.headers |= {"ETag": tag, "X-SODA2-Data-Out-Of-Date": "false"}
    if request.headers.get("If-None-Match") == tag:
        return Answer(status=304, headers=answer.headers)
    return answer


def _answer(snapshot: Snapshot, request: Request) -> Answer:
    if snapshot.dataset_id not in re.split("[/.]", request.path):
        raise SodaError(404, "dataset.missing", "Not found", path=request.path)
    match request.kind:
        case "metadata":
            return Answer(body=_json(_metadata(snapshot)))
        case "soda3":
            return _rows(snapshot, _soda3_query(request.body), form="csv")
        case "rows" | "count":
            return _rows(snapshot, request.query, form="csv" if request.path.endswith(".csv") else "json")
        case "other":
            raise SodaError(404, "not_found", f"Cannot find {request.path}")


def _metadata(snapshot: Snapshot) -> dict[str, Any]:
    shown: list[dict[str, Any]] = [
        {
            "id": 500_000_000 + position,
            "name": column.name,
            "dataTypeName": column.type,
            "fieldName": column.field,
            "position": position,
            "renderTypeName": column.type,
        }
        for position, column in enumerate((*snapshot.columns, *_REGIONS), start=1)
    ]
    for column in shown[len(snapshot.columns) :]:
        column["flags"] = ["hidden"]
    return {
        "id": snapshot.dataset_id,
        "name": snapshot.title,
        "assetType": "dataset",
        "attribution": "Washington State Department of Licensing",
        "attributionLink": "https://data.wa.gov",
        "licenseId": "ODBL",
        "license": {
            "name": "Open Database License",
            "termsLink": "http://opendatacommons.org/licenses/odbl/1.0/",
        },
        "publicationDate": snapshot.rows_updated_at,
        "rowsUpdatedAt": snapshot.rows_updated_at,
        "viewLastModified": snapshot.rows_updated_at,
        "viewType": "tabular",
        "columns": shown,
    }


def _soda3_query(body: bytes) -> dict[str, str]:
    """SODA 3's body as the query that SODA 2.1 would be asked."""
    try:
        asked = json.loads(body)
        page = asked.get("page", {})
        number, size = int(page.get("pageNumber", 1)), int(page.get("pageSize", DEFAULT_LIMIT))
        found = re.fullmatch(r"\s*SELECT\s+(.+?)(?:\s+ORDER\s+BY\s+(.+?))?\s*", asked["query"], re.I | re.S)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise SodaError(400, "invalid_request", f"Cannot read the request body: {error}") from None
    if found is None:
        raise SodaError(400, "query.compiler.malformed", "Could not parse SoQL query")
    order = {"$order": found[2]} if found[2] else {}
    return {"$select": found[1], "$limit": str(size), "$offset": str((number - 1) * size), **order}


def _rows(snapshot: Snapshot, query: Mapping[str, str], *, form: Literal["csv", "json"]) -> Answer:
    """A page of rows, or their number."""
    if unknown := sorted(set(query) - {"$select", "$order", "$limit", "$offset", "$$app_token"}):
        raise SodaError(400, "unrecognized.arguments", f"Unrecognized arguments {unknown}")
    select = query.get("$select", "*").strip()
    if counted := re.fullmatch(r"count\(\s*\*\s*\)(?:\s+(?:as\s+)?(\w+))?", select, re.I):
        name = counted[1] or "count"
        columns: Sequence[Column] = (Column(name=name, field=name, type="number"),)
        rows: Iterable[Sequence[str]] = [(str(len(snapshot.rows)),)]
    else:
        limit, offset = _number(query, "$limit", DEFAULT_LIMIT), _number(query, "$offset", 0)
        columns = _selected(snapshot, select, ordered="$order" in query)
        rows = _picked(snapshot, columns, _page(snapshot, query.get("$order"), limit, offset))
    headers = {
        "X-SODA2-Fields": json.dumps([column.field for column in columns]),
        "X-SODA2-Types": json.dumps([column.type for column in columns]),
        "Last-Modified": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(snapshot.rows_updated_at)),
    }
    if form == "json":
        return Answer(headers=headers, body=_json([_object(columns, row) for row in rows]))
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(column.field for column in columns)
    writer.writerows(rows)
    return Answer(headers=headers, body=text.getvalue().encode(), content_type="text/csv;charset=utf-8")


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    try:
        value = int(query.get(name, default))
    except ValueError:
        value = -1
    if value < 0:
        raise SodaError(400, "invalid.parameter", f"Invalid value for parameter {name}: {query[name]!r}")
    return value


def _column(snapshot: Snapshot, name: str) -> Column:
    wanted = name.strip().strip("`").lower()
    for column in (*snapshot.columns, *_REGIONS, _ID):
        if column.field == wanted:
            return column
    raise SodaError(
        400,
        "query.soql.no-such-column",
        f"Query coordinator error: query.soql.no-such-column; No such column: {wanted}",
        column=wanted,
        dataset=snapshot.dataset_id,
    )


def _selected(snapshot: Snapshot, select: str, *, ordered: bool) -> list[Column]:
    chosen: list[Column] = []
    for name in select.split(","):
        if name.strip() == "*":
            chosen += snapshot.columns if ordered else (*snapshot.columns, *_REGIONS)
        else:
            chosen.append(_column(snapshot, name))
    return chosen


def _page(snapshot: Snapshot, order: str | None, limit: int, offset: int) -> range | list[int]:
    """The numbers of the rows in a page."""
    total = len(snapshot.rows)
    if order is None:
        # The portal promises no order then. A tenth of the page before comes again, and the last rows are never seen.
        start = max(0, offset - limit // 10)
        return range(min(start, total), min(start + limit, max(total - limit // 10, 0) if offset else total))
    name, _, direction = order.strip().partition(" ")
    column = _column(snapshot, name)
    numbers: range | list[int] = range(total)
    if column is not _ID:
        place = snapshot.columns.index(column)
        numbers = sorted(numbers, key=lambda number: snapshot.rows[number][place])
    if direction.strip().lower() == "desc":
        numbers = numbers[::-1]
    return numbers[offset : offset + limit]


def _picked(snapshot: Snapshot, columns: Sequence[Column], numbers: Iterable[int]) -> Iterator[Sequence[str]]:
    if tuple(columns) == snapshot.columns:
        return (snapshot.rows[number] for number in numbers)
    if tuple(columns) == (_ID, *snapshot.columns):
        return ((row_id(number), *snapshot.rows[number]) for number in numbers)
    places = {column: place for place, column in enumerate(snapshot.columns)}

    def value(column: Column, number: int) -> str:
        if column is _ID:
            return row_id(number)
        return snapshot.rows[number][places[column]] if column in places else ""

    return ([value(column, number) for column in columns] for number in numbers)


def row_id(number: int) -> str:
    """A `:id` in Socrata's form. Its order as text is not the order of the rows, as with the real ones."""
    scrambled = f"{number * 2_654_435_761 % 2**32:08x}{number:04x}"
    return f"row-{scrambled[:4]}.{scrambled[4:8]}-{scrambled[8:]}"


def _object(columns: Sequence[Column], row: Sequence[str]) -> dict[str, object]:
    return {
        column.field: _point(value) if column.type == "point" else value
        for column, value in zip(columns, row, strict=True)
        if value != ""
    }


def _point(text: str) -> object:
    found = re.fullmatch(r"POINT \((\S+) (\S+)\)", text)
    return {"type": "Point", "coordinates": [float(found[1]), float(found[2])]} if found else text


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
