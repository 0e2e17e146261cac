"""Stage and publish against a moto bucket and a real PostgreSQL."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import boto3
import psycopg2
import pytest

import load
from evdata import warehouse
from evdata.errors import DatabaseError, InputError, RawDataError, RefusedError, TransientError
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import BUCKET, Context, Pipeline, build_pipeline
from tests.test_transform import vehicle

JUNE, JULY, AUGUST = 1_685_577_600, 1_688_169_600, 1_690_848_000  # the first of the month, 2023, midnight UTC

type Start = Callable[..., OpenData]


@pytest.fixture
def source(open_data: Start) -> OpenData:
    return open_data([vehicle(key) for key in range(1, 21)], rows_updated_at=JUNE)


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    return build_pipeline(monkeypatch, database, source, part_rows=8)


def republish(source: OpenData, rows: list[dict[str, str]], when: int) -> None:
    source.snapshot = Snapshot.of(rows, rows_updated_at=when)


def counts(answer: dict[str, Any]) -> dict[str, int]:
    return {
        name: answer[name]
        for name in ("source", "loaded", "inserted", "updated", "removed", "unchanged", "rejected", "kept")
        if answer[name]
    }


def extracted(pipeline: Pipeline) -> str:
    """Extract and stage the present version; return its manifest's key."""
    answer = pipeline.extract()
    for part in range(answer["parts"]):
        pipeline.stage(answer["manifest_key"], part)
    return str(answer["manifest_key"])


# --- What is published ---


def test_the_first_version_fills_the_table(pipeline: Pipeline) -> None:
    answer = pipeline.run("first")
    assert answer["status"] == "published"
    assert counts(answer) == {"source": 20, "loaded": 20, "inserted": 20}
    assert pipeline.query("SELECT * FROM electric_vehicle_us WHERE dol_vehicle_id = 7") == [
        (7, "KM8K33AGXL", "King", "Seattle", "WA", "98103", 2020, "HYUNDAI", "KONA", "Battery Electric Vehicle (BEV)",
         "Clean Alternative Fuel Vehicle Eligible", 258, None, 43, -122.34301, 47.659185,
         "CITY OF SEATTLE - (WA)|CITY OF TACOMA - (WA)", "53033004800", *_written(pipeline)),
    ]  # fmt: skip


def test_the_first_version_fills_a_table_whose_key_somebody_has_built_upon(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.run("june")
    with pipeline.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE electric_vehicle_us, pipeline_run, rejected_row; "
            "CREATE VIEW mine AS SELECT dol_vehicle_id, city, count(*) FROM electric_vehicle_us GROUP BY dol_vehicle_id"
        )
        connection.commit()
    assert counts(pipeline.run("again", force=True)) == {"source": 20, "loaded": 20, "inserted": 20}
    assert pipeline.query("SELECT count(*) FROM mine") == [(20,)]


def _written(pipeline: Pipeline) -> tuple[Any, ...]:
    return pipeline.query("SELECT timestamptz '2023-06-01 00:00Z', (now() AT TIME ZONE 'UTC')::date")[0]


def test_the_next_version_adds_changes_removes_and_remembers(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.run("june")
    rows = [vehicle(key) for key in range(3, 20)]
    rows += [vehicle(20, city="Tacoma"), vehicle(21)]
    republish(source, rows, JULY)

    answer = pipeline.run("july")

    assert counts(answer) == {
        "source": 19, "loaded": 19, "inserted": 1, "updated": 1, "removed": 2, "unchanged": 17,
    }  # fmt: skip
    history = "SELECT dol_vehicle_id, city, change, valid_from::date::text, valid_to::date::text FROM {} ORDER BY 1"
    assert pipeline.query(history.format("electric_vehicle_us_history")) == [
        (1, "Seattle", "removed", "2023-06-01", "2023-07-01"),
        (2, "Seattle", "removed", "2023-06-01", "2023-07-01"),
        (20, "Seattle", "updated", "2023-06-01", "2023-07-01"),
    ]
    as_of = "SELECT count(*), count(*) FILTER (WHERE city = 'Tacoma') FROM electric_vehicle_us_as_of(%s)"
    assert pipeline.query(as_of, "2023-06-15Z") == [(20, 0)]
    assert pipeline.query(as_of, "2023-07-01Z") == [(19, 1)]
    assert pipeline.query(as_of, "2023-05-31Z") == [(0, 0)]


def test_a_moved_point_updates_the_row_and_makes_no_history(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.run("june")
    moved = [vehicle(key, geocoded_column="POINT (-122.343 47.6592)") for key in range(1, 21)]
    republish(source, moved, JULY)
    assert counts(pipeline.run("july")) == {"source": 20, "loaded": 20, "unchanged": 20}
    assert pipeline.query("SELECT DISTINCT longitude, valid_from::date::text FROM electric_vehicle_us") == [
        (-122.343, "2023-06-01")
    ]
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us_history") == [(0,)]


def test_a_vehicle_that_left_and_came_back_has_both_stays(pipeline: Pipeline, source: OpenData) -> None:
    everyone = [vehicle(key) for key in range(1, 21)]
    for rows, when in ((everyone, JUNE), (everyone[1:], JULY), (everyone, AUGUST)):
        republish(source, rows, when)
        pipeline.run(str(when))
    assert pipeline.query(
        "SELECT valid_from::date::text, valid_to::date::text FROM electric_vehicle_us_history WHERE dol_vehicle_id = 1"
    ) == [("2023-06-01", "2023-07-01")]
    for moment, present in (("2023-06-02Z", 1), ("2023-07-02Z", 0), ("2023-08-02Z", 1)):
        assert pipeline.query(
            "SELECT count(*) FROM electric_vehicle_us_as_of(%s) WHERE dol_vehicle_id = 1", moment
        ) == [(present,)]


def test_publishing_the_same_version_again_changes_nothing(pipeline: Pipeline) -> None:
    pipeline.run("first")
    before = pipeline.query("SELECT t, xmin::text FROM electric_vehicle_us t ORDER BY dol_vehicle_id")
    assert counts(pipeline.run("forced", force=True)) == {"source": 20, "loaded": 20, "unchanged": 20}
    assert pipeline.query("SELECT t, xmin::text FROM electric_vehicle_us t ORDER BY dol_vehicle_id") == before, (
        "not one row may be written again"
    )


def test_an_execution_whose_answer_was_lost_answers_the_same_again(pipeline: Pipeline) -> None:
    key = extracted(pipeline)
    assert pipeline.publish(key, "one") == pipeline.publish(key, "one")
    assert pipeline.query("SELECT count(*) FROM pipeline_run") == [(1,)]


def test_an_older_version_never_overwrites_a_newer_one(
    pipeline: Pipeline, source: OpenData, capsys: pytest.CaptureFixture[str]
) -> None:
    june = extracted(pipeline)
    republish(source, [vehicle(key, city="Tacoma") for key in range(1, 20)], JULY)
    pipeline.run("july")
    capsys.readouterr()

    answer = pipeline.publish(june, "june, late")

    assert (answer["status"], counts(answer)) == ("superseded", {})
    assert "PublishSuccess" not in capsys.readouterr().out, "a source stuck in the past must not pass for fresh"
    assert pipeline.query("SELECT count(*), min(city) FROM electric_vehicle_us") == [(19, "Tacoma")]
    published = json.loads(boto3.client("s3").get_object(Bucket=BUCKET, Key="published.json")["Body"].read())
    assert published["dataset_version"] == "2023-07-01T00:00:00Z"


def test_published_json_names_the_version_in_the_table(pipeline: Pipeline) -> None:
    pipeline.run("first")
    published = json.loads(boto3.client("s3").get_object(Bucket=BUCKET, Key="published.json")["Body"].read())
    assert published == {
        "dataset_id": "f6w7-q2d2",
        "dataset_version": "2023-06-01T00:00:00Z",
        "manifest_key": "raw_data/date=20230601/version=20230601T000000Z/manifest.json",
        "rows": 20,
        "execution_id": "first",
    }


def test_nothing_stays_in_staging(pipeline: Pipeline) -> None:
    pipeline.run("first")
    assert pipeline.query("SELECT tablename FROM pg_tables WHERE schemaname = 'ev_pipeline_internal' ORDER BY 1") == [
        ("made",),
        ("part",),
        ("rejected",),
    ]
    assert pipeline.query(
        "SELECT (SELECT count(*) FROM ev_pipeline_internal.part), (SELECT count(*) FROM ev_pipeline_internal.rejected)"
    ) == [(0, 0)]


# --- What is rejected ---


def test_rejected_rows_are_kept_with_their_reasons_and_counted(pipeline: Pipeline, source: OpenData) -> None:
    rows = [vehicle(key) for key in range(1, 201)]
    rows[9] = vehicle(10, make="", model_year="soon")
    republish(source, rows, JUNE)
    answer = pipeline.run("first")
    assert counts(answer) == {"source": 200, "loaded": 199, "inserted": 199, "rejected": 1}
    assert pipeline.query("SELECT execution_id, part, line, raw ->> 'dol_vehicle_id', reasons FROM rejected_row") == [
        ("first", 1, 3, "10", ["model_year is 'soon', expected a whole number", "make is missing"])
    ]
    assert "make is missing (1 row)" in answer["message"]


def test_rows_that_share_a_key_leave_the_last_one_and_say_so(pipeline: Pipeline, source: OpenData) -> None:
    rows = [vehicle(key) for key in range(1, 251)]
    rows.insert(100, vehicle(5, city="Tacoma"))  # another part says otherwise, and is itself overruled
    rows.append(vehicle(5))
    republish(source, rows, JUNE)
    answer = pipeline.run("first")
    assert counts(answer) == {"source": 252, "loaded": 250, "inserted": 250, "rejected": 2}
    assert pipeline.query("SELECT city FROM electric_vehicle_us WHERE dol_vehicle_id = 5") == [("Seattle",)]
    assert pipeline.query("SELECT part, line, raw ->> 'city', reasons[1] FROM rejected_row ORDER BY 1") == [
        (0, 6, "Seattle", "dol_vehicle_id came twice: this is the same as the one in part 31, line 5"),
        (12, 6, "Tacoma", "dol_vehicle_id came twice: this is overruled by the one in part 31, line 5"),
    ]


# --- What is refused ---


def test_too_many_rejected_rows_are_refused_with_the_numbers_and_force_does_not_help(
    pipeline: Pipeline, source: OpenData
) -> None:
    republish(source, [vehicle(key, **({"make": ""} if key == 1 else {})) for key in range(1, 11)], JUNE)
    for execution, force in (("plain", False), ("forced", True)):
        with pytest.raises(RefusedError, match=r"1 of 10 rows rejected \(10\.00%\).*maxRejectedFraction.*1\.00%"):
            pipeline.run(execution, force=force)
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us") == [(0,)]
    assert pipeline.query(
        "SELECT execution_id, status, message LIKE '%%make is missing (1 row)%%' FROM pipeline_run"
    ) == [
        ("plain", "refused", True),
        ("forced", "refused", True),
    ]


def test_a_dataset_that_shrank_is_refused_until_somebody_says_it_is_right(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.run("june")
    republish(source, [vehicle(key) for key in range(1, 17)], JULY)
    with pytest.raises(RefusedError, match=r'16 vehicles, 20\.00% fewer than the 20 .*"force": true'):
        pipeline.run("july")
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us") == [(20,)]

    assert counts(pipeline.run("july, forced", force=True)) == {
        "source": 16, "loaded": 16, "removed": 4, "unchanged": 16,
    }  # fmt: skip


def test_a_part_that_was_changed_in_the_bucket_is_refused_and_publish_says_why(pipeline: Pipeline) -> None:
    answer = pipeline.extract()
    key, folder = answer["manifest_key"], answer["manifest_key"].rsplit("/", 1)[0]
    content = gzip.compress(b'"dol_vehicle_id"\n"1"\n')
    boto3.client("s3").put_object(Bucket=BUCKET, Key=f"{folder}/part-00001.csv.gz", Body=content)
    pipeline.stage(key, 0)
    with pytest.raises(RawDataError, match="part 1 was changed after it was extracted"):
        pipeline.stage(key, 1)
    with pytest.raises(RawDataError, match=r"(?s)part 1: RawDataError: part 1 was changed.*part 2 was not staged"):
        pipeline.publish(key, "first")
    assert pipeline.query("SELECT status, message LIKE '%%part 1 was changed%%' FROM pipeline_run") == [
        ("refused", True)
    ]
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us") == [(0,)]


def test_staging_a_part_twice_is_staging_it_once(pipeline: Pipeline) -> None:
    key = extracted(pipeline)
    pipeline.stage(key, 0)
    assert counts(pipeline.publish(key, "first")) == {"source": 20, "loaded": 20, "inserted": 20}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest_key": None}, "manifest_key is None"),
        ({"manifest_key": "../etc/passwd"}, "expected raw_data/date="),
        ({"part": -1}, "part is -1"),
        ({"part": True}, "part is True"),
        ({"secret_arn": 5}, "secret_arn is 5"),
    ],
)
def test_an_event_that_is_not_as_agreed_is_refused_by_name(
    pipeline: Pipeline, change: dict[str, Any], message: str
) -> None:
    key = "raw_data/date=20230601/version=20230601T000000Z/manifest.json"
    with pytest.raises(InputError, match=message):
        load.stage(pipeline.event | {"manifest_key": key, "part": 0} | change, Context())


# --- The database ---


def test_the_schema_is_what_the_migrations_say_and_alembic_agrees_on_the_head(pipeline: Pipeline) -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(warehouse.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [warehouse.HEAD]
    pipeline.run("first")
    assert pipeline.query("SELECT version_num FROM ev_alembic_version") == [(warehouse.HEAD,)]


def test_the_database_itself_holds_that_nothing_is_lost(pipeline: Pipeline) -> None:
    pipeline.run("first")
    for statement in (
        "UPDATE pipeline_run SET rejected = 1",
        "UPDATE pipeline_run SET inserted = inserted - 1",
        "UPDATE pipeline_run SET loaded = NULL",
        "UPDATE pipeline_run SET kept = 1",  # where no row was rejected
        "UPDATE pipeline_run SET kept = NULL",
    ):
        with pytest.raises(psycopg2.errors.CheckViolation):
            pipeline.execute(statement)


def test_everything_can_be_taken_away_and_nothing_else_goes(pipeline: Pipeline) -> None:
    pipeline.execute("CREATE TABLE mine (n int)")
    pipeline.run("first")
    with pipeline.connection() as connection:
        warehouse.drop_everything(connection)
        warehouse.drop_everything(connection)
    assert pipeline.query(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    ) == [("public", "mine")]
    assert pipeline.run("again", force=True)["loaded"] == 20


def test_a_database_out_of_reach_may_pass_and_no_password_is_told(
    pipeline: Pipeline, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    key = extracted(pipeline)
    secrets = boto3.client("secretsmanager")
    document = json.loads(secrets.get_secret_value(SecretId="pipeline")["SecretString"])
    secrets.put_secret_value(
        SecretId="credentials", SecretString=json.dumps({"username": "nobody", "password": "hunter2-hunter2"})
    )
    secrets.put_secret_value(SecretId="pipeline", SecretString=json.dumps(document | {"port": 1, "host": "127.0.0.1"}))
    with pytest.raises(TransientError) as refusal:
        pipeline.publish(key, "first")
    printed = capsys.readouterr()
    assert "hunter2" not in str(refusal.value) + printed.out + printed.err


def test_a_secret_that_is_no_json_is_refused_without_showing_it(pipeline: Pipeline) -> None:
    key = extracted(pipeline)
    boto3.client("secretsmanager").put_secret_value(SecretId="credentials", SecretString="hunter2 is the password")
    with pytest.raises(InputError, match="not a JSON object with username, password") as refusal:
        pipeline.publish(key, "first")
    assert "hunter2" not in str(refusal.value)


def test_a_statement_that_the_server_refuses_is_an_error_for_good(pipeline: Pipeline) -> None:
    key = extracted(pipeline)
    pipeline.execute("ALTER TABLE electric_vehicle_us ADD COLUMN surprise int NOT NULL")
    with pytest.raises(DatabaseError, match="surprise"):
        pipeline.publish(key, "first")


def test_publish_tells_its_metrics(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.run("first")
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"PublishSuccess"' in line]
    assert (line["RowsLoaded"], line["RowsInserted"], line["RowsRejected"]) == ([20.0], [20.0], [0.0])


def test_a_doubled_key_that_stands_in_the_table_already_is_noticed(pipeline: Pipeline, source: OpenData) -> None:
    everyone = [vehicle(key) for key in range(1, 201)]
    republish(source, everyone, JUNE)
    pipeline.run("june")
    republish(source, [*everyone, vehicle(7)], JULY)
    assert counts(pipeline.run("july")) == {"source": 201, "loaded": 200, "unchanged": 200, "rejected": 1}
