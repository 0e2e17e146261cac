"""Two real versions of the dataset, mid and autumn 2023, one after the other: figures counted by hand from the files.

The files are large and stay out of the repository; where they are absent this says so and skips.
"""

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import build_pipeline

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
JUNE, OCTOBER = 1_686_787_200, 1_697_328_000  # 2023-06-15 and 2023-10-15, midnight UTC

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(
        not (DATA / "ev-population-b.csv.gz").exists(),
        reason=f"the full snapshots are not in {DATA.parent.name}/{DATA.name} beside the checkout",
    ),
]


def test_a_year_of_real_changes_is_counted_remembered_and_can_be_looked_back_at(
    aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, open_data: Callable[..., OpenData]
) -> None:
    first, second = DATA / "ev-population-a.csv.gz", DATA / "ev-population-b.csv.gz"
    source = open_data(first, rows_updated_at=JUNE)
    pipeline = build_pipeline(monkeypatch, database, source, part_rows=50_000)
    answer = pipeline.run("june")
    assert (answer["loaded"], answer["inserted"], answer["rejected"]) == (130_443, 130_443, 0)

    source.snapshot = Snapshot.from_csv(second, rows_updated_at=OCTOBER)
    answer = pipeline.run("october")

    names = ("source", "loaded", "inserted", "updated", "removed", "unchanged", "rejected")
    assert [answer[name] for name in names] == [150_482, 150_482, 26_115, 4_744, 6_076, 119_623, 0]
    assert pipeline.query(
        "SELECT count(*), count(*) FILTER (WHERE change = 'updated') FROM electric_vehicle_us_history"
    ) == [(10_820, 4_744)]
    columns = (
        "dol_vehicle_id, vin_code, coalesce(county, ''), coalesce(city, ''), state, model_year, make, "
        "coalesce(model_name, ''), vehicle_type, cafv_eligibility, coalesce(electric_range, 0), "
        "coalesce(base_msrp, 0), coalesce(legislative_district, 0), coalesce(electric_utility, '')"
    )
    as_of = pipeline.query(f"SELECT {columns} FROM electric_vehicle_us_as_of('2023-07-01Z')")
    with gzip.open(first, "rt", newline="") as content:
        expected = {
            (
                int(row["DOL Vehicle ID"]), row["VIN (1-10)"], row["County"], row["City"], row["State"],
                int(row["Model Year"]), row["Make"], row["Model"].strip(), row["Electric Vehicle Type"],
                row["Clean Alternative Fuel Vehicle (CAFV) Eligibility"], int(row["Electric Range"]),
                int(row["Base MSRP"]), int(row["Legislative District"] or 0), row["Electric Utility"],
            )
            for row in csv.DictReader(content)
        }  # fmt: skip
    assert len(as_of) == 130_443
    assert set(as_of) == expected, "the table as it stood is the version as it was, vehicle by vehicle"
