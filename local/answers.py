"""The answer to a person's query, as a table or as CSV."""

import csv
import itertools
import os
import sys
from collections.abc import Iterator
from typing import Final

from evdata.visible import visible
from local.display import Display
from local.reading import Answer

SHOWN_ROWS: Final = 100
_BATCH_ROWS: Final = 10_000


def show(answer: Answer, display: Display, *, every_row: bool) -> None:
    """Write the answer as a table; of a long one its beginning, unless `every_row` is asked for."""
    rows = list(_every(answer)) if every_row else answer.fetch(SHOWN_ROWS)
    more = 0 if every_row else answer.skip()
    display.table(answer.columns, rows, numeric=answer.numeric)
    if more:
        display.line(f"{len(rows):,} of {len(rows) + more:,} rows shown. All of them: --all, or --csv > FILE.csv")
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
    try:
        writer.writerows(rows)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has had enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _every(answer: Answer) -> Iterator[tuple[str | None, ...]]:
    while rows := answer.fetch(_BATCH_ROWS):
        yield from rows
