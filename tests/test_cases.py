"""Real vehicles in files as people save them, and what is right for each.

The files stay out of the repository; where they are absent these tests say so and skip. tests/test_damage.py,
test_transform.py, test_refusals.py and test_visible.py have a small one of each kind that always runs.
"""

import csv
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from evdata.errors import RefusedError
from evdata.report.page import page
from local.cli import main
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import Pipeline, build_pipeline
from tests.local_machine import new_machine, succeeded
from tests.report_cases import facts_of
from tests.test_report import sound

CASES: Final = Path(__file__).resolve().parent.parent.parent / "shared" / "cases"
JUNE, JULY = 1_717_200_000, 1_719_792_000  # the first of the month, 2024, midnight UTC
BASE: Final = "a00_base.csv"
# Read as they are, they come to the table of the base file.
LIKE_THE_BASE: Final = ("a06_pandas_float.csv", "a12_header_nbsp.csv", "a22_two_member.csv.gz")
# Refused before anything is begun, with these words.
REFUSED: Final[dict[str, tuple[str, ...]]] = {
    "a02_semicolon.csv": ("has semicolons between its columns", "line 1", "or export it with commas"),
    "a19_cp1252.csv": ("is in Windows-1252 (cp1252) or the like, not in UTF-8", "0xE9 in line 5", "save it as"),
    "a20_utf16.csv": ("is in UTF-16, not in UTF-8", "line 1", "save it as"),
    "a26_zip.csv": ("is a zip archive; unpack it",),
}
# Published or refused by the pipeline itself; each has a test of its own below.
JUDGED: Final = {
    *("a44_zip3.csv", "a45_tract10.csv", "d03_accents_rejected.csv", "d04_real_row_non_ascii.csv"),
    *("p01_v2_two_bad_zips.csv", "t01_terminal_escape.csv"),
}

pytestmark = pytest.mark.skipif(
    not (CASES / BASE).exists(),
    reason=f"the files are not in {CASES.parent.name}/{CASES.name} beside the checkout",
)


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data(CASES / BASE, rows_updated_at=JUNE)


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    return build_pipeline(monkeypatch, database, source)


def served(source: OpenData, name: str, at: int = JUNE) -> list[dict[str, str]]:
    """Have the stand-in serve a file; return its rows by display name."""
    source.snapshot = Snapshot.from_csv(CASES / name, rows_updated_at=at)
    names = [column.name for column in source.snapshot.columns]
    return [dict(zip(names, row, strict=True)) for row in source.snapshot.rows]


def table(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.query("SELECT * FROM electric_vehicle_us ORDER BY dol_vehicle_id")


def test_every_file_has_its_test() -> None:
    files = {path.name for path in CASES.iterdir()} - {"README.md"}
    assert files == {BASE, *LIKE_THE_BASE, *REFUSED, *JUDGED}


def test_the_base_loads_whole(pipeline: Pipeline, source: OpenData) -> None:
    rows = served(source, BASE)
    answer = pipeline.run("base")
    assert (answer["status"], answer["loaded"], answer["rejected"]) == ("published", len(rows), 0)
    assert "Warning" not in answer["message"]


@pytest.mark.parametrize("name", LIKE_THE_BASE)
def test_what_is_certain_is_read_as_the_base_is(name: str, pipeline: Pipeline, source: OpenData) -> None:
    pipeline.run("base")
    base = table(pipeline)
    served(source, name, JULY)
    answer = pipeline.run("changed by a program")
    assert (answer["unchanged"], answer["loaded"], answer["rejected"]) == (200, 200, 0)
    assert table(pipeline) == base
    assert "Warning" not in answer["message"], "0.0 is as unknown a range as 0"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_csv_is_refused_with_what_it_is_where_and_the_way_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "local"
    monkeypatch.setenv("EV_LOCAL_DIR", str(home))
    assert main(["run", "--data", str(CASES / name)]) == 1
    said = capsys.readouterr().err
    for words in REFUSED[name]:
        assert words in said
    assert "contract" not in said
    assert not home.exists(), "something was begun"


def test_zip_codes_that_lost_digits_are_rejected(pipeline: Pipeline, source: OpenData) -> None:
    served(source, "a44_zip3.csv")
    with pytest.raises(RefusedError, match=r"4 of 200 rows rejected .*zip_code is '981', expected 5 digits in WA"):
        pipeline.run("refused")
    pipeline.set_guard("MAX_REJECTED_FRACTION", 0.05)
    answer = pipeline.run("let pass")
    assert (answer["loaded"], answer["rejected"]) == (196, 4)
    assert pipeline.query("SELECT raw ->> 'zip_code' FROM rejected_row ORDER BY line") == [
        *(("981",), ("989",), ("9893",), ("9800",)),
    ]
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us WHERE postal_code LIKE '0%'") == [(0,)]


def test_census_tracts_that_lost_a_digit_are_rejected(pipeline: Pipeline, source: OpenData) -> None:
    served(source, "a45_tract10.csv")
    answer = pipeline.run("two of two hundred")
    assert (answer["loaded"], answer["rejected"]) == (198, 2)
    assert pipeline.query("SELECT raw ->> '_2020_census_tract', reasons FROM rejected_row ORDER BY line") == [
        ("5303301190", ["_2020_census_tract is '5303301190', expected 11 digits in WA"]),
        ("5307700310", ["_2020_census_tract is '5307700310', expected 11 digits in WA"]),
    ]
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us WHERE census_tract NOT LIKE '53%'") == [(0,)]


def test_a_rejected_row_is_kept_aside_as_it_came_accents_included(pipeline: Pipeline, source: OpenData) -> None:
    rows = served(source, "d03_accents_rejected.csv")
    answer = pipeline.run("accents")
    assert (answer["loaded"], answer["rejected"]) == (199, 1)
    ((line, raw),) = pipeline.query("SELECT line, raw - ':id' FROM rejected_row")
    assert sorted(raw.values()) == sorted(rows[line - 2].values())
    assert not "".join(raw.values()).isascii(), "the file has changed: there is nothing to see"


def test_a_name_that_is_not_ascii_is_stored_as_it_is(pipeline: Pipeline, source: OpenData) -> None:
    served(source, "d04_real_row_non_ascii.csv")
    pipeline.run("accents")
    assert pipeline.query("SELECT county FROM electric_vehicle_us WHERE dol_vehicle_id = 209944423") == [("Doña Ana",)]


def test_two_vehicles_with_a_bad_zip_code_this_month_have_not_left(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.run("june")
    base = table(pipeline)
    served(source, "p01_v2_two_bad_zips.csv", JULY)
    answer = pipeline.run("july")
    assert (answer["rejected"], answer["removed"]) == (2, 0)
    assert table(pipeline) == base
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us_history") == [(0,)]


def obeyed(text: str) -> set[str]:
    """Return the characters that a terminal or a browser would obey; line feeds of our own are meant."""
    return {one for one in text if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"}} - {"\n"}


def test_terminal_escapes_reach_no_message_and_no_page(pipeline: Pipeline, source: OpenData) -> None:
    rows = served(source, "t01_terminal_escape.csv")
    assert obeyed("".join(rows[0].values())), "the file has changed: there is nothing to see"
    answer = pipeline.run("escapes")
    assert answer["loaded"] == 200
    assert obeyed(answer["message"]) == set()
    assert obeyed(sound(page(facts_of(pipeline))).text) == set()
    stored = pipeline.query("SELECT county, make FROM electric_vehicle_us WHERE dol_vehicle_id = 101250425")
    assert stored == [(rows[0]["County"], rows[0]["Make"])], "as they came"


@pytest.mark.exhaustive
def test_nor_any_terminal_from_the_run_to_the_last_question() -> None:
    with new_machine() as machine:
        result = succeeded(machine.run("--data", CASES / "t01_terminal_escape.csv"))
        said = [result.output, *(f"{one['subject']}{one['message']}" for one in result.report["notifications"])]
        for question in (
            ("history", 101250425),
            ("status",),
            ("query", "SELECT * FROM electric_vehicle_us", "--all"),
            ("query", "SELECT * FROM ev_by_county"),
        ):
            process = machine.start(*question)
            said.append(process.communicate(timeout=300)[0])
            assert process.returncode == 0, said[-1]
        for text in said:
            assert obeyed(text) == set()
        assert r"\x1b[8mKing\u202e" in "".join(said)


@pytest.mark.exhaustive
def test_a_whole_run_of_a_file_that_went_through_pandas_loads_all_of_it() -> None:
    with new_machine() as machine:
        assert succeeded(machine.run("--data", CASES / "a06_pandas_float.csv")).report["counts"]["loaded"] == 200
        with (CASES / BASE).open(newline="") as base:
            expected = {(row["Postal Code"], row["2020 Census Tract"]) for row in csv.DictReader(base)}
        assert set(machine.ask("SELECT postal_code, census_tract FROM electric_vehicle_us")) == expected
