"""How the pipeline stands: what is in the table, how fresh it is, what the runs came to."""

from datetime import datetime, timedelta
from typing import Any, Final

from psycopg2 import sql

from local.display import Display
from local.reading import Cursor, contract
from local.snapshot import sample_note
from local.state import typed

SHOWN_REFUSALS: Final = 3
SHOWN_VERSIONS: Final = 10
_ALL_REFUSALS: Final = "query \"SELECT * FROM pipeline_run WHERE status = 'refused'\""
_ALL_VERSIONS: Final = "query 'SELECT * FROM ev_growth'"
_ALL_RUNS: Final = "query 'SELECT * FROM pipeline_run'"
_VERSIONS_OF_VIEW: Final = (
    "SELECT dataset_version, vehicles, arrived, changed, departed, rejected, kept FROM ev_growth ORDER BY 1 DESC"
)
_VERSIONS_OF_RUNS: Final = (
    "SELECT dataset_version, loaded + kept, inserted, updated, removed, rejected, kept FROM pipeline_run "
    "WHERE status = 'published' ORDER BY dataset_version DESC, finished_at DESC"
)


def tell_status(cursor: Cursor, display: Display, *, now: datetime) -> None:
    """Tell it."""
    runs = _ask(
        cursor, "SELECT status, dataset_version, finished_at, message FROM pipeline_run ORDER BY 3 DESC LIMIT 1"
    )
    if not runs:
        display.line("No run has come as far as publishing yet: the table is empty. Start one: " + typed("run"))
        return
    display.heading("In the table")
    _tell_table(cursor, display, now)
    ((status, version, finished, message),) = runs
    display.heading("Last run that came as far as publishing (one that finds the source unchanged does not)")
    display.line(f"{status} {_ago(now - finished)}, version {_moment(version)}")
    display.line(_first_line(message))
    _tell_refusals(cursor, display, now)
    _tell_versions(cursor, display)


def _tell_table(cursor: Cursor, display: Display, now: datetime) -> None:
    dataset = contract()
    published = _ask(
        cursor,
        "SELECT dataset_version, finished_at, rejected, execution_id FROM pipeline_run WHERE status = 'published' "
        "ORDER BY dataset_version DESC, finished_at DESC LIMIT 1",
    )
    if not published:
        display.line("nothing: no run has published")
        return
    ((version, finished, rejected, execution),) = published
    ((rows,),) = _ask(cursor, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(dataset.table)))
    display.line(f"{dataset.counted(rows)} of version {_moment(version)}, published {_ago(now - finished)}")
    if note := sample_note(version, rows + rejected):
        display.line(note)
    display.line(f"the source last changed {_ago(now - version)} as far as is known here")
    often = _ask(
        cursor,
        "SELECT reason, count(*) FROM rejected_row, unnest(reasons) AS reason WHERE execution_id = %s "
        "GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 3",
        execution,
    )
    reasons = "; ".join(f"{reason} ({count:,})" for reason, count in often)
    display.line(
        f"{rejected:,} of its rows rejected; they stand in rejected_row. Most often: {reasons}"
        if rejected
        else "none of its rows was rejected"
    )


def _tell_refusals(cursor: Cursor, display: Display, now: datetime) -> None:
    refused = _ask(cursor, "SELECT finished_at, message FROM pipeline_run WHERE status = 'refused' ORDER BY 1 DESC")
    display.heading(f"Runs refused: {len(refused):,}")
    for finished, message in refused[:SHOWN_REFUSALS]:
        display.line(f"{_ago(now - finished)}: {_first_line(message)}")
    if len(refused) > SHOWN_REFUSALS:
        display.line(f"All: {typed(_ALL_REFUSALS)}")


def _tell_versions(cursor: Cursor, display: Display) -> None:
    dataset = contract()
    columns = (dataset.row_nouns, "arrived", "changed", "departed", "rejected", "kept")
    # The view counts a version that was published twice once; another dataset need not have it.
    has_view = any(view.name == "ev_growth" for view in dataset.views)
    versions = _ask(cursor, _VERSIONS_OF_VIEW if has_view else _VERSIONS_OF_RUNS)
    display.heading(f"Versions published: {len(versions):,}")
    display.table(
        ["version", *columns],
        [(_moment(version), *(f"{count:,}" for count in counts)) for version, *counts in versions[:SHOWN_VERSIONS]],
        numeric=[False, *[True] * len(columns)],
    )
    if len(versions) > SHOWN_VERSIONS:
        display.line(f"The newest are shown. All: {typed(_ALL_VERSIONS if has_view else _ALL_RUNS)}")


def _ask(cursor: Cursor, query: str | sql.Composable, *values: object) -> list[tuple[Any, ...]]:
    cursor.execute(query, values or None)
    return cursor.fetchall()


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _ago(since: timedelta) -> str:
    seconds = since.total_seconds()
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if (count := int(seconds // length)) >= 1:
            return f"{count:,} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]
