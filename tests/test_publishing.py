"""Publishing's second lines of defense, each with the first one taken away, and what lies beside the staged parts."""

from collections.abc import Callable
from typing import Any, Final

import boto3
import pytest

from evdata.errors import PipelineError, RawDataError, RefusedError, TransientError
from evdata.publishing import Outcome
from evdata.raw_store import RawStore
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import BUCKET, Pipeline, build_pipeline
from tests.test_load import counts
from tests.test_transform import vehicle

JUNE, JULY, AUGUST = 1_685_577_600, 1_688_169_600, 1_690_848_000  # the first of the month, 2023, midnight UTC

# Rejects a row of `pipeline_run` that is written by a session that does not hold the publishers' lock.
ONLY_UNDER_THE_LOCK: Final = """
CREATE FUNCTION only_under_the_lock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND granted
      AND relation = 'public.ev_alembic_version'::regclass AND mode = 'ShareUpdateExclusiveLock') THEN
    RAISE 'run % was written without the lock', new.execution_id;
  END IF;
  RETURN new;
END $$;
CREATE TRIGGER only_under_the_lock BEFORE INSERT ON pipeline_run
  FOR EACH ROW EXECUTE FUNCTION only_under_the_lock();
"""


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data([vehicle(key) for key in range(1, 21)], rows_updated_at=JUNE)


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    """Twenty vehicles wait at the source; a part holds eight, so there are three."""
    return build_pipeline(monkeypatch, database, source, part_rows=8, max_rejected=0.3)


def show(source: OpenData, rows: list[dict[str, str]], when: int) -> None:
    source.snapshot = Snapshot.of(rows, rows_updated_at=when)


def twenty(**changes: str) -> list[dict[str, str]]:
    return [vehicle(key, **changes) for key in range(1, 21)]


def stage_all(pipeline: Pipeline, key: str, parts: int = 3) -> None:
    for part in range(parts):
        pipeline.stage(key, part)


def staged(pipeline: Pipeline, *, force: bool = False) -> str:
    """Extract and stage what the source has; return the manifest's key."""
    answer = pipeline.extract(force=force)
    stage_all(pipeline, answer["manifest_key"], answer["parts"])
    return str(answer["manifest_key"])


def in_staging(pipeline: Pipeline) -> list[tuple[str, int]]:
    """The versions that have anything in staging, by day, and how many tables, parts and rejected rows each has."""
    return pipeline.query(
        """
        SELECT day, count(*) FROM (
          SELECT substring(tablename FROM '[0-9]{8}') FROM pg_tables
            WHERE schemaname = 'ev_pipeline_internal' AND tablename ~ '[0-9]{14}'
          UNION ALL SELECT substring(manifest_key FROM '[0-9]{8}') FROM ev_pipeline_internal.part
          UNION ALL SELECT substring(manifest_key FROM '[0-9]{8}') FROM ev_pipeline_internal.rejected
        ) AS found (day) GROUP BY day ORDER BY day
        """
    )


# --- The lock ---


def test_every_run_is_written_under_the_lock_however_it_ends(pipeline: Pipeline, source: OpenData) -> None:
    june = staged(pipeline)
    pipeline.execute(ONLY_UNDER_THE_LOCK)
    assert pipeline.publish(june, "june")["status"] == "published"
    show(source, twenty()[:5], JULY)
    with pytest.raises(RefusedError, match="fewer than"):
        pipeline.publish(staged(pipeline), "shrunk")
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=june)
    with pytest.raises(RawDataError, match="there is no manifest"):
        pipeline.publish(june, "unread")
    assert pipeline.query("SELECT execution_id, status FROM pipeline_run ORDER BY finished_at") == [
        ("june", "published"),
        ("shrunk", "refused"),
        ("unread", "refused"),
    ]


def test_a_run_written_without_the_lock_would_be_noticed(pipeline: Pipeline) -> None:
    pipeline.run("june")
    pipeline.execute(ONLY_UNDER_THE_LOCK)
    with pytest.raises(Exception, match="run copied was written without the lock"):
        pipeline.execute(
            "INSERT INTO pipeline_run "
            "SELECT (jsonb_populate_record(r, jsonb_build_object('execution_id', 'copied'))).* FROM pipeline_run r"
        )


# --- An execution that comes again ---


def test_a_finished_execution_whose_parts_were_staged_again_publishes_no_second_time(
    pipeline: Pipeline, source: OpenData
) -> None:
    key = staged(pipeline)
    first = pipeline.publish(key, "june")
    stage_all(pipeline, key)
    assert pipeline.publish(key, "june") == first, "20 new, not 20 unchanged"
    assert pipeline.query("SELECT execution_id, inserted FROM pipeline_run") == [("june", 20)]


def test_a_refused_execution_answers_in_the_same_words_until_its_parts_are_staged_again(
    pipeline: Pipeline, source: OpenData
) -> None:
    key = pipeline.extract()["manifest_key"]
    pipeline.stage(key, 0)
    refusals = []
    for _ in range(2):
        with pytest.raises(PipelineError, match="part 1 was not staged") as refusal:
            pipeline.publish(key, "june")
        refusals.append(str(refusal.value))
    assert refusals[0] == refusals[1], "part 0, which the refusal took away, is not missed the second time"
    assert pipeline.query("SELECT execution_id, status, message FROM pipeline_run") == [
        ("june", "refused", refusals[0])
    ]
    stage_all(pipeline, key)
    assert pipeline.publish(key, "june")["loaded"] == 20
    assert pipeline.query("SELECT execution_id, status FROM pipeline_run") == [("june", "published")]


# --- Rows that came twice are read again from S3 ---


@pytest.fixture
def doubled(pipeline: Pipeline, source: OpenData) -> str:
    """June with the key 5 twice, staged; the manifest's key."""
    show(source, [*twenty(), vehicle(5, city="Tacoma")], JUNE)
    return staged(pipeline)


def test_s3_failing_while_duplicates_are_read_costs_a_retry_and_writes_nothing(
    pipeline: Pipeline, doubled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def throttled(*_: object) -> bytes:
        raise TransientError("could not read s3://b/part-00000.csv.gz: SlowDown")

    with monkeypatch.context() as failing:
        failing.setattr(RawStore, "part", throttled)
        with pytest.raises(TransientError, match="SlowDown"):
            pipeline.publish(doubled, "june")
    assert pipeline.query("SELECT (SELECT count(*) FROM electric_vehicle_us), (SELECT count(*) FROM pipeline_run)") == [
        (0, 0)
    ], "neither the table nor a refusal was written"
    assert counts(pipeline.publish(doubled, "june")) == {"source": 21, "loaded": 20, "inserted": 20, "rejected": 1}


def test_of_rows_that_share_a_key_the_last_in_the_sources_order_stays(pipeline: Pipeline, source: OpenData) -> None:
    rows = [vehicle(key, city="Tacoma") for key in (5, 6)]
    rows += twenty()
    rows += [vehicle(7, city="Olympia"), vehicle(7), vehicle(6)]
    show(source, rows, JUNE)
    answer = pipeline.run("june")
    assert counts(answer) == {"source": 25, "loaded": 20, "inserted": 20, "rejected": 5}
    assert pipeline.query("SELECT DISTINCT city FROM electric_vehicle_us") == [("Seattle",)]
    came_twice = "dol_vehicle_id came twice: this {} the one in part {}, line {}"
    assert pipeline.query("SELECT part, line, raw ->> 'city', reasons[1], key FROM rejected_row ORDER BY 1, 2") == [
        (0, 2, "Tacoma", came_twice.format("is overruled by", 0, 8), "5"),
        (0, 3, "Tacoma", came_twice.format("is overruled by", 3, 2), "6"),
        (0, 9, "Seattle", came_twice.format("is the same as", 3, 2), "6"),
        (1, 2, "Seattle", came_twice.format("is the same as", 2, 9), "7"),
        (2, 8, "Olympia", came_twice.format("is overruled by", 2, 9), "7"),
    ]
    assert "Most often: dol_vehicle_id came twice: this is overruled by the one (3 rows);" in answer["message"]


def test_a_part_that_is_gone_when_duplicates_are_read_is_a_refusal_and_the_table_stands(
    pipeline: Pipeline, doubled: str
) -> None:
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=doubled.replace("manifest.json", "part-00000.csv.gz"))
    with pytest.raises(RawDataError, match=r"part 0 is gone.* Run: june"):
        pipeline.publish(doubled, "june")
    assert pipeline.query("SELECT status, (SELECT count(*) FROM electric_vehicle_us) FROM pipeline_run") == [
        ("refused", 0)
    ]
    assert in_staging(pipeline) == []
    assert pipeline.run("the next", force=True)["loaded"] == 20


# --- Words ---


def test_one_vehicle_is_told_in_the_singular(pipeline: Pipeline, source: OpenData) -> None:
    show(source, [vehicle(1)], JUNE)
    assert pipeline.run("june")["message"].startswith("Version 2023-06-01 00:00 UTC is published: 1 vehicle.\n")
    show(source, [vehicle(key) for key in range(1, 1_001)], JULY)
    assert "is published: 1,000 vehicles." in pipeline.run("july")["message"]
    show(source, [vehicle(1)], AUGUST)
    with pytest.raises(RefusedError, match=r"refused: 1 vehicle, 99\.90% fewer than the 1,000 in the table"):
        pipeline.run("august")


def test_the_message_says_everything_that_the_version_brought(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.run("june")
    rows = twenty()[5:]
    rows[0] |= {"city": "Tacoma"}
    rows[1] |= {"geocoded_column": ""}
    rows[2] |= {"legislative_district": ""}
    rows[3] |= {"electric_utility": "N/A"}
    rows += [vehicle(5, make=""), vehicle(21), vehicle(22), vehicle(1, dol_vehicle_id="?"), vehicle(4, make="")]
    for row in rows:
        del row["base_msrp"]
    show(source, rows, JULY)
    assert pipeline.publish(staged(pipeline), "july", force=True, notes=["A note."])["message"].splitlines() == [
        "Version 2023-07-01 00:00 UTC is published: 19 vehicles.",
        "2 new, 3 updated, 3 removed, 12 unchanged (1 but for a moved point).",
        "20 rows came from the source, 3 were rejected.",
        (
            "Most often: make is missing (2 rows); dol_vehicle_id is '?', expected a whole number (1 row). "
            "They are in rejected_row."
        ),
        "Kept with their last good row, because their new one was rejected: 2 vehicles.",
        "Rejected with a key that cannot be read: 1 row. Up to 1 of the 3 removed may really be rejections.",
        "Gone from the source, NULL in the table: Base MSRP.",
        "Warning: 'district is blank exactly outside Washington' does not hold for 1 row.",
        "Warning: 'what is missing is left blank, not written as NULL, N/A or nan' does not hold for 1 row.",
        "A note.",
        "Source: Washington State Department of Licensing, data.wa.gov, Open Database License 1.0.",
        f"Report: aws s3 cp s3://{BUCKET}/reports/latest.html .",
    ]


def test_the_message_of_a_plain_version_says_no_more_than_there_is(pipeline: Pipeline) -> None:
    assert pipeline.run("june")["message"].splitlines()[:-2] == [
        "Version 2023-06-01 00:00 UTC is published: 20 vehicles.",
        "20 new, 0 updated, 0 removed, 0 unchanged.",
        "20 rows came from the source, 0 were rejected.",
    ]


def test_the_refusal_of_a_version_that_is_not_whole_names_every_part_once(pipeline: Pipeline) -> None:
    key = pipeline.extract()["manifest_key"]
    pipeline.stage(key, 0)
    pipeline.execute("UPDATE ev_pipeline_internal.part SET error = 'the disk is full.'")
    with pytest.raises(RawDataError) as refusal:
        pipeline.publish(key, "june")
    assert str(refusal.value) == (
        "version 2023-06-01 00:00 UTC is not whole in staging: part 0: the disk is full; part 1 was not staged; part 2 "
        "was not staged. Nothing was published. Mend the cause and start a new execution. Run: june"
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "UPDATE {0}.part SET sha256 = 'ab' WHERE part = 1",
            "is not whole in staging: part 1 was staged from other bytes than the manifest names. Nothing",
        ),
        (
            "UPDATE {0}.part SET rows = rows - 2, rejected = 1 WHERE part = 1",
            "is not whole in staging: part 1: 7 rows staged, the manifest says 8. Nothing",
        ),
        (
            "DELETE FROM {0}.electric_vehicle_us_20230601000000_00001 WHERE line = 2",
            "18 rows staged and 1 rejected make 19, the manifest says 20. Nothing",
        ),
        ("DELETE FROM {0}.rejected", "19 rows staged and 0 rejected make 19, the manifest says 20. Nothing"),
    ],
    ids=["other bytes", "another count", "a row lost", "a rejected row lost"],
)
def test_what_was_lost_or_changed_in_staging_is_refused(
    pipeline: Pipeline, source: OpenData, damage: str, said: str
) -> None:
    show(source, [*twenty()[:-1], vehicle(20, make="")], JUNE)
    key = staged(pipeline)
    pipeline.execute(damage.format("ev_pipeline_internal"))
    with pytest.raises(RawDataError) as refusal:
        pipeline.publish(key, "june")
    assert said in str(refusal.value)
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us") == [(0,)]


def test_the_last_reason_why_a_part_could_not_be_staged_is_told_until_it_is_staged(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = staged(pipeline)
    for part, reason in ((1, "the first reason"), (1, "the last reason"), (0, "no reason at all")):

        def fail(*_: object, why: str = reason) -> bytes:
            raise RawDataError(why)

        if (part, reason) == (1, "the first reason"):
            pipeline.execute("DELETE FROM ev_pipeline_internal.part WHERE part = 1")
        with monkeypatch.context() as failing:
            failing.setattr(RawStore, "part", fail)
            with pytest.raises(RawDataError):
                pipeline.stage(key, part)
    with pytest.raises(RawDataError, match=r"in staging: part 1: RawDataError: the last reason\. Nothing"):
        pipeline.publish(key, "june")
    stage_all(pipeline, key)
    assert pipeline.publish(key, "june")["loaded"] == 20


@pytest.mark.parametrize(
    ("counted", "headline"),
    [
        ({}, "1,200 rows published (+0 ~0 -0)"),
        (
            {"inserted": 1, "updated": 2, "removed": 3, "rejected": 4, "kept": 5},
            "1,200 rows published (+1 ~2 -3), 4 rejected, 5 kept",
        ),
        (
            {"inserted": 1_234, "updated": 23_456, "removed": 3, "rejected": 456, "kept": 56},
            "1,200 rows published (+1,234 ~23,456 -3), 456 rejected, 56 kept",
        ),
        (
            {"inserted": 1_234, "updated": 23_456, "removed": 34, "rejected": 456, "kept": 56},
            "1,200 rows published, 456 rejected, 56 kept",
        ),
        ({"rejected": 10**15, "kept": 10**15}, "1,200 rows published, 1,000,000,000,000,000 rejected"),
        ({"rejected": 10**30}, "1,200 rows published"),
    ],
    ids=["nothing changed", "everything", "as long as it may be", "one too many", "far too many", "absurd"],
)
def test_a_headline_drops_what_matters_least_until_it_fits(counted: dict[str, int], headline: str) -> None:
    outcome = Outcome(status="published", loaded=1_200, message="", **counted)
    assert outcome.headline == headline
    assert len(headline) <= 63, "a subject has room for this much beside the longest name of a stack"


def test_a_refusal_takes_back_what_was_written_before_it(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.run("june")
    show(source, twenty()[2:], JULY)
    assert pipeline.run("july")["removed"] == 2
    before = pipeline.query("SELECT t, xmin::text FROM electric_vehicle_us t ORDER BY dol_vehicle_id")
    show(source, [*twenty()[8:], vehicle(1, make="")], JULY)  # 1 comes back, seven others go: too many
    with pytest.raises(RefusedError, match="fewer than the 18 in the table"):
        pipeline.publish(staged(pipeline, force=True), "july, corrected")
    assert pipeline.query("SELECT t, xmin::text FROM electric_vehicle_us t ORDER BY dol_vehicle_id") == before
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us_history") == [(2,)]


# --- What lies beside the parts ---


def test_a_stray_at_the_first_number_that_the_copy_lacks_is_forgotten(pipeline: Pipeline, source: OpenData) -> None:
    stray = [vehicle(key, make="", legislative_district="") for key in range(21, 25)]
    show(source, [*twenty(), *(vehicle(key) for key in range(25, 29)), *stray], JUNE)
    assert staged(pipeline).endswith("manifest.json")  # parts 0 to 3, the last half of bad rows; and the run died
    show(source, twenty(), JUNE)
    key = staged(pipeline, force=True)
    assert pipeline.query("SELECT count(*) FROM ev_pipeline_internal.part") == [(4,)], "number 3 is a stray"
    answer = pipeline.publish(key, "june")
    assert counts(answer) == {"source": 20, "loaded": 20, "inserted": 20}
    assert "rejected_row" not in answer["message"]
    assert in_staging(pipeline) == []


def test_the_last_part_is_no_stray(pipeline: Pipeline, source: OpenData) -> None:
    show(source, [*twenty()[:-1], vehicle(20, make="")], JUNE)
    answer = pipeline.run("june")
    assert (answer["loaded"], answer["rejected"]) == (19, 1)


@pytest.mark.parametrize("ends", ["published", "superseded", "refused"])
def test_parts_of_a_newer_version_stay_when_an_older_run_ends(pipeline: Pipeline, source: OpenData, ends: str) -> None:
    june = staged(pipeline)
    if ends == "superseded":
        show(source, twenty(), JUNE + 86_400)
        pipeline.run("the day after")
        stage_all(pipeline, june)
    show(source, [*twenty(city="Tacoma")[:-1], *(vehicle(key) for key in range(21, 26)), vehicle(20, make="")], JULY)
    july = staged(pipeline)
    before = [found for found in in_staging(pipeline) if found[0] == "20230701"]
    assert before == [("20230701", 9)], "four tables, four parts, a rejected row"
    if ends == "refused":
        pipeline.execute("UPDATE ev_pipeline_internal.part SET error = 'broken' WHERE manifest_key = %s", june)
        with pytest.raises(RawDataError, match="broken"):
            pipeline.publish(june, "june")
    else:
        assert pipeline.publish(june, "june")["status"] == ends
    assert in_staging(pipeline) == before, "June's parts are gone, July's are not"
    assert pipeline.query("SELECT count(*) FROM rejected_row") == [(0,)], "July's rejected row is July's"
    assert counts(pipeline.publish(july, "july"))["loaded"] == 24


def test_a_rejected_row_of_a_newer_version_keeps_no_vehicle_in_an_older_one(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.run("june")
    show(source, [*twenty()[2:], vehicle(1, make="")], JULY)
    july = staged(pipeline)
    show(source, [*twenty()[2:], vehicle(2, make="")], AUGUST)
    august = staged(pipeline)
    assert counts(pipeline.publish(july, "july")) == {
        "source": 19, "loaded": 18, "removed": 1, "unchanged": 18, "rejected": 1, "kept": 1,
    }  # fmt: skip
    assert counts(pipeline.publish(august, "august"))["removed"] == 1


@pytest.mark.parametrize("ends", ["published", "refused"])
def test_leftovers_of_older_versions_go_with_the_run_that_ends(pipeline: Pipeline, source: OpenData, ends: str) -> None:
    for month, rows in ((JUNE, [*twenty()[:-1], vehicle(20, make="")]), (JULY, twenty())):
        show(source, rows, month)
        staged(pipeline)  # and the run died
    assert in_staging(pipeline) == [("20230601", 7), ("20230701", 6)]
    show(source, twenty(city="Tacoma"), AUGUST)
    key = pipeline.extract()["manifest_key"]
    if ends == "published":
        stage_all(pipeline, key)
        assert pipeline.publish(key, "august")["loaded"] == 20
    else:
        with pytest.raises(RawDataError, match="part 0 was not staged"):
            pipeline.publish(key, "august")
    assert in_staging(pipeline) == []


# --- What only moved on the map ---


def test_a_row_of_which_only_a_coordinate_changed_is_updated_without_a_history_beside_others_that_have_one(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.run("june")
    before = dict(pipeline.query("SELECT dol_vehicle_id, xmin::text FROM electric_vehicle_us"))
    rows = twenty()
    rows[0] |= {"geocoded_column": "POINT (-122.34301 47.6)"}  # north to south
    rows[1] |= {"geocoded_column": "POINT (-122.3 47.659185)"}  # west to east
    rows[2] |= {"geocoded_column": ""}  # off the map
    rows[3] |= {"geocoded_column": "POINT (-122.4443 47.2529)", "city": "Tacoma"}  # moved house
    show(source, rows[:-1], JULY)
    answer = pipeline.run("july")
    assert counts(answer) == {"source": 19, "loaded": 19, "updated": 1, "removed": 1, "unchanged": 18}
    assert "0 new, 1 updated, 1 removed, 18 unchanged (3 but for a moved point)." in answer["message"]
    assert pipeline.query(
        "SELECT dol_vehicle_id, longitude, latitude, city, valid_from::date::text FROM electric_vehicle_us "
        "WHERE dol_vehicle_id < 6 ORDER BY 1"
    ) == [
        (1, -122.34301, 47.6, "Seattle", "2023-06-01"),
        (2, -122.3, 47.659185, "Seattle", "2023-06-01"),
        (3, None, None, "Seattle", "2023-06-01"),
        (4, -122.4443, 47.2529, "Tacoma", "2023-07-01"),
        (5, -122.34301, 47.659185, "Seattle", "2023-06-01"),
    ]
    assert pipeline.query(
        "SELECT dol_vehicle_id, change, longitude, latitude FROM electric_vehicle_us_history ORDER BY 1"
    ) == [(4, "updated", -122.34301, 47.659185), (20, "removed", -122.34301, 47.659185)]
    after = dict(pipeline.query("SELECT dol_vehicle_id, xmin::text FROM electric_vehicle_us"))
    assert {key for key, row in after.items() if row != before[key]} == {1, 2, 3, 4}, "no other row is written"
    assert "moved point" not in pipeline.run("july again", force=True)["message"]


def as_texts(rows: list[tuple[Any, ...]]) -> list[str]:
    return [" ".join(map(str, row)) for row in rows]


def test_as_many_vehicles_as_stand_in_the_table_may_come_back_with_a_corrected_version(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.set_guard("MAX_REJECTED_FRACTION", 0.5)
    pipeline.run("june")
    show(source, twenty()[10:], JULY)
    assert pipeline.run("july", force=True)["removed"] == 10
    show(source, [*twenty(make="")[:10], *twenty()[10:]], JULY)
    answer = pipeline.run("july, corrected", force=True)
    assert counts(answer) == {"source": 20, "loaded": 10, "unchanged": 10, "rejected": 10, "kept": 10}
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us_history") == [(0,)]


def history(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.query(
        "SELECT dol_vehicle_id, change, valid_from::date::text, valid_to::date::text FROM electric_vehicle_us_history "
        "ORDER BY 1, 4"
    )


def test_a_corrected_version_changes_how_its_own_stays_ended_and_no_others(
    pipeline: Pipeline, source: OpenData
) -> None:
    for month, rows in ((JUNE, twenty()), (JULY, twenty()[1:]), (AUGUST, [*twenty()[2:], vehicle(1)])):
        if month == AUGUST:
            rows.append(vehicle(2, city="Tacoma"))
        show(source, rows, month)
        pipeline.run(str(month))
    assert history(pipeline)[1] == (2, "updated", "2023-06-01", "2023-08-01")
    show(source, [*twenty()[2:], vehicle(1)], AUGUST)
    pipeline.run("august, corrected", force=True)
    assert history(pipeline) == [
        (1, "removed", "2023-06-01", "2023-07-01"),  # and came back in August
        (2, "removed", "2023-06-01", "2023-08-01"),
    ]


def test_a_stay_that_only_the_first_copy_of_a_version_ended_goes_on_when_an_emptied_table_is_filled(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.run("june")
    show(source, twenty()[1:], JULY)
    pipeline.run("july")
    assert history(pipeline) == [(1, "removed", "2023-06-01", "2023-07-01")]
    pipeline.execute("TRUNCATE electric_vehicle_us")
    show(source, twenty(), JULY)
    pipeline.run("july, corrected", force=True)
    assert history(pipeline) == []
    assert pipeline.query("SELECT valid_from::date::text FROM electric_vehicle_us WHERE dol_vehicle_id = 1") == [
        ("2023-06-01",)
    ]


# --- Growth ---


def test_growth_of_a_version_published_twice_is_that_of_its_second_publishing(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.run("june")
    changed = [vehicle(4, city="Tacoma"), vehicle(5, city="Tacoma")]
    show(source, [*twenty()[5:-1], *changed, vehicle(21), vehicle(20, make=""), vehicle(3, make="")], JULY)
    assert counts(pipeline.run("july", force=True)) == {
        "source": 19, "loaded": 17, "inserted": 1, "updated": 2, "removed": 2, "unchanged": 14, "rejected": 2,
        "kept": 2,
    }  # fmt: skip
    growth = (
        "SELECT dataset_version::date, vehicles, arrived, changed, departed, rejected, kept FROM ev_growth "
        "ORDER BY dataset_version"
    )
    assert as_texts(pipeline.query(growth)) == ["2023-06-01 20 20 0 0 0 0", "2023-07-01 19 1 2 2 2 2"]
    show(source, [*twenty()[3:], vehicle(21), vehicle(22), vehicle(3, make="")], JULY)
    pipeline.run("july, corrected", force=True)
    assert as_texts(pipeline.query(growth)) == ["2023-06-01 20 20 0 0 0 0", "2023-07-01 20 2 0 2 1 1"]
