"""A picture of the report: what it finds, what is drawn, and the table behind it; and what several are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evdata.report.facts import Group
from evdata.report.words import Table, counted

BATTERY, HYBRID = "Battery electric", "Plug-in hybrid"
BARS: Final = 12  # as many as can be taken in; the table has more
SPLIT: Final = (BATTERY, HYBRID)
NOTHING: Final = "There is nothing to draw yet: no vehicles stand in the table."


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One picture. `picture` is what page.js draws, None where there is nothing; `why_not` then says so."""

    id: str
    finding: str
    of: str  # what is shown, in what unit
    table: Table
    picture: dict[str, Any] | None
    remark: str = ""
    why_not: str = NOTHING
    size: str = ""  # "wide", "major" or "minor": how much of the page's width it has; half if empty


def split(group: Group) -> tuple[int, int, int]:
    return group.vehicles, group.battery_electric, group.plug_in_hybrid


def split_table(
    caption: str, what: str, groups: Sequence[Group], label: Callable[[Group], str], note: str = ""
) -> Table:
    rows = [(label(group), *split(group)) for group in groups]
    return Table(caption=caption, head=(what, "Vehicles", *SPLIT), rows=rows, note=note)


def bars(groups: Sequence[Group], label: Callable[[Group], str]) -> dict[str, Any] | None:
    """Horizontal bars, stacked: what runs on batteries alone, then hybrids."""
    if not groups:
        return None
    return {
        "kind": "bars",
        "x": "Vehicles",
        "names": [label(group) for group in groups],
        "series": [
            {"name": BATTERY, "color": "battery", "data": [group.battery_electric for group in groups]},
            {"name": HYBRID, "color": "hybrid", "data": [group.plug_in_hybrid for group in groups]},
        ],
    }


def and_more(there_are: int, shown: int, noun: str) -> str:
    return f"And {counted(there_are - shown, f'more {noun}')}." if there_are > shown else ""
