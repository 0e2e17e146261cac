"""Every version of one row, by its key: of a vehicle, or of whatever another dataset lists."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from psycopg2 import sql

from local.display import Display
from local.errors import LocalError
from local.reading import Cursor, contract
from local.state import typed

# What people call a vehicle by.
_NAMED_BY: Final = ("model_year", "make", "model_name")


def print_history(cursor: Cursor, key: str, display: Display) -> None:
    """Print what became of a row, a line for each stay and absence. LocalError when there never was one."""
    dataset = contract()
    names = [column.name for column in dataset.history_columns]
    stays = _stays(cursor, key, names)
    if not stays:
        raise LocalError(
            f"No row with {dataset.key} {key} is in {dataset.table} or ever was. Some that are: "
            + typed(f"query 'TABLE {dataset.table} LIMIT 5'")
        )
    last = stays[-1]
    known_as = " ".join(_value(last[name]) for name in _NAMED_BY if last.get(name))
    display.headline(f"{dataset.key} {key}" + (f": {known_as}" if known_as else ""))
    for name in names:
        display.line(f"{name:<22} {_value(last[name])}")
    display.heading("What became of it, by versions of the source")
    for line in _lines(stays, names):
        display.line(line)


def _stays(cursor: Cursor, key: str, names: list[str]) -> list[dict[str, Any]]:
    """Every way in which the vehicle stood in the table, oldest first; `valid_to` is None for the present one."""
    dataset = contract()
    cursor.execute(
        sql.SQL(
            "SELECT {facts}, valid_from, valid_to FROM {history} WHERE {key} = %(key)s::{type} "
            "UNION ALL SELECT {facts}, valid_from, NULL FROM {table} WHERE {key} = %(key)s::{type} ORDER BY valid_from"
        ).format(
            facts=sql.SQL(", ").join(map(sql.Identifier, names)),
            table=sql.Identifier(dataset.table),
            history=sql.Identifier(f"{dataset.table}_history"),
            key=sql.Identifier(dataset.key),
            type=sql.SQL(next(column.sql_type for column in dataset.columns if column.name == dataset.key)),
        ),
        {"key": key},
    )
    return [dict(zip([*names, "valid_from", "valid_to"], row, strict=True)) for row in cursor.fetchall()]


def _lines(stays: list[dict[str, Any]], names: list[str]) -> list[str]:
    lines = [f"{_span(stays[0]['valid_from'], stays[0]['valid_to'])}  arrived"]
    for before, stay in pairwise(stays):
        if before["valid_to"] < stay["valid_from"]:
            lines.append(f"{_span(before['valid_to'], stay['valid_from'])}  away: not in the source")
            what = "came back"
        else:
            what = "changed"
        if before.get("vin_code") != stay.get("vin_code"):
            what += ", as another vehicle: the number changed hands"
        lines.append(f"{_span(stay['valid_from'], stay['valid_to'])}  {what}: {_difference(before, stay, names)}")
    if stays[-1]["valid_to"] is not None:
        lines.append(f"{_span(stays[-1]['valid_to'], None)}  away: not in the source")
    return lines


def _difference(before: dict[str, Any], since: dict[str, Any], names: list[str]) -> str:
    """What reads otherwise than before."""
    changes = [
        f"{name} {_value(before[name])} → {_value(since[name])}" for name in names if before[name] != since[name]
    ]
    return "; ".join(changes) or "as it was"


def _span(begin: datetime, end: datetime | None) -> str:
    return f"{_moment(begin)} → {'now' if end is None else _moment(end):<16}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _value(value: Any) -> str:
    return "unknown" if value is None else str(value)
