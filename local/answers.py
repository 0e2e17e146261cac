"""The answer to a person's query, as a table, as CSV or as JSON."""

import csv
import io
import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from evdata.visible import visible, visible_json
from local.display import Display
from local.reading import Answer, Kind

SHOWN_ROWS: Final = 100
_BATCH_ROWS: Final = 10_000


def show(answer: Answer, display: Display, *, every_row: bool) -> None:
    """Write the answer as a table. A terminal gets the beginning of a long one, unless `every_row` is asked for."""
    every_row = every_row or not display.is_terminal
    rows = list(_every(answer)) if every_row else answer.fetch(SHOWN_ROWS)
    more = 0 if every_row else answer.skip()
    display.table(answer.columns, rows, numeric=[kind == "number" for kind in answer.kinds])
    if more:
        display.line(
            f"{len(rows):,} of {len(rows) + more:,} rows shown. "
            "All of them: --all, --csv > FILE.csv or --json > FILE.json"
        )
    else:
        display.line("1 row" if len(rows) == 1 else f"{len(rows):,} rows")


def write_csv(answer: Answer) -> None:
    """Write the whole answer to standard output as CSV with a header; NULL is an empty field.

    A file or a pipe gets every value as it is; a terminal gets escapes for what it would obey.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    rows: Iterator[tuple[str | None, ...]] = itertools.chain([tuple(answer.columns)], _every(answer))
    if sys.stdout.isatty():
        rows = (tuple(value and visible(value) for value in row) for row in rows)
    with _standard_output():
        writer.writerows(rows)


def write_json(answer: Answer) -> None:
    """Write the whole answer to standard output as a JSON array with an object a row.

    Numbers and booleans are JSON's own, NULL is null, and every other value is text as PostgreSQL writes it.
    """
    with _standard_output() as output:
        output.write("[")
        for number, row in enumerate(_every(answer)):
            values = [_plain(value, kind) for value, kind in zip(row, answer.kinds, strict=True)]
            output.write((",\n " if number else "") + visible_json(dict(zip(answer.columns, values, strict=True))))
        output.write("]\n")


def _plain(value: str | None, kind: Kind) -> object:
    if value is None or kind == "text":
        return value
    if kind == "boolean":
        return value == "t"
    return json.loads(value) if value.lstrip("-")[:1].isdigit() else value  # NaN and Infinity are not JSON


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    """Standard output in UTF-8, whatever the terminal's encoding: a file must hold what the table holds."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has had enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _every(answer: Answer) -> Iterator[tuple[str | None, ...]]:
    while rows := answer.fetch(_BATCH_ROWS):
        yield from rows
