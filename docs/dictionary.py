"""The data dictionary's tables, from the dataset's contract, its views and the migrations' comments."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from evdata.contract import Column, Dataset, View, in_words
from evdata.dataset import DATASET
from evdata.schema import CURRENT_COLUMNS, HISTORY_COLUMNS, readable

_HANDLERS: Final = Path(__file__).resolve().parent.parent / "handlers"
_MIGRATIONS: Final = _HANDLERS / "evdata" / "migrations" / "versions"


def tables(dataset: Dataset = DATASET) -> str:
    """Return the sections of the current table, its history, and the function between them."""
    fields = {column.field: column.display for column in dataset.source_columns}
    return "\n".join(
        [
            f"## `{dataset.table}`",
            "",
            f"{dataset.title}: what the source lists now, one row each. Key: `{dataset.key}`. {dataset.attribution}.",
            "",
            *_table(
                ("column", "type", "meaning", "NULL where", "from the source's", "rule", "history"),
                [
                    *(_own(column, fields, dataset) for column in dataset.columns),
                    *(
                        (name, kind, meaning, "never", "", "", "no")
                        for name, (kind, meaning) in CURRENT_COLUMNS.items()
                    ),
                ],
            ),
            "",
            "**history**: whether a change of the column makes a new version of the row; otherwise it is overwritten.",
            "",
            f"## `{dataset.table}_history`",
            "",
            "Every superseded version of a row, the columns above as they read then; who left and returned has two.",
            f"Key: `{dataset.key}, valid_from`.",
            "",
            *_table(
                ("column", "type", "meaning", "NULL where"),
                [(name, kind, meaning, "never") for name, (kind, meaning) in HISTORY_COLUMNS.items()],
            ),
            "",
            f"## `{dataset.table}_as_of(moment timestamptz)`",
            "",
            f"The rows of `{dataset.table}` as they stood at a moment, by the source's own versions, with its columns.",
        ]
    )


def runs() -> str:
    """Return the sections of the tables that say what the runs did, from the migrations that make and extend them."""
    statements = "".join(path.read_text() for path in sorted(_MIGRATIONS.glob("*.py")))
    told = (
        "The counts are NULL for a run that was refused; of all other runs `source = loaded + rejected` and "
        "`loaded = inserted + updated + unchanged`, which the database itself enforces. After a run that "
        "published, the table has `loaded + kept` rows."
    )
    return "\n\n".join([_declared(statements, "pipeline_run"), told, _declared(statements, "rejected_row")])


def views(dataset: Dataset = DATASET) -> str:
    """Return the sections of the views."""
    return "\n\n".join(_view(view) for view in dataset.views)


def grants(dataset: Dataset = DATASET) -> str:
    """Return the statements that give the reading role its rights by hand."""
    names = ",\n  ".join(readable(dataset))
    return "\n".join(
        [
            "```sql",
            f"CREATE ROLE {dataset.reader} NOLOGIN;",
            f"GRANT SELECT ON\n  {names}\n  TO {dataset.reader};",
            f"GRANT EXECUTE ON FUNCTION {dataset.table}_as_of(timestamptz) TO {dataset.reader};",
            "```",
        ]
    )


def _own(column: Column, fields: dict[str, str], dataset: Dataset) -> Sequence[str]:
    rule = in_words(column.clean)
    if not rule:
        raise ValueError(f"the rule of {column.name} says nothing of itself: give its function a docstring")
    return (
        column.name,
        column.sql_type,
        column.comment,
        "never" if column.not_null else column.null,
        ", ".join(fields[field] for field in column.fields),
        rule,
        "key" if column.name == dataset.key else "yes" if column.history else "no",
    )


def _view(view: View) -> str:
    rows = [(column.name, column.sql_type, column.comment) for column in view.columns]
    return "\n".join([f"### `{view.name}`", "", f"{view.comment}.", "", *_table(("column", "type", "meaning"), rows)])


def _declared(statements: str, table: str) -> str:
    """A table's section, from its CREATE TABLE, the columns added to it since, and its COMMENTs, the newest of each."""
    body = re.search(rf"CREATE TABLE {table} \(\n(.*?)\n\);", statements, re.DOTALL)
    if not body:
        raise ValueError(f"no migration makes {table}")
    columns = re.findall(r"^  ([a-z_]+) ([a-z]+(?:\[\])?)(.*)$", body[1], re.MULTILINE)
    for added in re.findall(rf"ALTER TABLE public\.{table} ([^;]+);", statements):
        columns += re.findall(r"ADD COLUMN ([a-z_]+) ([a-z]+(?:\[\])?)([^,;]*)", added)
    comments = {
        target: re.sub(r"'\s+'", "", words).replace("''", "'")
        for target, words in re.findall(r"COMMENT ON \w+ (?:public\.)?([\w.]+) IS '((?:[^']|''|'\s+')*)';", statements)
    }
    rows = [
        (name, kind, comments[f"{table}.{name}"], "never" if "NOT NULL" in more or "PRIMARY" in more else "may be")
        for name, kind, more in columns
    ]
    return "\n".join(
        [f"## `{table}`", "", f"{comments[table]}.", "", *_table(("column", "type", "meaning", "NULL"), rows)]
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for name, kind, *rest in rows:
        yield f"| {' | '.join([f'`{name}`', kind, *(text.replace('|', '\\|') for text in rest)])} |"
