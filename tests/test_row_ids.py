"""Socrata's `:id` from the copy to the table: the second look that publish takes, with the first one taken away."""

import json
from array import array
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from evdata.errors import RawDataError, TransientError
from evdata.row_ids import DistinctIds
from local.misbehaviour import OverlappingPages
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import BUCKET, Pipeline, build_pipeline
from tests.test_transform import vehicle

JUNE, JULY = 1_685_577_600, 1_688_169_600
MANIFEST = "raw_data/date=20230701/version=20230701T000000Z/manifest.json"


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data([vehicle(key) for key in range(1, 31)], rows_updated_at=JUNE)


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    """A pipeline that has published June's 30 vehicles, with July's 32 waiting at the source."""
    found = build_pipeline(monkeypatch, database, source, part_rows=10, max_rejected=0.5)
    found.run("june")
    source.snapshot = Snapshot.of([vehicle(key, city="Tacoma") for key in range(1, 33)], rows_updated_at=JULY)
    return found


@pytest.fixture
def overlapping(pipeline: Pipeline, source: OpenData, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """July lies in S3 with one row twice and another missing: extract is as blind as it was before it looked."""
    source.behaviours.append(OverlappingPages(on="rows", first=2))
    with monkeypatch.context() as blind:
        blind.setattr(DistinctIds, "count", lambda _: 32)
        pipeline.extract()
    source.behaviours.clear()
    return pipeline


def publish(pipeline: Pipeline, execution_id: str) -> dict[str, Any]:
    for part in range(4):
        pipeline.stage(MANIFEST, part)
    return pipeline.publish(MANIFEST, execution_id)


def manifest_exists() -> bool:
    try:
        boto3.client("s3").head_object(Bucket=BUCKET, Key=MANIFEST)
    except ClientError:
        return False
    return True


def cities(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.query("SELECT city, count(*) FROM electric_vehicle_us GROUP BY 1")


def test_publish_refuses_a_repeated_row_withdraws_the_copy_and_the_next_run_copies_anew(
    overlapping: Pipeline,
) -> None:
    with pytest.raises(RawDataError, match=r"its 32 rows have 31 distinct :ids, .* the copy is withdrawn"):
        publish(overlapping, "july")
    assert cities(overlapping) == [("Seattle", 30)]
    assert not manifest_exists()
    ((status, message),) = overlapping.query("SELECT status, message FROM pipeline_run WHERE execution_id = 'july'")
    assert status == "refused"
    assert "31 distinct :ids" in message
    overlapping.run("july, the next run")
    assert cities(overlapping) == [("Tacoma", 32)]


def test_a_repeated_row_is_noticed_among_the_rejected_ones_too(pipeline: Pipeline, source: OpenData) -> None:
    rows = [vehicle(key, city="Tacoma") | ({"state": "Washington"} if key in (9, 10) else {}) for key in range(1, 33)]
    source.snapshot = Snapshot.of(rows, rows_updated_at=JULY)
    pipeline.extract()
    for part in range(4):
        pipeline.stage(MANIFEST, part)
    pipeline.execute(
        "UPDATE ev_pipeline_internal.rejected SET raw = raw || "
        "jsonb_build_object(':id', (SELECT raw ->> ':id' FROM ev_pipeline_internal.rejected WHERE line = 10))"
    )
    with pytest.raises(RawDataError, match="its 32 rows have 31 distinct :ids"):
        pipeline.publish(MANIFEST, "july")
    assert not manifest_exists()


def test_a_row_without_an_identifier_has_none_of_its_own(pipeline: Pipeline) -> None:
    pipeline.extract()
    for part in range(4):
        pipeline.stage(MANIFEST, part)
    pipeline.execute(
        'UPDATE ev_pipeline_internal.electric_vehicle_us_20230701000000_00000 SET ":id" = NULL WHERE line = 2'
    )
    with pytest.raises(RawDataError, match="31 distinct :ids"):
        pipeline.publish(MANIFEST, "july")


def test_a_manifest_that_cannot_be_withdrawn_now_is_withdrawn_when_publish_runs_again(
    overlapping: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evdata.aws import s3_client

    def throttled(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": "SlowDown", "Message": "not now"}}, "DeleteObject")

    client = s3_client()
    with monkeypatch.context() as failing:
        failing.setattr(client, "delete_object", throttled)
        with pytest.raises(TransientError, match="could not delete"):
            publish(overlapping, "july")
    assert manifest_exists()
    with pytest.raises(RawDataError, match="the copy is withdrawn"):
        overlapping.publish(MANIFEST, "july")
    assert not manifest_exists()


def as_an_earlier_release_left_it() -> None:
    """Take `:id` out of July's manifest: whether a copy has it is read there."""
    s3 = boto3.client("s3")
    manifest = json.loads(s3.get_object(Bucket=BUCKET, Key=MANIFEST)["Body"].read())
    manifest["columns"] = [column for column in manifest["columns"] if column["fieldName"] != ":id"]
    s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=json.dumps(manifest).encode())


def test_a_version_that_an_earlier_release_copied_is_copied_again_without_anybodys_help(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.extract()
    as_an_earlier_release_left_it()
    source.requests.clear()
    assert "32 rows copied in 4 parts" in pipeline.extract()["message"]
    assert len([request for request in source.requests if request.kind == "rows"]) == 4


def test_a_run_that_was_under_way_during_the_upgrade_is_refused_and_the_next_one_publishes(pipeline: Pipeline) -> None:
    pipeline.extract()
    as_an_earlier_release_left_it()
    with pytest.raises(RawDataError, match="extracted by an earlier release, without :id"):
        pipeline.stage(MANIFEST, 0)
    with pytest.raises(RawDataError, match="extracted by an earlier release, without :id"):
        pipeline.publish(MANIFEST, "under way")
    assert cities(pipeline) == [("Seattle", 30)]
    pipeline.run("the next")
    assert cities(pipeline) == [("Tacoma", 32)]


@pytest.mark.parametrize("edge", [-(1 << 63), -1, 0, 1, (1 << 63) - 1, (1 << 55) - 1, 1 << 55])
def test_identifiers_are_told_apart_up_to_the_edges_of_their_hashes(edge: int) -> None:
    ids = DistinctIds()
    others = [value for value in (-(1 << 62), -5, 7, 1 << 62) if value != edge]
    ids.add(array("q", [edge, *others]))
    assert ids.count() == 5
    ids.add(array("q", [edge]))
    assert ids.count() == 5, "on another page, it is the same"
