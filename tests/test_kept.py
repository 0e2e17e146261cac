"""A vehicle whose row is rejected has not left: its last good row stays, is counted, and is listed until it is good."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from evdata.errors import RefusedError
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import Pipeline, build_pipeline
from tests.test_load import counts
from tests.test_transform import vehicle

CASES: Final = Path(__file__).resolve().parent.parent.parent / "shared" / "cases"
JUNE, JULY, AUGUST, SEPTEMBER = 1_685_577_600, 1_688_169_600, 1_690_848_000, 1_693_526_400  # firsts of 2023, midnight

type Fields = dict[str, str]


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data([vehicle(key) for key in range(1, 11)], rows_updated_at=JUNE)


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    """Ten vehicles in the table since June; guards that let half of a version pass."""
    built = build_pipeline(monkeypatch, database, source, part_rows=4, max_rejected=0.5, max_shrink=0.5)
    built.run("june")
    return built


def bad(key: object, **fields: str) -> Fields:
    """A row that cannot be loaded, of a key that can be read or not."""
    return vehicle(1, dol_vehicle_id=str(key), make="", **fields)


def ten_but(*changed: Fields, without: tuple[int, ...] = ()) -> list[Fields]:
    """The ten vehicles, some of them replaced by the rows in `changed` or absent."""
    gone = {*without, *(int(row["dol_vehicle_id"]) for row in changed if row["dol_vehicle_id"].isdigit())}
    return [*(vehicle(key) for key in range(1, 11) if key not in gone), *changed]


def run(pipeline: Pipeline, source: OpenData, when: int, rows: list[Fields], **how: Any) -> dict[str, Any]:
    source.snapshot = Snapshot.of(rows, rows_updated_at=when)
    again = pipeline.query("SELECT count(*) FROM pipeline_run WHERE extract(epoch FROM dataset_version) = %s", when)
    return pipeline.run(f"{when}, {again[0][0]}", force=bool(again[0][0]), **how)


def kept(pipeline: Pipeline) -> list[tuple[int, str, str]]:
    """What `ev_kept` lists: the vehicle, the version that confirmed it last, the version since which it is kept."""
    return pipeline.query(
        "SELECT dol_vehicle_id, to_char(last_confirmed, 'MM-DD'), to_char(kept_since, 'MM-DD') FROM ev_kept ORDER BY 1"
    )


def history(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.query(
        "SELECT dol_vehicle_id, city, change, to_char(valid_from, 'MM-DD'), to_char(valid_to, 'MM-DD') "
        "FROM electric_vehicle_us_history ORDER BY 1, valid_from"
    )


def rows(pipeline: Pipeline) -> int:
    ((found,),) = pipeline.query("SELECT count(*) FROM electric_vehicle_us")
    return int(found)


def test_two_real_vehicles_with_a_bad_zip_code_have_not_left(
    aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, open_data: Callable[..., OpenData]
) -> None:
    if not CASES.exists():
        pytest.skip(f"the cases are not in {CASES.parent.name}/{CASES.name} beside the checkout")
    portal = open_data(CASES / "a00_base.csv", rows_updated_at=JUNE)
    pipeline = build_pipeline(monkeypatch, database, portal, max_rejected=0.05)
    assert pipeline.run("june")["loaded"] == 200
    portal.snapshot = Snapshot.from_csv(CASES / "p01_v2_two_bad_zips.csv", rows_updated_at=JULY)
    answer = pipeline.run("july")
    assert counts(answer) == {"source": 200, "loaded": 198, "unchanged": 198, "rejected": 2, "kept": 2}
    assert rows(pipeline) == 200
    assert history(pipeline) == []
    assert [since for _, *since in kept(pipeline)] == [["06-01", "07-01"]] * 2


def test_a_vehicle_whose_row_is_rejected_keeps_its_last_good_row(pipeline: Pipeline, source: OpenData) -> None:
    before = pipeline.query("SELECT t, xmin::text FROM electric_vehicle_us t WHERE dol_vehicle_id = 3")
    answer = run(pipeline, source, JULY, ten_but(bad(3, city="Tacoma"), without=(9,)))
    assert counts(answer) == {"source": 9, "loaded": 8, "removed": 1, "unchanged": 8, "rejected": 1, "kept": 1}
    assert rows(pipeline) == 9
    assert pipeline.query("SELECT t, xmin::text FROM electric_vehicle_us t WHERE dol_vehicle_id = 3") == before
    assert history(pipeline) == [(9, "Seattle", "removed", "06-01", "07-01")], "only the one that left"
    assert kept(pipeline) == [(3, "06-01", "07-01")]
    assert pipeline.query("SELECT key, kept, raw ->> 'city' FROM rejected_row") == [("3", True, "Tacoma")]
    assert pipeline.query("SELECT vehicles, arrived, departed, kept FROM ev_growth ORDER BY dataset_version") == [
        (10, 10, 0, 0),
        (9, 0, 1, 1),
    ]


def test_vehicles_are_counted_as_kept_not_rows_and_only_those_that_no_good_row_has(
    pipeline: Pipeline, source: OpenData
) -> None:
    answer = run(
        pipeline,
        source,
        JULY,
        [
            *ten_but(bad(3), without=(8, 9)),
            bad(3, city="Tacoma"),  # the same vehicle once more
            bad(4),  # which has a good row too
            bad(99),  # which was never in the table
            bad("12x"),  # which may be 8 or 9 or neither
        ],
    )
    assert counts(answer) == {"source": 12, "loaded": 7, "removed": 2, "unchanged": 7, "rejected": 5, "kept": 1}
    assert rows(pipeline) == 8
    assert [key for key, *_ in kept(pipeline)] == [3]
    assert pipeline.query("SELECT key, kept FROM rejected_row ORDER BY part, line") == [
        ("3", True), ("3", True), ("4", False), ("99", False), (None, False),
    ]  # fmt: skip
    assert "Kept with their last good row, because their new one was rejected: 1 vehicle." in answer["message"]
    assert "a key that cannot be read: 1 row. Up to 1 of the 2 removed may really be rejections." in answer["message"]
    assert answer["headline"] == "7 rows published (+0 ~0 -2), 5 rejected, 1 kept"


def test_nothing_is_said_of_rejections_as_removals_where_every_key_can_be_read_or_nothing_was_removed(
    pipeline: Pipeline, source: OpenData
) -> None:
    july = run(pipeline, source, JULY, ten_but(bad(3), without=(9,)))
    august = run(pipeline, source, AUGUST, [*ten_but(without=(9,)), bad("?")])
    for answer in (july, august):
        assert "may really be" not in answer["message"]
    assert "Kept" not in august["message"]


def test_the_first_version_keeps_nothing(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.execute("TRUNCATE electric_vehicle_us, pipeline_run, rejected_row")
    answer = run(pipeline, source, JULY, ten_but(bad(3)))
    assert counts(answer) == {"source": 10, "loaded": 9, "inserted": 9, "rejected": 1}
    assert kept(pipeline) == []


def test_what_becomes_of_a_kept_vehicle(pipeline: Pipeline, source: OpenData) -> None:
    run(pipeline, source, JULY, ten_but(bad(3), bad(4), bad(5)))
    run(pipeline, source, AUGUST, ten_but(bad(3), bad(4), bad(5), bad(6)))
    assert kept(pipeline) == [
        (3, "06-01", "07-01"), (4, "06-01", "07-01"), (5, "06-01", "07-01"), (6, "07-01", "08-01"),
    ]  # fmt: skip
    answer = run(pipeline, source, SEPTEMBER, ten_but(vehicle(4, city="Tacoma"), bad(6), without=(5,)))
    assert counts(answer) == {
        "source": 9, "loaded": 8, "updated": 1, "removed": 1, "unchanged": 7, "rejected": 1, "kept": 1,
    }  # fmt: skip
    assert kept(pipeline) == [(6, "07-01", "08-01")]
    assert history(pipeline) == [
        (4, "Seattle", "updated", "06-01", "09-01"),
        (5, "Seattle", "removed", "06-01", "09-01"),
    ], "3 is as it was in June, so it has no history"
    for moment, stood in (("2023-07-15Z", 10), ("2023-08-15Z", 10), ("2023-09-01Z", 9)):
        assert pipeline.query("SELECT count(*) FROM electric_vehicle_us_as_of(%s)", moment) == [(stood,)]
    assert pipeline.query("SELECT vehicles, departed, kept FROM ev_growth ORDER BY dataset_version") == [
        (10, 0, 0), (10, 0, 3), (10, 0, 4), (9, 1, 1),
    ]  # fmt: skip


def test_a_vehicle_that_is_good_between_two_rejections_was_confirmed_in_between(
    pipeline: Pipeline, source: OpenData
) -> None:
    run(pipeline, source, JULY, ten_but(bad(3)))
    run(pipeline, source, AUGUST, ten_but())
    run(pipeline, source, SEPTEMBER, ten_but(bad(3)))
    assert kept(pipeline) == [(3, "08-01", "09-01")]
    assert pipeline.query("SELECT reasons FROM ev_kept") == [(["make is missing"],)]


# --- A version that is published again ---


def test_a_version_published_again_with_fewer_rejections_keeps_fewer(pipeline: Pipeline, source: OpenData) -> None:
    run(pipeline, source, JULY, ten_but(bad(3), bad(4)))
    answer = run(pipeline, source, JULY, ten_but(vehicle(3, city="Tacoma")))
    assert counts(answer) == {"source": 10, "loaded": 10, "updated": 1, "unchanged": 9}
    assert kept(pipeline) == []
    assert history(pipeline) == [(3, "Seattle", "updated", "06-01", "07-01")]


def test_a_version_published_again_with_more_rejections_keeps_what_its_first_copy_had(
    pipeline: Pipeline, source: OpenData
) -> None:
    run(pipeline, source, JULY, ten_but(vehicle(3, city="Tacoma")))
    answer = run(pipeline, source, JULY, ten_but(bad(3), bad(4)))
    assert counts(answer) == {"source": 10, "loaded": 8, "unchanged": 8, "rejected": 2, "kept": 2}
    assert kept(pipeline) == [(3, "07-01", "07-01"), (4, "06-01", "07-01")]
    assert history(pipeline) == [(3, "Seattle", "updated", "06-01", "07-01")]


def test_a_version_published_again_brings_back_a_vehicle_that_it_removed_and_now_rejects(
    pipeline: Pipeline, source: OpenData
) -> None:
    assert counts(run(pipeline, source, JULY, ten_but(without=(3, 4))))["removed"] == 2
    answer = run(pipeline, source, JULY, ten_but(bad(3), without=(4,)))
    assert counts(answer) == {"source": 9, "loaded": 8, "unchanged": 8, "rejected": 1, "kept": 1}
    assert rows(pipeline) == 9
    assert history(pipeline) == [(4, "Seattle", "removed", "06-01", "07-01")]
    assert kept(pipeline) == [(3, "06-01", "07-01")]


def test_a_twin_of_the_run_answers_with_what_that_run_kept_and_an_older_version_keeps_nothing(
    pipeline: Pipeline, source: OpenData
) -> None:
    source.snapshot = Snapshot.of(ten_but(bad(3)), rows_updated_at=JULY)
    key = pipeline.extract()["manifest_key"]
    pipeline.run("july")
    twin = pipeline.publish(key, "july's twin")
    assert (twin["status"], counts(twin), twin["headline"]) == (
        "unchanged",
        {"source": 10, "loaded": 9, "unchanged": 9, "rejected": 1, "kept": 1},
        "unchanged, 10 rows",
    )
    run(pipeline, source, AUGUST, ten_but())
    source.snapshot = Snapshot.of(ten_but(bad(3)), rows_updated_at=JULY)
    late = pipeline.run("july, late", force=True)
    assert (late["status"], counts(late)) == ("superseded", {})
    assert kept(pipeline) == []


# --- The guards ---


@pytest.mark.parametrize("lost", [1, 2])
def test_the_shrink_guard_compares_the_tables_rows_before_and_after(
    pipeline: Pipeline, source: OpenData, lost: int
) -> None:
    pipeline.set_guard("MAX_SHRINK_FRACTION", 0.1)
    version = ten_but(bad(1), bad(2), bad(3), without=tuple(range(11 - lost, 11)))
    if lost == 1:
        answer = run(pipeline, source, JULY, version)
        assert (answer["loaded"], answer["kept"]) == (6, 3), "9 of 10 are left: exactly 10% fewer, and no more"
        return
    with pytest.raises(RefusedError, match=r"8 vehicles, 20\.00% fewer than the 10 in the table"):
        run(pipeline, source, JULY, version)
    assert (rows(pipeline), kept(pipeline)) == (10, [])


def test_the_shrink_guard_takes_the_rows_of_a_version_published_twice_as_its_second_publishing_left_them(
    pipeline: Pipeline, source: OpenData
) -> None:
    run(pipeline, source, JULY, ten_but(without=(1, 2, 3, 4)))
    run(pipeline, source, JULY, ten_but())
    pipeline.set_guard("MAX_SHRINK_FRACTION", 0.1)
    with pytest.raises(RefusedError, match="than the 10 in the table"):
        run(pipeline, source, AUGUST, ten_but(without=(1, 2)))
    assert run(pipeline, source, AUGUST, ten_but(without=(1,)))["loaded"] == 9


@pytest.mark.parametrize(("rejected", "fraction"), [(29, 0.29), (18, 0.18)])
def test_a_fraction_is_taken_as_it_is_written(
    pipeline: Pipeline, source: OpenData, rejected: int, fraction: float
) -> None:
    pipeline.set_guard("MAX_REJECTED_FRACTION", fraction)
    pipeline.set_guard("MAX_SHRINK_FRACTION", fraction)
    hundred = [vehicle(key) for key in range(1, 101)]
    run(pipeline, source, JULY, hundred)
    answer = run(pipeline, source, AUGUST, [*hundred[rejected:], *(bad("?") for _ in range(rejected))])
    assert (answer["rejected"], answer["removed"]) == (rejected, rejected)
