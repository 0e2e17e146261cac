"""Another dataset needs another contract file and nothing else."""

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final

import pytest

import extract
import load
from evdata import dataset as contract
from evdata.errors import DriftError, RefusedError
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests import catalog, database_state
from tests.handler_tools import Pipeline, build_pipeline
from tests.other_dataset import DATASET

HANDLERS: Final = Path(extract.__file__).parent
MAY, JUNE, JULY = 1_714_521_600, 1_717_200_000, 1_719_792_000  # the first of the month, 2024, midnight UTC
SEATTLE: Final = {"name": "Seattle Central", "code": "WA-1", "opened": "2004-05-23T00:00:00.000", "visits": "90000"}
TACOMA: Final = {"name": "Tacoma", "code": "WA-2", "opened": "1903-06-06", "visits": "20000"}
BOISE: Final = {"name": 'Boise\'s \\N "Hillcrest"', "code": "ID-10", "opened": "", "visits": ""}


def libraries(*rows: dict[str, str], at: int) -> Snapshot:
    return Snapshot.of(rows, columns=list(rows[0]), rows_updated_at=at, dataset_id="abcd-1234")


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data(libraries(SEATTLE, TACOMA, BOISE, at=MAY))


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    for module in (contract, extract, load):
        monkeypatch.setattr(module, "DATASET", DATASET)
    pipeline = build_pipeline(monkeypatch, database, source, part_rows=2, max_rejected=0.5, max_shrink=0.4)
    monkeypatch.setenv("DATASET_ID", "abcd-1234")
    return pipeline


def test_another_dataset_is_extracted_cleaned_loaded_and_remembered(pipeline: Pipeline, source: OpenData) -> None:
    first = pipeline.run("may")
    assert (first["status"], first["inserted"], first["rejected"]) == ("published", 3, 0)
    assert "3 libraries" in first["message"]
    assert "'a new library has no visits' does not hold for 1 row." in first["message"]
    assert pipeline.query("SELECT code, title, opened_on, visits FROM library ORDER BY code") == [
        ("ID-10", BOISE["name"], None, None),
        ("WA-1", "Seattle Central", date(2004, 5, 23), 90_000),
        ("WA-2", "Tacoma", date(1903, 6, 6), 20_000),
    ]

    source.snapshot = libraries(
        SEATTLE | {"visits": "91000"}, BOISE | {"opened": "1999-01-02"}, BOISE, {**TACOMA, "code": "2"}, at=JUNE
    )
    second = pipeline.run("june", force=True)
    assert {name: second[name] for name in database_state.COUNTS} == {
        "source": 4,
        "loaded": 2,
        "inserted": 0,
        "updated": 0,
        "removed": 1,
        "unchanged": 2,
        "rejected": 2,
        "kept": 0,
    }
    assert "Up to 1 of the 1 removed may really be rejections." in second["message"]
    assert pipeline.query("SELECT line, reasons FROM rejected_row ORDER BY part, line") == [
        (3, ["code came twice: this is overruled by the one in part 1, line 2"]),
        (3, ["code is '2', expected two letters and a number"]),
    ]
    assert pipeline.query("SELECT code, visits, change FROM library_history") == [("WA-2", 20_000, "removed")]

    source.snapshot = libraries({**SEATTLE, "name": ""}, BOISE, at=JULY)
    third = pipeline.run("july")
    assert {name: third[name] for name in ("loaded", "removed", "rejected", "kept")} == {
        "loaded": 1,
        "removed": 0,
        "rejected": 1,
        "kept": 1,
    }
    assert pipeline.query("SELECT title FROM library WHERE code = 'WA-1'") == [("Seattle Central",)]
    assert pipeline.query("SELECT key FROM rejected_row WHERE kept") == [("WA-1",)]
    assert pipeline.query("SELECT code, visits FROM library_as_of('2024-05-15') ORDER BY code") == [
        ("ID-10", None),
        ("WA-1", 91_000),
        ("WA-2", 20_000),
    ]
    assert pipeline.query("SELECT decade::text, libraries FROM library_by_decade ORDER BY 1") == [
        ("2000-01-01", 1),
        (None, 1),
    ]
    assert pipeline.extract()["status"] == "unchanged"


def test_its_columns_and_guards_are_its_own(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.run("may")
    without_visits = [{name: text for name, text in row.items() if name != "visits"} for row in (SEATTLE, TACOMA)]
    source.snapshot = libraries(*without_visits, at=JUNE)
    assert "NULL in the table: visits" in pipeline.extract()["message"]
    source.snapshot = libraries(SEATTLE, at=JUNE + 1)
    with pytest.raises(RefusedError, match=r"1 library, 66\.67% fewer than the 3"):
        pipeline.run("june")
    source.snapshot = libraries({"code": "WA-1", "name": "Seattle Central"}, at=JUNE + 2)
    with pytest.raises(DriftError, match=r"dataset abcd-1234 no longer fits.*required column opened \('Opened'\)"):
        pipeline.run("june again")


def test_its_tables_are_documented_and_readable_by_its_own_role(pipeline: Pipeline) -> None:
    pipeline.run("may")
    assert catalog.undocumented(pipeline.query, reader="library_reader") == []
    readable = "library", "library_history", "library_by_decade", "pipeline_run", "rejected_row"
    for name in readable:
        assert pipeline.query("SELECT has_table_privilege('library_reader', %s, 'SELECT')", name) == [(True,)]


def test_no_other_file_of_the_handlers_knows_electric_vehicles() -> None:
    knowing = re.compile(r"vehicle|electric|\bvin\b|\bdol\b|dol_|washington|\bcars?\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(HANDLERS)}:{number}: {line.strip()}"
        for path in sorted(HANDLERS.rglob("*.py"))
        if path.name not in ("dataset.py", "views.py")  # the contract
        and path.parent.name != "report"  # which is about this dataset, and is left out for another
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if knowing.search(line)
    ]
    assert found == []
