"""A story of four versions, each vehicle of which does something else: what must come of it is known by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from evdata.dataset import RANGE_UNKNOWN
from evdata.errors import RefusedError
from local.open_data import OpenData
from local.postgres import Database, temporary_database
from local.snapshot import Snapshot
from tests.handler_tools import Pipeline, build_pipeline
from tests.moto_cloud import moto_cloud
from tests.test_transform import vehicle

DAY: Final = 86_400
JUNE, JULY, AUGUST, SEPTEMBER = 1_685_577_600, 1_688_169_600, 1_690_848_000, 1_693_526_400  # firsts of 2023, midnight

type Fields = dict[str, str]

HYBRID: Final[Fields] = {"ev_type": "Plug-in Hybrid Electric Vehicle (PHEV)"}
UNKNOWN: Final[Fields] = {"electric_range": "0", "cafv_type": RANGE_UNKNOWN}
PRIUS: Final[Fields] = HYBRID | {"make": "TOYOTA", "model": "PRIUS PRIME", "model_year": "2015"}
NISSAN: Final[Fields] = {"make": "NISSAN", "model": "", "model_year": "2015", "electric_range": "107"}


def place(county: str, city: str, zip_code: str, district: str, utility: str, *, state: str = "WA") -> Fields:
    return {
        "county": county,
        "city": city,
        "state": state,
        "zip_code": zip_code,
        "legislative_district": district,
        "electric_utility": utility,
    }


KING: Final = place("King", "Seattle", "98103", "43", "SEATTLE")
BELLEVUE: Final = place("King", "Bellevue", "98004", "48", "PUGET")
PIERCE: Final = place("Pierce", "Tacoma", "98402", "27", "TACOMA")
THURSTON: Final = place("Thurston", "Olympia", "98501", "22", "PUGET")
CLARK: Final = place("Clark", "Vancouver", "98660", "17", "CLARK")
OREGON: Final = place("Multnomah", "Portland", "97201", "", "", state="OR")
CANADA: Final = place("", "Vancouver", "V6B 1A1", "", "", state="BC")


def unkept(key: int) -> Fields:
    return vehicle(key, make="")


# What becomes of each vehicle is told once, here: the tests count by it.
IN_JUNE: Final = (
    vehicle(1, **KING),
    vehicle(2, **KING, electric_range="100"),
    vehicle(3, **KING, model_year="2022"),
    vehicle(4, **KING),
    vehicle(5, **CANADA, **PRIUS, **UNKNOWN),
    vehicle(6, **CLARK, **PRIUS, electric_range="25"),
    vehicle(7, **KING),
    vehicle(9, **KING, **NISSAN),
    vehicle(10, **CANADA, electric_range="238"),
    unkept(80),
)
IN_JULY: Final = (
    vehicle(1, **KING),
    vehicle(2, **PIERCE, electric_range="100"),  # moved
    # 3 left
    vehicle(4, **KING),
    vehicle(5, **CANADA, **PRIUS, **UNKNOWN),
    vehicle(6, **CLARK, **PRIUS, electric_range="25"),
    vehicle(7, **KING),
    vehicle(8, **CLARK, **HYBRID, **UNKNOWN, make="FORD", model="ESCAPE"),  # arrived
    vehicle(9, **KING, **NISSAN),
    vehicle(10, **KING, electric_range="238"),  # moved, from where no county is known
)
# As July was first published: without 9 and with 11, and so corrected the same day.
IN_JULY_AT_FIRST: Final = (*(row for row in IN_JULY if row["dol_vehicle_id"] != "9"), vehicle(11, **KING))
IN_AUGUST: Final = (
    vehicle(1, **KING),
    vehicle(2, **THURSTON, electric_range="100"),  # moved again
    vehicle(3, **PIERCE, model_year="2022"),  # came back, elsewhere
    # The number of another vehicle now, which lives elsewhere.
    vehicle(
        4, **PIERCE, **HYBRID, vin_1_10="WBY8P6C05F", make="BMW", model="I3", model_year="2015", electric_range="72"
    ),
    vehicle(5, **CANADA, **PRIUS, **UNKNOWN),
    vehicle(6, **OREGON, **PRIUS, electric_range="25"),  # moved to another state
    # 7 left
    vehicle(8, **CLARK, **HYBRID, **UNKNOWN, make="FORD", model="ESCAPE"),
    vehicle(9, **BELLEVUE, **NISSAN),  # moved, but not out of the county
    vehicle(10, **KING, electric_range="238"),
)
IN_SEPTEMBER: Final = (
    *(row for row in IN_AUGUST if row["dol_vehicle_id"] not in ("9", "10")),
    vehicle(9, **PIERCE, **NISSAN),  # moved
    vehicle(10, **PIERCE, electric_range="238"),  # moved the same way
    unkept(90),
    unkept(91),
)


@contextmanager
def told(postgres_server: Database) -> Iterator[Pipeline]:
    """Four versions published, one of them twice, and runs between them that published nothing."""

    def show(rows: tuple[Fields, ...], when: int) -> None:
        source.snapshot = Snapshot.of(rows, rows_updated_at=when)

    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        temporary_database(postgres_server) as database,
        OpenData(Snapshot.of(IN_JUNE, rows_updated_at=JUNE)) as source,
        moto_cloud(monkeypatch),
    ):
        pipeline = build_pipeline(monkeypatch, database, source, max_rejected=0.5, max_shrink=0.5)
        june = pipeline.extract()["manifest_key"]
        pipeline.run("june")
        show(IN_JULY_AT_FIRST, JULY)
        pipeline.run("july")
        show(IN_JULY, JULY)
        july = pipeline.extract(force=True)["manifest_key"]
        pipeline.run("july, corrected", force=True)
        assert pipeline.publish(july, "july's twin")["status"] == "unchanged"
        assert pipeline.publish(june, "june, late")["status"] == "superseded"
        show(IN_AUGUST[:2], JULY + DAY)
        with pytest.raises(RefusedError):
            pipeline.run("half of it")
        show(IN_AUGUST, AUGUST)
        pipeline.run("august")
        show(IN_SEPTEMBER, SEPTEMBER)
        pipeline.run("september")
        yield pipeline
