"""The extract handler against the Socrata stand-in and a moto bucket."""

import csv
import gzip
import hashlib
import io
import json
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import extract
from evdata.aws import s3_client
from evdata.dataset import DATASET
from evdata.errors import DriftError, InputError, RawDataError, SourceError, TransientError
from evdata.pages import Inflater, PageError, RowReader
from evdata.portal import CHUNK_BYTES
from local.misbehaviour import Republishes, refuses_soda2
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import BUCKET, Context, Pipeline, build_pipeline
from tests.test_transform import vehicle

TEN_MEGABYTES = 10_000_000
VERSION = 1_697_328_000  # 2023-10-15T00:00:00Z
FOLDER = "raw_data/date=20231015/version=20231015T000000Z"

type Start = Callable[..., OpenData]


@pytest.fixture
def vehicles() -> list[dict[str, str]]:
    return [vehicle(key) for key in range(1, 26)]


@pytest.fixture
def source(open_data: Start, vehicles: list[dict[str, str]]) -> OpenData:
    return open_data(vehicles, rows_updated_at=VERSION)


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    return build_pipeline(monkeypatch, database, source, part_rows=10)


def objects() -> dict[str, bytes]:
    s3 = boto3.client("s3")
    listed = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {entry["Key"]: s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed}


def test_a_version_is_copied_whole_in_parts_with_a_manifest(pipeline: Pipeline, vehicles: list[dict[str, str]]) -> None:
    answer = pipeline.extract()

    stored = objects()
    assert set(stored) == {f"{FOLDER}/{name}" for name in ("manifest.json", "parts.json")} | {
        f"{FOLDER}/part-0000{number}.csv.gz" for number in range(3)
    }
    manifest = json.loads(stored[f"{FOLDER}/manifest.json"])
    assert json.loads(stored[f"{FOLDER}/parts.json"]) == manifest["parts"]
    rows = []
    for part in manifest["parts"]:
        content = stored[part["key"]]
        assert (len(content), hashlib.sha256(content).hexdigest()) == (part["bytes"], part["sha256"])
        found = list(csv.DictReader(io.StringIO(gzip.decompress(content).decode(), newline="")))
        assert len(found) == part["rows"]
        rows += found
    assert len({row.pop(":id") for row in rows}) == 25, "each row has an identifier of its own"
    assert sorted(rows, key=lambda row: int(row["dol_vehicle_id"])) == vehicles, "every row once, as it came"
    assert {key: manifest[key] for key in ("dataset_id", "dataset_version", "rows")} == {
        "dataset_id": "f6w7-q2d2",
        "dataset_version": "2023-10-15T00:00:00Z",
        "rows": 25,
    }
    message = answer.pop("message")
    assert answer == {
        "status": "extracted",
        "dataset_version": "2023-10-15T00:00:00Z",
        "manifest_key": f"{FOLDER}/manifest.json",
        "rows": 25,
        "parts": 3,
        "bytes": sum(part["bytes"] for part in manifest["parts"]),
        "headline": "25 rows of 2023-10-15 extracted",
        "notes": [],
    }
    assert "25 rows copied in 3 parts" in message
    assert "Washington State Department of Licensing" in message


def test_rows_are_asked_for_by_name_and_in_the_order_of_the_sources_own_row_identifiers(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.extract()
    pages = [request.query for request in source.requests if request.path.endswith(".csv")]
    assert [(page["$order"], page["$limit"], page["$offset"]) for page in pages] == [
        (":id", "10", offset) for offset in ("0", "10", "20")
    ]
    assert {page["$select"] for page in pages} == {
        ",".join([":id", *(column.field for column in DATASET.source_columns)])
    }


def test_a_version_that_was_published_costs_one_request_and_writes_nothing(
    pipeline: Pipeline, source: OpenData
) -> None:
    first = pipeline.run("first")
    assert first["loaded"] == 25
    before = objects()
    source.requests.clear()

    answer = pipeline.extract()

    assert len(source.requests) == 1
    assert answer["status"] == "unchanged"
    assert answer["rows"] == 25
    assert objects() == before
    assert "unchanged" in answer["message"]


def age(output: str) -> float:
    """The metric of the source's age in what a function printed."""
    (metric,) = (json.loads(line) for line in output.splitlines() if '"SourceAgeDays"' in line)
    (days,) = metric["SourceAgeDays"]
    return float(days)


def made_days_ago(source: OpenData, days: float) -> None:
    source.snapshot = replace(source.snapshot, rows_updated_at=int(time.time() - days * 86_400))


def test_every_run_reports_the_age_of_the_source(
    pipeline: Pipeline, source: OpenData, capsys: pytest.CaptureFixture[str]
) -> None:
    made_days_ago(source, 12.5)
    pipeline.run("first")
    assert age(capsys.readouterr().out) == pytest.approx(12.5, abs=0.01)
    assert pipeline.extract()["status"] == "unchanged"
    assert age(capsys.readouterr().out) == pytest.approx(12.5, abs=0.01), "of an unchanged source too"


def test_a_source_that_is_too_old_is_named_in_each_message(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_SOURCE_AGE_DAYS", "90")
    made_days_ago(source, 90.5)
    warning = "Warning: the source has had no new version for 90 days; maxSourceAgeDays is 90."
    extracted = pipeline.extract()
    assert warning in extracted["message"]
    assert warning in pipeline.run("first")["message"]
    unchanged = pipeline.extract()
    assert unchanged["status"] == "unchanged"
    assert warning in unchanged["message"]


def test_a_source_that_is_nearly_too_old_is_not(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_SOURCE_AGE_DAYS", "90")
    made_days_ago(source, 89.9)
    assert "Warning" not in pipeline.extract()["message"]
    assert "Warning" not in pipeline.run("first")["message"]


def test_a_run_that_repairs_the_table_says_what_was_wrong_with_it(pipeline: Pipeline) -> None:
    pipeline.run("first")
    answer = pipeline.extract(force=True, repairs="The table was gone.")
    assert answer["status"] == "extracted"
    assert answer["notes"] == ["The table was gone."]
    assert "\nThe table was gone.\n" in answer["message"]


def test_force_copies_a_published_version_again(pipeline: Pipeline) -> None:
    pipeline.run("first")
    assert pipeline.extract(force=True)["status"] == "extracted"


def test_a_version_that_lies_whole_in_the_bucket_is_not_copied_again(pipeline: Pipeline) -> None:
    first = pipeline.extract()
    before = objects()
    again = pipeline.extract()
    assert objects() == before
    assert {**again, "message": ""} == {**first, "message": ""}
    assert "found whole in S3" in again["message"]


def test_a_version_with_a_part_missing_is_copied_again(pipeline: Pipeline) -> None:
    pipeline.extract()
    whole = objects()
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=f"{FOLDER}/part-00001.csv.gz")
    pipeline.extract()
    part = f"{FOLDER}/part-00001.csv.gz"
    assert objects()[part] == whole[part], "the same rows make the same bytes"


def test_an_unreadable_record_of_what_was_published_costs_a_copy_and_no_run(pipeline: Pipeline) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key="published.json", Body=b"not json")
    assert pipeline.extract()["status"] == "extracted"


def test_an_empty_dataset_is_refused_and_nothing_is_written(pipeline: Pipeline, source: OpenData) -> None:
    source.snapshot = replace(source.snapshot, rows=[])
    with pytest.raises(SourceError, match="has no rows"):
        pipeline.extract()
    assert objects() == {}


def test_more_parts_than_one_publish_takes_are_refused_before_any_is_copied(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "MOST_PARTS", 2)
    with pytest.raises(InputError, match=r"25 rows in parts of 10 would be 3 parts; .* Set partRows to 13 or more"):
        pipeline.extract()
    assert objects() == {}


def test_a_dataset_republished_during_the_copy_is_void(pipeline: Pipeline, source: OpenData) -> None:
    newer = Snapshot.of([vehicle(key) for key in range(1, 30)], rows_updated_at=VERSION + 60)
    source.behaviours.append(Republishes(on="rows", first=2, snapshot=newer))
    with pytest.raises(TransientError, match="changed while it was being copied"):
        pipeline.extract()
    assert not [key for key in objects() if key.endswith("manifest.json")], "a version without a manifest is none"


def test_columns_that_no_longer_fit_are_refused_before_anything_is_written(
    pipeline: Pipeline, source: OpenData
) -> None:
    rows = [{name: value for name, value in vehicle(1).items() if name != "make"}]
    source.snapshot = Snapshot.of(rows, rows_updated_at=VERSION + 60)
    with pytest.raises(DriftError, match="required column make"):
        pipeline.extract()
    assert objects() == {}


def test_an_optional_column_that_is_gone_is_told(pipeline: Pipeline, source: OpenData) -> None:
    rows = [{name: value for name, value in vehicle(1).items() if name != "base_msrp"} | {"charger": "CCS"}]
    source.snapshot = Snapshot.of(rows, rows_updated_at=VERSION + 60)
    message = pipeline.extract()["message"]
    assert "NULL in the table: base_msrp" in message
    assert "not loaded: charger" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bucket_name": None}, "bucket_name is None"),
        ({"bucket_name": ""}, "bucket_name is ''"),
        ({"force": "yes"}, "force is 'yes', expected true or false"),
    ],
)
def test_an_event_that_is_not_as_agreed_is_refused_by_name(
    pipeline: Pipeline, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        extract.handler(pipeline.event | change, Context())


def test_a_function_deployed_without_its_settings_says_which(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_URL")
    with pytest.raises(InputError, match="SOURCE_URL is not set"):
        pipeline.extract()


def test_the_app_token_is_read_from_its_secret_and_never_logged(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="token", SecretString="t0ken-of-mine")["ARN"]
    monkeypatch.setenv("APP_TOKEN_SECRET_ARN", arn)
    pipeline.extract()
    assert {request.headers.get("X-App-Token") for request in source.requests} == {"t0ken-of-mine"}
    printed = capsys.readouterr()
    assert "t0ken-of-mine" not in printed.out + printed.err


def test_a_bucket_that_does_not_exist_is_said_so(pipeline: Pipeline) -> None:
    with pytest.raises(RawDataError, match="NoSuchBucket"):
        extract.handler(pipeline.event | {"bucket_name": "no-such-bucket-anywhere"}, Context())


def test_metrics_tell_what_was_extracted(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.extract()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert [line["RowsExtracted"] for line in lines] == [[25.0]]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_records_are_counted_however_the_bytes_are_cut(size: int) -> None:
    content = (
        b'":id","b"\n"row-1","x\ny"\n"row-2","say ""hi""\n"\n"row-3","a\n""r-9"",b"\n"row-4",""\n"row-4","again"\n'
    )
    reader = RowReader([(":id",), ("b",)])
    for start in range(0, len(content), size):
        reader.feed(content[start : start + size])
    reader.finish()
    assert (reader.rows, len(set(reader.ids))) == (content.count(b"row-"), 4)


@pytest.mark.parametrize("cut", [b"", b'":id","b"', b'":id","b"\n"1","x', b'":id","b"\n"1","x\n'])
def test_a_page_that_ends_within_a_record_is_not_whole(cut: bytes) -> None:
    reader = RowReader([(":id",), ("b",)])
    reader.feed(cut)
    with pytest.raises(PageError):
        reader.finish()


def test_a_value_of_10_megabytes_is_copied_and_costs_its_row_only(
    pipeline: Pipeline, source: OpenData, vehicles: list[dict[str, str]]
) -> None:
    source.snapshot = Snapshot.of(
        [*vehicles[:-1], vehicles[-1] | {"electric_utility": "x" * TEN_MEGABYTES}], rows_updated_at=VERSION
    )
    pipeline.set_guard("MAX_REJECTED_FRACTION", 0.5)
    answer = pipeline.run("run")
    assert (answer["loaded"], answer["rejected"]) == (24, 1)
    assert pipeline.query("SELECT reasons, key, length(raw ->> 'electric_utility') FROM rejected_row") == [
        (["electric_utility has 10,000,000 characters, expected 131,072 at most"], "25", TEN_MEGABYTES)
    ]


def test_a_value_of_10_megabytes_is_never_held_by_whoever_counts_the_rows() -> None:
    value = random.Random(12).randbytes(TEN_MEGABYTES // 2).hex()  # that gzip cannot make small
    content = gzip.compress(f'":id","b"\n"row-1","{value}"\n"row-2","{value[:1000]}"\n'.encode())
    inflater, reader = Inflater(), RowReader([(":id",), ("b",)])
    tracemalloc.start()
    try:
        for start in range(0, len(content), CHUNK_BYTES):
            reader.feed(inflater.feed(content[start : start + CHUNK_BYTES]))
        reader.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (reader.rows, len(set(reader.ids))) == (2, 2)
    assert peak < TEN_MEGABYTES / 10


def test_soda_3_is_used_when_a_token_is_configured_and_soda_2_is_refused(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="token", SecretString="t0ken-of-mine")["ARN"]
    monkeypatch.setenv("APP_TOKEN_SECRET_ARN", arn)
    source.behaviours.extend(refuses_soda2())
    assert pipeline.run("first")["loaded"] == 25
    kinds = [request.kind for request in source.requests]
    assert kinds.count("count") == 1, "once refused, SODA 2.1 is not asked again"
    assert kinds.count("soda3") == 2 + 3, "two counts and three pages"


def test_without_a_token_a_refusal_of_soda_2_is_final_and_said_so(pipeline: Pipeline, source: OpenData) -> None:
    source.behaviours.extend(refuses_soda2())
    with pytest.raises(SourceError, match="status 403: permission_denied Please use the v3 API"):
        pipeline.extract()


def test_an_unknown_dataset_is_refused_at_once_in_the_sources_words(
    pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASET_ID", "aaaa-bbbb")
    with pytest.raises(SourceError, match=r"status 404: dataset\.missing Not found"):
        pipeline.extract()
    assert len(source.requests) == 1


def test_a_row_added_during_the_copy_makes_it_void_though_the_version_says_nothing(
    pipeline: Pipeline, source: OpenData
) -> None:
    more = Snapshot.of([vehicle(key) for key in range(1, 27)], rows_updated_at=VERSION)
    source.behaviours.append(Republishes(on="count", first=2, snapshot=more))
    with pytest.raises(TransientError, match=r"with 25 rows before, .* with 26 after, 25 rows copied"):
        pipeline.extract()


def test_a_copy_of_another_dataset_with_the_same_date_is_not_taken_for_this_one(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.extract()
    key = f"{FOLDER}/manifest.json"
    manifest = json.loads(objects()[key]) | {"dataset_id": "aaaa-bbbb"}
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(manifest).encode())
    assert "25 rows copied in 3 parts" in pipeline.extract()["message"]


def test_as_many_parts_as_one_publish_takes_are_copied(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert extract.MOST_PARTS == 500
    monkeypatch.setattr(extract, "MOST_PARTS", 5)
    pipeline.set_part_rows(5)
    assert pipeline.extract()["parts"] == 5


def test_the_bytes_that_were_extracted_are_a_metric(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    answer = pipeline.extract()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert [line["BytesExtracted"] for line in lines] == [[float(answer["bytes"])]]


def test_parts_json_is_there_before_the_manifest_makes_the_version_exist(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    put = s3_client().put_object

    def noted(**how: Any) -> Any:
        written.append(how["Key"].rsplit("/", 1)[1])
        return put(**how)

    monkeypatch.setattr(s3_client(), "put_object", noted)
    pipeline.extract()
    assert written[-2:] == ["parts.json", "manifest.json"]


def test_a_list_of_parts_that_cannot_be_had_now_is_asked_for_again_by_the_state_machine(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.extract()

    class Failing:
        def paginate(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "not now"}}, "ListObjectsV2")

    monkeypatch.setattr(s3_client(), "get_paginator", lambda _: Failing())
    with pytest.raises(TransientError, match=r"could not list s3://"):
        pipeline.extract()


def test_bytes_that_are_no_gzip_are_refused_even_under_the_digest_of_the_manifest(pipeline: Pipeline) -> None:
    key = pipeline.extract()["manifest_key"]
    stored, s3, content = json.loads(objects()[key]), boto3.client("s3"), b"no gzip at all"
    part = stored["parts"][0]
    part |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    s3.put_object(Bucket=BUCKET, Key=part["key"], Body=content)
    s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(stored).encode())
    with pytest.raises(RawDataError, match="is not whole gzip"):
        pipeline.stage(key, 0)
