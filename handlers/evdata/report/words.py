"""Numbers, days and names as the report writes them, and tables as HTML. Everything written passes `html.escape`."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from evdata.report.facts import NAME_LENGTH
from evdata.visible import visible

DASH: Final = "\N{EN DASH}"
MINUS: Final = "\N{MINUS SIGN}"

type Cell = str | int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What stands behind a picture. The first column heads each row; numbers are aligned as such, None is a dash."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def to_html(self) -> str:
        """Return the table, its caption first, as screen readers announce it."""
        numeric = [
            any(not isinstance(row[column], str | None) for row in self.rows) for column in range(len(self.head))
        ]
        head = "".join(
            f'<th scope="col"{_number(is_number)}>{html.escape(name)}</th>'
            for name, is_number in zip(self.head, numeric, strict=True)
        )
        body = "".join(f"<tr>{''.join(_cells(row, numeric))}</tr>" for row in self.rows)
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return (
            f"<table><caption>{html.escape(self.caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"
        )


def _cells(row: Sequence[Cell], numeric: Sequence[bool]) -> Iterable[str]:
    for column, (cell, is_number) in enumerate(zip(row, numeric, strict=True)):
        text = html.escape(cell if isinstance(cell, str) else DASH if cell is None else f"{cell:,}")
        tag = ("td", 'th scope="row"')[column == 0]
        yield f"<{tag}{_number(is_number)}>{text}</{tag[:2]}>"


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def name(text: str | None, blank: str = "not stated") -> str:
    """Return a name of the source in one line, cut where it is endless; `blank` stands for none.

    What is not printable in it shows as an escape: a bidirectional mark would turn the text around it.
    """
    line = " ".join((text or "").split())
    return visible(line if len(line) <= NAME_LENGTH else f"{line[:NAME_LENGTH]}…") or blank


def place(county: str | None, state: str) -> str:
    """Return a county of Washington by its name, one elsewhere with its state."""
    if state == "WA":
        return name(county, "Washington, county not stated")
    return f"{name(county)}, {state}" if county else state


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 vehicle", "2,000 vehicles"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def be(number: int) -> str:
    return "is" if number == 1 else "are"


def share(part: int, whole: int) -> str:
    """Return a share in whole percent that never rounds something to nothing, or less than all to all."""
    if not whole:
        return DASH
    percent = round(100 * part / whole)
    if percent == 0 and part:
        return "under 1%"
    if percent == 100 and part < whole:
        return "over 99%"
    return f"{percent}%"


def change(after: int, before: int) -> str:
    """Return how a number changed: "+20,039 (+15.4%)"."""
    difference = after - before
    return f"{signed(difference)} ({difference / before:+.1%})" if before else signed(difference)


def signed(number: int) -> str:
    """Return a number with its sign, a proper minus included."""
    return f"{number:+,}".replace("-", MINUS) if number else "±0"


def day(moment: datetime) -> str:
    """Return a moment's day in UTC: "15 October 2023"."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y}"


def minute(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else DASH
