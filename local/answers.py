"""The answer to a person's query, as a table or as CSV."""

import csv
import os
import sys
from collections.abc import Iterator
from typing import Final

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
    """Write the whole answer to standard output as CSV with a header; NULL is an empty field."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    try:
        writer.writerow(answer.columns)
        writer.writerows(_every(answer))
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has had enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _every(answer: Answer) -> Iterator[tuple[str | None, ...]]:
    while rows := answer.fetch(_BATCH_ROWS):
        yield from rows
