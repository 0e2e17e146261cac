"""What a contract with a dataset is made of: columns, rules for values, and the match with the source's columns.

Knows Socrata's way to name columns and nothing of any one dataset; `dataset.py` is written with it.
"""

import csv
import inspect
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from evdata.errors import DriftError
from evdata.visible import visible

# The longest value that is taken, the most that CSV readers commonly take (Python's csv too). A row with a longer one
# is rejected: https://docs.python.org/3.12/library/csv.html#csv.field_size_limit
MAX_VALUE_CHARACTERS: Final = 131_072
csv.field_size_limit(1 << 30)  # a longer value costs its row, in words of ours, and not the file

# What other programs write where a value is missing. Each is compared whole, in exactly this spelling.
NULL_MARKERS: Final = frozenset(
    (
        *("NULL", "null", "(NULL)", "(null)"),  # SQL clients
        *("nan", "NaN", "NaT", "<NA>", "None", "NA"),  # pandas, Python, R
        *("#N/A", "N/A", "n/a"),  # spreadsheets
        *("-", "--", "\N{EN DASH}", "\N{EM DASH}"),  # people
    )
)

# Takes the source's texts, one for each of a column's fields, and returns the value as PostgreSQL reads it, or None for
# unknown. Raises ValueError with the reason when the row cannot be kept.
type Cleaner = Callable[..., str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceColumn:
    """A column as the source names it: `field` in the API, `display` in exports, `types` its `dataTypeName`s."""

    field: str
    display: str
    types: tuple[str, ...] = ("text",)
    optional: bool = False  # may be gone from the source; its values are then NULL
    # Texts that stand for a blank; a dataset where one of them is a true value (a country's code NA) takes it out.
    null_markers: frozenset[str] = NULL_MARKERS

    @property
    def numeric(self) -> bool:
        """Whether the source may give it as a number, so that other programs may have rewritten it as one."""
        return "number" in self.types

    def read(self, value: str) -> str:
        """Return what a text means: blank for a null marker, `98052` for `98052.0` in a numeric column."""
        cleaned = value.strip()
        if cleaned in self.null_markers:
            return ""
        return without_fraction(cleaned) if self.numeric else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table and the rule that makes its values from the source's `fields`."""

    name: str
    sql_type: str
    fields: tuple[str, ...]
    clean: Cleaner
    comment: str
    not_null: bool = False
    null: str = "the source leaves it blank"  # when the value is NULL, if it may be
    history: bool = True  # a change of this column makes a new version of the row
    # Matches texts that `clean` leaves as they are and COPY reads as they are. For columns of many distinct values: a
    # part in which every value matches is taken over without a look at each.
    verbatim: str | None = None

    @property
    def documentation(self) -> str:
        """What the column's comment in the database says."""
        return self.comment if self.not_null else f"{self.comment}; NULL where {self.null}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """A fact expected across two fields; a row that breaks it is kept and counted as a warning."""

    name: str
    fields: tuple[str, str]
    holds: Callable[[str, str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewColumn:
    """A column of a view; `comment` says what it counts, its unit, and what NULL means."""

    name: str
    sql_type: str
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view that answers a common question; `query` yields `columns`, in this order and of these types."""

    name: str
    comment: str
    columns: tuple[ViewColumn, ...]
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A Socrata dataset and the table that mirrors it; `key` names the column that identifies a row."""

    dataset_id: str
    title: str
    attribution: str
    table: str
    key: str
    row_noun: str  # what one row is, in messages: "library"
    row_nouns: str  # what several are: "libraries"
    reader: str  # the role that may read it all
    source_columns: tuple[SourceColumn, ...]
    columns: tuple[Column, ...]
    expectations: tuple[Expectation, ...] = ()
    views: tuple[View, ...] = ()

    def counted(self, rows: int) -> str:
        """Return a number of rows in words: "1 library", "2,000 libraries"."""
        return f"{rows:,} {self.row_noun if rows == 1 else self.row_nouns}"

    @property
    def key_column(self) -> Column:
        return next(column for column in self.columns if column.name == self.key)

    @property
    def history_columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.history and column.name != self.key)

    def match(self, source_types: Mapping[str, str]) -> "Match":
        """Hold the source's columns (field name -> `dataTypeName`) against the contract.

        Raises `DriftError` naming every required column that is missing and every column retyped beyond its rule.
        """
        problems = []
        missing = []
        for column in self.source_columns:
            found = source_types.get(column.field)
            if found is None and column.optional:
                missing.append(column.field)
            elif found is None:
                problems.append(f"required column {column.field} ('{column.display}') is missing")
            elif found not in column.types:
                problems.append(
                    f"column {column.field} is of type {visible(found)}, the contract takes {' or '.join(column.types)}"
                )
        if problems:
            raise DriftError(
                f"dataset {self.dataset_id} no longer fits its contract: {'; '.join(problems)}. Nothing was staged. "
                "Compare the source's columns with handlers/evdata/dataset.py and change the contract if this is right."
            )
        known = {column.field for column in self.source_columns}
        return Match(
            select=tuple(column.field for column in self.source_columns if column.field in source_types),
            missing=tuple(missing),
            # Socrata's own helper columns (":@computed_region_...") are no news.
            unknown=tuple(name for name in source_types if name not in known and not name.startswith(":")),
        )

    def field_of(self, header: str) -> str | None:
        """Return the field that a CSV header names, by field name or display name, or None for a column not known.

        Case and spaces do not count: spreadsheets change the one, web pages the other to no-break spaces.
        """
        wanted = tidy(header).casefold()
        for column in self.source_columns:
            if wanted in (tidy(column.field).casefold(), tidy(column.display).casefold()):
                return column.field
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What the source has: fields to `select`, optional fields `missing`, and fields `unknown` to the contract."""

    select: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


# --- Rules: text in, text or None out, ValueError with the reason. Each runs once per distinct value, not per row. ---
# --- The first sentence of a rule's docstring is the rule in words, for the data dictionary. ---


def in_words(clean: Cleaner) -> str:
    """Return the first sentence of a rule's docstring, or nothing where there is none."""
    return (inspect.getdoc(clean) or "").split("\n", 1)[0].split(". ", 1)[0].rstrip(".")


def text(value: str) -> str | None:
    """Text as it is, without space around it; blank is unknown. PostgreSQL holds no NUL."""
    if "\0" in value:
        raise ValueError(f"is {shown(value)}, which holds a NUL character")
    return value.strip() or None


def required(clean: Cleaner) -> Cleaner:
    """Refuse what `clean` finds unknown."""

    def clean_required(*values: str) -> str:
        cleaned = clean(*values)
        if cleaned is None:
            raise ValueError("is missing")
        return cleaned

    clean_required.__doc__ = f"{in_words(clean)}; a row without it is rejected"
    return clean_required


def matching(pattern: str, meaning: str) -> Cleaner:
    """Text that matches `pattern` whole; `meaning` says in words what is expected."""
    compiled = re.compile(pattern)

    def clean_matching(value: str) -> str | None:
        cleaned = text(value)
        if cleaned is not None and not compiled.fullmatch(cleaned):
            raise ValueError(f"is {shown(cleaned)}, expected {meaning}")
        return cleaned

    clean_matching.__doc__ = f"Text of {meaning}"
    return clean_matching


def one_of(*allowed: str) -> Cleaner:
    """One of the values that the source documents."""

    def clean_one_of(value: str) -> str | None:
        cleaned = text(value)
        if cleaned is not None and cleaned not in allowed:
            raise ValueError(f"is {shown(cleaned)}, expected one of {', '.join(map(repr, allowed))}")
        return cleaned

    clean_one_of.__doc__ = f"One of {', '.join(allowed)}"
    return clean_one_of


_INTEGER: Final = re.compile(r"[0-9]{1,19}")
# A whole number as programs write it that take it for a fraction. Floating point holds 15 digits and guesses the rest.
_WITH_FRACTION: Final = re.compile(r"([0-9]{1,15})\.0*")


def without_fraction(value: str) -> str:
    """Return `238` for `238.0`, and any other text as it is."""
    found = _WITH_FRACTION.fullmatch(value) if "." in value else None
    return found[1] if found else value


def integer(lowest: int, highest: int, *, unknown: int | None = None) -> Cleaner:
    """A whole number within bounds; `unknown` is the number that the source writes for "not known"."""

    def clean_integer(value: str) -> str | None:
        cleaned = text(value)
        if cleaned is None:
            return None
        digits = without_fraction(cleaned)
        if not _INTEGER.fullmatch(digits):
            raise ValueError(f"is {shown(cleaned)}, expected a whole number")
        number = int(digits)
        if number == unknown:
            return None
        if not lowest <= number <= highest:
            raise ValueError(f"is {number}, expected {lowest} to {highest}")
        return str(number)

    clean_integer.__doc__ = f"Whole number, {lowest} to {highest}" + ("" if unknown is None else f"; {unknown} is NULL")
    return clean_integer


def code(digits: int, leading_zeros: Mapping[str, str]) -> Cleaner:
    """A code of so many digits; zeros that it lost in front are restored where codes of its group begin so.

    The group is the text of the column's second field, such as a state; `leading_zeros` has the pattern with which a
    group's codes begin, if any begin with zeros. A code that is too short for its group is refused: to pad it would
    make up another group's code.
    """
    beginnings = {group: re.compile(pattern) for group, pattern in leading_zeros.items()}

    def clean_code(value: str, group: str) -> str | None:
        cleaned, group = text(value), group.strip()
        if cleaned is None:
            return None
        found = without_fraction(cleaned)
        if found.isascii() and found.isdecimal() and len(found) < digits:
            padded = found.zfill(digits)
            found = padded if group in beginnings and beginnings[group].match(padded) else found
        if not re.fullmatch(rf"[0-9]{{{digits}}}", found):
            raise ValueError(f"is {shown(cleaned)}, expected {digits} digits{f' in {group[:40]}' if group else ''}")
        return found

    clean_code.__doc__ = (
        f"{digits} digits; lost leading zeros are restored where codes of the place begin so, a shorter code of "
        "another place is rejected"
    )
    return clean_code


# CSV writes "POINT (lon lat)", GeoJSON is not used. Degrees, WGS 84.
_POINT: Final = re.compile(r"POINT ?\(\s*(-?[0-9]{1,3}(?:\.[0-9]+)?)\s+(-?[0-9]{1,2}(?:\.[0-9]+)?)\s*\)")


def coordinate(axis: int) -> Cleaner:
    """Longitude (axis 0) or latitude (axis 1) of a point, in degrees."""
    limit = (180.0, 90.0)[axis]

    def clean_coordinate(value: str) -> str | None:
        cleaned = text(value)
        if cleaned is None:
            return None
        found = _POINT.fullmatch(cleaned)
        if not found:
            raise ValueError(f"is {shown(cleaned)}, expected 'POINT (longitude latitude)'")
        if abs(float(found[axis + 1])) > limit:
            raise ValueError(f"is {shown(cleaned)}, beyond {limit:.0f} degrees")
        return found[axis + 1]

    clean_coordinate.__doc__ = f"{('Longitude', 'Latitude')[axis]} of a point, at most {limit:.0f} degrees either way"
    return clean_coordinate


def tidy(heading: str) -> str:
    """Return a column's heading with plain single spaces, and without byte order mark or invisible characters."""
    plain = "".join(c for c in unicodedata.normalize("NFKC", heading) if unicodedata.category(c) != "Cf")
    return " ".join(plain.split())


def shown(value: str) -> str:
    """Return a value in quotes, short, with escapes for what is not printable."""
    return repr(value if len(value) <= 40 else value[:37] + "...")
