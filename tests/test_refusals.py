"""Bad input of every kind is refused: by name, with the numbers and the way out, and the table stands as it was."""

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import extract
import load
from evdata.errors import DriftError, InputError, PipelineError, RawDataError, RefusedError, SourceError
from evdata.manifest import Manifest
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import BUCKET, Context, Pipeline, build_pipeline
from tests.source_rows import Portal, SourceRow
from tests.test_transform import vehicle

JUNE: Final = datetime(2024, 6, 1, tzinfo=UTC)
JULY: Final = datetime(2024, 7, 1, tzinfo=UTC)
TWENTY: Final = tuple(SourceRow(key) for key in range(1, 21))


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data(Portal(rows=TWENTY).snapshot(JUNE))


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    """Twenty vehicles stand in the table since June; a part holds eight."""
    built = build_pipeline(monkeypatch, database, source, part_rows=8)
    built.run("june")
    return built


def july(source: OpenData, rows: tuple[SourceRow, ...], **columns: str) -> None:
    source.snapshot = Portal(rows=rows, **columns).snapshot(JULY)


def staged(pipeline: Pipeline) -> str:
    """Extract and stage; return the manifest's key."""
    answer = pipeline.extract()
    for part in range(answer["parts"]):
        pipeline.stage(answer["manifest_key"], part)
    return str(answer["manifest_key"])


def stored(key: str) -> Any:
    return json.load(boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"])


def store(key: str, content: str | bytes) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)


def assert_refused(pipeline: Pipeline, run: str, error: PipelineError, *words: str) -> None:
    """The refusal stands in the error and in `pipeline_run` alike, and nothing but the record of it was written."""
    for word in (run, *words):
        assert word in str(error), f"the refusal does not say {word!r}: {error}"
    recorded = pipeline.query("SELECT status, message FROM pipeline_run WHERE execution_id = %s", run)
    assert recorded == [("refused", str(error))]
    assert_as_it_was(pipeline)


def assert_as_it_was(pipeline: Pipeline) -> None:
    assert pipeline.query("SELECT count(*), min(valid_from), max(valid_from) FROM electric_vehicle_us") == [
        (20, JUNE, JUNE)
    ]
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us_history") == [(0,)]
    assert stored("published.json")["execution_id"] == "june"


# --- A version that should not be published ---


def test_too_many_bad_rows_are_refused_with_how_many_why_and_what_to_do(pipeline: Pipeline, source: OpenData) -> None:
    july(source, (*TWENTY[2:], SourceRow(1, defects=("no make", "no VIN")), SourceRow(2, defects=("no make",))))
    with pytest.raises(RefusedError) as refusal:
        pipeline.run("july", force=True)
    assert_refused(
        *(pipeline, "july", refusal.value, "2024-07-01", "2 of 20 rows", "10.00%", "1.00%"),
        *("make is missing (2 rows)", "vin_1_10 is missing (1 row)", "Mend the contract", "force does not lift"),
    )


def test_rows_that_a_spreadsheet_spoilt_are_refused_with_where_they_begin_and_what_to_do(
    pipeline: Pipeline, source: OpenData
) -> None:
    rows = [vehicle(key) for key in range(1, 21)]
    rows[13] |= {"_2020_census_tract": "5.30330E+10", "model_year": "2,016"}
    rows[17] |= {"zip_code": '="98052"'}
    rows[2] |= {"make": ""}
    source.snapshot = Snapshot.of(rows, rows_updated_at=int(JULY.timestamp()))
    with pytest.raises(RefusedError) as refusal:
        pipeline.run("july")
    assert_refused(
        *(pipeline, "july", refusal.value, "2024-07-01", "3 of 20 rows", "15.00%"),
        "_2020_census_tract is '5.30330E+10', saved by a spreadsheet as a rounded number: its digits are lost (1 row)",
        (
            "The file was saved by a spreadsheet, which spoilt 2 rows, the first in part 1, line 7: download it again "
            "as CSV; force does not lift this guard."
        ),
    )
    assert "contract" not in str(refusal.value)


def test_a_shrunken_dataset_is_refused_with_the_numbers_until_somebody_forces_it(
    pipeline: Pipeline, source: OpenData
) -> None:
    july(source, TWENTY[:17])
    with pytest.raises(RefusedError) as refusal:
        pipeline.run("july")
    assert_refused(
        *(pipeline, "july", refusal.value, "2024-07-01", "17 vehicles", "15.00% fewer", "20 in the table", "10.00%"),
        '"force": true',
    )
    assert pipeline.run("july by hand", force=True)["removed"] == 3


def test_a_dataset_without_rows_is_refused_before_anything_is_written(pipeline: Pipeline, source: OpenData) -> None:
    july(source, ())
    with pytest.raises(SourceError, match=r"has no rows.*never published.*run again when it has rows"):
        pipeline.run("july", force=True)
    assert_as_it_was(pipeline)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"gone": "ev_type"}, r"required column ev_type \('Electric Vehicle Type'\) is missing"),
        ({"retyped": "model_year"}, "column model_year is of type point, the contract takes text or number"),
    ],
    ids=["a required column gone", "a column retyped"],
)
def test_a_drifted_dataset_is_refused_by_name_before_anything_is_staged(
    pipeline: Pipeline, source: OpenData, columns: dict[str, str], words: str
) -> None:
    july(source, TWENTY, **columns)
    with pytest.raises(DriftError, match=f"{words}.*Nothing was staged.*handlers/evdata/dataset.py"):
        pipeline.run("july", force=True)
    assert_as_it_was(pipeline)
    assert boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="raw_data/date=20240701/")["KeyCount"] == 0


def test_a_renamed_heading_or_a_new_column_changes_nothing(pipeline: Pipeline, source: OpenData) -> None:
    july(source, TWENTY, new="colour")
    extracted = pipeline.extract()
    assert "New in the source, not loaded: colour." in extracted["message"]
    assert pipeline.run("july")["unchanged"] == 20


def test_an_optional_column_that_is_gone_is_null_and_said_in_the_message_and_in_the_run(
    pipeline: Pipeline, source: OpenData
) -> None:
    july(source, tuple(SourceRow(key, "another car") for key in range(1, 21)), gone="base_msrp")
    answer = pipeline.run("july")
    assert "Gone from the source, NULL in the table: Base MSRP." in answer["message"]
    told, _, _ = answer["message"].partition("\nReport: ")
    assert pipeline.query("SELECT message FROM pipeline_run WHERE execution_id = 'july'") == [(told,)]
    assert pipeline.query("SELECT DISTINCT base_msrp FROM electric_vehicle_us") == [(None,)]


# --- Parts and manifests that are not what they were ---


def test_a_part_that_another_process_changed_is_refused_with_both_digests(pipeline: Pipeline, source: OpenData) -> None:
    july(source, TWENTY)
    key = pipeline.extract()["manifest_key"]
    part = stored(key)["parts"][1]
    content = gzip.compress(b"somebody else's")
    store(part["key"], content)
    with pytest.raises(RawDataError, match=r"part 1 was changed after it was extracted.*sha256.*Run again with force"):
        pipeline.stage(key, 1)
    pipeline.stage(key, 0)
    pipeline.stage(key, 2)
    with pytest.raises(RawDataError) as refusal:
        pipeline.publish(key, "july")
    assert_refused(
        *(pipeline, "july", refusal.value, "2024-07-01", "part 1: RawDataError: part 1 was changed", part["key"]),
        *(f"{len(content)} bytes", f"{part['bytes']} bytes", part["sha256"][:12], "Run again with force"),
    )
    assert pipeline.run("july by hand", force=True)["status"] == "published"


def test_a_truncated_part_is_refused(pipeline: Pipeline, source: OpenData) -> None:
    july(source, TWENTY)
    key = pipeline.extract()["manifest_key"]
    part = stored(key)["parts"][0]
    store(part["key"], boto3.client("s3").get_object(Bucket=BUCKET, Key=part["key"])["Body"].read()[:-20])
    with pytest.raises(RawDataError, match=f"has {part['bytes'] - 20} bytes .* the manifest says {part['bytes']}"):
        pipeline.stage(key, 0)


def test_a_part_that_was_never_staged_is_refused_by_number(pipeline: Pipeline, source: OpenData) -> None:
    july(source, TWENTY)
    key = pipeline.extract()["manifest_key"]
    pipeline.stage(key, 1)
    with pytest.raises(RawDataError) as refusal:
        pipeline.publish(key, "july")
    assert_refused(
        *(pipeline, "july", refusal.value, "2024-07-01", "part 0 was not staged", "part 2 was not staged"),
        "start a new execution",
    )
    assert "part 1" not in str(refusal.value)


def test_a_manifest_whose_part_does_not_exist_is_refused(pipeline: Pipeline, source: OpenData) -> None:
    july(source, TWENTY)
    key = staged(pipeline)
    manifest = stored(key)
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=manifest["parts"][2]["key"])
    with pytest.raises(RawDataError, match=r"part 2 is gone: s3://.*part-00002.csv.gz. Run again with force"):
        pipeline.stage(key, 2)


def test_parts_of_a_former_copy_do_not_pass_for_those_of_this_one(pipeline: Pipeline, source: OpenData) -> None:
    july(source, TWENTY)
    staged(pipeline)
    source.snapshot = Portal(rows=(*TWENTY[:19], SourceRow(20, "another car"))).snapshot(JULY)
    key = pipeline.extract(force=True)["manifest_key"]
    pipeline.stage(key, 0)
    with pytest.raises(RawDataError) as refusal:
        pipeline.publish(key, "july")
    assert_refused(pipeline, "july", refusal.value, "part 2 was staged from other bytes than the manifest names")


def test_parts_that_a_dead_run_left_beyond_the_last_one_are_forgotten(pipeline: Pipeline, source: OpenData) -> None:
    july(source, (*TWENTY, *(SourceRow(99, "unexpected", defects=("no make",)) for _ in range(4))))
    pipeline.set_part_rows(2)
    staged(pipeline)  # twelve parts, the last two with nothing but bad rows; and then the run died
    pipeline.set_part_rows(8)
    july(source, (*TWENTY[:19], SourceRow(20, "unexpected")))
    answer = pipeline.run("july", force=True)
    assert (answer["loaded"], answer["rejected"]) == (20, 0)
    assert pipeline.query("SELECT warnings ->> 'district is blank exactly outside Washington' FROM pipeline_run "
                          "WHERE execution_id = 'july'") == [("1",)]  # fmt: skip
    assert pipeline.query("SELECT count(*) FROM ev_pipeline_internal.part") == [(0,)]


def broken(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], str]:
    def write(manifest: dict[str, Any]) -> str:
        change(manifest)
        return json.dumps(manifest)

    return write


@pytest.mark.parametrize(
    ("written", "words"),
    [
        pytest.param(broken(lambda m: m.update(parts=[], rows=0)), "names no parts", id="no parts"),
        pytest.param(broken(lambda m: m.update(rows=21)), "names 21 rows, its 3 parts hold 20", id="another sum"),
        pytest.param(broken(lambda m: m["parts"].pop(1)), "its 2 parts hold 12", id="a part missing"),
        pytest.param(broken(lambda m: m["parts"].reverse()), "does not add up", id="parts out of order"),
        pytest.param(broken(lambda m: m["parts"][0].update(rows="8")), "rows is '8'", id="a number as text"),
        pytest.param(broken(lambda m: m["parts"][0].pop("sha256")), "sha256", id="no digest"),
        pytest.param(broken(lambda m: m.pop("columns")), "columns", id="no columns"),
        pytest.param(
            broken(lambda m: m.update(dataset_version="2031-01-01T00:00:00Z")),
            "that of another version, 2031-01-01T00:00:00Z",
            id="another version",
        ),
        pytest.param(broken(lambda m: m.update(dataset_version="July")), "July", id="no time"),
        pytest.param(lambda _: "[]", "is not a manifest", id="a list"),
        pytest.param(lambda _: "", "is not a manifest", id="empty"),
        pytest.param(lambda _: "\udcff".encode(errors="surrogateescape"), "is not a manifest", id="not text"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused_and_the_run_says_so(
    pipeline: Pipeline, source: OpenData, written: Callable[[dict[str, Any]], str | bytes], words: str
) -> None:
    july(source, TWENTY)
    key = staged(pipeline)
    store(key, written(stored(key)))
    with pytest.raises(RawDataError, match=words):
        pipeline.stage(key, 0)
    with pytest.raises(RawDataError) as refusal:
        pipeline.publish(key, "july")
    assert_refused(pipeline, "july", refusal.value, "2024-07-01", words, "Run again with force")
    assert pipeline.query("SELECT count(*) FROM ev_pipeline_internal.part") == [(0,)], (
        "the refused parts are taken away"
    )
    assert pipeline.run("july by hand", force=True)["status"] == "published"


def test_a_version_that_was_never_whole_in_the_bucket_is_refused(pipeline: Pipeline) -> None:
    key = "raw_data/date=20240701/version=20240701T000000Z/manifest.json"
    with pytest.raises(RawDataError) as refusal:
        pipeline.publish(key, "july")
    assert_refused(pipeline, "july", refusal.value, "2024-07-01", f"there is no manifest at s3://{BUCKET}/{key}")


def test_a_run_that_was_published_stays_so_when_its_manifest_expires_before_its_answer_arrives(
    pipeline: Pipeline, source: OpenData
) -> None:
    july(source, TWENTY)
    key = staged(pipeline)
    pipeline.publish(key, "july")
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(RawDataError, match="there is no manifest"):
        pipeline.publish(key, "july")
    assert pipeline.query("SELECT status FROM pipeline_run WHERE execution_id = 'july'") == [("published",)]


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 30) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_written_into_a_manifest_it_is_read_whole_or_refused_as_one(data: st.DataObject) -> None:
    version = datetime(2024, 7, 1, tzinfo=UTC)
    key = "raw_data/date=20240701/version=20240701T000000Z/manifest.json"
    part = {"part": 0, "key": "raw_data/x", "rows": 8, "bytes": 100, "sha256": "ab"}
    manifest: dict[str, Any] = {
        "dataset_id": "f6w7-q2d2",
        "source": "https://data.wa.gov/resource/f6w7-q2d2",
        "dataset_version": f"{version:%Y-%m-%dT%H:%M:%SZ}",
        "extracted_at": f"{version + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        "columns": [{"name": "Make", "fieldName": "make", "dataTypeName": "text"}],
        "rows": 8,
        "parts": [part],
    }
    assert Manifest.from_json(json.dumps(manifest), key).rows == 8
    place: dict[str, Any] = data.draw(st.sampled_from([manifest, part, manifest["columns"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(_json)
    read = None
    with suppress(RawDataError):
        read = Manifest.from_json(json.dumps(manifest), key)
    if read is not None:
        assert (read.key, read.rows, read.part(0).rows) == (key, 8, 8)
        assert isinstance(read.part(0).sha256, str)


# --- Events ---


MANIFEST_KEY: Final = "raw_data/date=20240701/version=20240701T000000Z/manifest.json"
ENTRY_POINTS: Final[dict[str, tuple[Callable[..., Any], dict[str, Any]]]] = {
    "extract": (extract.handler, {}),
    "stage": (load.stage, {"manifest_key": MANIFEST_KEY, "part": 0}),
    "publish": (load.publish, {"manifest_key": MANIFEST_KEY, "execution_id": "july"}),
}


@pytest.fixture
def nowhere(aws: None, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline whose source and database nobody should ask."""
    database = Database(host="nowhere.invalid", port=1, name="none", user="nobody", password="")
    return build_pipeline(monkeypatch, database, "http://nowhere.invalid")


@pytest.mark.parametrize(
    ("handler", "change"),
    [
        ("extract", {"bucket_name": None}),
        ("extract", {"force": "true"}),
        ("extract", {"force": 1}),
        ("stage", {"bucket_name": 7}),
        ("stage", {"secret_arn": ""}),
        ("stage", {"manifest_key": "raw_data/date=20240701/version=20240702T000000Z/manifest.json"}),
        ("stage", {"manifest_key": "raw_data/date=20249901/version=20249901T000000Z/manifest.json"}),
        ("stage", {"manifest_key": f"{MANIFEST_KEY}\n"}),
        ("stage", {"part": "0"}),
        ("stage", {"part": 1.0}),
        ("publish", {"manifest_key": "published.json"}),
        ("publish", {"execution_id": None}),
        ("publish", {"execution_id": ["july"]}),
        ("publish", {"force": None}),
    ],
)
def test_a_malformed_event_is_refused_by_name(nowhere: Pipeline, handler: str, change: dict[str, Any]) -> None:
    function, event = ENTRY_POINTS[handler]
    ((name, value),) = change.items()
    with pytest.raises(InputError) as refusal:
        function(nowhere.event | event | change, Context())
    assert f"the event's {name} is {value!r}" in str(refusal.value)


@pytest.mark.parametrize("handler", list(ENTRY_POINTS))
def test_an_event_that_lacks_everything_is_refused_by_name(nowhere: Pipeline, handler: str) -> None:
    with pytest.raises(InputError, match=r"the event's \w+ is None, expected a text; the event has \[\]"):
        ENTRY_POINTS[handler][0]({}, Context())


def test_a_refusal_is_one_line_of_the_log_with_its_name_its_words_and_its_event(
    pipeline: Pipeline, source: OpenData, caplog: pytest.LogCaptureFixture
) -> None:
    july(source, TWENTY[:17])
    key = staged(pipeline)
    caplog.clear()
    with pytest.raises(RefusedError) as refusal:
        pipeline.publish(key, "july")
    (told,) = caplog.records
    assert (told.levelname, told.getMessage()) == ("ERROR", str(refusal.value))
    event = pipeline.event | {
        "manifest_key": key, "execution_id": "july", "force": False, "notes": [], "check": False,
    }  # fmt: skip
    assert (told.__dict__["error"], told.__dict__["event"]) == ("RefusedError", event)
