"""One part's CSV into rows for COPY: pure, no AWS, no database.

The work is done once per distinct value, not once per row: a column of 25,000 rows may hold some 40 texts. pandas
reads them as categories; each rule sees a value once; the answers are spread over the rows and joined into COPY's text
format.
"""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from evdata import damage
from evdata.contract import MAX_VALUE_CHARACTERS, Column, Dataset, SourceColumn, shown
from evdata.errors import DriftError, SourceError
from evdata.row_ids import ROW_ID
from evdata.visible import visible

LONGEST_HEADER: Final = 1 << 16  # bytes
# The warning for values that the source should have left blank; beside those of the dataset's expectations.
MISSING_IS_BLANK: Final = "what is missing is left blank, not written as NULL, N/A or nan"

NULL = r"\N"  # COPY's text format: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})

type Texts = np.ndarray[tuple[int], np.dtype[np.object_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A row that cannot be loaded: its `line` in the part (the header is line 1), as it came, and every reason.

    `key` is its key as the table has it, or None if that cannot be read.
    """

    line: int
    raw: dict[str, str]
    reasons: tuple[str, ...]
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A part after cleaning.

    `copy_text` has a line for each row that is kept: the dataset's columns, the row's line number, and its `:id`, NULL
    where the part has none.
    """

    copy_text: bytes
    rows: int
    rejected: tuple[Rejected, ...]
    warnings: dict[str, int]

    @property
    def source_rows(self) -> int:
        return self.rows + len(self.rejected)


def clean_part(content: bytes, dataset: Dataset) -> Cleaned:
    """Clean a part: CSV with a header, UTF-8, in the source's words.

    Raises `SourceError` for what is not such a file, and `DriftError` when its header lacks a required column or has
    one twice. A record with too few or too many fields is rejected like any other row that cannot be kept. Line numbers
    count records: a quoted line break does not move them.
    """
    source, lines, malformed = _read(content, dataset)
    cleaned = [_clean_column(source, column) for column in dataset.columns]
    bad = np.zeros(len(lines), dtype=bool)
    for values in cleaned:
        if values.bad is not None:
            bad |= values.bad
    kept = ~bad if bad.any() else slice(None)
    texts = [values.texts[kept].tolist() for values in cleaned]
    texts.append(list(map(str, lines[kept].tolist())))
    texts.append(_row_ids(source, kept))
    rows = len(texts[-1])
    copy_text = "\n".join(map("\t".join, zip(*texts, strict=True))) + "\n" if rows else ""
    rejected = [*malformed, *_rejected(source, lines, cleaned, bad, dataset)]
    return Cleaned(
        copy_text=copy_text.encode(),
        rows=rows,
        rejected=tuple(sorted(rejected, key=lambda row: row.line)),
        warnings=_warnings(source, kept, dataset),
    )


def raw_rows(content: bytes, lines: Sequence[int]) -> dict[int, dict[str, str]]:
    """Return the rows of a part that stand at `lines`, as they came."""
    wanted = set(lines)
    reader = csv.reader(io.StringIO(_decode(content), newline=""))
    header = next(reader)
    return {line: _as_raw(header, fields) for line, fields in enumerate(reader, start=2) if line in wanted}


def _read(content: bytes, dataset: Dataset) -> tuple["_Source", np.ndarray, list[Rejected]]:
    """Return the part as texts under field names, the line of each row, and the records that do not parse."""
    content = content.removeprefix(codecs.BOM_UTF8)
    header = next(csv.reader(io.StringIO(_decode(content[:LONGEST_HEADER]), newline="")), [])
    fields = [ROW_ID if name.strip() == ROW_ID else dataset.field_of(name.strip()) for name in header]
    if twice := {name for name in fields if name and fields.count(name) > 1}:
        raise DriftError(f"the part's header has {', '.join(sorted(twice))} more than once: {_heading(header)}.")
    missing = [c.field for c in dataset.source_columns if c.field not in fields and not c.optional]
    if missing:
        if found := damage.of_file(content):
            raise SourceError(
                f"the part {found.what}, so it is not the CSV that the source was asked for. Start a run with force to "
                "copy it again; if it lasts, tell the source's owner."
            )
        raise DriftError(
            f"the part's header lacks {', '.join(missing)}; it has {_heading(header) or 'nothing'}. "
            "The source changed its columns: compare handlers/evdata/dataset.py with it."
        )
    names = [name or f"unknown {position}" for position, name in enumerate(fields)]
    verbatim = {ROW_ID, *(column.fields[0] for column in dataset.columns if column.verbatim)}
    types = {name: object if name in verbatim else "category" for name in names}
    malformed: list[Rejected] = []
    try:
        frame = _parse(content, types)
        lines = np.arange(2, len(frame) + 2)
    except (pd.errors.ParserError, UnicodeDecodeError):
        content, lines, malformed = _set_aside_malformed(content, header, fields, dataset)
        frame = _parse(content, types)
    present = [name for name in fields if name]
    for column in dataset.source_columns:
        if column.field not in present:  # optional and gone: unknown in every row
            frame[column.field] = ""
    if ROW_ID not in present:
        frame[ROW_ID] = ""
    return _Source(frame, present, dataset), lines, malformed


def _heading(header: Sequence[str]) -> str:
    whole = ", ".join(map(visible, header))
    return whole if len(whole) <= 500 else f"{whole[:497]}..."


def _parse(content: bytes, types: dict[str, Any]) -> pd.DataFrame:
    """Parse records under the names and types of their columns.

    Raises ParserError when one has too few or too many fields, UnicodeDecodeError when one is not UTF-8.
    """
    # The header is read as a record and left out below: with a word in it no column is taken for numbers, which would
    # lose their leading zeros.
    frame = pd.read_csv(
        io.BytesIO(content),
        header=None,
        names=list(types),
        dtype=types,
        index_col=False,
        keep_default_na=False,
        na_filter=False,
        skip_blank_lines=False,
    )
    # pandas refuses a record that is too long and fills up one that is too short; then separators are missing.
    separators = content.count(b",") - sum(_commas(frame[name]) for name in types)
    if separators != (len(types) - 1) * len(frame):
        raise pd.errors.ParserError("a record has too few fields")
    return frame[1:]


def _commas(column: pd.Series) -> int:
    """Return how many commas stand within a column's values."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return "".join(column).count(",")
    rows = np.bincount(column.cat.codes, minlength=len(column.cat.categories))
    return int(rows @ np.array([text.count(",") for text in column.cat.categories], dtype=np.int64))


def _set_aside_malformed(
    content: bytes, header: list[str], fields: Sequence[str | None], dataset: Dataset
) -> tuple[bytes, np.ndarray, list[Rejected]]:
    """Return the part without the records that cannot be read, the lines of the others, and those records.

    In a record of too few or too many fields, what stands in the key's place may be anything: its key counts as
    unreadable.
    """
    good = io.StringIO(newline="")
    writer = csv.writer(good)
    writer.writerow(header)
    lines, malformed = [], []
    reader = csv.reader(io.StringIO(_decode(content), newline=""))
    next(reader)
    for line, values in enumerate(reader, start=2):
        if reasons := _unreadable(header, values):
            whole = len(values) == len(header)
            key = (
                _key({name: text for name, text in zip(fields, values, strict=True) if name}, dataset)
                if whole
                else None
            )
            malformed.append(Rejected(line=line, raw=_as_raw(header, values), reasons=reasons, key=key))
        else:
            writer.writerow(values)
            lines.append(line)
    return good.getvalue().encode(), np.array(lines, dtype=np.int64), malformed


def _unreadable(header: list[str], values: list[str]) -> tuple[str, ...]:
    """Return why a record cannot be read, or nothing."""
    if len(values) != len(header):
        return (f"the record has {len(values)} fields, the header {len(header)}",)
    return tuple(
        f"{visible(name)} is {shown(value)}, which is not UTF-8"
        for name, value in zip(header, values, strict=True)
        if not _is_utf8(value)
    )


def _is_utf8(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _key(raw: dict[str, str], dataset: Dataset) -> str | None:
    """Return the key of a rejected row as the table has it, or None unless it passes the rules of its own column."""
    columns = {column.field: column for column in dataset.source_columns}
    texts = [columns[name].read(raw.get(name, "")) for name in dataset.key_column.fields]
    if not all(_is_utf8(text) and _fault(text) is None for text in texts):
        return None
    try:
        return dataset.key_column.clean(*texts)
    except ValueError:
        return None


def _decode(content: bytes) -> str:
    """Return text, with a lone surrogate where a byte is not UTF-8: it costs its row, by name, not the part."""
    return content.decode("utf-8-sig", errors="surrogateescape")


def _as_raw(header: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    names = [*header, *(f"extra {n}" for n in range(1, len(fields) - len(header) + 1))]
    return dict(zip(names, fields, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A field's distinct texts as they are read, the number of each row's, and what is wrong with some."""

    codes: np.ndarray
    texts: list[str]
    marked: np.ndarray | None  # which of them were null markers, if any was
    faults: dict[str, str] = field(default_factory=dict)  # by text: why no rule may have it


class _Source:
    """A part's texts by field; each field is numbered by its distinct values once, however many columns ask."""

    def __init__(self, frame: pd.DataFrame, present: Sequence[str], dataset: Dataset) -> None:
        """`present` are the fields that the part has: of `frame`'s, those that were not filled in."""
        self._frame = frame
        self._present = present
        self._columns = {column.field: column for column in dataset.source_columns}
        self._fields: dict[str, _Field] = {}

    def texts(self, field: str) -> Texts:
        return np.asarray(self._frame[field], dtype=object)

    def raw(self, row: int) -> dict[str, str]:
        return {field: str(self._frame[field].iat[row]) for field in self._present}

    def distinct(self, fields: tuple[str, ...]) -> tuple[np.ndarray, list[tuple[str, ...]]]:
        """Return the number of each row's combination of `fields`, and the combinations in that order."""
        first = self._field(fields[0])
        codes = first.codes
        combinations: list[tuple[str, ...]] = [(text,) for text in first.texts]
        for name in fields[1:]:
            more = self._field(name)
            width = max(len(more.texts), 1)
            codes, pairs = pd.factorize(codes * width + more.codes)
            combinations = [(*combinations[pair // width], more.texts[pair % width]) for pair in pairs.tolist()]
        return codes, combinations

    def faults(self, fields: tuple[str, ...]) -> dict[tuple[str, str], str]:
        """Return why no rule may have some of the fields' texts, by field and text; mostly nothing."""
        return {(name, text): fault for name in fields for text, fault in self._field(name).faults.items()}

    def marked(self) -> np.ndarray | None:
        """Return in which rows a null marker stands in place of a blank, or None where there is none."""
        found = [one.marked[one.codes] for one in self._fields.values() if one.marked is not None]
        return np.logical_or.reduce(found) if found else None

    def _field(self, name: str) -> _Field:
        if name not in self._fields:
            column = self._frame[name]
            if isinstance(column.dtype, pd.CategoricalDtype):
                codes, used = pd.factorize(column.cat.codes.to_numpy())
                texts = column.cat.categories.to_numpy(object)[used].tolist()
            else:
                codes, found = pd.factorize(self.texts(name))
                texts = found.tolist()
            self._fields[name] = _as_read(codes, texts, self._columns[name])
        return self._fields[name]


def _as_read(codes: np.ndarray, texts: list[str], column: SourceColumn) -> _Field:
    read = [column.read(text) for text in texts]
    marked = np.array([not meant and bool(text.strip()) for text, meant in zip(texts, read, strict=True)], dtype=bool)
    faults = {text: fault for text in read if (fault := _fault(text))}
    return _Field(codes=codes, texts=read, marked=marked if marked.any() else None, faults=faults)


def _fault(text: str) -> str | None:
    if len(text) > MAX_VALUE_CHARACTERS:
        return f"has {len(text):,} characters, expected {MAX_VALUE_CHARACTERS:,} at most"
    what = damage.of_text(text.strip())
    return f"is {shown(text)}, {what}" if what else None


@dataclass(frozen=True, slots=True)
class _Values:
    """A cleaned column, spread over the rows: COPY's texts, and where and why it is bad."""

    texts: Texts
    bad: np.ndarray | None = None
    codes: np.ndarray | None = None
    reasons: tuple[str | None, ...] = ()


def _clean_column(source: _Source, column: Column) -> _Values:
    if column.verbatim:
        texts = source.texts(column.fields[0])
        # One match over all values instead of one call a value; a line break within a value would make it two.
        joined = "\n".join([*texts, ""])
        if joined.count("\n") == len(texts) and re.fullmatch(rf"(?:(?:{column.verbatim})\n)*", joined):
            return _Values(texts)
    codes, distinct = source.distinct(column.fields)
    faults = source.faults(column.fields)
    texts = np.empty(len(distinct), dtype=object)
    reasons: list[str | None] = [None] * len(distinct)
    for position, values in enumerate(distinct):
        cleaned = None
        found = (
            [f"{at[0]} {faults[at]}" for at in zip(column.fields, values, strict=True) if at in faults]
            if faults
            else []
        )
        if found:
            reasons[position] = found[0]
        else:
            try:
                cleaned = column.clean(*values)
            except ValueError as reason:
                reasons[position] = _reason(column.fields[0], values[0], str(reason))
        texts[position] = NULL if cleaned is None else cleaned.translate(_ESCAPES)
    if not any(reasons):
        return _Values(texts[codes])
    is_bad = np.array([reason is not None for reason in reasons], dtype=bool)
    return _Values(texts[codes], is_bad[codes], codes, tuple(reasons))


def _reason(field: str, value: str, why: str) -> str:
    """Return why a rule refuses a value, and what a spreadsheet did to it before, if that can be seen."""
    what = damage.of_number(value.strip())
    return f"{field} {visible(why)}" if what is None else f"{field} is {shown(value)}, {what}"


def _row_ids(source: _Source, kept: np.ndarray | slice) -> list[str]:
    """Return the `:id` of each row that is kept, as COPY reads it."""
    ids: list[str] = source.texts(ROW_ID)[kept].tolist()
    joined = "".join(ids)
    if "" not in ids and not any(special in joined for special in ("\0", "\\", "\t", "\n", "\r")):
        return ids  # as ever: looked at together, at a fraction of the time
    return [row_id.replace("\0", "").translate(_ESCAPES) or NULL for row_id in ids]


def _rejected(
    source: _Source, lines: np.ndarray, cleaned: list[_Values], bad: np.ndarray, dataset: Dataset
) -> list[Rejected]:
    rejected = []
    for row in np.flatnonzero(bad).tolist():
        reasons = (values.reasons[values.codes[row]] for values in cleaned if values.codes is not None)
        # Two columns made from one field give one reason.
        unique = tuple(dict.fromkeys(reason for reason in reasons if reason))
        raw = source.raw(row)
        rejected.append(Rejected(line=int(lines[row]), raw=raw, reasons=unique, key=_key(raw, dataset)))
    return rejected


def _warnings(source: _Source, kept: np.ndarray | slice, dataset: Dataset) -> dict[str, int]:
    counts = {}
    for expectation in dataset.expectations:
        codes, distinct = source.distinct(expectation.fields)
        broken = np.array([not expectation.holds(*values) for values in distinct], dtype=bool)
        counts[expectation.name] = int(broken[codes[kept]].sum()) if len(distinct) else 0
    marked = source.marked()
    return counts if marked is None else counts | {MISSING_IS_BLANK: int(marked[kept].sum())}
