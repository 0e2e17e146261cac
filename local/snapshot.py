"""One version of a dataset as Socrata holds it: columns with three names each, and rows of text."""

import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Self

from evdata import damage
from evdata.contract import tidy
from evdata.visible import visible
from local.errors import LocalError

DATASET_ID: Final = "f6w7-q2d2"
SAMPLE: Final = Path(__file__).parent / "sample" / "ev-population-2023-10.csv.gz"
SAMPLE_UPDATED_AT: Final = 1_697_328_000  # 2023-10-15T00:00:00Z
SAMPLE_ROWS: Final = 15_214
SAMPLE_NOTE: Final = "A sample: one in ten of the vehicles that were registered on October 15, 2023."

type Type = Literal["text", "number", "point"]

# Field names that are not simply the display name (here in lower case) with underscores, and types that are not text:
# what the portal itself answers for this dataset. Any other dataset gets the rule alone.
# https://dev.socrata.com/foundry/data.wa.gov/f6w7-q2d2
_FIELDS: Final = {
    "postal code": "zip_code",
    "electric vehicle type": "ev_type",
    "clean alternative fuel vehicle (cafv) eligibility": "cafv_type",
    "vehicle location": "geocoded_column",
}
_TYPES: Final[Mapping[str, Type]] = {
    "electric_range": "number",
    "base_msrp": "number",
    "legislative_district": "number",
    "geocoded_column": "point",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`name` heads an export, `field` names it in the API."""

    name: str
    field: str
    type: Type = "text"

    @classmethod
    def named(cls, heading: str) -> Self:
        """The column that the portal would make of a heading; a field name given as heading stands for itself.

        Neither case nor no-break spaces make another column of it.
        """
        name = tidy(heading)
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        if slug[:1].isdigit() or name.startswith("_"):
            slug = f"_{slug}"
        field = _FIELDS.get(name.casefold(), slug)
        return cls(name=name, field=field, type=_TYPES.get(field, "text"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A dataset at one `rows_updated_at` (epoch seconds). An empty string in a row is a null."""

    columns: tuple[Column, ...]
    rows: Sequence[tuple[str, ...]]
    rows_updated_at: int = SAMPLE_UPDATED_AT
    dataset_id: str = DATASET_ID
    title: str = "Electric Vehicle Population Data"

    @classmethod
    def of(
        cls,
        rows: Iterable[Mapping[str, str | None]],
        *,
        columns: Sequence[str] | None = None,
        rows_updated_at: int = SAMPLE_UPDATED_AT,
        dataset_id: str = DATASET_ID,
    ) -> Self:
        """Rows as mappings by heading; the first row names the columns unless `columns` does."""
        listed = list(rows)
        headings = list(columns if columns is not None else listed[0])
        return cls(
            columns=tuple(Column.named(heading) for heading in headings),
            rows=[tuple(row.get(heading) or "" for heading in headings) for row in listed],
            rows_updated_at=rows_updated_at,
            dataset_id=dataset_id,
        )

    @classmethod
    def from_csv(
        cls,
        path: Path,
        *,
        rows_updated_at: int | None = None,
        dataset_id: str = DATASET_ID,
        key: str | None = "dol_vehicle_id",
    ) -> Self:
        """A CSV export, gzip-compressed or not, headed by display or field names.

        `rows_updated_at` is the file's own time unless given. The field `key` must be among the columns. LocalError
        says what is wrong with the file.
        """
        reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
        try:
            headings = next(reader, [])
            columns = tuple(Column.named(heading) for heading in headings)
            _judge_headings(path, headings, [column.field for column in columns], key)
            rows = []
            for row in reader:
                if row and len(row) != len(columns):
                    raise LocalError(
                        f"--data {path} is not CSV of one shape: the record that ends in line {reader.line_num} has "
                        f"{len(row)} values and the heading {len(columns)}."
                    )
                if row:  # most values repeat thousands of times: one copy of each keeps the whole dataset small
                    rows.append(tuple(map(sys.intern, row)))
        except csv.Error as error:
            raise LocalError(f"--data {path} is not CSV: line {reader.line_num}: {error}.") from None
        if not rows:
            raise LocalError(f"--data {path} has a heading and no rows; give an export of the dataset.")
        return cls(
            columns=columns,
            rows=rows,
            rows_updated_at=_file_date(path) if rows_updated_at is None else rows_updated_at,
            dataset_id=dataset_id,
        )

    @classmethod
    def sample(cls) -> Self:
        """The bundled sample: a tenth of the real dataset, as it was in October 2023."""
        return cls.from_csv(SAMPLE, rows_updated_at=SAMPLE_UPDATED_AT)


def sample_note(version: datetime, rows: int) -> str:
    """Return what to say of a version with so many rows: that it is the sample, if it is."""
    is_sample = (int(version.timestamp()), rows) == (SAMPLE_UPDATED_AT, SAMPLE_ROWS)
    return SAMPLE_NOTE if is_sample else ""


def _file_date(path: Path) -> int:
    """When the file was written, epoch seconds: a version of its own, and never the sample's."""
    written = int(path.stat().st_mtime)
    return written + 1 if written == SAMPLE_UPDATED_AT else written


def _judge_headings(path: Path, headings: Sequence[str], fields: Sequence[str], key: str | None) -> None:
    """Raise LocalError unless the headings name the key, and each column once."""
    if key is not None and key not in fields:
        found = visible(", ".join(headings))
        raise LocalError(
            f"--data {path} has no column 'DOL Vehicle ID' (or 'dol_vehicle_id'), which tells the vehicles apart; "
            f"its first line is: {found[:120]}{'…' if len(found) > 120 else ''}. Give an export of the dataset."
        )
    if twice := sorted({field for field in fields if fields.count(field) > 1}):
        raise LocalError(f"--data {path} has two columns named {visible(', '.join(twice))}; keep one of each.")


def _text(path: Path) -> str:
    """The file's text; LocalError says why there is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise LocalError(f"--data {path}: there is no such file.") from None
    except OSError as error:
        raise LocalError(f"--data {path} cannot be read: {error.strerror}.") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise LocalError(f"--data {path} is a broken gzip file; fetch it again.") from None
    if not data.strip():
        raise LocalError(f"--data {path} is empty; give a CSV export of the dataset, gzip-compressed or not.")
    if found := damage.of_file(data) or damage.of_encoding(data):
        raise LocalError(f"--data {path} {found.what}; {found.remedy}.")
    return data.decode("utf-8-sig")
