"""The report: what it tells, that it tells it of every kind of data, and that it never stands in publish's way."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import boto3
import pytest

import load
from evdata.errors import DatabaseError, TransientError
from evdata.raw_store import RawStore
from evdata.report import facts as facts_module
from evdata.report import writing
from evdata.report.facts import Facts, Group, Version
from evdata.report.page import page, script_json
from evdata.report.present import steps
from evdata.report.words import share, signed
from evdata.warehouse import Warehouse
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import BUCKET, Context, Pipeline, build_pipeline
from tests.report_cases import CASES, ENDLESS, FIRST, LONG, MARKUP, MONTH, facts_of, publish_all
from tests.test_transform import vehicle

MEGABYTE: Final = 1_000_000
VOID: Final = {"meta", "link", "br", "img", "input", "hr"}

type Start = Callable[..., OpenData]


@pytest.fixture
def source(open_data: Start) -> OpenData:
    return open_data([vehicle(1)], rows_updated_at=FIRST)


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    return build_pipeline(monkeypatch, database, source, max_rejected=1)


class Page(HTMLParser):
    """A page as a browser takes it apart; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}  # by element
        self.text = ""  # all that a person reads
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> does not match"

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data
        if not {"script", "style"} & set(self._open):
            self.text += data

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute)) is not None]

    @property
    def pictures(self) -> dict[str, Any]:
        """What is drawn, by the picture's name."""
        drawn: dict[str, Any] = json.loads(self.texts["script"][0])
        return drawn


def sound(text: str) -> Page:
    """Assert what holds of every page, whatever it tells; return the page."""
    assert len(text.encode()) < 3 * MEGABYTE
    found = Page(text)
    identifiers = found.all("id")
    assert len(identifiers) == len(set(identifiers))
    assert set(found.all("aria-labelledby")) <= set(identifiers)
    assert {link[1:] for link in found.all("href") if link.startswith("#")} <= set(identifiers)
    assert found.texts["h1"] != [""]
    assert len(found.texts["h1"]) == 1

    # Nothing is fetched, and nothing runs but the page's own two scripts.
    tags = [tag for tag, _ in found.elements]
    assert not {"img", "iframe", "object", "embed", "base", "form"} & set(tags)
    assert found.all("src") == []
    assert [link for tag, attributes in found.elements if tag == "link" and (link := attributes["href"])] == ["data:,"]
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    kinds = [attributes.get("type") for tag, attributes in found.elements if tag == "script"]
    assert kinds == ["application/json", "application/json", None, None]
    policy = found.all("content")[0]
    for script in found.texts["script"][2:]:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy, (
            "a browser would not run it"
        )
    assert "default-src 'none'" in policy

    # A picture and its table, or a sentence instead.
    for figure in re.findall(r"<figure.*?</figure>", text, re.DOTALL):
        assert ('role="img"' in figure) != ('class="nothing"' in figure)
        assert 'role="img"' not in figure or "<tbody><tr>" in figure, f"no table behind {figure[:200]}"
    assert {value for value in found.all("id") if f'<div class="picture" id="{value}"' in text} == set(found.pictures)
    assert "None" not in found.text
    assert "nan" not in re.findall(r"\w+", found.text)
    assert "Washington State Department of\nLicensing" in found.text
    assert "Open Database License (ODbL) 1.0" in found.text
    return found


# --- What it tells ---


@pytest.mark.parametrize("case", CASES)
def test_whatever_the_versions_hold_the_page_is_sound(case: str, pipeline: Pipeline, source: OpenData) -> None:
    answer = publish_all(pipeline, source, CASES[case])
    assert answer["message"].endswith(f"\nReport: aws s3 cp s3://{BUCKET}/reports/latest.html .")
    found = sound(page(facts_of(pipeline)))
    assert f"{answer['loaded'] + answer['kept']:,}" in found.texts["h1"][0]
    for sentence in EXPECTED[case]:
        assert sentence in found.text, sentence


EXPECTED: Final[dict[str, tuple[str, ...]]] = {
    "one version": (
        "55 electric vehicles are registered with Washington State",
        "45 run on batteries alone; 10 are plug-in hybrids.",
        "One version is on record: the line begins here",
        "Nothing to compare with yet",
        "No moves between counties",
        "Every row that the source sent is in the table",
        "As of 1 June 2023",
    ),
    "two versions": (
        "That is 5 more (9.1%) than on 1 June 2023.",
        "The register grew by 5 since 1 June 2023",
        "8 arrived and 3 departed",
        "4 vehicles moved to another county",
        "By moves, King gained most, Pierce lost most",
        "1 vehicle is registered to an address outside Washington.",
        "Pierce",
        "Los Angeles, CA",
    ),
    "many versions": ("The register grew by 4 since 1 June 2023", "That is 1 more (1.7%) than on 30 August 2023."),
    "nothing changed": (
        "That is as many as on 1 June 2023.",
        "The register stayed as it was since 1 June 2023",
        "0 arrived and 0 departed",
        "No county gained or lost by moves",
    ),
    "rejections only": (
        "0 electric vehicles are registered",
        "All 3 rows of this version were rejected.",
        "3 rows of 3 could not be loaded",
        "make is missing",
        "There is nothing to draw yet: no vehicles stand in the table.",
    ),
    "rejections": ("3 rows of 58 could not be loaded", "make is missing", "5% of this version"),
    "one kept": (
        "1 row of 55 could not be loaded; 1 vehicle kept an earlier row",
        "1 vehicle is shown as last known: what the source sent of it was rejected.",
    ),
    "some kept": (
        "23 rows of 63 could not be loaded; 12 vehicles kept an earlier row",
        "12 vehicles are shown as last known: what the source sent of them was rejected.",
    ),
    "all ranges unknown": (
        "Range is known for 0% of the vehicles",
        "Too few ranges are known of battery electrics",
        "of no model year is the range of enough vehicles known",
    ),
    "only hybrids": ("All are plug-in hybrids.", "0% of model year 2020, the most common, run on batteries alone"),
    "one vehicle": ("1 electric vehicle is registered", "100% of model year 2020, the most common, runs on batteries"),
    "long names": (LONG, ENDLESS[:200] + "…"),
    "markup": ("</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "=HYPERLINK(1)"),
    "blank county": (
        "1 vehicle is on no map: the county is blank or none of Washington's.",
        "Outside: BC",
        "HYUNDAI (model not stated)",
        "Washington, county not stated",
        "No county is known",
    ),
    "outside Washington": ("1 vehicle is registered to an address outside Washington.", "No county is known"),
    "unknown counties": ("1 vehicle is on no map", "King County has 67% of them"),
    "thousands of models": ("of 3,000 models", "And 2,900 more models.", "And 650 more makes."),
}


def test_a_sample_is_called_one_before_any_number(pipeline: Pipeline, source: OpenData) -> None:
    publish_all(pipeline, source, CASES["one version"])
    note = "A sample: one in ten."
    text = page(facts_of(pipeline), note=note)
    found = sound(text)
    assert found.texts["h1"] == ["55 electric vehicles are in this part of Washington State's register"]
    assert text.index(f'<p class="note" role="note">{note}</p>') < text.index("<h1>")
    assert "registered with Washington State" not in found.text
    assert 'role="note"' not in page(facts_of(pipeline)), "the whole register needs no such word"


def test_an_empty_database_has_a_page_that_says_so(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.stage(pipeline.extract()["manifest_key"], 0)
    found = sound(page(facts_of(pipeline)))
    assert "No version of the register has been published yet" in found.texts["h1"][0]
    assert found.pictures == {}


def test_refused_versions_are_told_although_they_are_in_no_table(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.set_guard("MAX_REJECTED_FRACTION", 0.5)
    with pytest.raises(Exception, match="refused"):
        publish_all(pipeline, source, CASES["rejections only"])
    found = sound(page(facts_of(pipeline)))
    assert "refused by a guard" in found.text
    assert "No version has been published yet" in found.text


def test_the_facts_are_those_of_the_versions(pipeline: Pipeline, source: OpenData) -> None:
    publish_all(pipeline, source, CASES["two versions"])
    facts = facts_of(pipeline)
    june, july = (datetime.fromtimestamp(FIRST + number * MONTH, UTC) for number in range(2))
    assert facts.versions == (
        Version(dataset_version=june, vehicles=55, arrived=55, changed=0, departed=0, rejected=0, kept=0),
        Version(dataset_version=july, vehicles=60, arrived=8, changed=4, departed=3, rejected=0, kept=0),
    )
    assert (facts.vehicles, facts.battery_electric) == (60, 50)
    assert [(group.name, group.vehicles) for group in facts.counties] == [("King", 58), ("Pierce", 1)]
    assert [(group.of, group.vehicles) for group in facts.elsewhere] == [("CA", 1)]
    assert [(group.name, group.vehicles) for group in facts.makes] == [("HYUNDAI", 32), ("TESLA", 18), ("BMW", 10)]
    assert [(group.of, group.name, group.vehicles) for group in facts.models] == [
        ("HYUNDAI", "KONA", 32),
        ("TESLA", "MODEL Y", 18),
        ("BMW", "X5", 10),
    ]
    assert [(one.model_year, one.battery_electric, one.vehicles, one.known, one.median) for one in facts.ranges] == [
        (2020, True, 32, 32, 258),
        (2020, False, 10, 10, 30),
        (2023, True, 18, 0, None),
    ]
    assert [(move.from_county, move.to_county, move.to_state, move.vehicles) for move in facts.moves] == [
        ("Pierce", "King", "WA", 3),
        ("Pierce", "Los Angeles", "CA", 1),
    ]
    assert [(net.county, net.came, net.went) for net in facts.net_moves] == [("King", 3, 0), ("Pierce", 0, 4)]
    assert facts.moved == 4


def test_more_states_than_are_listed_are_counted_as_what_they_are(pipeline: Pipeline, source: OpenData) -> None:
    states = [f"{first}{second}" for first in "AB" for second in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    states += [f"C{letter}" for letter in "ABCDEFGHIJ"]
    assert len(states) == facts_module.STATES + 2
    anywhere = {"zip_code": "98103", "legislative_district": ""}
    rows = [vehicle(key, state=state, **anywhere) for key, state in enumerate(states, start=1)]
    rows += [vehicle(101, state="CJ", **anywhere), vehicle(102), vehicle(103, county="")]
    publish_all(pipeline, source, [rows])
    facts = facts_of(pipeline)
    assert [group.of for group in facts.elsewhere] == ["CJ", *states[:59]], "the most common first, then by name"
    assert facts.outside == 63
    found = sound(page(facts))
    assert "63 vehicles are registered to an address outside Washington." in found.text
    assert "1 vehicle is on no map" in found.text, "not those of the states that are not listed"
    assert "And 2 vehicles in rarer states and provinces." in found.text


def test_as_many_states_as_are_listed_leave_nothing_to_add(pipeline: Pipeline, source: OpenData) -> None:
    publish_all(pipeline, source, CASES["two versions"])
    assert facts_of(pipeline).outside == 1
    assert "rarer states" not in page(facts_of(pipeline))


@pytest.mark.parametrize(
    ("case", "columns"), [("one kept", ["55", "54", "1", "1"]), ("some kept", ["63", "40", "23", "12"])]
)
def test_vehicles_that_are_kept_are_counted_with_those_of_the_version_and_of_its_run(
    pipeline: Pipeline, source: OpenData, case: str, columns: list[str]
) -> None:
    publish_all(pipeline, source, CASES[case])
    facts = facts_of(pipeline)
    found = sound(page(facts))
    assert f"Vehicles kept{facts.versions[-1].kept}With an earlier row" in found.text
    last_run, first_run = (
        re.findall(r"<td[^>]*>(?:<[^>]*>)*([^<]*)", row)
        for row in re.findall(r"<tr>(.*?)</tr>", found.source.split("The last runs that came", 1)[1], re.DOTALL)[1:3]
    )
    assert last_run[-4:] == columns
    assert first_run[-4:] == ["55", "55", "0", "0"], "and the version before it kept none"
    assert facts.vehicles == facts.versions[-1].vehicles == int(columns[1]) + facts.versions[-1].kept


def test_a_page_about_a_version_that_kept_nothing_says_nothing_of_it(pipeline: Pipeline, source: OpenData) -> None:
    publish_all(pipeline, source, CASES["rejections"])
    found = sound(page(facts_of(pipeline)))
    assert "3 rows of 58 could not be loaded" in found.texts["h3"]
    assert "shown as last known" not in found.text


def test_a_picture_draws_what_its_table_says(pipeline: Pipeline, source: OpenData) -> None:
    publish_all(pipeline, source, CASES["two versions"])
    found = sound(page(facts_of(pipeline)))
    assert found.pictures["makes"] == {
        "kind": "bars",
        "x": "Vehicles",
        "names": ["HYUNDAI", "TESLA", "BMW"],
        "series": [
            {"name": "Battery electric", "color": "battery", "data": [32, 18, 0]},
            {"name": "Plug-in hybrid", "color": "hybrid", "data": [0, 0, 10]},
        ],
    }
    assert '<th scope="row">BMW</th><td class="number">10</td><td class="number">0</td>' in found.source
    assert found.pictures["years"]["names"] == ["2020", "2021", "2022", "2023"], "a year without vehicles is a gap"
    assert found.pictures["years"]["series"][0]["data"] == [32, 0, 0, 18]
    assert found.pictures["net-moves"]["data"] == [3, -4]


def test_a_question_that_takes_too_long_is_given_up(pipeline: Pipeline, source: OpenData) -> None:
    publish_all(pipeline, source, CASES["one version"])
    with pipeline.connection() as connection, connection.cursor() as cursor:
        ask = facts_module._Asker(cursor, seconds=0.2)
        with pytest.raises(Exception, match="statement timeout"):
            ask("SELECT pg_sleep(20)")


# --- What comes from the source stays text ---


def test_nothing_of_the_source_can_end_a_script_or_a_line() -> None:
    text = script_json({"name": MARKUP + "\u2029"})
    assert text.isascii()
    assert not set("<>&\n") & set(text)
    assert json.loads(text) == {"name": MARKUP + "\u2029"}


def test_markup_in_every_name_is_shown_and_never_obeyed() -> None:
    group = Group(
        name=MARKUP,
        of=MARKUP,
        vehicles=1,
        battery_electric=1,
        plug_in_hybrid=0,
        first_model_year=2020,
        last_model_year=2020,
    )
    facts = Facts(
        versions=(
            Version(
                dataset_version=datetime(2024, 1, 1, tzinfo=UTC),
                vehicles=1,
                arrived=1,
                changed=0,
                departed=0,
                rejected=1,
                kept=0,
            ),
        ),
        counties=(group,),
        elsewhere=(group,),
        makes=(group,),
        models=(group,),
        model_years=(Group(name="2020", vehicles=1, battery_electric=1, plug_in_hybrid=0),),
        reasons=((MARKUP, 1),),
    )
    found = sound(page(facts))
    assert found.text.count("alert(1)") >= 8, "it is to be read"
    assert "alert(1)</script>" not in found.source.replace("&lt;/script&gt;", "")


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0, 9, "0%"), (1, 900, "under 1%"), (899, 900, "over 99%"), (9, 9, "100%"), (1, 3, "33%"), (0, 0, "\N{EN DASH}")],
)
def test_a_share_never_rounds_something_to_nothing_or_to_all(part: int, whole: int, said: str) -> None:
    assert share(part, whole) == said


@pytest.mark.parametrize(("number", "said"), [(5, "+5"), (-1_200, "\N{MINUS SIGN}1,200"), (0, "±0")])
def test_a_change_has_a_sign(number: int, said: str) -> None:
    assert signed(number) == said


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], []),
        ([0, 0], []),
        ([7], [1, 5]),
        ([1, 1, 1], [1]),
        ([3, 40, 60, 250, 700, 2_500, 79_075], [1, 20, 50, 500, 2_000]),
        ([10**9] * 5, [1, 10**9]),
    ],
)
def test_the_shades_of_the_map_begin_at_round_numbers(values: list[int], found: list[int]) -> None:
    assert steps(values) == found


# --- In the bucket ---


def stored(key: str) -> Any:
    return boto3.client("s3").get_object(Bucket=BUCKET, Key=key)


def reports() -> list[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="reports/")
    return [item["Key"] for item in listed.get("Contents", ())]


def test_every_publish_writes_its_report_and_the_latest(pipeline: Pipeline, source: OpenData) -> None:
    publish_all(pipeline, source, CASES["two versions"])
    assert reports() == [
        "reports/latest.html",
        "reports/version=20230601T000000Z.html",
        "reports/version=20230701T000000Z.html",
    ]
    latest = stored("reports/latest.html")
    assert latest["ContentType"] == "text/html; charset=utf-8"
    text = latest["Body"].read()
    assert text == stored("reports/version=20230701T000000Z.html")["Body"].read()
    assert text.decode() == page(facts_of(pipeline))


def test_before_the_first_version_is_published_there_is_no_report_and_that_is_said(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.stage(pipeline.extract()["manifest_key"], 0)
    with pytest.raises(DatabaseError, match="no version is published, so there is nothing to report"):
        writing.write(RawStore(BUCKET), Warehouse(pipeline.event["secret_arn"], statement_seconds=60), seconds=60)
    assert reports() == []


def test_an_answer_that_was_lost_brings_a_missing_report_with_it(pipeline: Pipeline, source: OpenData) -> None:
    publish_all(pipeline, source, CASES["one version"])
    key = "raw_data/date=20230601/version=20230601T000000Z/manifest.json"
    first = pipeline.publish(key, "run 0")
    boto3.client("s3").delete_object(Bucket=BUCKET, Key="reports/latest.html")
    assert pipeline.publish(key, "run 0") == first
    assert "reports/latest.html" in reports()


def test_a_version_that_is_superseded_leaves_the_report_as_it_is(pipeline: Pipeline, source: OpenData) -> None:
    older = pipeline.extract()
    pipeline.stage(older["manifest_key"], 0)
    source.snapshot = Snapshot.of(CASES["one version"][0], rows_updated_at=FIRST + MONTH)
    pipeline.run("newer")
    before = stored("reports/latest.html")["Body"].read()
    pipeline.stage(older["manifest_key"], 0)
    answer = pipeline.publish(older["manifest_key"], "late")
    assert answer["status"] == "superseded"
    assert "Report" not in answer["message"]
    assert stored("reports/latest.html")["Body"].read() == before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            TransientError("could not write s3://b/reports/latest.html: not now"),
            "could not write s3://b/reports/latest",
        ),
        (ValueError("a value that nobody expected: 42"), "ValueError"),
    ],
)
def test_a_report_that_fails_is_told_and_fails_nothing(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    pipeline: Pipeline = request.getfixturevalue("pipeline")
    caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    capsys: pytest.CaptureFixture[str] = request.getfixturevalue("capsys")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(RawStore, "put_report", fail)
    answer = publish_all(pipeline, request.getfixturevalue("source"), CASES["one version"])
    assert answer["status"] == "published"
    line = answer["message"].splitlines()[-1]
    assert line.startswith(f"The report could not be written: {said}")
    assert line.endswith("The data are published; a run with force tries again.")
    assert "42" not in line, "what is not meant for people may quote data"
    (record,) = [record for record in caplog.records if record.message == "the report could not be written"]
    assert record.levelname == "ERROR"
    assert '"ReportFailed":[1.0]' in capsys.readouterr().out
    assert reports() == []


@pytest.mark.parametrize(
    ("remaining", "given"),
    [(900, load.REPORT_SECONDS), (load.REPORT_SECONDS + load.RESERVE_SECONDS, load.REPORT_SECONDS), (60, 45), (10, -5)],
)
def test_a_report_gets_the_time_that_is_left_and_no_more_than_its_own(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch, remaining: float, given: float
) -> None:
    had: list[float] = []

    def write(*_: object, seconds: float, **__: object) -> str:
        had.append(seconds)
        return "reports/latest.html"

    monkeypatch.setattr(writing, "write", write)
    extracted = pipeline.extract()
    pipeline.stage(extracted["manifest_key"], 0)
    event = pipeline.event | {"manifest_key": extracted["manifest_key"], "execution_id": "run"}
    assert load.publish(event, Context("publish", remaining))["status"] == "published"
    assert had == [given]


def test_without_time_for_a_report_the_data_are_published_and_the_answer_says_that_it_is_missing(
    pipeline: Pipeline,
) -> None:
    extracted = pipeline.extract()
    pipeline.stage(extracted["manifest_key"], 0)
    event = pipeline.event | {"manifest_key": extracted["manifest_key"], "execution_id": "run"}
    answer = load.publish(event, Context("publish", load.RESERVE_SECONDS))
    assert answer["status"] == "published"
    assert answer["message"].splitlines()[-1].startswith("The report could not be written: ")
    assert reports() == []


def test_a_report_that_succeeds_counts_as_no_failure(
    pipeline: Pipeline, source: OpenData, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_all(pipeline, source, CASES["one version"])
    assert "ReportFailed" not in capsys.readouterr().out


def test_a_dataset_without_the_views_has_no_report_and_that_is_no_failure(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "VIEWS", ("ev_by_colour",))
    answer = publish_all(pipeline, source, CASES["one version"])
    assert "eport" not in answer["message"]
    assert reports() == []


def test_loading_parts_never_pays_for_the_report() -> None:
    check = "import sys, load; sys.exit(any(name.startswith('evdata.report') for name in sys.modules))"
    finished = subprocess.run([sys.executable, "-c", check], cwd=Path(load.__file__).parent, check=False)
    assert finished.returncode == 0, "the report was imported with load"
