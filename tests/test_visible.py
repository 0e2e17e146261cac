"""Text from outside reaches no terminal, message or page as an order: what is not printable is written out."""

import csv
import inspect
import io
import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from rich.console import Console

import extract
import load
from evdata import errors
from evdata.dataset import DATASET
from evdata.errors import DriftError, PipelineError
from evdata.report.page import page
from evdata.transform import clean_part
from evdata.visible import visible, visible_lines
from local.answers import write_csv, write_json
from local.display import Display
from local.errors import LocalError
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Column, Snapshot
from tests.handler_tools import build_pipeline
from tests.report_cases import facts_of
from tests.test_report import sound
from tests.test_transform import VEHICLE, as_csv, vehicle

# Colors and titles (CSI, OSC, in 7 and 8 bits), backspace and delete, overrides and isolates, line ends of all kinds.
ORDERS: Final = (
    *("\x1b[8m", "\x1b]0;PWNED\x07", "\x9b31m", "\x9d0;x\x9c", "\b", "\x7f", "\0", "\r", "\n", "\t", "\x85"),
    *(chr(code) for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x061C, 0x2028, 0x2029)),
    *("\ufeff", "\u200b", "\U000e0041", "\udce9"),
)
HOSTILE: Final = "King" + "".join(ORDERS) + "\u202eelttaeS"


def obeyed(text: str) -> set[str]:
    """Return the characters of a text that something might obey; line feeds of our own are meant."""
    return {character for character in text if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - {
        "\n"
    }


@pytest.mark.parametrize("order", ORDERS, ids=ascii)
def test_whatever_a_terminal_would_obey_is_written_out(order: str) -> None:
    shown = visible(f"a{order}b")
    assert shown.isprintable()
    assert shown == f"a{order.encode('unicode_escape').decode()}b"
    assert visible(shown) == shown, "once is enough"


@pytest.mark.parametrize("text", ["", "Doña Ana", 'PUD NO 1, "THE\\BEST"', "[bold] ünï|çødé 🚗 \N{EN DASH}"])
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_line_breaks_of_a_message_are_meant_and_nothing_else_is() -> None:
    assert visible_lines("one\ntwo\x1b[8m\rthree") == "one\ntwo\\x1b[8m\\rthree"


@pytest.mark.parametrize("kind", PipelineError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_no_error_of_the_handlers_carries_an_order(kind: type[PipelineError]) -> None:
    assert kind.__module__ == errors.__name__
    assert str(kind("header lacks \x1b[8mmake\u202e.\nRun again.")) == "header lacks \\x1b[8mmake\\u202e.\nRun again."


def _step(display: Display) -> None:
    with display.step("Source") as step:
        step.detail = HOSTILE


SHOWN: Final[dict[str, Callable[[Display], Any]]] = {
    "headline": lambda display: display.headline(HOSTILE),
    "heading": lambda display: display.heading(HOSTILE),
    "line": lambda display: display.line(HOSTILE),
    "message": lambda display: display.message(HOSTILE, HOSTILE),
    "pairs": lambda display: display.pairs([(HOSTILE, 1)]),
    "step": _step,
    "done": lambda display: display.done(HOSTILE, HOSTILE, 1.0, failed=True),
    "table": lambda display: display.table([HOSTILE], [[HOSTILE], [None]], numeric=[False]),
    "outcome": lambda display: display.outcome(HOSTILE, failed=True),
    "error": lambda display: display.error(HOSTILE),
}


@pytest.mark.parametrize("what", SHOWN)
def test_nothing_that_is_displayed_is_an_order_to_the_terminal(what: str) -> None:
    text = io.StringIO()
    SHOWN[what](Display(Console(file=text, highlight=False, soft_wrap=True)))
    assert "King" in text.getvalue()
    assert obeyed(text.getvalue()) == set()
    assert r"\x1b[8m" in text.getvalue()


def test_every_way_to_display_is_tried() -> None:
    takes_text = {
        name
        for name, what in inspect.getmembers(Display, inspect.isfunction)
        if not name.startswith("_") and len(inspect.signature(what).parameters) > 1
    }
    assert takes_text == {*SHOWN, "waiting"}, "waiting is in step"


def test_a_narrow_terminal_shows_a_row_a_value_a_line_and_obeys_none() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=20, color_system=None, soft_wrap=True)
    Display(console).table([HOSTILE], [[HOSTILE * 3]], numeric=[False])
    assert r"\u202eelttaeS" in text.getvalue()
    assert obeyed(text.getvalue()) == set()


class Answered:
    """An answer of one row, as `Answer` gives it."""

    columns = ("what",)
    kinds = ("text",)

    def __init__(self) -> None:
        self._rows: list[tuple[str | None, ...]] = [(HOSTILE,), (None,)]

    def fetch(self, _: int) -> list[tuple[str | None, ...]]:
        rows, self._rows = self._rows, []
        return rows


@pytest.mark.parametrize("terminal", [True, False])
def test_csv_is_exact_for_a_file_and_safe_for_a_terminal(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO(newline="")
    monkeypatch.setattr(written, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stdout", written)
    write_csv(Answered())  # type: ignore[arg-type]
    written.seek(0)
    assert list(csv.reader(written)) == [["what"], [visible(HOSTILE) if terminal else HOSTILE], [""]]


def test_json_is_exact_for_a_file_and_safe_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    write_json(Answered())  # type: ignore[arg-type]
    assert obeyed(written.getvalue()) == set()
    assert json.loads(written.getvalue()) == [{"what": HOSTILE}, {"what": None}]


def test_a_hostile_dataset_is_stored_as_it_is_and_told_without_orders(
    aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, open_data: Callable[..., OpenData]
) -> None:
    county, make = "\x1b[8mKing\u202e", "\x1b]0;PWNED\x07TESLA"
    rows = [vehicle(1, county=county, make=make), vehicle(2, model_year="\x1b[2J\u202e"), vehicle(3)]
    new = "charger\x1b[31m\u2066"
    names = [*VEHICLE, new]
    source = open_data(
        Snapshot(
            columns=tuple(Column(name=name, field=name, type=Column.named(name).type) for name in names),
            rows=[(*(row[name] for name in VEHICLE), "x") for row in rows],
            title="Vehicles\u202e\nWarning: \x1b[31mall is well",
        )
    )
    pipeline = build_pipeline(monkeypatch, database, source, max_rejected=0.5)
    extracted = pipeline.extract()
    assert "'Vehicles\\u202e\\nWarning: \\x1b[31mall is well'" in extracted["message"]
    assert r"not loaded: charger\x1b[31m\u2066." in extracted["message"]
    pipeline.stage(extracted["manifest_key"], 0)
    answer = pipeline.publish(extracted["manifest_key"], "hostile")
    assert r"model_year is '\x1b[2J\u202e'" in answer["message"]
    for told in (extracted, answer):
        assert obeyed(f"{told['message']} {told['headline']}") == set()
    assert pipeline.query("SELECT county, make FROM electric_vehicle_us WHERE dol_vehicle_id = 1") == [(county, make)]
    assert pipeline.query("SELECT raw ->> 'model_year' FROM rejected_row") == [("\x1b[2J\u202e",)], "as it came"
    found = sound(page(facts_of(pipeline)))
    assert obeyed(found.text) == set()
    assert obeyed("".join(map(str, strings(found.pictures)))) == set()
    assert r"\x1b[8mKing\u202e" in found.text


@pytest.mark.parametrize("function", [extract, load], ids=lambda module: module.__name__)
def test_the_log_is_safe_to_follow_on_a_terminal(function: Any) -> None:
    written = io.StringIO()
    said = HOSTILE.replace("\udce9", "")  # pytest-xdist cannot carry a captured record with half a character
    (handler,) = function.logger.handlers
    before = handler.setStream(written)
    try:
        function.logger.error(said, extra={"answer": said}, exc_info=ValueError(said))
    finally:
        handler.setStream(before)
    assert obeyed(written.getvalue()) == set()
    assert json.loads(written.getvalue())["answer"] == said


def test_a_reason_is_safe_whatever_its_rule_quotes() -> None:
    cleaned = clean_part(as_csv([vehicle(1, state="\x1b[8m\u202e", _2020_census_tract="5303301190")]), DATASET)
    assert r"_2020_census_tract is '5303301190', expected 11 digits in \x1b[8m\u202e" in cleaned.rejected[0].reasons
    assert obeyed("".join(cleaned.rejected[0].reasons)) == set()


def test_headings_and_types_that_are_quoted_are_one_line(tmp_path: Path) -> None:
    hostile = "\x1b[8mCharger\u202e\nAll is well."
    written = r"\x1b[8mCharger\u202e\nAll is well."
    with pytest.raises(DriftError) as drift:
        clean_part(f'"{hostile}",city\n'.encode(), DATASET)
    assert f"it has {written}, city." in str(drift.value)
    with pytest.raises(DriftError) as retyped:
        DATASET.match({column.field: hostile for column in DATASET.source_columns})
    assert f"is of type {written}, the contract takes" in str(retyped.value)
    path = tmp_path / "ev.csv"
    path.write_text(f'"{hostile}",city\n')
    with pytest.raises(LocalError) as refusal:
        Snapshot.from_csv(path)
    assert f"its first line is: {written}, city." in str(refusal.value)


def strings(document: Any) -> list[str]:
    """Return every text in what was JSON."""
    if isinstance(document, str):
        return [document]
    if isinstance(document, dict):
        return [text for item in document.items() for part in item for text in strings(part)]
    return [text for part in document for text in strings(part)] if isinstance(document, list) else []
