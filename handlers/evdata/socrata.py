"""The source: a Socrata dataset through SODA 2.1, or SODA 3 where a token is configured and SODA 2.1 is refused.

Every answer is proven before it counts: its status, its content type, its gzip trailer, its header, its rows. What can
pass is asked again with backoff as long as the budget lasts; what cannot is refused at once.
API: https://dev.socrata.com/docs/
"""

import csv
import io
import json
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import requests

from evdata.errors import SourceError
from evdata.pages import HeaderError, Inflater, PageError, RowReader
from evdata.portal import Budget, Passing, Portal, Refusal, error_document

EARLIEST_VERSION: Final = datetime(2000, 1, 1, tzinfo=UTC)  # Socrata began in 2007


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
    """A page of rows as gzip-compressed CSV with a header: byte for byte the source's when it answered gzip.

    `ids` holds a hash of each row's `:id`, for `DistinctIds`.
    """

    content: bytes
    rows: int
    ids: "array[int]"


class Socrata:
    """One dataset of one Socrata server. Raises `SourceError` for what cannot pass, `TransientError` if it did not."""

    def __init__(self, base_url: str, dataset_id: str, *, budget: Budget, app_token: str | None = None) -> None:
        self.dataset_id = dataset_id
        self._portal = Portal(base_url, budget=budget, app_token=app_token)
        self._soda2_refusal = ""  # what SODA 2.1 said when it would not serve; SODA 3 is asked from then on

    @property
    def source(self) -> str:
        """Where the rows come from, for the manifest and for people."""
        return f"{self._portal.base_url}/resource/{self.dataset_id}"

    def metadata(self) -> Metadata:
        path = f"/api/views/{self.dataset_id}.json"
        url = f"{self._portal.base_url}{path}"
        try:
            document = self._portal.ask("GET", path, self._read_json)
        except Refusal as refusal:
            raise SourceError(f"no metadata: {refusal} Check sourceUrl and datasetId.") from refusal
        try:
            name = document["name"]
            columns = tuple(
                {key: str(column[key]) for key in ("name", "fieldName", "dataTypeName")}
                for column in document["columns"]
            )
        except (KeyError, TypeError) as error:
            raise SourceError(
                f"{url} does not describe a Socrata dataset with rows ({type(error).__name__}: {error}"
                "). Check sourceUrl and datasetId."
            ) from error
        return Metadata(name=name, rows_updated_at=_rows_updated_at(document, url), columns=columns)

    def count(self) -> int:
        """Return how many rows there are."""
        path = f"/resource/{self.dataset_id}.json"
        answer = self._either(
            lambda: self._portal.ask("GET", path, self._read_json, query={"$select": "count(*)"}),
            lambda: self._soda3("SELECT count(*)", self._read_csv),
        )
        try:
            # The key is count, or count_1 where the dataset has a column of that name.
            (row,) = answer
            (value,) = row.values()
            return int(value)
        except (AttributeError, TypeError, ValueError) as error:
            raise SourceError(f"{self.source} did not answer a count but {str(answer)[:200]!r}") from error

    def page(self, columns: Sequence[Mapping[str, str]], *, offset: int, limit: int) -> Page:
        """Return at most `limit` rows from `offset` on, in the order of the source's own row identifiers.

        Without that order pages overlap and rows go missing. The page may hold fewer rows than asked for. `columns` are
        the metadata's, `:id` first; the page has exactly these, in this order, headed by field name or display name.
        """
        fields = [column["fieldName"] for column in columns]
        headings = [(column["fieldName"], column["name"]) for column in columns]
        query = {"$select": ",".join(fields), "$order": ":id", "$limit": str(limit), "$offset": str(offset)}

        def read(response: requests.Response) -> Page:
            return self._read_page(response, headings)

        return self._either(
            lambda: self._portal.ask("GET", f"/resource/{self.dataset_id}.csv", read, query=query),
            lambda: self._soda3_page(fields, read, offset=offset, limit=limit),
        )

    def _either[T](self, soda2: Callable[[], T], soda3: Callable[[], T]) -> T:
        """Ask through SODA 2.1 until the server will not serve that; from then on through SODA 3, which wants a token.

        Only rows and their count come this way: the metadata were answered already.
        """
        if not self._soda2_refusal:
            try:
                return soda2()
            except Refusal as refusal:
                if not self._portal.has_token:
                    raise SourceError(
                        f"SODA 2.1 will not serve the rows: {refusal} {self._way_out(refusal.status)}"
                    ) from refusal
                self._soda2_refusal = str(refusal)
        try:
            return soda3()
        except Refusal as refusal:
            raise SourceError(
                f"SODA 3 will not serve the rows: {refusal} Before, SODA 2.1: {self._soda2_refusal} "
                f"{self._way_out(refusal.status)}"
            ) from refusal

    def _way_out(self, status: int) -> str:
        """Return in words what may help when the rows are refused and the metadata are not."""
        url, said = self._portal.base_url, []
        if not self._portal.has_token:
            said.append(
                "The portal may now want an app token: create one at "
                f"{url}/profile/edit/developer_settings, then `pulumi config set --secret appToken` and `pulumi up`."
            )
        if status in (403, 404):
            said.append(
                "Its description is still served, so the dataset may have been replaced by one with a new identifier: "
                f"look at {url}/d/{self.dataset_id}, then `pulumi config set datasetId` and `pulumi up`."
            )
        return " ".join(said) or "Check the app token, and look at the portal's status page."

    def _soda3_page(
        self, fields: Sequence[str], read: Callable[[requests.Response], Page], *, offset: int, limit: int
    ) -> Page:
        number, remainder = divmod(offset, limit)
        if remainder:
            raise SourceError(
                f"{self.source} gave fewer rows a page than the {limit} asked for, but SODA 3 numbers its pages. "
                "Set partRows to what the server gives."
            )
        statement = f"SELECT {', '.join(fields)} ORDER BY :id"
        return self._soda3(statement, read, page={"pageNumber": number + 1, "pageSize": limit})

    def _soda3[T](self, statement: str, read: Callable[[requests.Response], T], **options: Any) -> T:
        # https://dev.socrata.com/docs/queries/page
        path = f"/api/v3/views/{self.dataset_id}/query.csv"
        return self._portal.ask("POST", path, read, body={"query": statement, "includeSynthetic": False, **options})

    def _read_json(self, response: requests.Response) -> Any:
        text = self._portal.read_text(response)
        try:
            document = json.loads(text)
        except ValueError as error:
            raise Passing(f"no JSON but {text[:80]!r}") from error
        if isinstance(document, dict) and document.get("error"):
            raise error_document(response, text)
        return document

    def _read_csv(self, response: requests.Response) -> list[dict[str, str]]:
        text = self._portal.read_text(response)
        if text.lstrip().startswith(("{", "<")):
            raise self._impostor(response, text, "no CSV")
        try:
            return list(csv.DictReader(io.StringIO(text)))
        except csv.Error as error:
            raise Passing(f"no CSV but {text[:80]!r}") from error

    def _read_page(self, response: requests.Response, headings: Sequence[tuple[str, ...]]) -> Page:
        """Read a CSV page as it came, proving on the way that it is whole and what was asked for."""
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("gzip", "identity"):
            raise Passing(f"an answer encoded as {encoding}, which was not asked for")
        sink = io.BytesIO()
        inflater = Inflater()
        deflater = zlib.compressobj(6, wbits=31)  # for a source that does not compress; writes no time, so equal bytes
        reader = RowReader(headings)
        try:
            for piece in self._portal.pieces(response, decode=False):
                if encoding == "gzip":
                    sink.write(piece)
                    reader.feed(inflater.feed(piece))
                else:
                    sink.write(deflater.compress(piece))
                    reader.feed(piece)
            if encoding == "gzip" and not inflater.whole:
                raise Passing(f"a gzip stream cut after {reader.rows} rows")
            reader.finish()
        except HeaderError as error:
            raise self._impostor(response, error.beginning.decode(errors="replace"), str(error)) from error
        except PageError as error:
            raise Passing(str(error)) from error
        if encoding != "gzip":
            sink.write(deflater.flush())
        return Page(content=sink.getvalue(), rows=reader.rows, ids=reader.ids)

    def _impostor(self, response: requests.Response, text: str, otherwise: str) -> Exception:
        """Return the error for what claims to be CSV and is not; `otherwise` if it is neither HTML nor an error."""
        text = text.lstrip()
        if text.startswith("<"):
            return Passing("an HTML page that claims to be CSV (maintenance?)")
        if text.startswith("{"):
            return error_document(response, text)
        return Passing(otherwise)


def _rows_updated_at(document: Mapping[str, Any], url: str) -> datetime:
    """Return the version. Nothing else stands in for it: `viewLastModified` moves with every edit of a description."""
    value = document.get("rowsUpdatedAt")
    try:
        if type(value) is int:  # neither True nor 1.7e9
            moment = datetime.fromtimestamp(value, UTC)
            if moment >= EARLIEST_VERSION:
                return moment
    except (ValueError, OverflowError, OSError):
        pass  # beyond the year 9999, as milliseconds are
    received = repr(value)[:80] if "rowsUpdatedAt" in document else "missing"
    raise SourceError(
        f"{url} says that rowsUpdatedAt is {received}, expected whole seconds since 1970, in 2000 or later. Without it "
        "there is no version to publish; wait until the portal states it again, or ask the dataset's owner."
    )
