"""What a report may have to tell, from the usual to the worst: versions of rows by the name of the case."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from evdata.report.facts import Facts, read
from local.open_data import OpenData
from local.snapshot import Snapshot
from tests.handler_tools import Pipeline
from tests.test_transform import vehicle

type Row = dict[str, str]

HYBRID: Final = {
    "ev_type": "Plug-in Hybrid Electric Vehicle (PHEV)",
    "make": "BMW",
    "model": "X5",
    "electric_range": "30",
}
UNKNOWN: Final = {
    "electric_range": "0",
    "cafv_type": "Eligibility unknown as battery range has not been researched",
    "make": "TESLA",
    "model": "MODEL Y",
    "model_year": "2023",
}
PIERCE: Final = {"county": "Pierce", "city": "Tacoma"}
CALIFORNIA: Final = {"county": "Los Angeles", "state": "CA", "legislative_district": "", "zip_code": "90001"}
ABROAD: Final = {"county": "", "city": "", "state": "BC", "zip_code": "V6B 1A1", "legislative_district": ""}
LONG: Final = "M" * 200
ENDLESS: Final = "W" * 5_000
# What would run, close the script, end a line of JavaScript, or turn the text around, if it were not text.
MARKUP: Final = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028&amp;\"'`${1}\u202e<!--"
FORMULA: Final = "=HYPERLINK(1)"

BEFORE: Final = [
    *(vehicle(key) for key in range(1, 31)),
    *(vehicle(key, **HYBRID) for key in range(31, 41)),
    *(vehicle(key, **UNKNOWN) for key in range(41, 51)),
    *(vehicle(key, **PIERCE) for key in range(51, 56)),
]
AFTER: Final = [
    *BEFORE[3:50],
    *(vehicle(key) for key in range(51, 54)),  # three moved from Pierce to King
    vehicle(54, **PIERCE),
    vehicle(55, **CALIFORNIA),  # and one to California
    *(vehicle(key, **UNKNOWN) for key in range(56, 64)),
]
BAD: Final = [vehicle(key, make="") for key in range(900, 903)]

CASES: Final[Mapping[str, Sequence[Sequence[Row]]]] = {
    "one version": [BEFORE],
    "two versions": [BEFORE, AFTER],
    "many versions": [[*BEFORE, *AFTER[-number:]] for number in range(1, 6)],
    "nothing changed": [BEFORE, BEFORE],
    "rejections only": [BAD],
    "rejections": [[*BEFORE, *BAD]],
    "one kept": [BEFORE, [*BEFORE[1:], vehicle(1, make="")]],
    "some kept": [BEFORE, [*AFTER[:40], *(row | {"make": ""} for row in AFTER[40:]), *BAD]],
    "all ranges unknown": [[vehicle(key, **UNKNOWN) for key in range(1, 6)]],
    "only hybrids": [[vehicle(key, **HYBRID) for key in range(1, 6)]],
    "one vehicle": [[vehicle(1)]],
    "long names": [[vehicle(901, make=LONG, model=ENDLESS), vehicle(902, county=ENDLESS), *BEFORE]],
    "markup": [[vehicle(1, make=MARKUP, model=MARKUP, county=MARKUP), vehicle(2, model=FORMULA)]],
    "blank county": [[vehicle(1, **ABROAD), vehicle(2, county="", model="")]],
    "outside Washington": [[vehicle(1, **CALIFORNIA)]],
    "unknown counties": [[vehicle(1, county="Kin"), vehicle(2, county="king"), vehicle(3)]],
    "thousands of models": [[vehicle(key, make=f"MAKE {key % 700}", model=f"MODEL {key}") for key in range(1, 3_001)]],
}

MONTH: Final = 2_592_000
FIRST: Final = 1_685_577_600  # 2023-06-01, midnight UTC


def publish_all(pipeline: Pipeline, source: OpenData, versions: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """Publish one version after another, a month apart; return the last answer."""
    answer: dict[str, Any] = {}
    for number, rows in enumerate(versions):
        source.snapshot = Snapshot.of(rows, rows_updated_at=FIRST + number * MONTH)
        answer = pipeline.run(f"run {number}")
    return answer


def facts_of(pipeline: Pipeline) -> Facts:
    """What the report would tell now."""
    with pipeline.connection() as connection, connection.cursor() as cursor:
        return read(cursor, seconds=60)
