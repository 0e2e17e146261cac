"""The views against a story of four versions whose answers are known by hand."""

from collections.abc import Iterator
from typing import Any

import pytest

from evdata.dataset import DATASET
from local.postgres import Database
from tests import catalog
from tests.handler_tools import Pipeline
from tests.story import told


@pytest.fixture(scope="module")
def story(postgres_server: Database) -> Iterator[Pipeline]:
    with told(postgres_server) as pipeline:
        yield pipeline


def rows(pipeline: Pipeline, view: str) -> list[tuple[Any, ...]]:
    """Return a view's rows, moments as days, in the order of their texts: NULLs last."""
    found = pipeline.query(f"SELECT * FROM {view} AS answer ORDER BY answer")
    return [tuple(f"{value:%m-%d}" if hasattr(value, "astimezone") else value for value in row) for row in found]


def test_counties_are_told_apart_by_state_and_a_blank_one_is_null(story: Pipeline) -> None:
    assert rows(story, "ev_by_county") == [
        ("Clark", "WA", 1, 0, 1),
        ("King", "WA", 1, 1, 0),
        ("Multnomah", "OR", 1, 0, 1),
        ("Pierce", "WA", 4, 3, 1),
        ("Thurston", "WA", 1, 1, 0),
        (None, "BC", 1, 0, 1),
    ]


def test_cities_are_told_apart_by_county_and_state(story: Pipeline) -> None:
    assert rows(story, "ev_by_city") == [
        ("BC", None, "Vancouver", 1, 0, 1),
        ("OR", "Multnomah", "Portland", 1, 0, 1),
        ("WA", "Clark", "Vancouver", 1, 0, 1),
        ("WA", "King", "Seattle", 1, 1, 0),
        ("WA", "Pierce", "Tacoma", 4, 3, 1),
        ("WA", "Thurston", "Olympia", 1, 1, 0),
    ]


def test_makes_and_models_come_with_their_years_and_a_blank_model_is_null(story: Pipeline) -> None:
    assert rows(story, "ev_by_make_model") == [
        ("BMW", "I3", 1, 0, 1, 2015, 2015),
        ("FORD", "ESCAPE", 1, 0, 1, 2020, 2020),
        ("HYUNDAI", "KONA", 4, 4, 0, 2020, 2022),
        ("NISSAN", None, 1, 1, 0, 2015, 2015),
        ("TOYOTA", "PRIUS PRIME", 2, 0, 2, 2015, 2015),
    ]


def test_model_years_tell_batteries_from_hybrids(story: Pipeline) -> None:
    assert rows(story, "ev_by_model_year") == [(2015, 4, 1, 3), (2020, 4, 3, 1), (2022, 1, 1, 0)]


def test_an_unknown_range_is_counted_and_is_in_no_figure(story: Pipeline) -> None:
    electric, hybrid = "Battery Electric Vehicle (BEV)", "Plug-in Hybrid Electric Vehicle (PHEV)"
    assert rows(story, "ev_by_range") == [
        (2015, electric, 1, 1, 0, 107, 107.0, 107),
        (2015, hybrid, 3, 2, 1, 25, 48.5, 72),
        (2020, electric, 3, 3, 0, 100, 238.0, 258),
        (2020, hybrid, 1, 0, 1, None, None, None),
        (2022, electric, 1, 1, 0, 258, 258.0, 258),
    ]


def test_utilities_stand_as_the_source_writes_them_and_none_is_null(story: Pipeline) -> None:
    assert rows(story, "ev_by_utility") == [
        ("CLARK", 1, 0, 1),
        ("PUGET", 1, 1, 0),
        ("SEATTLE", 1, 1, 0),
        ("TACOMA", 4, 3, 1),
        (None, 2, 0, 2),
    ]


def test_districts_are_washingtons_and_null_elsewhere(story: Pipeline) -> None:
    assert rows(story, "ev_by_legislative_district") == [
        (17, 1, 0, 1),
        (22, 1, 1, 0),
        (27, 4, 3, 1),
        (43, 1, 1, 0),
        (None, 2, 0, 2),
    ]


def test_growth_has_one_row_a_published_version_and_none_for_a_run_that_published_nothing(story: Pipeline) -> None:
    assert story.query("SELECT execution_id, status FROM pipeline_run ORDER BY finished_at") == [
        ("june", "published"),
        ("july", "published"),
        ("july, corrected", "published"),
        ("july's twin", "unchanged"),
        ("june, late", "superseded"),
        ("half of it", "refused"),
        ("august", "published"),
        ("september", "published"),
    ]
    assert rows(story, "ev_growth") == [
        # version, vehicles, arrived, changed, departed, rejected, kept
        ("06-01", 9, 9, 0, 0, 1, 0),
        ("07-01", 9, 1, 2, 1, 0, 0),  # 8; 2 and 10; 3. Neither 9 nor 11, which only its first publishing told otherwise
        ("08-01", 9, 1, 4, 1, 0, 0),  # 3; 2, 4, 6 and 9; 7
        ("09-01", 9, 0, 2, 0, 2, 0),  # 9 and 10
    ]


def test_growth_agrees_with_the_table_as_it_stood(story: Pipeline) -> None:
    assert story.query(
        "SELECT count(*) FROM ev_growth "
        "WHERE vehicles <> (SELECT count(*) FROM electric_vehicle_us_as_of(dataset_version))"
    ) == [(0,)]
    assert story.query(
        "SELECT count(*) FROM (SELECT vehicles, arrived - departed AS more, lag(vehicles, 1, 0::bigint) OVER "
        "(ORDER BY dataset_version) AS before FROM ev_growth) AS g WHERE vehicles <> before + more"
    ) == [(0,)]


def test_moves_are_of_vehicles_that_stayed_and_stayed_the_same(story: Pipeline) -> None:
    assert rows(story, "ev_moves") == [
        ("07-01", "King", "WA", "Pierce", "WA", 1),
        ("07-01", None, "BC", "King", "WA", 1),
        ("08-01", "Clark", "WA", "Multnomah", "OR", 1),
        ("08-01", "Pierce", "WA", "Thurston", "WA", 1),
        ("09-01", "King", "WA", "Pierce", "WA", 2),
    ], "3 came back elsewhere, 4 is another vehicle now, 9 first moved within the county: none of them is a move"


def test_every_count_of_the_population_makes_the_whole_table(story: Pipeline) -> None:
    counting = [view.name for view in DATASET.views if view.name.startswith("ev_by_")]
    assert len(counting) == 7
    for name in counting:
        assert story.query(f"SELECT sum(vehicles) FROM {name}") == [(9,)], name


# --- What the views are made of ---


def test_every_view_has_the_columns_and_types_that_the_contract_says(story: Pipeline) -> None:
    spelt_out = {"timestamptz": "timestamp with time zone"}
    for view in DATASET.views:
        assert catalog.columns(story.query, view.name) == [
            (column.name, spelt_out.get(column.sql_type, column.sql_type)) for column in view.columns
        ]


def test_nothing_in_the_database_is_without_a_comment(story: Pipeline) -> None:
    assert catalog.undocumented(story.query, reader=DATASET.reader) == []


def test_a_comment_that_is_missing_would_be_noticed(story: Pipeline) -> None:
    with story.connection() as connection, connection.cursor() as cursor:
        cursor.execute("COMMENT ON COLUMN ev_moves.to_county IS NULL; CREATE VIEW another AS SELECT 1 AS n")

        def query(statement: str, *values: Any) -> list[tuple[Any, ...]]:
            cursor.execute(statement, values or None)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

        assert sorted(catalog.undocumented(query, reader=DATASET.reader)) == [
            "column another.n",
            "column ev_moves.to_county",
            "relation another",
        ]
        connection.rollback()
