"""A contract with another dataset: what handlers/evdata/dataset.py would hold if this pipeline were about libraries.

Nothing like the electric vehicles: the key is a text, one column is a date, one makes no history, one may be gone.
"""

from datetime import date
from typing import Final

from evdata.contract import (
    Column,
    Dataset,
    Expectation,
    SourceColumn,
    View,
    ViewColumn,
    integer,
    matching,
    required,
    text,
)


def iso_date(value: str) -> str | None:
    """A day as Socrata writes a moment: 2019-05-04T00:00:00.000."""
    cleaned = text(value)
    if cleaned is None:
        return None
    try:
        return date.fromisoformat(cleaned[:10]).isoformat()
    except ValueError:
        raise ValueError(f"is {cleaned!r}, expected a date") from None


DATASET: Final = Dataset(
    dataset_id="abcd-1234",
    title="Public libraries",
    attribution="Somebody's libraries, public domain",
    table="library",
    key="code",
    row_noun="library",
    row_nouns="libraries",
    reader="library_reader",
    source_columns=(
        SourceColumn(field="name", display="Name"),
        SourceColumn(field="code", display="Library Code"),
        SourceColumn(field="opened", display="Opened", types=("text", "calendar_date")),
        SourceColumn(field="visits", display="Visits Last Month", types=("text", "number"), optional=True),
    ),
    columns=(
        Column(
            name="code",
            sql_type="text",
            fields=("code",),
            clean=required(matching(r"[A-Z]{2}-\d+", "two letters and a number")),
            not_null=True,
            comment="Code of the library",
        ),
        Column(
            name="title", sql_type="text", fields=("name",), clean=required(text), not_null=True, comment="Its name"
        ),
        Column(name="opened_on", sql_type="date", fields=("opened",), clean=iso_date, comment="Day of its opening"),
        Column(
            name="visits",
            sql_type="bigint",
            fields=("visits",),
            clean=integer(0, 10**9),
            history=False,
            comment="Visits in the month before; changes always, and is no news",
        ),
    ),
    expectations=(
        Expectation(name="a new library has no visits", fields=("opened", "visits"), holds=lambda o, v: bool(o or v)),
    ),
    views=(
        View(
            name="library_by_decade",
            comment="Libraries by the decade of their opening",
            columns=(
                ViewColumn(name="decade", sql_type="date", comment="First day of the decade; NULL if not known"),
                ViewColumn(name="libraries", sql_type="bigint", comment="Libraries opened in it"),
            ),
            query="SELECT date_trunc('decade', opened_on)::date AS decade, count(*) AS libraries FROM library "
            "GROUP BY 1",
        ),
    ),
)
