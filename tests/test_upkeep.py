"""A version that is published already: the run says `unchanged` only while the table is as that version left it."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from evdata import warehouse
from evdata.dataset import DATASET
from evdata.errors import DatabaseError, RawDataError, TransientError
from evdata.raw_store import RawStore
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests import catalog
from tests.handler_tools import BUCKET, Pipeline, build_pipeline
from tests.test_transform import vehicle

JUNE, JULY = 1_685_577_600, 1_688_169_600  # the first of each, 2023
TABLE = "electric_vehicle_us"
KEYS = range(1, 41)
ONE_MORE_ROW = (
    f"INSERT INTO {TABLE} SELECT (jsonb_populate_record(t, jsonb_build_object('dol_vehicle_id', n))).* FROM {TABLE} t,"
)


def version(month: int, keys: range = KEYS) -> Snapshot:
    return Snapshot.of([vehicle(key) for key in keys], rows_updated_at=month)


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data(version(JUNE))


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    return build_pipeline(monkeypatch, database, source, part_rows=25)


@pytest.fixture
def published(pipeline: Pipeline) -> Pipeline:
    """A pipeline whose June version stands in the table."""
    assert pipeline.run("june")["loaded"] == 40
    return pipeline


def checked(pipeline: Pipeline) -> dict[str, Any]:
    extracted = pipeline.extract()
    assert extracted["status"] == "unchanged"
    return pipeline.check(extracted["manifest_key"])


def keys(pipeline: Pipeline) -> list[int]:
    return [key for (key,) in pipeline.query(f"SELECT dol_vehicle_id FROM {TABLE} ORDER BY 1")]


def everything(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """What the catalog says of the pipeline's tables, views and function: definition, comment, rights."""
    return pipeline.query(
        """
        SELECT relname::text, relkind::text, relacl::text, obj_description(c.oid, 'pg_class'),
          (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull,
             col_description(attrelid, attnum)), E'\n' ORDER BY attnum)
           FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
          CASE relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END,
          (SELECT string_agg(pg_get_constraintdef(oid), E'\n' ORDER BY conname) FROM pg_constraint
           WHERE conrelid = c.oid)
        FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
        UNION ALL
        SELECT proname, 'f', proacl::text, obj_description(oid, 'pg_proc'), pg_get_functiondef(oid), NULL, NULL
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        ORDER BY 1, 2
        """
    )


def test_a_table_as_the_last_run_left_it_is_intact_and_counts_as_fresh(
    published: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    answer = checked(published)
    assert answer == {
        "status": "intact",
        "message": "The table holds the 40 rows that it left there. Nothing was loaded.",
        "headline": "unchanged, 40 rows of 2023-06-01",
    }
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "SourceUnchanged" in line]
    assert [(metric["service"], metric["SourceUnchanged"]) for metric in metrics if "_aws" in metric] == [
        (metrics[0]["service"], [1.0])
    ], "once, and not by extract"


@pytest.mark.parametrize(
    ("damage", "held"),
    [
        (f"DELETE FROM {TABLE}", 0),
        (f"TRUNCATE {TABLE}", 0),
        (f"DELETE FROM {TABLE} WHERE dol_vehicle_id = 40", 39),
        (f"{ONE_MORE_ROW} generate_series(41, 41) n WHERE dol_vehicle_id = 40", 41),
        (f"{ONE_MORE_ROW} generate_series(101, 200) n WHERE dol_vehicle_id = 40", 140),
    ],
    ids=["deleted", "truncated", "one row fewer", "one row more", "many rows more"],
)
def test_a_table_with_another_number_of_rows_is_loaded_again(
    published: Pipeline, capsys: pytest.CaptureFixture[str], damage: str, held: int
) -> None:
    published.execute(damage)
    capsys.readouterr()
    answer = checked(published)
    sentence = f"Warning: the table held {held} rows where the last run had left 40."
    assert answer["status"] == "damaged"
    assert sentence in answer["message"]
    assert '"SourceUnchanged"' not in capsys.readouterr().out, "it is not fresh"

    outcome = published.run("repair")

    assert outcome["status"] == "published"
    assert sentence in outcome["message"]
    assert keys(published) == list(KEYS)
    assert checked(published)["status"] == "intact", "once repaired, it stays so"
    assert published.query("SELECT message FROM pipeline_run WHERE execution_id = 'repair'") == [
        (outcome["message"].rpartition("\nReport:")[0],)
    ]


@pytest.mark.parametrize(
    "damage",
    [f"DROP TABLE {TABLE} CASCADE", f"DROP FUNCTION {TABLE}_as_of", "DROP VIEW ev_growth"],
    ids=["the table and all that stands on it", "the function", "a view"],
)
def test_what_was_dropped_is_made_again_as_it_was(published: Pipeline, damage: str) -> None:
    before = everything(published)
    published.execute(damage)
    assert everything(published) != before
    answer = checked(published)
    assert answer["status"] == "damaged"
    assert "missing from the database" in answer["message"]

    assert published.run("repair")["status"] == "published"

    assert everything(published) == before
    assert keys(published) == list(KEYS)
    assert catalog.undocumented(published.query, reader=DATASET.reader) == []
    assert (
        published.query(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') "
            "AND oid NOT IN (SELECT object FROM ev_pipeline_internal.made) AND relname <> 'ev_alembic_version'"
        )
        == []
    ), "what was made again is ours, so that a later migration may change it"
    assert checked(published)["status"] == "intact"


def test_parts_staged_at_once_make_a_dropped_table_again_once(published: Pipeline) -> None:
    published.execute(f"DROP TABLE {TABLE} CASCADE")
    extracted = published.extract(force=True)
    assert extracted["parts"] == 2
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: published.stage(extracted["manifest_key"], part), range(2)))
    assert published.publish(extracted["manifest_key"], "repair")["loaded"] == 40


def test_a_dropped_table_is_made_again_for_a_new_version_too(published: Pipeline, source: OpenData) -> None:
    published.execute(f"DROP TABLE {TABLE} CASCADE")
    source.snapshot = version(JULY, range(1, 51))
    assert published.run("july")["loaded"] == 50
    assert checked(published)["status"] == "intact"


@pytest.mark.parametrize("lost", [f"{TABLE}_history", "pipeline_run", "rejected_row"])
def test_what_no_run_can_load_again_is_not_made_again_but_named(published: Pipeline, lost: str) -> None:
    published.execute(f"DROP TABLE {lost} CASCADE")
    answer = checked(published)
    assert answer["status"] == "damaged"
    assert lost in answer["message"]
    extracted = published.extract(force=True)
    with pytest.raises(DatabaseError, match=rf"{lost}\. Nothing was changed; restore the database from a backup"):
        published.stage(extracted["manifest_key"], 0)
    with pytest.raises(DatabaseError, match=lost):
        published.publish(extracted["manifest_key"], "in vain")


def test_an_empty_database_is_filled(published: Pipeline) -> None:
    with published.connection() as connection:
        warehouse.drop_everything(connection)
    answer = checked(published)
    assert (answer["status"], "empty" in answer["message"]) == ("damaged", True)
    assert published.run("repair")["inserted"] == 40
    assert checked(published)["status"] == "intact"


def test_a_database_that_lacks_a_migration_is_loaded_again_by_this_release(published: Pipeline) -> None:
    published.execute(
        "DROP VIEW ev_kept, ev_growth; ALTER TABLE pipeline_run DROP COLUMN kept; "
        "ALTER TABLE rejected_row DROP COLUMN key, DROP COLUMN kept; "
        "ALTER TABLE ev_pipeline_internal.rejected DROP COLUMN key, DROP COLUMN kept; "
        "UPDATE ev_alembic_version SET version_num = '0003'"
    )
    answer = checked(published)
    assert answer["status"] == "damaged"
    assert "migration 0003; this release needs" in answer["message"]
    assert published.run("repair")["unchanged"] == 40
    assert checked(published)["status"] == "intact"


def test_a_database_of_a_newer_release_is_not_damaged_but_refused(published: Pipeline) -> None:
    published.execute("UPDATE ev_alembic_version SET version_num = '9999'")
    with pytest.raises(TransientError, match="a newer release has migrated them"):
        checked(published)


def test_a_table_of_somebody_elses_under_a_dropped_views_name_is_left_alone(published: Pipeline) -> None:
    published.execute("DROP VIEW ev_growth; CREATE VIEW ev_growth AS SELECT 'mine' AS whose; DROP VIEW ev_moves")
    published.run("repair")
    assert published.query("SELECT whose FROM ev_growth") == [("mine",)]
    assert published.query("SELECT count(*) FROM ev_moves") == [(0,)]
    assert checked(published)["status"] == "intact"


def test_a_database_restored_from_before_the_version_gets_it_again(published: Pipeline, source: OpenData) -> None:
    source.snapshot = version(JULY, range(3, 43))
    assert published.run("july")["loaded"] == 40
    published.execute("DELETE FROM pipeline_run WHERE execution_id = 'july'")
    answer = checked(published)
    assert answer["status"] == "damaged"
    assert "2023-06-01 00:00 UTC" in answer["message"], "what it was given last"
    assert "2023-07-01 00:00 UTC" in answer["message"], "what the bucket says"

    assert published.run("repair")["status"] == "published"

    assert keys(published) == list(range(3, 43))
    assert checked(published)["status"] == "intact"


def test_a_version_that_shrank_by_force_once_is_repaired_without_force(published: Pipeline, source: OpenData) -> None:
    source.snapshot = version(JULY, range(1, 11))
    assert published.run("shrunk", force=True)["loaded"] == 10
    published.execute("DELETE FROM pipeline_run WHERE execution_id = 'shrunk'")  # an older backup
    assert published.run("repair")["loaded"] == 10


def test_a_repair_does_not_let_a_shrunken_version_in(published: Pipeline, source: OpenData) -> None:
    published.execute(f"DELETE FROM {TABLE} WHERE dol_vehicle_id = 40")
    answer = checked(published)
    source.snapshot = version(JULY, range(1, 11))  # published by the source just now
    extracted = published.extract(force=True, repairs=answer["message"])
    published.stage(extracted["manifest_key"], 0)
    with pytest.raises(Exception, match="fewer than the"):
        published.publish(extracted["manifest_key"], "repair", notes=extracted["notes"])


def test_the_history_is_corrected_when_an_emptied_table_gets_its_version_from_another_copy(
    published: Pipeline, source: OpenData
) -> None:
    june = [vehicle(key) for key in range(1, 41)]
    changed, same = [vehicle(key, city="Tacoma") for key in (1, 2, 3)], june[4:]
    source.snapshot = Snapshot.of([*changed, *same], rows_updated_at=JULY)  # 4 is gone
    first = published.run("july")
    assert (first["updated"], first["removed"]) == (3, 1)

    published.execute(f"TRUNCATE {TABLE}")
    source.snapshot = Snapshot.of([june[0], changed[1], vehicle(4, city="Everett"), *same], rows_updated_at=JULY)
    published.run("repair")

    assert published.query(
        "SELECT dol_vehicle_id, city, change, to_char(valid_from, 'MM-DD'), to_char(valid_to, 'MM-DD') "
        f"FROM {TABLE}_history ORDER BY 1"
    ) == [
        (2, "Seattle", "updated", "06-01", "07-01"),
        (3, "Seattle", "removed", "06-01", "07-01"),
        (4, "Seattle", "updated", "06-01", "07-01"),
    ]
    assert published.query(
        f"SELECT dol_vehicle_id, city, to_char(valid_from, 'MM-DD') FROM {TABLE} WHERE dol_vehicle_id <= 4 ORDER BY 1"
    ) == [(1, "Seattle", "06-01"), (2, "Tacoma", "07-01"), (4, "Everett", "07-01")]


def test_the_history_is_kept_when_the_table_is_loaded_again(published: Pipeline, source: OpenData) -> None:
    source.snapshot = Snapshot.of([vehicle(key, city="Tacoma") for key in range(3, 41)], rows_updated_at=JULY)
    published.run("july")
    history = published.query(f"SELECT * FROM {TABLE}_history ORDER BY dol_vehicle_id, valid_from")
    assert len(history) == 40
    published.execute(f"TRUNCATE {TABLE}")
    published.run("repair")
    assert published.query(f"SELECT * FROM {TABLE}_history ORDER BY dol_vehicle_id, valid_from") == history


def test_a_check_changes_nothing_and_answers_the_same_again(published: Pipeline) -> None:
    published.execute(f"DELETE FROM {TABLE} WHERE dol_vehicle_id < 11")
    state = published.query(f"SELECT (SELECT count(*) FROM {TABLE}), (SELECT count(*) FROM pipeline_run)")
    first = checked(published)
    assert checked(published) == first
    assert published.query(f"SELECT (SELECT count(*) FROM {TABLE}), (SELECT count(*) FROM pipeline_run)") == state


def test_a_check_during_a_publish_sees_the_version_before_it_or_the_next(published: Pipeline, source: OpenData) -> None:
    key = published.extract()["manifest_key"]
    source.snapshot = version(JULY, range(1, 45))
    extracted = published.extract()
    for part in range(extracted["parts"]):
        published.stage(extracted["manifest_key"], part)
    with ThreadPoolExecutor(2) as pool:
        publishing = pool.submit(published.publish, extracted["manifest_key"], "july")
        answers = [published.check(key)]
        while not publishing.done():
            answers.append(published.check(key))
        publishing.result()
    for answer in answers:
        assert answer["status"] == "intact" or "2023-07-01" in answer["message"], "never a count of one with the other"


def test_a_repair_whose_parts_cannot_be_staged_fails_and_does_not_say_unchanged(
    published: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.execute(f"TRUNCATE {TABLE}")
    extracted = published.extract(force=True)

    def gone(*_: object) -> bytes:
        raise RawDataError("part 0 is gone")

    with monkeypatch.context() as patched:
        patched.setattr(RawStore, "part", gone)
        with pytest.raises(RawDataError):
            published.stage(extracted["manifest_key"], 0)
    published.stage(extracted["manifest_key"], 1)
    with pytest.raises(RawDataError, match="part 0 is gone"):
        published.publish(extracted["manifest_key"], "repair")
    assert checked(published)["status"] == "damaged"


def test_a_twin_that_published_the_version_first_is_no_failure(published: Pipeline) -> None:
    extracted = published.extract(force=True)
    for part in range(extracted["parts"]):
        published.stage(extracted["manifest_key"], part)
    assert published.publish(extracted["manifest_key"], "twin")["status"] == "published"
    assert published.publish(extracted["manifest_key"], "other")["status"] == "unchanged"


def test_a_publish_says_when_the_table_was_not_as_the_last_run_left_it(published: Pipeline, source: OpenData) -> None:
    published.execute(f"DELETE FROM {TABLE} WHERE dol_vehicle_id < 5")
    source.snapshot = version(JULY)
    outcome = published.run("july")
    assert "Warning: the table held 36 rows where the last run had left 40." in outcome["message"]
    source.snapshot = version(JULY + 1)
    assert "the table held" not in published.run("later")["message"]


def test_a_check_of_a_version_whose_raw_copy_expired_needs_no_raw_copy(published: Pipeline) -> None:
    key = published.extract()["manifest_key"]
    client = RawStore(BUCKET)._s3
    for entry in client.list_objects_v2(Bucket=BUCKET, Prefix="raw_data/")["Contents"]:
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    assert published.check(key)["status"] == "intact"
