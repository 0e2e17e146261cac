"""The data dictionary against the database itself, and for another dataset. That it is up to date: test_docs."""

import contextlib
import dataclasses
import re
import secrets
from collections.abc import Iterator
from typing import Any, Final

import pytest

from docs import dictionary
from evdata import warehouse
from evdata.contract import in_words
from evdata.dataset import DATASET
from local.postgres import Database
from tests import catalog, other_dataset
from tests.pulumi_mocks import PROJECT

PAGE: Final = (PROJECT / "docs" / "data-dictionary.md").read_text()
SPELT_OUT: Final = {"timestamptz": "timestamp with time zone"}


class Catalog:
    """Asks a migrated database."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            return found


@pytest.fixture
def migrated(database: Database) -> Iterator[Catalog]:
    with contextlib.closing(database.connect()) as connection:
        warehouse.migrate(connection)
        yield Catalog(connection)


def section(name: str) -> dict[str, list[str]]:
    """Return the cells of a relation's section by column."""
    found = re.search(rf"^##+ `{name}`\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"{name} has no section"
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", found[1], re.MULTILINE)
    return {name: [cell.replace("\\|", "|") for cell in re.split(r" \| ", rest)] for name, rest in rows}


def test_every_column_of_every_table_and_view_stands_in_it_with_its_type(migrated: Catalog) -> None:
    own = section(DATASET.table)
    for relation in catalog.relations(migrated.query) - {warehouse.VERSION_TABLE}:
        told = own | section(relation) if relation.endswith("_history") else section(relation)
        assert {name: SPELT_OUT.get(cells[0], cells[0]) for name, cells in told.items()} == dict(
            catalog.columns(migrated.query, relation)
        ), relation


def test_the_database_says_the_same_of_every_column(migrated: Catalog) -> None:
    for relation in catalog.relations(migrated.query) - {warehouse.VERSION_TABLE, f"{DATASET.table}_history"}:
        comments = dict(
            migrated.query(
                "SELECT attname::text, col_description(attrelid, attnum) FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attnum > 0",
                relation,
            )
        )
        for name, (_, meaning, *more) in section(relation).items():
            null = f"; NULL where {more[0]}" if len(more) > 1 and more[0] != "never" else ""
            assert comments[name] == meaning + null, f"{relation}.{name}"


def test_what_it_calls_never_null_never_is(migrated: Catalog) -> None:
    for relation in (DATASET.table, "pipeline_run", "rejected_row"):
        nulls = dict(
            migrated.query(
                "SELECT attname::text, NOT attnotnull FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
                relation,
            )
        )
        assert {name: cells[2] != "never" for name, cells in section(relation).items()} == nulls


def test_the_statements_for_a_server_without_the_role_give_all_of_it(migrated: Catalog) -> None:
    assert dictionary.grants() in PAGE
    reader = f"reader_{secrets.token_hex(4)}"
    statements = dictionary.grants(dataclasses.replace(DATASET, reader=reader)).strip("`").removeprefix("sql")
    migrated.query(statements)  # rolled back with the connection: the role is gone then
    migrated.query(f"SET ROLE {reader}")
    for relation in catalog.relations(migrated.query) - {warehouse.VERSION_TABLE}:
        migrated.query(f"SELECT * FROM {relation}")
    migrated.query(f"SELECT * FROM {DATASET.table}_as_of(now())")


def test_another_dataset_has_a_dictionary_of_its_own() -> None:
    told = dictionary.tables(other_dataset.DATASET) + dictionary.views(other_dataset.DATASET)
    for words in (
        "## `library`",
        "| `code` | text | Code of the library | never | Library Code | Text of two letters and a number; a row",
        "changes always, and is no news | the source leaves it blank | Visits Last Month | Whole number, 0 to",
        "### `library_by_decade`",
    ):
        assert words in told
    assert "vehicle" not in told


def test_every_rule_says_what_it_asks_for() -> None:
    for column in DATASET.columns:
        assert len(in_words(column.clean)) > 10, f"{column.name}: the rule's function has no docstring"


def test_a_rule_without_words_is_refused_by_the_name_of_its_column() -> None:
    mute = dataclasses.replace(DATASET.columns[3], clean=lambda value: value)
    with pytest.raises(ValueError, match=f"the rule of {mute.name} says nothing of itself"):
        dictionary.tables(dataclasses.replace(DATASET, columns=(mute,)))
